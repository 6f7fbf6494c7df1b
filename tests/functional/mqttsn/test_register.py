"""MQTT-SN 1.2, 6.5: REGISTER, both ways; 6.10: topic ids."""

import sn
import suite
from harness import each
from suite import as_id, u16


def prepare(site):
    return suite.Bench(site, predefined="[*]\n1 = predefined/one\n7 = predefined/seven\n",
                       mqttsn={"topics_per_client": 5, "wait_interval": "100ms"})


def refused(dev, name, code, msg_id=9):
    dev.say_register(name, msg_id)
    assert dev.next(sn.REGACK) == u16(0, msg_id) + bytes([code]), name


def test_accepted(c):
    """6.5: REGACK with the id to use, the message id of the REGISTER, and 0x00."""
    dev = c.connected()
    dev.say_register(c.topic(), msg_id=0x1234)
    body = dev.next(sn.REGACK)
    assert body[2:] == b"\x12\x34\x00"
    assert body[:2] not in (b"\x00\x00", b"\xff\xff")
    dev.publish_id(int.from_bytes(body[:2], "big"), b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic(), b"x")]


def test_repeated(c):
    """6.5: REGACK may have been lost: the same id."""
    dev = c.connected()
    assert len({dev.register(c.topic()) for _ in range(5)}) == 1


def test_two_names_two_ids(c):
    """6.5"""
    dev = c.connected()
    ids = {dev.register(c.topic("%d" % n)) for n in range(5)}
    assert len(ids) == 5 and not ids & {0, 0xFFFF}


@each(("0", 0), ("1", 1), ("FFFF", 0xFFFF), ("77", 77))
def test_topic_id_of_the_client(c, value):
    """5.4.10: the TopicId field of a client's REGISTER is not relevant."""
    dev = c.connected()
    topic_id = dev.register(c.topic("a"))
    dev.say_register(c.topic("b"), topic_id=value[1])
    assert dev.next(sn.REGACK)[:2] == u16(topic_id + 1)
    dev.say_register(c.topic("a"), topic_id=value[1])
    assert dev.next(sn.REGACK)[:2] == u16(topic_id)


def test_one_id_by_register_and_subscribe(c):
    """6.5, 6.9: one name has one id, whichever way it came."""
    dev = c.connected()
    topic_id = dev.register(c.topic("a"))
    assert dev.subscribe(c.topic("a")) == topic_id
    assert dev.subscribe(c.topic("b")) == dev.register(c.topic("b"))


def test_one_id_with_what_the_gateway_registered(c):
    """6.5: a name that a wildcard brought keeps its id."""
    dev = c.connected()
    dev.subscribe(c.topic("#"))
    c.say(c.topic("a"), b"x")
    body = dev.next(sn.REGISTER)
    dev.regack(body)
    dev.puback(dev.next_message())
    assert dev.register(c.topic("a")) == int.from_bytes(body[:2], "big")


def test_ids_are_each_clients_own(c):
    """6.5: the id of one client means nothing to another."""
    one, two = c.connected(), c.connected()
    one.register(c.topic("a"))
    topic_id = one.register(c.topic("b"))
    two.refused_publish(topic_id, 2)
    two.register(c.topic("x"))
    two.register(c.topic("y"))
    two.publish_id(topic_id, b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic("y"), b"x")]


def test_predefined_ids_are_a_space_of_their_own(c):
    """6.7: a normal id and a predefined id of the same number are two topics."""
    dev = c.connected()
    topic_id = dev.register(c.topic())
    assert topic_id == 1
    dev.publish_id(1, b"normal", qos=1)
    dev.publish_id(1, b"predefined", qos=1, kind=sn.PREDEFINED)
    c.fence()
    assert c.heard() == [(c.topic(), b"normal")]
    assert b"predefined" in c.local.payloads("predefined/one")
    dev.refused_publish(7, 2)


def test_predefined_name_by_register(c):
    """6.5, 6.7: a predefined name may be registered as well: it has a normal id then."""
    dev = c.connected()
    topic_id = dev.register("predefined/seven")
    dev.publish_id(topic_id, b"both ways", qos=1)
    c.fence()
    assert b"both ways" in c.local.payloads("predefined/seven")


