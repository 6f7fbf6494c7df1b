"""A full journal, a full disk: refusals are visible, nothing acknowledged is lost, the rest goes on, and all is well
when there is room again."""

import os
import subprocess

import harness
import ledger
from crowd import Crowd, check_arrived
from harness import until


def full_journal(site, **rows):
    upstream = ledger.Upstream(site)
    store = {"commit_interval": "0"}
    link = {"uri": upstream.uri}
    (link if "backlog_bytes" in rows else store).update(rows)
    gateway = site.gateway(upstream=link, store=store, log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    print("full after", crowd.fill())
    crowd.check_refusals()
    upstream.start()
    gateway.wait_upstream()
    crowd.check_recovered()
    check_arrived(upstream, crowd)
    gateway.stop()
    return gateway, crowd, upstream


def test_backlog_bytes(site):
    full_journal(site, backlog_bytes="200KB")


def test_max_bytes(site):
    full_journal(site, max_bytes="2MB")


def test_full_and_killed(site):
    """Full is still full after a restart, and every acknowledged message comes back."""
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri}, store={"commit_interval": "0", "max_bytes": "2MB"},
                           log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    crowd.fill()
    for _ in range(3):
        gateway.restart_killed()
        crowd.sn.connect()
        crowd.topic_id = crowd.sn.register("full/sn")
        crowd.fill()
    gateway.restart_killed()
    upstream.start()
    gateway.wait_upstream()
    check_arrived(upstream, crowd)


def mounted(site, size):
    """A small file system, or None without the right to mount one."""
    path = os.path.join(site.dir, "small")
    os.mkdir(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "tmpfs", path], check=False,
                          stderr=subprocess.DEVNULL)
    return path if done.returncode == 0 else None


def test_full_disk(site):
    path = mounted(site, "2500k")
    if not path:
        print("skipped: cannot mount a tmpfs")
        return
    try:
        full_disk(site, path)
    finally:
        for process in site.processes:
            process.kill()
        subprocess.run(["umount", path], check=True)


def full_disk(site, path):
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri},
                           store={"dir": os.path.join(path, "state"), "commit_interval": "0"},
                           log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    ballast = os.path.join(path, "ballast")
    with open(ballast, "wb") as f:
        f.write(b"b" * (1 << 20))
    # Whom the failing commit takes by surprise waits for an answer for some seconds; at QoS 2 until there is room.
    print("full after", crowd.fill(qos=(1,)))
    crowd.check_refusals()
    os.unlink(ballast)
    crowd.check_recovered()
    print("full again after", crowd.fill(qos=(1,)))
    gateway.restart_killed()
    crowd.come_back(site)
    crowd.check_local()
    upstream.start()
    gateway.wait_upstream()
    until(lambda: crowd.sn_publish(1) == 0, "the device being accepted again", 30)
    check_arrived(upstream, crowd)
    gateway.stop()


if __name__ == "__main__":
    harness.run(test_backlog_bytes, test_max_bytes, test_full_and_killed, test_full_disk)
