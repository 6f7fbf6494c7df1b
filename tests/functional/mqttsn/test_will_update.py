"""MQTT-SN 1.2, 6.4: WILLTOPICUPD and WILLMSGUPD."""

import sn
import suite
from harness import each


def prepare(site):
    return suite.Bench(site)


def with_will(c, qos=1, retain=False, **arguments):
    return c.connected(duration=1, will=(c.topic("old"), b"old", qos, retain), **arguments)


def new_topic(dev, topic, code=0, flags=0x20):
    body = bytes([flags]) + (topic if isinstance(topic, bytes) else topic.encode())
    assert dev.ask(sn.WILLTOPICUPD, body, sn.WILLTOPICRESP) == bytes([code])


def new_message(dev, message, code=0):
    assert dev.ask(sn.WILLMSGUPD, message, sn.WILLMSGRESP) == bytes([code])


def lost(c, dev, expected):
    dev.expect(sn.DISCONNECT)
    assert c.heard() == expected


def test_topic(c):
    """6.4: WILLTOPICRESP 0x00; the message stays."""
    dev = with_will(c)
    new_topic(dev, c.topic("new"))
    dev.silent()
    lost(c, dev, [(c.topic("new"), b"old")])


def test_message(c):
    """6.4: WILLMSGRESP 0x00; the topic stays."""
    dev = with_will(c)
    new_message(dev, b"new")
    dev.silent()
    lost(c, dev, [(c.topic("old"), b"new")])


def test_both(c):
    """6.4"""
    dev = with_will(c)
    new_topic(dev, c.topic("new"))
    new_message(dev, b"new")
    lost(c, dev, [(c.topic("new"), b"new")])


def test_both_the_other_way_round(c):
    """6.4"""
    dev = with_will(c)
    new_message(dev, b"new")
    new_topic(dev, c.topic("new"))
    lost(c, dev, [(c.topic("new"), b"new")])


def test_repeated(c):
    """6.13: answered again."""
    dev = with_will(c)
    for _ in range(3):
        new_topic(dev, c.topic("new"))
        new_message(dev, b"new")
    lost(c, dev, [(c.topic("new"), b"new")])


@each(("0", 0), ("1", 1), ("2", 2), ("3 is 0", 3))
def test_qos(c, value):
    """5.4.22: the flags of WILLTOPICUPD are the will's from now on."""
    dev = with_will(c, qos=1)
    new_topic(dev, c.topic("new"), flags=sn.flags(qos=value[1]))
    dev.expect(sn.DISCONNECT)
    c.wait_heard(1)
    assert c.mine()[0].qos == value[1] % 3


def test_retain(c):
    """5.4.22"""
    dev = with_will(c)
    new_topic(dev, c.topic("new"), flags=sn.flags(qos=1, retain=True))
    dev.expect(sn.DISCONNECT)
    c.wait_heard(1)
    assert c.retained(c.topic("new")) == b"old"


def test_retain_is_taken_back(c):
    """5.4.22"""
    dev = with_will(c, retain=True)
    new_topic(dev, c.topic("old"), flags=sn.flags(qos=1))
    dev.expect(sn.DISCONNECT)
    c.wait_heard(1)
    assert c.retained(c.topic("old")) is None


def test_message_keeps_qos_and_retain(c):
    """6.4: WILLMSGUPD has no flags."""
    dev = with_will(c, qos=2, retain=True)
    new_message(dev, b"new")
    dev.expect(sn.DISCONNECT)
    c.wait_heard(1)
    assert c.mine()[0].qos == 2
    assert c.retained(c.topic("old")) == b"new"


@each(("bare", b""), ("with flags", b"\x20"))
def test_empty_topic_deletes(c, value):
    """5.4.22: topic and message."""
    dev = with_will(c)
    assert dev.ask(sn.WILLTOPICUPD, value[1], sn.WILLTOPICRESP) == b"\x00"
    lost(c, dev, [])


def test_deleted_message_does_not_come_back(c):
    """6.4: both were deleted."""
    dev = with_will(c)
    new_topic(dev, b"", flags=0)
    new_topic(dev, c.topic("new"))
    lost(c, dev, [(c.topic("new"), b"")])


def test_delete_without_a_will(c):
    """6.4"""
    dev = c.connected(duration=1)
    assert dev.ask(sn.WILLTOPICUPD, b"", sn.WILLTOPICRESP) == b"\x00"
    lost(c, dev, [])


def test_topic_without_a_will(c):
    """6.4: makes a will with an empty message."""
    dev = c.connected(duration=1)
    new_topic(dev, c.topic("new"))
    lost(c, dev, [(c.topic("new"), b"")])


def test_message_without_a_topic(c):
    """6.4: 0x03; there is no will."""
    dev = c.connected(duration=1)
    new_message(dev, b"new", code=3)
    lost(c, dev, [])


def test_will_made_by_updates(c):
    """6.4: topic, then message."""
    dev = c.connected(duration=1)
    new_topic(dev, c.topic("new"))
    new_message(dev, b"new")
    lost(c, dev, [(c.topic("new"), b"new")])


@each(("#", b"a/#"), ("+", b"+"), ("nul", b"a\x00"), ("broken", b"\xff"), ("$", b"$SYS/x"), ("long", b"t" * 1025))
def test_topic_nobody_may_publish_to(c, value):
    """6.4: 0x03; the old will stays."""
    dev = with_will(c)
    new_topic(dev, value[1], code=3)
    lost(c, dev, [(c.topic("old"), b"old")])


@each(("empty", b""), ("long", b"x" * 300), ("binary", bytes(range(256))))
def test_message_of_any_octets(c, value):
    """5.4.23"""
    dev = with_will(c)
    new_message(dev, value[1])
    lost(c, dev, [(c.topic("old"), value[1])])


def test_while_asleep(c):
    """6.14: a sleeper may change its will; it stays asleep."""
    dev = with_will(c)
    dev.subscribe_short(c.two())
    dev.disconnect(1)
    new_topic(dev, c.topic("new"))
    c.say(c.two_names[0], b"mail")
    dev.silent()
    dev.next(sn.DISCONNECT)
    c.fence()
    assert (c.topic("new"), b"old") in c.heard()


def test_survives_a_reconnect(c):
    """6.3, 6.4: as any stored will."""
    dev = with_will(c, clean=False)
    new_topic(dev, c.topic("new"))
    dev.disconnect()
    dev.connect(clean=False, duration=1)
    lost(c, dev, [(c.topic("new"), b"old")])


def test_nothing_on_disconnect(c):
    """6.12"""
    dev = with_will(c)
    new_message(dev, b"new")
    dev.disconnect()
    assert c.heard() == []


suite.run(prepare, globals(), at_once=8)
