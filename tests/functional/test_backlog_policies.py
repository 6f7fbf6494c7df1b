"""What waits for the broker: what goes first, what gives way, and what is told of that afterwards."""

import json
import re
import time

import harness
import mq5
import sn
from harness import until

KB = b"x" * 1000
TOPIC = "tidegate/cellar/gaps"


def away(site, **rows):
    """A gateway whose broker has gone, and one who gets everything when it is back."""
    broker = site.broker(persistent=True).start()
    collector = harness.durable_collector(site, broker)
    gateway = site.gateway(gateway={"id": "cellar", "sys_interval": "1s"}, upstream=dict(uri=broker.uri, **rows),
                           store={"commit_interval": "20ms"}).start()
    gateway.wait_upstream()
    broker.stop()
    gateway.wait_log(r"upstream.*(lost|down|disconnected)")
    return broker, collector, gateway


def gaps(collector):
    return [json.loads(p) for p in collector.payloads(TOPIC)]


def test_priority_drains_first(site):
    broker, collector, gateway = away(site, priority="alarm/#, +/fire", inflight="1")
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(20):
        dev.publish("t/1", b"%d" % n, qos=1)
    for n in range(5):
        dev.publish("alarm/a", b"%d" % n, qos=1)
        dev.publish("b/fire", b"%d" % n, qos=1)  # a QoS 2 message may reach the collector later than the next one
    gateway.kill()  # the same after a crash
    gateway.start()
    broker.start()
    until(lambda: len(collector.messages) >= 30, "all of it", 20)
    topics = [m.topic for m in collector.messages]
    assert set(topics[:10]) == {"alarm/a", "b/fire"} and set(topics[10:]) == {"t/1"}, topics
    for topic, n in (("t/1", 20), ("alarm/a", 5), ("b/fire", 5)):
        assert [int(p) for p in collector.payloads(topic)] == list(range(n))


def test_latest_only(site):
    broker, collector, gateway = away(site, latest_only="state/#")
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(10):
        for topic in ("state/1", "state/2", "all/1"):
            dev.publish(topic, b"%d" % n, qos=1)
    broker.start()
    until(lambda: gaps(collector), "the gap record", 20)
    until(lambda: len(collector.messages) >= 13, "what is left", 20)
    assert collector.payloads("state/1") == collector.payloads("state/2") == [b"9"]
    assert [int(p) for p in collector.payloads("all/1")] == list(range(10))
    assert gateway.counters()["upstream.dropped.superseded"] == 18
    assert [(g["reason"], g["client"], g["count"]) for g in gaps(collector)] == [("superseded", "dev", 18)]


def test_too_old(site):
    """Dropped, and the gap survives a kill until the broker has been told."""
    broker, collector, gateway = away(site, backlog_age="2s")
    local = site.mqtt(gateway, "local")
    local.subscribe("$SYS/broker/upstream/dropped", 0)
    began = time.time()
    one, two = (sn.SnClient(gateway, name).connect() for name in ("one", "two"))
    for n in range(5):
        one.publish("t/1", b"%d" % n, qos=1)
    two.publish("t/2", b"old", qos=0)
    published = time.time()
    until(lambda: gateway.counters().get("upstream.dropped.aged") == 6, "the end of what is too old", 10)
    until(lambda: local.messages and len(json.loads(local.messages[-1].payload)) == 2, "the ledger in $SYS", 5)
    assert {"client": "one", "reason": "aged", "count": 5} in json.loads(local.messages[-1].payload)
    gateway.wait_log(r"upstream: dropped 5 of one: aged")
    time.sleep(1.2)  # between two records of the gaps a second may pass
    gateway.kill()
    gateway.start()
    sn.SnClient(gateway, "three").connect().publish("t/2", b"new", qos=1)
    broker.start()
    until(lambda: len(gaps(collector)) == 2 and b"new" in collector.payloads("t/2"), "both gap records", 20)
    told = sorted(gaps(collector), key=lambda g: g["client"])
    assert [(g["gateway"], g["client"], g["reason"], g["count"]) for g in told] == [
        ("cellar", "one", "aged", 5), ("cellar", "two", "aged", 1)], told
    for g in told:
        for when in (g["first"], g["last"]):
            at = time.mktime(time.strptime(when[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
            assert began - 2 <= at <= published + 2, (when, began)
        assert g["clock"] in ("synced", "unsynced")
    assert collector.payloads("t/1") == [] and collector.payloads("t/2") == [b"new"]
    gateway.stop()
    gateway.start()  # told once
    gateway.wait_upstream()
    time.sleep(0.5)
    assert len(gaps(collector)) == 2


def test_named_filters_give_way(site):
    broker, collector, gateway = away(site, drop_oldest="bulk/#", backlog_bytes="64KB")
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(40):
        dev.publish("other/1", b"%d:" % n + KB[:200], qos=1)
    for n in range(100):
        dev.publish("bulk/1", b"%d:" % n + KB, qos=1)  # each is acknowledged
    broker.start()
    until(lambda: b"99:" + KB in collector.payloads("bulk/1"), "the newest", 20)
    bulk = [int(p.split(b":")[0]) for p in collector.payloads("bulk/1")]
    dropped = gateway.counters()["upstream.dropped.oldest"]
    assert 40 < dropped < 70 and bulk == list(range(dropped, 100)), (dropped, bulk)
    assert len(collector.payloads("other/1")) == 40
    until(lambda: gaps(collector), "the gap record")
    assert [(g["reason"], g["count"]) for g in gaps(collector)] == [("oldest", dropped)], gaps(collector)


class At:
    def __init__(self, port):
        self.mqtt_port = port


def stamps(message):
    return dict(message.all(mq5.USER))


def test_time_of_capture(site):
    """What waited says when it was captured; what went through does not."""
    broker, _, gateway = away(site, gap_topic="gaps")
    dev = sn.SnClient(gateway, "dev").connect()
    before = time.time()
    dev.publish("t/1", b"waited", qos=1)
    dev.publish("t/1", b"waited", qos=0)
    gateway.kill()
    gateway.start()
    broker.start()
    watcher = mq5.Mq5Client(At(broker.port), "watcher")
    watcher.subscribe("t/#", 0)
    first = watcher.expect(mq5.PUBLISH)
    assert first.payload == b"waited", first
    at = stamps(first)["captured-at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at), at
    seconds = time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert before - 2 <= seconds <= time.time(), at
    assert stamps(first)["clock"] in ("synced", "unsynced")
    sn.SnClient(gateway, "other").connect().publish("t/1", b"live", qos=1)
    live = watcher.expect(mq5.PUBLISH)
    assert live.payload == b"live" and stamps(live) == {}, live


def test_no_time_of_capture(site):
    broker, _, gateway = away(site, captured_at="no")
    sn.SnClient(gateway, "dev").connect().publish("t/1", b"waited", qos=1)
    broker.start()
    watcher = mq5.Mq5Client(At(broker.port), "watcher")
    watcher.subscribe("t/#", 0)
    found = watcher.expect(mq5.PUBLISH)
    assert found.payload == b"waited" and stamps(found) == {}, found


harness.run(test_priority_drains_first, test_latest_only, test_too_old, test_named_filters_give_way,
            test_time_of_capture, test_no_time_of_capture)
