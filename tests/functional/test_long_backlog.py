"""20 000 messages wait while the upstream is away and the gateway is killed; its memory stays bounded, and they
drain in order, each once but for a window around the crash."""

import subprocess

import harness
import ledger
from harness import until

CLIENTS, EACH, SIZE, WINDOW = 40, 500, 200, 64
TOTAL = CLIENTS * EACH


def memory_kb(process):
    """Resident, anonymous: what the gateway itself has asked for."""
    with open("/proc/%d/status" % process.pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def queued(gateway):
    mark = gateway.mark()
    gateway.process.signal(harness.signal.SIGUSR1)
    gateway.wait_log(r"upstream: \d+ queued", after=mark)
    line = next(x for x in gateway.process.lines[mark:] if " queued, " in x)
    words = line.split()
    return int(words[words.index("queued,") - 1])


def publish(gateway):
    done = subprocess.run([harness.SIM, "-P", "mqttsn", "-p", str(gateway.sn_port), "-i", "d", "-n", str(CLIENTS), "-t",
                           "back/%c", "-s", str(SIZE), "-q", "1", "-c", str(EACH), "--quiet", "publish"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode()


def check(arrived):
    first = {}
    for topic, payload in arrived:
        first.setdefault(topic, []).append(int(payload.split()[0]))
    assert len(first) == CLIENTS, sorted(first)
    for topic, numbers in first.items():
        once = list(dict.fromkeys(numbers))
        assert once == sorted(once) and len(once) == EACH, (topic, len(once), once[:10])
    return len(arrived) - TOTAL


def test_drains_in_order(site):
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri, "inflight": WINDOW}, store={"commit_interval": "20ms"},
                           log={"level": "info"}).start()
    before = memory_kb(gateway.process)
    publish(gateway)
    assert queued(gateway) == TOTAL
    grown = memory_kb(gateway.process) - before
    gateway.restart_killed()
    assert queued(gateway) == TOTAL, "replayed"
    restarted = memory_kb(gateway.process) - before
    upstream.start()
    until(lambda: len(set(upstream.arrived)) >= TOTAL, "the backlog upstream", 60)
    doubled = check(upstream.arrived)
    print("memory: %d KB more with the backlog, %d KB after the restart; %d doubled" % (grown, restarted, doubled))
    assert doubled == 0, "nothing ended while it drained"
    # Of 200-octet bodies and 48-octet entries only the latter, and 1 MB of the former, are in memory; a sanitizer
    # adds its own.
    bound = 60000 if sanitized() else 6000
    assert grown < bound and restarted < bound, "memory"
    gateway.stop()


def test_killed_while_it_drains(site):
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri, "inflight": WINDOW}, store={"commit_interval": "20ms"},
                           log={"level": "info"}).start()
    publish(gateway)
    upstream.start()
    crashes = (0.15, 0.33, 0.52, 0.71, 0.9)
    for share in crashes:
        until(lambda: len(set(upstream.arrived)) >= TOTAL * share, "%d %% upstream" % (share * 100), 60)
        gateway.restart_killed()
    until(lambda: len(set(upstream.arrived)) >= TOTAL, "the backlog upstream", 60)
    doubled = check(upstream.arrived)
    print("%d doubled by %d crashes" % (doubled, len(crashes)))
    # A window was on its way, and what arrived in the last moments was not yet forgotten.
    assert doubled <= len(crashes) * 4 * WINDOW, doubled
    gateway.stop()


def sanitized():
    with open(harness.TIDEGATE, "rb") as f:
        return b"__asan_init" in f.read()


if __name__ == "__main__":
    harness.run(test_drains_in_order, test_killed_while_it_drains)