@each(("#", b"#"), ("+", b"+"), ("a/#", b"a/#"), ("a/+/b", b"a/+/b"), ("a#", b"a#"), ("empty", b""),
      ("nul", b"a\x00b"), ("broken", b"a\xff\xfe"), ("control", b"a\x01"), ("non-character", b"a\xef\xbf\xbe"),
      ("long", b"t" * 1025), ("deep", b"/" * 32))
def test_names_nobody_can_publish_to(c, value):
    """6.5: REGACK 0x03 and topic id 0; the session goes on."""
    dev = c.connected()
    refused(dev, value[1], 3)
    assert dev.is_connected()
    assert dev.register(c.topic()) == 1


@each(("1", b"a"), ("slash", b"/"), ("empty levels", b"a//b/"), ("utf8", "küche/größe".encode()), ("space", b"a b"),
      ("1024", b"t" * 1024), ("31 slashes", b"/" * 31), ("dollar inside", b"a/$b"))
def test_names_anybody_can_publish_to(c, value):
    """6.5"""
    dev = c.connected()
    dev.say_register(value[1])
    assert dev.next(sn.REGACK) == u16(1, 1) + b"\x00"


def test_two_octet_name(c):
    """6.5, 6.7: it is neither refused nor needed."""
    dev, two = c.connected(), c.two()
    topic_id = dev.register(two)
    dev.publish_id(topic_id, b"by id", qos=1)
    dev.publish_id(as_id(two), b"by name", qos=1, kind=sn.SHORT)
    assert c.wait_heard(2) == [(two, b"by id"), (two, b"by name")]


def test_limit(c):
    """6.5: beyond topics_per_client: 0x01, congestion; what is known stays good."""
    dev = c.connected()
    ids = [dev.register(c.topic("%d" % n)) for n in range(5)]
    refused(dev, c.topic("5"), 1)
    assert dev.register(c.topic("0")) == ids[0]
    dev.publish_id(ids[4], b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic("4"), b"x")]


def test_limit_is_each_clients_own(c):
    """6.5"""
    dev = c.connected()
    for n in range(5):
        dev.register(c.topic("%d" % n))
    assert c.connected().register(c.topic("5")) == 1


def test_limit_does_not_touch_short_and_predefined(c):
    """6.7: which need no entry."""
    dev, two = c.connected(), c.two()
    for n in range(5):
        dev.register(c.topic("%d" % n))
    dev.publish_id(as_id(two), b"s", qos=1, kind=sn.SHORT)
    dev.publish_id(1, b"p", qos=1, kind=sn.PREDEFINED)
    assert c.wait_heard(1) == [(two, b"s")]


def test_many_registers_at_once(c):
    """6.5: the standard asks clients to wait for REGACK; one that does not is served all the same."""
    dev = c.connected()
    for n in range(1, 6):
        dev.say_register(c.topic("%d" % n), msg_id=n)
    assert [dev.next(sn.REGACK) for _ in range(5)] == [u16(n, n) + b"\x00" for n in range(1, 6)]


def test_msg_id_zero(c):
    """5.3.7: echoed like any other."""
    dev = c.connected()
    dev.say_register(c.topic(), msg_id=0)
    assert dev.next(sn.REGACK) == u16(1, 0) + b"\x00"


def test_by_a_sleeper(c):
    """6.14: a device asleep that registers is answered, and stays asleep."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    dev.disconnect(60)
    assert dev.register(c.topic()) > 0
    c.say(c.two_names[0], b"mail")
    dev.silent()


def test_towards_the_device(c):
    """6.5, 6.10: REGISTER precedes the first message of a name that a wildcard matched, once."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"1")
    body = dev.next(sn.REGISTER)
    assert body[4:] == c.topic("a").encode()
    assert body[:2] not in (b"\x00\x00", b"\xff\xff") and body[2:4] != b"\x00\x00"
    dev.silent()
    dev.regack(body)
    m = dev.next_message()
    assert (m.kind, m.topic_id, m.payload) == (sn.NORMAL, int.from_bytes(body[:2], "big"), b"1")
    dev.puback(m)
    c.say(c.topic("a"), b"2")
    assert dev.next_message().payload == b"2"


