"""MQTT 3.1.1: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, topic filters (3.8 to 3.11, 4.7)."""

import mq
import suite311
from harness import each
from mq import packet, text
from mq5 import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE
from suite311 import subscribe, u16, unsubscribe


@each(("0", 0), ("1", 1), ("2", 2))
def test_the_granted_qos(case, qos):
    """[MQTT-3.8.4-1], [MQTT-3.8.4-6], [MQTT-3.9.3-2]"""
    assert case.client().subscribe(case.topic(), qos[1]) == qos[1]


@each(("1", 1), ("256", 256), ("65535", 65535))
def test_suback_and_unsuback_carry_the_id(case, number):
    """[MQTT-3.8.4-2], [MQTT-2.3.1-7], [MQTT-3.10.4-4]"""
    client = case.client()
    client.send(subscribe(number[1], (case.topic(), 0)))
    assert client.expect(SUBACK).id == number[1]
    client.send(unsubscribe(number[1], case.topic()))
    assert client.expect(UNSUBACK).id == number[1]


def test_a_code_for_each_filter_in_their_order(case):
    """[MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1]; one that is refused leaves the others"""
    client = case.client()
    deep = "x/" * 200
    client.send(subscribe(1, (case.topic("a"), 2), (deep, 1), (case.topic("b"), 0), (case.topic("c"), 1)))
    assert client.expect(SUBACK).codes == [2, 0x80, 0, 1]
    client.publish(case.topic("b"), b"x", 0)
    assert client.expect(PUBLISH).topic == case.topic("b")


def test_the_same_filter_twice_in_a_packet(case):
    """[MQTT-3.8.4-4]: as one after the other; the last one holds"""
    client = case.client()
    client.send(subscribe(1, (case.topic(), 0), (case.topic(), 2)))
    assert client.expect(SUBACK).codes == [0, 2]
    case.client("pub").publish(case.topic(), b"", 2)
    assert client.take().qos == 2
    client.expect_nothing()


def test_the_same_filter_again_replaces(case):
    """[MQTT-3.8.4-3]: one copy, with the new QoS, and what is retained comes again"""
    client, pub = case.client(), case.client("pub")
    pub.publish(case.topic(), b"r", 1, retain=True)
    for qos in (2, 0, 1):
        client.subscribe(case.topic(), qos)
        m = client.take()
        assert (m.retain, m.qos) == (1, min(qos, 1))
        pub.publish(case.topic(), b"live", 1)
        m = client.take()
        assert (m.retain, m.qos, m.payload) == (0, min(qos, 1), b"live")
        client.expect_nothing()


@each(("0 and 2", (0, 2)), ("2 and 0", (2, 0)), ("all", (1, 0, 2)))
def test_overlapping_filters(case, what):
    """[MQTT-3.3.5-1]: the highest QoS of them; one copy"""
    client, pub = case.client(), case.client("pub")
    for qos, filter_ in zip(what[1], ("a/b", "a/+", "#")):
        client.subscribe(case.topic(filter_), qos)
    pub.publish(case.topic("a/b"), b"x", 2)
    assert client.take().qos == 2
    client.expect_nothing()


def matches(case, filter_, yes, no):
    client, pub = case.client(), case.client("pub")
    client.subscribe(case.topic(filter_), 1)
    for rest in yes + no:
        pub.publish(case.topic(rest), rest.encode(), 1)
    assert [m.payload.decode() for m in client.take_all()] == yes


@each(("a/#", ["a", "a/", "a/b", "a/b/c", "a//"], ["ab", "b/a", "A", "A/b"]),
      ("#", ["a", "a/b", "", "/"], []),
      ("+", ["a", "", "$x"], ["a/b", "/", "a/"]),
      ("a/+", ["a/b", "a/"], ["a", "a/b/c", "a//"]),
      ("+/+", ["a/b", "/", "/b", "a/"], ["a", "a/b/c", "//"]),
      ("/+", ["/a", "/"], ["a", "a/b"]),
      ("+/b/#", ["a/b", "a/b/c", "/b"], ["a", "b", "a/c/b"]),
      ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/d", "a/b/c/d"]),
      ("a/b", ["a/b"], ["A/b", "a/B", "a/b/", "/a/b", "a"]),
      ("a b", ["a b"], ["ab", " a b", "a b "]),
      ("a//b", ["a//b"], ["a/b", "a/x/b", "a///b"]),
      ("é", ["é"], ["e\u0301", "É"]))
