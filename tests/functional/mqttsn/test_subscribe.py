"""MQTT-SN 1.2, 6.9: SUBSCRIBE and UNSUBSCRIBE by clients."""

import sn
import suite
from harness import each
from suite import as_id, u16

FILTERS = [("#", "#", 0), ("+", "+", 0), ("levels", "{t}/+/x", 0), ("tail", "{t}/#", 0), ("middle", "+/{t}/#", 0)]


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = p/five\n", limits={"subscriptions_per_client": 5},
                       mqttsn={"topics_per_client": 8})


def suback(dev, topic, msg_id=0x0203, **flags):
    dev.say_subscribe(topic, msg_id, **flags)
    body = dev.next(sn.SUBACK)
    assert body[3:5] == u16(msg_id)
    return body[0], int.from_bytes(body[1:3], "big"), body[5]


def refused(dev, topic, code, **flags):
    assert suback(dev, topic, **flags)[1:] == (0, code)
    assert dev.is_connected()


@each(("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3", 3, 0))
def test_granted_qos(c, value):
    """5.4.16: in the QoS bits of SUBACK; 0b11 asks for no QoS a subscription can have."""
    dev = c.connected()
    flags, topic_id, code = suback(dev, c.topic(), qos=value[1])
    assert (flags >> 5 & 3, code) == (value[2], 0)
    assert topic_id not in (0, 0xFFFF)


@each(("0 of 2", 0, 2, 0), ("1 of 2", 1, 2, 1), ("2 of 2", 2, 2, 2), ("2 of 0", 2, 0, 0), ("1 of 1", 1, 1, 1))
def test_delivered_qos(c, value):
    """6.9: the lower of granted and published."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two, value[1])
    c.say(two, b"x", qos=value[2])
    assert dev.next_message().qos == value[3]


@each(*FILTERS)
def test_wildcards_have_topic_id_0(c, value):
    """6.9: what has no single name has no id."""
    dev = c.connected()
    assert suback(dev, value[1].format(t=c.topic()), qos=1)[1:] == (0, 0)


@each(("plain", "a", "a", True), ("other", "a", "b", False), ("plus", "+", "a", True),
      ("plus empty", "+/b", "/b", True), ("plus one level", "+", "a/b", False), ("hash", "#", "a/b/c", True),
      ("hash parent", "a/#", "a", True),
      ("hash below", "a/#", "a/b", True), ("both", "+/b/#", "a/b/c", True), ("case", "A", "a", False))
def test_matching(c, value):
    """6.9: as MQTT matches."""
    dev = c.connected()
    base = c.topic("m")
    dev.subscribe(base + "/" + value[1], qos=0)
    c.say(base + "/" + value[2], b"x")
    if not value[3]:
        dev.silent()
        return
    if "#" in value[1] or "+" in value[1]:
        dev.regack(dev.next(sn.REGISTER))
    assert dev.next_message().payload == b"x"


def test_hash_does_not_match_dollar(c):
    """6.9: nor does + at the beginning."""
    dev = c.connected()
    dev.subscribe("#", qos=0)
    dev.subscribe("+/x", qos=0)
    c.say("$other/x", b"x")
    dev.silent()


@each(("empty", b""), ("hash inside", b"a/#/b"), ("hash glued", b"a#"), ("plus glued", b"a+/b"), ("nul", b"a\x00"),
      ("broken", b"\xff\xff/a"), ("control", b"a\x1f"), ("long", b"t" * 1025), ("deep", b"+/" * 40))
def test_malformed_filters(c, value):
    """6.9: SUBACK 0x03; the session goes on."""
    refused(c.connected(), value[1], 3, qos=1)


def test_repeated(c):
    """6.9, 6.13: answered again, with the same id; one copy of each message."""
    dev = c.connected()
    first = suback(dev, c.topic(), qos=1)
    assert suback(dev, c.topic(), msg_id=0x0204, qos=1, dup=True) == first
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"
    dev.silent()


def test_repeated_with_another_qos(c):
    """6.9: the last one counts."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two, 2)
    dev.subscribe_short(two, 0)
    c.say(two, b"x", qos=2)
    assert dev.next_message().qos == 0


