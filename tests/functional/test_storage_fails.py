"""Storage that fails: QoS 1 and 2 are refused visibly, the rest goes on, the alarm is raised once and taken back,
nothing acknowledged is lost, and all is well by itself when the storage is."""

import re

import harness
import ledger
from crowd import CONGESTION, QUOTA, Crowd, check_arrived
from faults import Faults, Notices
from harness import until

ALARM = r"error: journal .*refusing what must be stored"
WELL = r"notice: journal .*stores again"


class Scene:
    """Devices that publish while the upstream is away."""

    def __init__(self, site):
        self.site = site
        self.upstream = ledger.Upstream(site)
        self.gateway = site.gateway(gateway={"sys_interval": "1s"}, upstream={"uri": self.upstream.uri},
                                    store={"commit_interval": "0"}, log={"level": "info"})
        self.faults = Faults(self.gateway)
        self.notices = Notices(site)
        self.gateway.start(env=dict(self.faults.env(), **self.notices.env()))
        self.crowd = Crowd(site, self.gateway)
        self.publish()

    def publish(self):
        """By all, all accepted."""
        assert self.crowd.sn_publish(1) == 0 and self.crowd.sn_publish(2) == 0
        assert self.crowd.coap_put().code >> 5 == 2
        assert self.crowd.mqtt5_publish(1) < 0x80 and self.crowd.mqtt5_publish(2) < 0x80

    def meet(self, size=200):
        """The first message meets the failure, or the first one for which there has to be another file."""
        until(lambda: self.crowd.mqtt5_publish(1, size) == QUOTA, "the refusal")

    def check_alarm(self):
        self.gateway.wait_log(ALARM)
        self.notices.wait("storage FAILS")
        until(lambda: self.state().startswith(b"failing: "), "the alarm in $SYS")

    def state(self):
        return self.crowd.local.payloads("$SYS/broker/store/state")[-1]

    def check_well(self):
        self.gateway.wait_log(WELL)
        until(lambda: "FAILS" not in self.notices.status(), "the end of the alarm in the status")
        until(lambda: self.state() == b"ok", "the end of the alarm in $SYS")
        for pattern in (ALARM, WELL):
            lines = [line for line in self.gateway.process.lines if re.search(pattern, line)]
            assert len(lines) == 1, lines

    def fail_and_heal(self, *failure, **where):
        self.crowd.local.subscribe("$SYS/broker/store/state", 0)
        self.faults.set(*failure, **where)
        self.meet(60000)
        self.crowd.check_refusals()
        self.check_alarm()
        self.faults.clear()
        self.crowd.check_recovered()
        self.check_well()

    def finish(self):
        """kill -9, and all that was acknowledged comes to the upstream."""
        self.gateway.kill()
        self.gateway.start()
        self.upstream.start()
        self.gateway.wait_upstream()
        check_arrived(self.upstream, self.crowd)
        self.gateway.stop()


def fails(*failure, **where):
    def test(site):
        scene = Scene(site)
        scene.fail_and_heal(*failure, **where)
        scene.finish()
    test.__name__ = "test_" + "_".join(failure).replace(",", "_")
    return test


def test_killed_while_it_fails(site):
    scene = Scene(site)
    scene.faults.set("EIO")
    scene.meet()
    assert scene.crowd.sn_publish(1) == CONGESTION
    scene.finish()


def test_one_sync_fails(site):
    """What it should have written is gone, and it must not be believed that the next one has brought it."""
    scene = Scene(site)
    for n in range(3):
        after = scene.gateway.mark()
        scene.faults.set("LOST", "sync", first=n, count=1)
        scene.crowd.mqtt5_publish(1)
        scene.gateway.wait_log(ALARM, after=after)
        scene.gateway.wait_log(WELL, after=after)
        scene.publish()
    scene.finish()


def test_slow_syncs(site):
    """Nobody waits for the disk but who wants an acknowledgement."""
    scene = Scene(site)
    scene.faults.set("NONE", "any", delay_ms=3000)
    sent = scene.crowd.mqtt_publish(1)
    for _ in range(20):
        scene.crowd.check_local()
    assert scene.crowd.mqtt_answers(sent, 0.01), "acknowledged before it was synced, or the others have waited"
    assert not scene.crowd.mqtt_answers(sent, 10)
    scene.faults.clear()
    scene.finish()


harness.run(fails("ENOSPC", "any"), fails("EIO", "any"), fails("ENOSPC", "resize"), fails("EIO", "open"),
            fails("LOST", "sync"), fails("EROFS", "any"), test_killed_while_it_fails, test_one_sync_fails,
            test_slow_syncs)