def test_towards_the_device_one_at_a_time(c):
    """6.5: one REGISTER outstanding; what is behind it waits, in order."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    for n in range(4):
        c.say(c.topic("%d" % n), b"%d" % n, qos=n % 2)
    for n in range(4):
        body = dev.next(sn.REGISTER)
        dev.silent()
        assert dev.regack(body) == c.topic("%d" % n)
        m = dev.next_message()
        assert m.payload == b"%d" % n
        if m.qos:
            dev.puback(m)
    dev.silent()


def test_a_known_name_waits_behind_register(c):
    """6.5: order is kept: a message with a known id does not pass one that waits for REGACK."""
    dev, two = c.connected(), c.two()
    dev.subscribe(c.topic("+"))
    dev.subscribe_short(two)
    c.say(c.topic("a"), b"1")
    c.say(two, b"2", qos=0)
    body = dev.next(sn.REGISTER)
    dev.silent()
    dev.regack(body)
    m = dev.next_message()
    assert m.payload == b"1"
    dev.silent()
    dev.puback(m)
    assert dev.next_message().payload == b"2"


def test_regack_with_another_message_id(c):
    """6.5: is none."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"1")
    body = dev.next(sn.REGISTER)
    dev.send(sn.REGACK, body[:2] + u16(int.from_bytes(body[2:4], "big") + 1) + b"\x00")
    dev.silent()
    dev.regack(body)
    assert dev.next_message().payload == b"1"


def test_regack_repeated(c):
    """6.5: nothing is sent twice for it."""
    dev = c.connected()
    dev.subscribe(c.topic("+"), qos=0)
    c.say(c.topic("a"), b"1")
    body = dev.next(sn.REGISTER)
    dev.regack(body)
    dev.regack(body)
    assert dev.next_message().payload == b"1"
    dev.silent()


def test_regack_nobody_asked_for(c):
    """6.5: ignored."""
    dev = c.connected()
    dev.send(sn.REGACK, u16(5, 5) + b"\x00")
    dev.silent()
    dev.send(sn.REGACK, u16(5, 5) + b"\x02")
    dev.silent()
    assert dev.is_connected()


@each(("invalid topic id", 2), ("not supported", 3), ("unknown code", 9))
def test_rejected_is_unsubscribed(c, value):
    """6.10: a device that rejects the name gets no more of it and is not asked again; the rest goes on."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"a1")
    c.say(c.topic("b"), b"b")
    assert dev.regack(dev.next(sn.REGISTER), value[1]) == c.topic("a")
    assert dev.regack(dev.next(sn.REGISTER)) == c.topic("b")
    dev.puback(dev.next_message())
    c.say(c.topic("a"), b"a2")
    dev.silent()


def test_rejected_and_wanted_after_all(c):
    """6.9: a later SUBSCRIBE of the name says otherwise."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"1")
    dev.regack(dev.next(sn.REGISTER), 3)
    topic_id = dev.subscribe(c.topic("a"))
    c.say(c.topic("a"), b"2")
    m = dev.next_message()
    assert (m.payload, m.topic_id) == (b"2", topic_id)


def test_rejected_for_now(c):
    """6.10: with 0x01, congestion, REGISTER is tried again after T_WAIT."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"1")
    dev.regack(dev.next(sn.REGISTER), 1)
    dev.silent()
    assert dev.regack(dev.next(sn.REGISTER)) == c.topic("a")
    assert dev.next_message().payload == b"1"


def test_no_room_for_a_name_of_a_wildcard(c):
    """6.5: more names than the device may have: those messages are dropped, the others go on."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    for n in range(7):
        c.say(c.topic("%d" % n), b"%d" % n)
    c.say(c.topic("4"), b"end")
    dev.wait_messages(6)
    assert [m.payload for m in dev.messages] == [b"0", b"1", b"2", b"3", b"4", b"end"]


suite.run(prepare, globals())
