"""Sleeping devices and their mail (MQTT-SN 1.2, 6.14): limits, policies, order, what comes again."""

import re
import signal
import struct
import time

import coap
import harness
import sn


def asleep(site, duration=1000, clean=True, subscribe=("m/#",), **mqttsn):
    gateway = site.gateway(mqttsn=mqttsn).start()
    dev = sn.SnClient(gateway, "sleepy").connect(clean=clean)
    for topic in subscribe:
        dev.subscribe(topic, qos=2)
    fall_asleep(dev, duration)
    return gateway, dev, site.mqtt(gateway, "local")


def fall_asleep(dev, duration=1000):
    dev.send(sn.DISCONNECT, struct.pack(">H", duration))
    dev.expect(sn.DISCONNECT)


def collect(dev):
    """PINGREQ; everything up to PINGRESP, acknowledged on the way."""
    dev.messages.clear()
    dev.send(sn.PINGREQ, dev.client_id.encode())
    dev.expect(sn.PINGRESP)
    return [m.payload.decode() for m in dev.messages]


def flushed(local):
    """All that this client has published has been routed: QoS 2 over the same connection comes behind it."""
    local.publish("elsewhere", b"", qos=2)


def send(local, *messages):
    for topic, text, qos in messages:
        local.publish(topic, text.encode(), qos=qos, wait=False)
    flushed(local)


def dropped(gateway, reason):
    return gateway.counters().get("drop." + reason, 0)


def test_nothing_while_asleep_then_all_in_order(site):
    _, dev, local = asleep(site)
    send(local, *[("m/%d" % (n % 3), str(n), n % 3) for n in range(20)])
    dev.quiet(0.5)
    assert collect(dev) == [str(n) for n in range(20)]
    assert [m.qos for m in dev.messages] == [n % 3 for n in range(20)]
    assert collect(dev) == []


def test_a_hundred_by_default(site):
    gateway, dev, local = asleep(site)
    send(local, *[("m/x", str(n), 1) for n in range(150)])
    assert collect(dev) == [str(n) for n in range(50, 150)]
    assert dropped(gateway, "queue_full") == 50


def test_oldest(site):
    gateway, dev, local = asleep(site, mail_messages=3, mail_policy="oldest")
    send(local, *[("m/x", text, qos) for text, qos in (("a", 1), ("b", 0), ("c", 2), ("d", 0), ("e", 1))])
    assert collect(dev) == ["c", "d", "e"]
    assert dropped(gateway, "queue_full") == 2


def test_newest(site):
    gateway, dev, local = asleep(site, mail_messages=3, mail_policy="newest")
    send(local, *[("m/x", text, qos) for text, qos in (("a", 1), ("b", 0), ("c", 2), ("d", 0), ("e", 1))])
    assert collect(dev) == ["a", "b", "c"]
    assert dropped(gateway, "queue_full") == 2


def test_latest_per_topic(site):
    gateway, dev, local = asleep(site, mail_messages=4, mail_policy="latest-per-topic")
    send(local, ("m/rare", "r1", 1), *[("m/%s" % t, "%s%d" % (t, n), n % 3) for n in range(50) for t in "ab"])
    assert collect(dev) == ["r1", "b48", "a49", "b49"]
    assert dropped(gateway, "outdated") == 97 and dropped(gateway, "queue_full") == 0


def test_bytes(site):
    gateway, dev, local = asleep(site, mail_bytes="4KB")
    send(local, *[("m/x", str(n) * 1000, 1) for n in range(6)])
    assert [t[0] for t in collect(dev)] == ["3", "4", "5"]
    assert dropped(gateway, "queue_full") == 3


def test_age(site):
    gateway, dev, local = asleep(site, mail_age="1s")
    send(local, ("m/x", "old", 1))
    time.sleep(1.1)
    send(local, ("m/x", "young", 1))
    assert collect(dev) == ["young"]
    assert dropped(gateway, "too_old") == 1


def test_expiry(site):
    """A message that has expired by itself (here that of a CoAP device) is not collected."""
    gateway, dev, _ = asleep(site)
    device = coap.CoapClient(gateway)
    device.put("/ps/m/x", b"short-lived", query=["expiry=1", "retain=false"])
    device.put("/ps/m/x", b"lasting", query=["retain=false"])
    time.sleep(1.2)
    assert collect(dev) == ["lasting"]
    assert dropped(gateway, "expired") == 1


