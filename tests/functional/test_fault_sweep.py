"""Lets each of the first operations of the gateway on its storage fail in turn, once or from there on until some time
after the alarm, while devices of all protocols go about their business; then kills it and looks whether everybody still has
what he was told. Some of the points by default; all of them with TIDEGATE_SWEEP_POINTS=0, one again by its name as
argument."""

import os
import re
import sys

import harness
from fault_story import Story
from faults import Faults
from sweep import sample, sweep

OPERATIONS = 60
FAILURES = [("ENOSPC", 1), ("ENOSPC", 0), ("EIO", 1), ("EIO", 0), ("LOST", 1), ("LOST", 0), ("EROFS", 0)]
POINTS = int(os.environ.get("TIDEGATE_SWEEP_POINTS", "50"))
SEED = int(os.environ.get("TIDEGATE_SWEEP_SEED", "1"))
WORKERS = int(os.environ.get("TIDEGATE_SWEEP_WORKERS", "8"))

ALARM = re.compile(r"error: journal .*refusing what must be stored")
WELL = re.compile(r"notice: journal .*stores again")


def starts(gateway, env):
    """False: it has said in one line why it does not, and ended."""
    gateway.start(wait=False, env=env)
    try:
        gateway.wait_log(r"is up$")
    except AssertionError:
        errors = [line for line in gateway.process.lines if "error:" in line]
        assert gateway.process.wait_exit() == 1 and len(errors) == 1, errors
        return False
    return True


def alarms(gateway, pattern):
    return sum(1 for line in gateway.process.lines if pattern.search(line))


def run_point(site, upstream, number, at, error, count):
    story = Story(site, upstream, "f%d" % number, Faults)
    if not upstream.wire.listener:
        upstream.wire.open()
    story.faults.set(error, first=at, count=count)
    refused = not starts(story.gateway, story.faults.env())
    if refused:
        story.faults.clear()
        assert starts(story.gateway, story.faults.env()), "it does not start again"
    story.tell()
    assert story.gateway.process.popen.poll() is None, "it has ended: %s" % story.gateway.process.popen.poll()
    story.faults.clear()
    assert refused or count or alarms(story.gateway, ALARM), "all has failed for a while without an alarm"
    harness.until(lambda: alarms(story.gateway, ALARM) == alarms(story.gateway, WELL), "the end of the alarm")
    return story.next_life()


def main():
    if sys.argv[1:]:
        points = [(int(at), error, int(count)) for at, error, count in (a.split(":") for a in sys.argv[1:])]
    else:
        points = sample([(at, *f) for f in FAILURES for at in range(1, OPERATIONS + 1)], POINTS, SEED)
    sys.exit(1 if sweep(run_point, points, WORKERS) or not points else 0)


if __name__ == "__main__":
    main()
