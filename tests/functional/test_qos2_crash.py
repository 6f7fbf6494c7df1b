"""QoS 2 between the gateway and its upstream, exactly once: the gateway is killed in the middle of the exchanges, and
the broker keeps its session. TIDEGATE_QOS2_SEED and TIDEGATE_QOS2_ROUNDS (kills, 8 by default) vary it."""

import collections
import os
import random
import re
import signal
import time

import harness
import ledger
from harness import until

SEED = os.environ.get("TIDEGATE_QOS2_SEED") or "%08x" % random.getrandbits(32)
ROUNDS = int(os.environ.get("TIDEGATE_QOS2_ROUNDS", "8"))
BURST = 60


def numbers(arrived, topic):
    return [int(payload) for name, payload in arrived if name == topic]


class Story:
    """Messages of QoS 2 that the gateway has acknowledged and stored, while the way to the broker was cut."""

    def __init__(self, site, name, **upstream):
        print("seed %s" % SEED)
        self.random = random.Random("%s/%s" % (SEED, name))
        self.site = site
        self.upstream = ledger.Upstream(site).start()
        self.gateway = site.gateway(upstream=dict({"uri": self.upstream.uri, "connect_timeout": "2s"}, **upstream),
                                    store={"commit_interval": "5ms"}).start()
        self.gateway.wait_upstream()
        self.published = 0

    def fill(self, n, topic="q/2"):
        """The wire is shut meanwhile."""
        self.upstream.wire.shut()
        self.gateway.wait_log(r"upstream.*(lost|down|disconnected|closed)")
        client = self.site.mqtt(self.gateway, "filler")
        for i in range(self.published, self.published + n):
            client.publish(topic, b"%d" % i, qos=2, wait=False)
        until(lambda: client.client._out_messages == {}, "all PUBCOMPs")
        client.close()
        self.published += n

    def kill_at_random(self):
        """After the connection has come up, in the midst of what follows."""
        self.gateway.start()
        self.gateway.wait_upstream()
        time.sleep(self.random.random() ** 2 * 0.12)
        self.gateway.kill()

    def check(self, topic="q/2"):
        until(lambda: len(set(numbers(self.upstream.arrived, topic))) >= self.published, "all messages", 30)
        time.sleep(0.3)  # a duplicate would come now
        got = numbers(self.upstream.arrived, topic)
        doubled = sorted(n for n, k in collections.Counter(got).items() if k > 1)
        assert not doubled, "twice: %r" % doubled[:20]
        return got


def every_message_once(site, version):
    story = Story(site, "once" + version, version=version, inflight="20", drain_rate="0")
    story.fill(BURST * ROUNDS)
    story.gateway.kill()
    story.upstream.wire.open()
    for _ in range(ROUNDS):
        story.kill_at_random()
        if len(story.upstream.arrived) >= story.published:
            break
    print("%d of %d arrived before the last kill" % (len(story.upstream.arrived), story.published))
    story.gateway.start()
    got = story.check()
    late = [(a, b) for a, b in zip(got, got[1:]) if b < a]
    assert not late, "out of order: %r" % late[:5]
    assert story.gateway.counters().get("upstream.qos2_at_least_once", 0) == 0
    story.gateway.stop()


def test_every_message_once_with_5(site):
    every_message_once(site, "5")


def test_every_message_once_with_311(site):
    every_message_once(site, "3.1.1")


def test_broker_lost_its_session(site):
    """Then nothing is lost, and what may arrive twice is counted."""
    story = Story(site, "lost", inflight="20", drain_rate="0")
    story.fill(400)
    story.gateway.kill()
    story.upstream.wire.open()
    story.kill_at_random()
    story.upstream.down(kill=True)
    story.upstream.start()
    story.gateway.start()
    until(lambda: len(set(numbers(story.upstream.arrived, "q/2"))) >= story.published, "all messages", 30)
    time.sleep(0.3)
    got = numbers(story.upstream.arrived, "q/2")
    counted = story.gateway.counters().get("upstream.qos2_at_least_once", 0)
    print("%d arrived twice, %d may have" % (len(got) - len(set(got)), counted))
    assert len(got) - len(set(got)) <= counted <= 20
    story.gateway.stop()


def test_another_broker(site):
    """What was under way at one broker goes to another one anew, and to its own session never."""
    story = Story(site, "other", inflight="20", drain_rate="0")
    story.fill(400)
    story.gateway.kill()
    story.upstream.wire.open()
    story.kill_at_random()
    first = story.upstream
    story.upstream = ledger.Upstream(site, name="other").start()
    story.gateway.sections["upstream"]["uri"] = story.upstream.uri
    story.gateway.write_conf()
    story.gateway.start()
    until(lambda: len(set(numbers(first.arrived + story.upstream.arrived, "q/2"))) >= story.published,
          "all messages", 30)
    time.sleep(0.3)
    got = numbers(first.arrived + story.upstream.arrived, "q/2")
    counted = story.gateway.counters().get("upstream.qos2_at_least_once", 0)
    print("%d arrived at both, %d may have" % (len(got) - len(set(got)), counted))
    assert len(got) - len(set(got)) <= counted <= 20
    assert len(set(numbers(story.upstream.arrived, "q/2"))) == len(numbers(story.upstream.arrived, "q/2"))
    story.gateway.stop()