def test_matching(case, what):
    """[MQTT-3.3.2-3], [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-4], 4.7.3: no normalization, case counts"""
    matches(case, *what)


@each("#", "+/broker/version", "+/#")
def test_wildcards_do_not_match_the_servers_topics(case, filter_):
    """[MQTT-4.7.2-1]"""
    client = case.client()
    client.subscribe(filter_, 0)
    assert not [m for m in client.take_all() if m.topic.startswith("$")]


@each("$SYS/#", "$SYS/broker/+", "$SYS/broker/version")
def test_a_filter_with_dollar_matches_them(case, filter_):
    """4.7.2"""
    client = case.client()
    client.subscribe(filter_, 0)
    topics = {m.topic for m in client.take_all()}
    assert "$SYS/broker/version" in topics, topics


@each("a#", "#/a", "a/#/b", "a/#b", "+a", "a+", "a/+b", "a/b+/c", "##", "++", "a/##", "")
def test_filters_that_are_none(case, filter_):
    """[MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1], 4.8"""
    case.closes(subscribe(1, (filter_, 0)))
    case.closes(unsubscribe(1, filter_))
    case.closes(subscribe(1, ("fine", 0), (filter_, 0)))


def test_a_bad_packet_has_no_half_effect(case):
    sub = case.client(clean=False)
    sub.send(subscribe(1, (case.topic(), 1), ("a#", 1)))
    sub.expect_closed()
    sub = case.client(clean=False)
    case.client("pub").publish(case.topic(), b"x", 1)
    sub.expect_nothing()


@each(("3", 3), ("4", 4), ("No Local of MQTT 5", 5), ("128", 128), ("255", 255))
def test_reserved_bits_of_the_qos(case, octet):
    """[MQTT-3-8.3-4]"""
    case.closes(subscribe(1, (case.topic(), octet[1])))


@each(("no filter", u16(1)), ("id 0", u16(0) + text("a") + b"\0"), ("no QoS", u16(1) + text("a")),
      ("half an id", b"\0"), ("empty", b""), ("filter cut", u16(1) + b"\0\4abc"), ("half a length", u16(1) + b"\0"),
      ("the second cut", u16(1) + text("a") + b"\0" + text("b")), ("NUL", u16(1) + text(b"a\0") + b"\0"),
      ("not UTF-8", u16(1) + text(b"\xff") + b"\0"), ("surrogate", u16(1) + text(b"\xed\xa0\x80") + b"\0"))
def test_malformed_subscribe(case, body):
    """[MQTT-3.8.3-1], [MQTT-3.8.3-3], [MQTT-2.3.1-1], [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-4.7.3-2]"""
    case.closes(packet(SUBSCRIBE, body[1], 2))


@each(("no filter", u16(1)), ("id 0", u16(0) + text("a")), ("half an id", b"\0"), ("empty", b""),
      ("filter cut", u16(1) + b"\0\4abc"), ("an octet more", u16(1) + text("a") + b"\0"),
      ("NUL", u16(1) + text(b"a\0")), ("not UTF-8", u16(1) + text(b"\xff")))
def test_malformed_unsubscribe(case, body):
    """[MQTT-3.10.3-1], [MQTT-3.10.3-2], [MQTT-2.3.1-1], [MQTT-1.5.3-1]"""
    case.closes(packet(UNSUBSCRIBE, body[1], 2))


def test_unsubscribe_ends_it(case):
    """[MQTT-3.10.4-2]"""
    sub, pub = case.pair()
    pub.publish(case.topic(), b"1", 0)
    sub.take()
    sub.unsubscribe(case.topic("#"))
    pub.publish(case.topic(), b"2", 0)
    sub.expect_nothing()


def test_filters_are_compared_octet_by_octet(case):
    """[MQTT-3.10.4-1], [MQTT-3.10.4-5]: another filter is left, and the answer is the same"""
    sub, pub = case.pair()
    for other in ("+", "T", "t", "+/#", ""):
        sub.unsubscribe(case.topic(other))
    pub.publish(case.topic(), b"x", 0)
    assert sub.take().payload == b"x"


def test_many_filters_in_one_unsubscribe(case):
    """[MQTT-3.10.4-6]"""
    sub, pub = case.client(), case.client("pub")
    sub.send(subscribe(1, *[(case.topic("%d" % n), 0) for n in range(50)]))
    assert sub.expect(SUBACK).codes == [0] * 50
    sub.unsubscribe(*[case.topic("%d" % n) for n in range(49)])
    for n in range(50):
        pub.publish(case.topic("%d" % n), b"%d" % n, 0)
    pub.expect_nothing()
    assert sub.take().payload == b"49"
    sub.expect_nothing()


