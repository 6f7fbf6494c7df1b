"""Ends the gateway at each of its operations on the journal in turn, by kill -9 and by power cuts that drop or tear
what was not synced, and looks whether everybody still has what he was told. Some of the points by default; all of
them with TIDEGATE_SWEEP_POINTS=0, other chances with TIDEGATE_SWEEP_SEED, one again by its name as argument."""

import os
import sys

import harness
import ledger
from crash_story import Story
from sweep import sample, sweep

SHIM = os.path.join(harness.BUILD, "tests", "libcrash_shim.so")
POINTS = int(os.environ.get("TIDEGATE_SWEEP_POINTS", "510"))
SEED = int(os.environ.get("TIDEGATE_SWEEP_SEED", "1"))
WORKERS = int(os.environ.get("TIDEGATE_SWEEP_WORKERS", "6"))
TORN = 4  # chances for each operation


def environment(gateway, at, mode, seed):
    return {
        "LD_PRELOAD": SHIM,
        "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        "TIDEGATE_CRASH_DIR": gateway.sections["store"]["dir"],
        "TIDEGATE_CRASH_LOG": os.path.join(gateway.dir, "operations"),
        "TIDEGATE_CRASH_AT": str(at),
        "TIDEGATE_CRASH_MODE": mode,
        "TIDEGATE_CRASH_SEED": str(seed),
    }


def starts(gateway, env):
    """False: it was ended before it was up."""
    gateway.start(wait=False, env=env)
    try:
        gateway.wait_log(r"is up$")
    except AssertionError:
        if gateway.process.popen.poll() != -9:
            raise
        return False
    return True


def operations():
    """How many there are in a story that nobody interrupts."""
    site = harness.Site()
    story = Story(site, ledger.Upstream(site).start(), "count")
    starts(story.gateway, environment(story.gateway, 0, "kill", 0))
    story.tell()
    story.gateway.kill()
    with open(os.path.join(story.gateway.dir, "operations"), encoding="ascii") as f:
        count = int(f.read())
    site.close(show=False)
    return count


def run_point(site, upstream, number, at, mode, seed):
    story = Story(site, upstream, "s%d" % number)
    if not upstream.wire.listener:
        upstream.wire.open()
    if starts(story.gateway, environment(story.gateway, at, mode, seed)):
        story.tell()
    return story.next_life()


def all_points(count):
    points = [(at, mode, SEED) for mode in ("kill", "cut") for at in range(1, count + 1)]
    return points + [(at, "tear", SEED + i) for i in range(TORN) for at in range(1, count + 1)]


def main():
    if sys.argv[1:]:
        points = [(int(at), mode, int(seed)) for at, mode, seed in (a.split(":") for a in sys.argv[1:])]
    else:
        points = sample(all_points(operations()), POINTS, SEED)
    sys.exit(1 if sweep(run_point, points, WORKERS) or not points else 0)


if __name__ == "__main__":
    main()
