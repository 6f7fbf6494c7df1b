"""Runs a story of several processes at each of many points, a few of them at once."""

import multiprocessing
import random
import time
import traceback

import harness
import ledger


def sample(points, count, seed):
    """So many of them, the same ones for the same seed; 0: all."""
    if not count or count >= len(points):
        return points
    return sorted(random.Random(seed).sample(points, count))


def _work(run_point, points, ports, results):
    harness.PORTS = ports  # nobody takes a port that another one's gateway leaves for a moment
    site = harness.Site()
    upstream = ledger.Upstream(site).start()
    for number, point in points:
        first = len(site.processes)
        try:
            bad = run_point(site, upstream, number, *point)
        except Exception:
            bad = [traceback.format_exc()]
        if bad:
            bad += ["--- " + p.name + "\n" + "\n".join(p.lines[-40:]) for p in site.processes[first:]]
        for p in site.processes[first:]:
            p.kill()
        del site.processes[first:]
        results.put((point, bad))
    site.close(show=False)


def sweep(run_point, points, workers):
    """run_point(site, upstream, number, *point) returns what was wrong. Returns how many points failed."""
    began = time.monotonic()
    numbered = list(enumerate(points))
    results = multiprocessing.Queue()
    shares = [(run_point, numbered[i::workers], harness.PORTS[i::workers], results) for i in range(workers)]
    pool = [multiprocessing.Process(target=_work, args=share) for share in shares]
    for w in pool:
        w.start()
    failed = 0
    for _ in points:
        point, bad = results.get(timeout=120)
        if bad:
            failed += 1
            print("FAIL %s\n  %s" % (":".join(map(str, point)), "\n  ".join(bad)), flush=True)
    for w in pool:
        w.join()
    print("%d points, %d failed, %.0f s" % (len(points), failed, time.monotonic() - began))
    return failed