def test_what_is_in_flight_is_completed(case):
    """[MQTT-3.10.4-3]"""
    sub, pub = case.pair()
    pub.publish(case.topic(), b"1", 1)
    pub.publish(case.topic(), b"2", 2)
    first, second = sub.expect(PUBLISH), sub.expect(PUBLISH)
    sub.unsubscribe(case.topic("#"))
    sub.ack(PUBACK, first.id)
    sub.ack(PUBREC, second.id)
    assert sub.expect(PUBREL).id == second.id
    sub.ack(PUBCOMP, second.id)
    sub.expect_nothing()


def test_unsubscribed_from_one_of_two_that_overlap(case):
    sub, pub = case.pair(qos=0)
    sub.subscribe(case.topic("+"), 2)
    sub.unsubscribe(case.topic("+"))
    pub.publish(case.topic(), b"x", 2)
    assert sub.take().qos == 0
    sub.expect_nothing()


def test_unsubscribe_in_a_kept_session(case):
    """[MQTT-4.5.0-1]: the session has what is subscribed to, and not what was"""
    sub = case.client(clean=False)
    sub.subscribe(case.topic("a"), 1)
    sub.subscribe(case.topic("b"), 1)
    sub.unsubscribe(case.topic("a"))
    sub.close()
    pub = case.client("pub")
    pub.publish(case.topic("a"), b"a", 1)
    pub.publish(case.topic("b"), b"b", 1)
    sub = case.client(clean=False)
    assert sub.take().payload == b"b"
    sub.expect_nothing()


# Fixed headers (2.2): every type, with every value of the flags and from the wrong side

BODIES = {1: b"", 4: u16(1), 5: u16(1), 6: u16(1), 7: u16(1), 8: u16(1) + text("a") + b"\0", 10: u16(1) + text("a"),
          12: b"", 14: b""}
FIXED = {6: 2, 8: 2, 10: 2}


@each(*[("%d with flags %d" % (kind, flags), kind, flags) for kind in BODIES for flags in (0, 1, 2, 4, 8, 15)
        if flags != FIXED.get(kind, 0)])
def test_reserved_flags(case, what):
    """[MQTT-2.2.2-1], [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1]"""
    case.closes(packet(what[1], BODIES[what[1]], what[2]))


@each(("reserved 0", packet(0)), ("CONNACK", packet(2, b"\0\0")), ("SUBACK", packet(9, b"\0\1\0")),
      ("UNSUBACK", packet(11, u16(1))), ("PINGRESP", packet(13)), ("AUTH", packet(15)), ("AUTH of 5.0", packet(15, b"\0\0")))
def test_packets_that_a_client_may_not_send(case, what):
    """2.2.1, table 2.1; [MQTT-4.8.0-1]"""
    case.closes(what[1])


@each(*[("%d" % kind, kind) for kind in (4, 5, 6, 7)])
def test_answers_have_an_id_and_no_more(case, what):
    """3.4.2 to 3.7.2; [MQTT-2.3.1-1]"""
    for body in (b"", b"\0", u16(0), u16(1) + b"\0", u16(1) + b"\0\0"):
        case.closes(packet(what[1], body, FIXED.get(what[1], 0)))


@each(("PINGREQ", 12), ("DISCONNECT", 14))
def test_packets_without_a_body(case, what):
    """3.12.2, 3.14.2"""
    case.closes(packet(what[1], b"\0"))


@each(("five octets", b"\x30\x80\x80\x80\x80\x01"), ("all ones", b"\x30\xff\xff\xff\xff"), ("more than is taken", b"\x30\xff\xff\xff\x7f"))
def test_impossible_lengths(case, what):
    """2.2.3"""
    case.closes(what[1])


def test_others_are_not_disturbed(case):
    """4.8.0-1: an error ends its own connection"""
    other = case.client("other")
    other.subscribe(case.topic(), 1)
    for data in (packet(0), b"\xff" * 20, packet(SUBSCRIBE, b"", 2), mq.publish("#", b"")):
        case.closes(data)
    case.client("pub").publish(case.topic(), b"x", 1)
    assert other.take().payload == b"x"


suite311.run(globals(), at_once=4)
