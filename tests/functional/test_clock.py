"""The wall clock is set, by a year or from 1970 on, while the gateway runs and while it does not: nothing expires by
that, nobody is lost, and everything is where it was."""

import os
import struct
import time

import faults
import harness
import ledger
import mq5
import sn
from harness import until

YEAR_S = 365 * 86400
SINCE_1970 = 3600 - int(time.time())
EXPIRY_S = 3600


class Scene:
    """One of everything that ends some day, and a clock."""

    def __init__(self, site, offset=0):
        self.site = site
        self.upstream = ledger.Upstream(site)
        self.gateway = site.gateway(upstream={"uri": self.upstream.uri}, store={"commit_interval": "0"},
                                    log={"level": "info"})
        self.clock = os.path.join(self.gateway.dir, "clock")
        self.set_clock(offset)
        self.start()

    def start(self):
        self.gateway.start(env=dict(faults.preload("clock"), TIDEGATE_CLOCK_OFFSET=self.clock))

    def set_clock(self, offset):
        faults.put(self.clock, "%d" % offset)

    def fill(self):
        self.reader = mq5.Mq5Client(self.gateway, "reader", clean=True,
                                    pairs=((mq5.SESSION_EXPIRY, EXPIRY_S),))
        self.reader.subscribe("c/#", 1)
        self.reader.close()
        self.willing = sn.SnClient(self.gateway, "willing").connect(duration=600, will=("c/will", b"dead", 1, False))
        self.sleeper = sn.SnClient(self.gateway, "sleeper").connect(duration=600)
        self.sleeper.subscribe("c/mail", 1)
        self.sleeper.send(sn.DISCONNECT, struct.pack(">H", 600))
        self.sleeper.expect(sn.DISCONNECT)
        writer = mq5.Mq5Client(self.gateway, "writer")
        expiry = ((mq5.MESSAGE_EXPIRY, EXPIRY_S),)
        writer.publish("c/mail", b"mail", 1, *expiry)
        writer.publish("c/kept", b"kept", 1, *expiry, retain=True)
        writer.publish("$delayed/3600/c/late", b"late", 1)
        writer.close()

    def check(self):
        self.willing.send(sn.PINGREQ)
        self.willing.expect(sn.PINGRESP)
        looker = mq5.Mq5Client(self.gateway, "looker")
        looker.subscribe("c/kept", 0)
        assert looker.expect(mq5.PUBLISH).payload == b"kept"
        looker.close()

    def check_all(self):
        """At the end: what is taken is gone."""
        self.check()
        self.sleeper.send(sn.PINGREQ, b"sleeper")
        self.sleeper.expect(sn.PINGRESP)
        assert self.sleeper.received() == [("c/mail", b"mail")], self.sleeper.received()
        self.check_reader()
        self.upstream.start()
        self.gateway.wait_upstream()
        until(lambda: {("c/mail", b"mail"), ("c/kept", b"kept")} <= set(self.upstream.arrived), "the backlog")
        assert not [t for t, _ in self.upstream.arrived if t in ("c/late", "c/will")], self.upstream.arrived

    def check_reader(self):
        link = mq5.Mq5Client(self.gateway, "reader", clean=False, pairs=((mq5.SESSION_EXPIRY, EXPIRY_S),))
        assert link.connack.present, "the session has expired"
        got = []
        while len(got) < 2:
            m = link.expect(mq5.PUBLISH)
            left = m.get(mq5.MESSAGE_EXPIRY)
            assert EXPIRY_S - 60 <= left <= EXPIRY_S, left
            link.ack(mq5.PUBACK, m.id)
            got.append((m.topic, m.payload))
        link.close()
        assert got == [("c/mail", b"mail"), ("c/kept", b"kept")], got


def test_set_while_it_runs(site):
    scene = Scene(site)
    scene.fill()
    for offset in (YEAR_S, -YEAR_S, 0):
        scene.set_clock(offset)
        scene.check()
    scene.check_all()
    scene.gateway.stop()


class BrokerPort:
    """For a client of MQTT 5 that speaks to the broker."""

    def __init__(self, broker):
        self.mqtt_port = broker.port


def test_captured_in_1970(site):
    """What waited says so, and that it was not known what time it was; also after the time has become known."""
    scene = Scene(site, SINCE_1970)
    scene.fill()
    scene.gateway.kill()
    scene.set_clock(0)
    scene.start()
    scene.upstream.start()
    cloud = mq5.Mq5Client(BrokerPort(scene.upstream.broker), "cloud", timeout=harness.WAIT_S)
    cloud.subscribe("c/#", 1)
    stamps = {}
    while "c/kept" not in stamps:
        m = cloud.expect(mq5.PUBLISH)
        stamps[m.topic] = dict(m.all(mq5.USER))
        if m.qos:
            cloud.ack(mq5.PUBACK, m.id)
    stamp = stamps["c/kept"]
    assert stamp["captured-at"].startswith("1970-01-01T01:") and stamp["clock"] == "unsynced", stamp


def over_a_restart(site, first, then):
    scene = Scene(site, first)
    scene.fill()
    scene.gateway.kill()
    scene.set_clock(then)
    scene.start()
    scene.check_all()
    scene.gateway.stop()


def test_a_year_later(site):
    over_a_restart(site, 0, YEAR_S)


def test_a_year_earlier(site):
    over_a_restart(site, 0, -YEAR_S)


def test_known_after_a_restart(site):
    """A machine without a battery for its clock starts in 1970; the time is known when the gateway starts again."""
    over_a_restart(site, SINCE_1970, 0)


def test_known_later(site):
    """The same, and the time is known while it runs; and forgotten again."""
    scene = Scene(site, SINCE_1970)
    scene.fill()
    scene.set_clock(0)
    scene.check()
    for offset in (SINCE_1970, 0):
        scene.gateway.kill()
        scene.set_clock(offset)
        scene.start()
        scene.check()
    scene.check_all()
    scene.gateway.stop()


harness.run(test_set_while_it_runs, test_a_year_later, test_a_year_earlier, test_known_after_a_restart,
            test_known_later, test_captured_in_1970)