def test_failing_writes(site):
    """Connections that end under a PUBLISH: Paho says that it has failed, frees it, and keeps it."""
    story = Story(site, "writes", inflight="64", drain_rate="0")
    story.upstream.wire.shut()
    story.gateway.wait_log(r"upstream.*(lost|down|disconnected|closed)")
    client = site.mqtt(story.gateway, "filler")
    for n in range(700):
        client.publish("q/%d" % (1 + n % 2), b"%d" % n, qos=1 + n % 2, wait=False)
    until(lambda: client.client._out_messages == {}, "all acknowledgements")
    client.close()
    story.gateway.kill()
    story.upstream.wire.open()
    story.gateway.start(env={"LD_PRELOAD": os.path.join(harness.BUILD, "tests", "libwrite_shim.so"),
                             "TIDEGATE_FAIL_WRITES": "211", "ASAN_OPTIONS": "verify_asan_link_order=0"})
    until(lambda: len(set(story.upstream.arrived)) >= 700, "all messages", 60)
    time.sleep(0.3)
    once = numbers(story.upstream.arrived, "q/2")
    assert once == list(range(1, 700, 2)), "twice or out of order"
    assert story.gateway.log().count("session resumed") >= 3, "no write has failed"
    story.gateway.stop()


def written(gateway):
    mark = gateway.mark()
    gateway.process.signal(signal.SIGUSR1)
    gateway.wait_log(r"store live=.* written=\d+", after=mark)
    return int(re.findall(r"store live=.* written=(\d+)", gateway.log())[-1])


def test_everyday_traffic_writes_nothing(site):
    """QoS 0 and 1 in both directions, the upstream is there, nobody's session outlives its connection."""
    upstream = ledger.Upstream(site).start()
    gateway = site.gateway(upstream={"uri": upstream.uri}, store={"commit_interval": "5ms"}).start()
    gateway.wait_upstream()
    local, far = site.mqtt(gateway, "local"), site.mqtt(upstream.broker, "far")
    local.subscribe("down/#", 2)
    far.publish("down/0", b"first", qos=1)
    until(lambda: local.messages, "the way down")
    before = written(gateway)
    for n in range(200):
        local.publish("up/%d" % (n % 2), b"%d" % n, qos=n % 2, wait=False)
        far.publish("down/%d" % (n % 3), b"%d" % n, qos=n % 3, wait=False)
    until(lambda: len(upstream.arrived) >= 400 and len(local.messages) >= 201, "all of them")
    assert written(gateway) == before, "%d bytes written" % (written(gateway) - before)
    gateway.stop()


class Downlink:
    """Somebody at the broker publishes to a local session that is away."""

    def __init__(self, site, version):
        self.random = random.Random("%s/down%s" % (SEED, version))
        print("seed %s" % SEED)
        self.site = site
        self.broker = site.broker(persistent=True).start()
        self.gateway = site.gateway(upstream={"uri": self.broker.uri, "version": version},
                                    store={"commit_interval": "5ms"}).start()
        self.gateway.wait_upstream()
        client = self.client()
        client.subscribe("d/#", 2)
        self.far = site.mqtt(self.broker, "far")
        self.far.publish("d/first", b"0", qos=2)
        until(lambda: client.messages, "the way down")
        client.close()
        self.sent = 0

    def client(self):
        return self.site.mqtt(self.gateway, "sleeper", clean=False)

    def publish(self, n):
        for i in range(self.sent, self.sent + n):
            self.far.publish("d/%d" % (1 + i % 2), b"%d" % i, qos=1 + i % 2, wait=False)
        self.sent += n

    def kill_at_random(self):
        time.sleep(self.random.random() ** 2 * 0.1)
        self.gateway.kill()
        self.gateway.start()
        self.gateway.wait_upstream()

    def check(self):
        client = self.client()
        for topic, first in (("d/1", 0), ("d/2", 1)):
            want = list(range(first, self.sent, 2))
            until(lambda: set(map(int, client.payloads(topic))) >= set(want), "all of %s" % topic, 30)
        time.sleep(0.3)
        once = sorted(map(int, client.payloads("d/2")))
        assert once == list(range(1, self.sent, 2)), "twice: %r" % [
            n for n, k in collections.Counter(once).items() if k > 1][:20]
        client.close()


def downlink_is_kept(site, version):
    story = Downlink(site, version)
    for _ in range(ROUNDS):
        story.publish(BURST)
        story.kill_at_random()
    story.check()
    story.gateway.stop()


def test_downlink_is_kept_with_5(site):
    downlink_is_kept(site, "5")


def test_downlink_is_kept_with_311(site):
    downlink_is_kept(site, "3.1.1")


harness.run(test_every_message_once_with_5, test_every_message_once_with_311, test_broker_lost_its_session,
            test_another_broker, test_failing_writes, test_everyday_traffic_writes_nothing,
            test_downlink_is_kept_with_5, test_downlink_is_kept_with_311)
