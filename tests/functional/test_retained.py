"""Limits of what is retained: how many, how large together, how large each; told in every protocol's words. And large answers
to a wildcard, which come in parts and keep nobody else waiting."""

import time

import coap
import harness
import mq5
import sn
from mq5 import PUBLISH

TOO_LARGE, UNAVAILABLE, QUOTA = 0x8D, 0xA3, 0x97  # CoAP 4.13 and 5.03, MQTT 5
SUCCESS = (0, 0x10)


def mqtt(gateway, name="local"):
    return mq5.Mq5Client(gateway, name)


def keep(client, topic, payload, qos=1):
    return client.publish(topic, payload, qos, retain=True)


def kept(gateway, name):
    """All that a late subscriber gets."""
    late, found = mqtt(gateway, name), {}
    late.subscribe("#", 0)
    late.send(mq5.publish("end", b"end"))
    while "end" not in found:
        m = late.expect(PUBLISH)
        found[m.topic] = m.payload
    del found["end"]
    return found


def test_how_many(site):
    gateway = site.gateway(limits={"retained_messages": "3"}).start()
    client = mqtt(gateway)
    for n in range(3):
        assert keep(client, "t/%d" % n, b"x", n) in SUCCESS
    assert keep(client, "t/3", b"x", 1) == QUOTA and keep(client, "t/3", b"x", 2) == QUOTA
    assert coap.CoapClient(gateway).put("ps/t/3", b"x").code == UNAVAILABLE
    dev = sn.SnClient(gateway, "dev").connect()
    dev.send_publish(dev.register("t/3"), b"x", 1, retain=True)
    assert dev.expect(sn.PUBACK)[-1] == 1  # congestion
    assert keep(client, "t/1", b"new") in SUCCESS
    assert kept(gateway, "late") == {"t/0": b"x", "t/1": b"new", "t/2": b"x"}
    assert keep(client, "t/0", b"") in SUCCESS
    assert keep(client, "t/3", b"x") in SUCCESS


def test_how_large_together(site):
    gateway = site.gateway(limits={"retained_bytes": "10KB"}).start()
    client = mqtt(gateway)
    codes = [keep(client, "t/%d" % n, bytes(2000)) for n in range(6)]
    taken = codes.index(QUOTA)
    assert taken in (4, 5) and codes[taken:] == [QUOTA] * (6 - taken)
    assert keep(client, "t/0", b"small") in SUCCESS and keep(client, "t/5", bytes(1900)) in SUCCESS


def test_how_large_each(site):
    gateway = site.gateway(limits={"retained_message_bytes": "100B"}).start()
    client, live = mqtt(gateway), mqtt(gateway, "live")
    live.subscribe("t", 0)
    assert keep(client, "t", bytes(100)) in SUCCESS
    assert len(live.expect(PUBLISH).payload) == 100
    assert keep(client, "t", bytes(101)) == QUOTA
    assert client.publish("t", bytes(101), 1) in SUCCESS  # not to be retained
    assert len(live.expect(PUBLISH).payload) == 101
    assert coap.CoapClient(gateway).put("ps/t", bytes(101)).code == TOO_LARGE
    dev = sn.SnClient(gateway, "dev").connect()
    dev.send_publish(dev.register("t"), bytes(101), 1, retain=True)
    assert dev.expect(sn.PUBACK)[-1] == 3  # not supported: to try again is of no use
    assert kept(gateway, "late") == {"t": bytes(100)}


def test_a_large_answer_keeps_nobody_waiting(site):
    """20 000 retained messages for one that subscribes to all of them; another's round trips go on meanwhile."""
    count = 20000
    gateway = site.gateway(limits={"queue_messages": "1000", "queue_bytes": "256KB"}).start()
    client = mqtt(gateway)
    for n in range(count):
        client.send(mq5.publish("many/%d" % n, b"%d" % n, retain=True))
    client.expect_nothing()
    late = mqtt(gateway, "late")
    late.send(mq5.subscribe(1, [("many/#", 0)]))
    slowest, got = 0, set()
    while len(got) < count:
        began = time.monotonic()
        client.expect_nothing()
        slowest = max(slowest, time.monotonic() - began)
        for _ in range(min(500, count - len(got))):
            m = late.recv()
            if m.kind == PUBLISH:
                assert m.retain and m.topic not in got
                got.add(m.topic)
    assert slowest < 1, slowest
    assert gateway.counters().get("drop.queue_full", 0) == 0


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