def test_unacknowledged_comes_again(site):
    """With the same MsgId and DUP, before what came later, and never given up for it."""
    gateway, dev, local = asleep(site, subscribe=("m/x",), mail_messages=2, retry_interval="200ms", retry_count=1)
    send(local, ("m/x", "first", 1))
    dev.send(sn.PINGREQ, b"sleepy")
    first = sn.Message(next_publish(dev))
    again = sn.Message(next_publish(dev))
    assert again.dup and again.msg_id == first.msg_id
    dev.quiet(0.6)  # repeated once, then it must have gone back to sleep
    send(local, ("m/x", "a", 1), ("m/x", "b", 1), ("m/x", "c", 1))
    dev.quiet(0.3)
    assert collect(dev) == ["first", "c"]
    assert dev.messages[0].dup and dev.messages[0].msg_id == first.msg_id
    assert not dev.messages[1].dup


def next_publish(dev):
    got = dev.recv()
    assert got and got[0] == sn.PUBLISH, got
    return got[1]


def test_one_at_a_time(site):
    """Each QoS 1 message waits for the acknowledgement of the one before it."""
    _, dev, local = asleep(site, subscribe=("m/x",))
    send(local, ("m/x", "1", 1), ("m/x", "2", 1))
    dev.send(sn.PINGREQ, b"sleepy")
    first = sn.Message(next_publish(dev))
    dev.quiet(0.3)
    dev.send(sn.PUBACK, struct.pack(">HHB", first.topic_id, first.msg_id, 0))
    second = sn.Message(next_publish(dev))
    assert second.payload == b"2" and second.msg_id != first.msg_id
    dev.send(sn.PUBACK, struct.pack(">HHB", second.topic_id, second.msg_id, 0))
    dev.expect(sn.PINGRESP)


def test_new_mail_while_awake(site):
    _, dev, local = asleep(site, subscribe=("m/x",))
    send(local, ("m/x", "1", 1))
    dev.send(sn.PINGREQ, b"sleepy")
    first = sn.Message(next_publish(dev))
    send(local, ("m/x", "2", 0))
    dev.send(sn.PUBACK, struct.pack(">HHB", first.topic_id, first.msg_id, 0))
    assert sn.Message(next_publish(dev)).payload == b"2"
    dev.expect(sn.PINGRESP)


def test_connect_brings_the_rest(site):
    """A sleeper that connects again without CleanSession gets its mail as an active client."""
    _, dev, local = asleep(site, clean=False)
    send(local, *[("m/%d" % n, str(n), 1) for n in range(5)])
    dev.connect(clean=False)
    dev.wait_messages(5)
    assert [m.payload for m in dev.messages] == [b"%d" % n for n in range(5)]


def test_lost_sleeper(site):
    """The sleep duration replaces keep alive; when it is over without a word, the will is due."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("w", 1)
    dev = sn.SnClient(gateway, "mortal").connect(duration=1, will=("w", b"gone", 1, False))
    fall_asleep(dev, 2)
    time.sleep(2)
    assert collect(dev) == [] and not local.messages
    began = time.monotonic()
    local.wait_messages(1)
    assert 2.5 < time.monotonic() - began < 5
    dev.expect(sn.DISCONNECT)


def test_dump_shows_the_mailbox(site):
    gateway, dev, local = asleep(site, mail_messages=2)
    send(local, *[("m/x", "x", 1)] * 3)
    gateway.counters()
    line = next(text for text in gateway.process.lines if " client sleepy asleep " in text)
    assert re.search(r"queue 2 messages \d+ octets", line) and "dropped queue_full 1" in line, line
    collect(dev)
    gateway.counters()
    assert any(" client sleepy topic 1 m/x, by gateway, acknowledged" in text for text in gateway.process.lines)


def test_reload_changes_the_limits(site):
    gateway, dev, local = asleep(site, mail_messages=50)
    gateway.sections["mqttsn"]["mail_messages"] = 2
    gateway.write_conf()
    mark = gateway.mark()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded", after=mark)
    send(local, *[("m/x", str(n), 1) for n in range(5)])
    assert collect(dev) == ["3", "4"]


harness.run(*[f for name, f in list(globals().items()) if name.startswith("test_")])