def test_overlapping_filters_give_one_copy(c):
    """6.9: at the highest QoS."""
    dev = c.connected()
    dev.subscribe(c.topic("#"), qos=0)
    dev.subscribe(c.topic("+"), qos=2)
    dev.subscribe(c.topic("a"), qos=1)
    c.say(c.topic("a"), b"x", qos=2)
    m = dev.next_message()
    assert m.qos == 2
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.silent()


def test_suback_before_retained(c):
    """6.9: and then the retained message, with its flag."""
    c.say(c.topic(), b"kept", retain=True)
    dev = c.connected()
    topic_id = suback(dev, c.topic(), qos=1)[1]
    m = dev.next_message()
    assert (m.topic_id, m.payload, m.retain, m.qos) == (topic_id, b"kept", True, 1)


def test_retained_by_short_name(c):
    """6.9"""
    two = c.two()
    c.say(two, b"kept", retain=True)
    dev = c.connected()
    dev.subscribe_short(two)
    m = dev.next_message()
    assert (m.kind, m.topic_id, m.retain) == (sn.SHORT, as_id(two), True)


def test_retained_by_wildcard(c):
    """6.9: each behind its REGISTER."""
    for n in range(3):
        c.say(c.topic("%d" % n), b"%d" % n, retain=True)
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    dev.wait_messages(3)
    assert sorted(m.payload for m in dev.messages) == [b"0", b"1", b"2"]
    assert all(m.retain for m in dev.messages)


def test_retained_at_qos_0(c):
    """6.9: no higher than granted."""
    two = c.two()
    c.say(two, b"kept", qos=2, retain=True)
    dev = c.connected()
    dev.subscribe_short(two, 0)
    assert dev.next_message().qos == 0


def test_retained_again_for_a_new_subscribe(c):
    """6.9: a SUBSCRIBE that is no repetition asks for the retained message again."""
    two = c.two()
    c.say(two, b"kept", retain=True)
    dev = c.connected()
    for _ in range(2):
        dev.subscribe_short(two, 0)
        assert dev.next_message().payload == b"kept"
    dev.silent()


def test_retained_not_again_for_a_repetition(c):
    """6.13: with DUP it is one."""
    two = c.two()
    c.say(two, b"kept", retain=True)
    dev = c.connected()
    dev.subscribe_short(two, 0)
    assert dev.next_message().payload == b"kept"
    suback(dev, as_id(two), qos=0, kind=sn.SHORT, dup=True)
    dev.silent()


@each(("#", "a#"), ("+", "+b"))
def test_short_wildcard(c, value):
    """6.9: a short name is a name."""
    refused(c.connected(), as_id(value[1]), 3, kind=sn.SHORT)


def test_one_octet_wildcards_are_names(c):
    """6.9: + and # come as topic names."""
    assert suback(c.connected(), "+")[1:] == (0, 0)
    assert suback(c.connected(), "#")[1:] == (0, 0)


@each(("one", b"a"), ("three", b"abc"), ("none", b""))
def test_short_of_another_length(c, value):
    """5.4.15: a short name is two octets: malformed, dropped."""
    dev = c.connected()
    dev.say_subscribe(value[1], kind=sn.SHORT)
    dev.silent()
    dev.say_subscribe(value[1], kind=sn.PREDEFINED)
    dev.silent()
    assert dev.is_connected()


def test_limit(c):
    """5.3.10: past subscriptions_per_client: 0x01; those before stay."""
    dev = c.connected()
    for n in range(5):
        dev.subscribe(c.topic("%d" % n))
    refused(dev, c.topic("5"), 1)
    c.say(c.topic("4"), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"
    dev.unsubscribe(c.topic("0"))
    assert suback(dev, c.topic("5"))[2] == 0


def test_limit_of_names(c):
    """5.3.10: no id left for it: 0x01, and nothing is subscribed."""
    dev = c.connected()
    for n in range(8):
        dev.register(c.topic("%d" % n))
    refused(dev, c.topic("8"), 1)
    c.say(c.topic("8"), b"x")
    dev.silent()


def test_other_bits_mean_nothing(c):
    """5.4.15: Retain, Will and CleanSession in SUBSCRIBE."""
    dev = c.connected()
    assert suback(dev, c.topic(), qos=1, retain=True, will=True, clean=True)[2] == 0
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"


def test_many_at_once(c):
    """6.9: a device that does not wait is answered for each."""
    dev = c.connected()
    for n in range(1, 6):
        dev.say_subscribe(c.topic("%d" % n), n)
    assert [dev.next(sn.SUBACK)[3:] for _ in range(5)] == [u16(n) + b"\x00" for n in range(1, 6)]


def test_msg_id_zero(c):
    """5.3.7: echoed."""
    assert suback(c.connected(), c.topic(), msg_id=0)[2] == 0


def test_by_a_sleeper(c):
    """6.14: answered; messages wait for PINGREQ."""
    dev = c.connected()
    dev.disconnect(60)
    dev.subscribe_short(c.two())
    c.say(c.two_names[0], b"mail")
    dev.silent()
    assert dev.collect() == [b"mail"]


def test_subscriptions_are_each_clients_own(c):
    """6.9"""
    one, two = c.connected(), c.connected()
    one.subscribe_short(c.two())
    c.say(c.two_names[0], b"x")
    assert one.next_message().payload == b"x"
    two.silent()


def test_fan_out(c):
    """6.9: everybody who asked."""
    devs, two = [c.connected() for _ in range(20)], c.two()
    for dev in devs:
        dev.subscribe_short(two)
    c.say(two, b"x")
    for dev in devs:
        assert dev.wait_messages(1)[0].payload == b"x"


def test_unsubscribe(c):
    """6.9: UNSUBACK with the message id; nothing comes any more."""
    dev = c.connected()
    dev.subscribe(c.topic())
    dev.unsubscribe(c.topic(), msg_id=0x5566)
    c.say(c.topic(), b"x")
    dev.silent()


def test_unsubscribe_repeated(c):
    """6.13: answered again."""
    dev = c.connected()
    dev.subscribe(c.topic())
    for _ in range(3):
        dev.unsubscribe(c.topic())


def test_unsubscribe_what_never_was(c):
    """6.9: UNSUBACK has no return code; the device is answered."""
    c.connected().unsubscribe(c.topic())


@each(("wildcard", "{t}/#"), ("plus", "{t}/+"))
def test_unsubscribe_wildcard(c, value):
    """6.9: by the very filter."""
    dev = c.connected()
    wild = value[1].format(t=c.topic())
    dev.subscribe(wild)
    dev.unsubscribe(wild)
    c.say(c.topic("a") + "/x", b"x")
    c.say(c.topic() + "/x", b"x")
    dev.silent()


def test_unsubscribe_leaves_other_filters(c):
    """6.9: a name of which a wildcard is left still comes."""
    dev = c.connected()
    dev.subscribe(c.topic("#"))
    dev.subscribe(c.topic("a"))
    dev.unsubscribe(c.topic("a"))
    c.say(c.topic("a"), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"
    dev.unsubscribe(c.topic("#"))
    c.say(c.topic("a"), b"y")
    dev.silent()


def test_unsubscribe_short(c):
    """6.9"""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    dev.unsubscribe(as_id(two), kind=sn.SHORT)
    c.say(two, b"x")
    dev.silent()


def test_unsubscribe_short_by_name(c):
    """6.9: it is one topic, whichever way it is named."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    dev.unsubscribe(two)
    c.say(two, b"x")
    dev.silent()


def test_unsubscribe_predefined(c):
    """6.9"""
    dev = c.connected()
    dev.subscribe(5, kind=sn.PREDEFINED)
    dev.unsubscribe(5, kind=sn.PREDEFINED)
    c.say("p/five", b"x")
    dev.silent()


@each(("unknown id", 4711, sn.PREDEFINED), ("bad filter", b"a/#/b", sn.NORMAL), ("empty", b"", sn.NORMAL),
      ("broken", b"\xff", sn.NORMAL), ("short wildcard", 0x2B23, sn.SHORT))
def test_unsubscribe_nonsense(c, value):
    """6.9: answered; the session goes on."""
    dev = c.connected()
    dev.unsubscribe(value[1], kind=value[2])
    assert dev.is_connected()


def test_unsubscribe_keeps_what_was_queued(c):
    """6.9: what is under way is finished."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    c.say(two, b"1")
    m = dev.next_message()
    dev.unsubscribe(as_id(two), kind=sn.SHORT)
    dev.puback(m)
    c.say(two, b"2")
    dev.silent()


suite.run(prepare, globals())
