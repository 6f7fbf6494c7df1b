"""MQTT 3.1.1: PUBLISH at each QoS, its answers, redelivery, retained messages, topics (3.3 to 3.7, 4.3 to 4.7)."""

import struct
import time

import mq
import suite311
from harness import each
from mq import packet
from mq5 import PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK
from suite311 import subscribe, u16


@each(("0 to 0", 0, 0), ("0 to 2", 0, 2), ("1 to 0", 1, 0), ("1 to 1", 1, 1), ("1 to 2", 1, 2), ("2 to 0", 2, 0),
      ("2 to 1", 2, 1), ("2 to 2", 2, 2))
def test_qos_is_the_lesser_of_both(case, what):
    """3.8.4: the QoS of the message, capped by that of the subscription; [MQTT-3.3.4-1]"""
    sub, pub = case.pair(qos=what[2])
    pub.publish(case.topic(), b"x", what[1])
    m = sub.take()
    assert (m.qos, m.payload, m.dup, m.retain) == (min(what[1:]), b"x", 0, 0)
    sub.expect_nothing()


@each(("empty", b""), ("one", b"\0"), ("all octets", bytes(range(256))), ("127", bytes(127)), ("16 KB", bytes(16384)),
      ("1 MB", b"m" * (1 << 20)))
def test_any_payload(case, payload):
    """3.3.3: of any octets, also none"""
    sub, pub = case.pair()
    for qos in (0, 1, 2):
        pub.publish(case.topic(), payload[1], qos)
        assert sub.take().payload == payload[1]


@each(("127", 127), ("128", 128), ("16383", 16383), ("16384", 16384))
def test_remaining_lengths(case, what):
    """2.2.3, table 2.4: where the length takes another octet"""
    client = case.client()
    client.subscribe(case.topic(), 0)
    head, remaining = mq.text(case.topic()), what[1]
    client.send(packet(PUBLISH, head + bytes(remaining - len(head))))
    m = client.expect(PUBLISH)
    assert len(m.payload) == remaining - len(head)
    assert m.size == len(packet(PUBLISH, bytes(remaining)))


def test_a_packet_that_never_ends(case):
    """A length is a promise: the connection ends in the middle of what it promised."""
    client = case.client()
    client.send(b"\x30\xff\xff\x3f" + mq.text(case.topic()))
    client.sock.shutdown(1)
    client.expect_closed()


def test_dup_is_not_passed_on(case):
    """[MQTT-3.3.1-3]"""
    sub, pub = case.pair()
    pub.send(mq.publish(case.topic(), b"x", 1, 9, dup=True))
    assert pub.expect(PUBACK).id == 9
    assert sub.take().dup == 0


def test_the_same_id_again_is_another_message_at_qos_1(case):
    """4.3.2: after PUBACK the id is free, and a PUBLISH with it is new whatever its DUP says."""
    sub, pub = case.pair()
    for n in range(3):
        pub.send(mq.publish(case.topic(), b"%d" % n, 1, 9, dup=n > 0))
        pub.expect(PUBACK)
    assert [sub.take().payload for _ in range(3)] == [b"0", b"1", b"2"]


def test_qos_2_is_delivered_once(case):
    """[MQTT-4.3.3-2]: PUBLISH again before PUBREL is answered and not delivered again."""
    sub, pub = case.pair()
    for n in range(3):
        pub.send(mq.publish(case.topic(), b"x", 2, 9, dup=n > 0))
        assert pub.expect(PUBREC).id == 9
    sub.take()
    sub.expect_nothing()
    for _ in range(3):  # 3.6.4: PUBREL again is answered as well
        pub.ack(PUBREL, 9)
        assert pub.expect(PUBCOMP).id == 9
    sub.expect_nothing()


def test_qos_2_is_delivered_once_across_connections(case):
    """[MQTT-4.3.3-2], [MQTT-4.1.0-1]"""
    sub = case.client("sub")
    sub.subscribe(case.topic("#"), 2)
    pub = case.client("pub", clean=False)
    pub.send(mq.publish(case.topic(), b"x", 2, 9))
    pub.expect(PUBREC)
    pub.close()
    pub = case.client("pub", clean=False)
    pub.send(mq.publish(case.topic(), b"x", 2, 9, dup=True))
    assert pub.expect(PUBREC).id == 9
    pub.ack(PUBREL, 9)
    assert pub.expect(PUBCOMP).id == 9
    pub.send(mq.publish(case.topic(), b"y", 2, 9))
    pub.expect(PUBREC)
    assert [m.payload for m in sub.take_all()] == [b"x", b"y"]
    sub.expect_nothing()


def test_answers_carry_the_id(case):
    """[MQTT-2.3.1-6], also the largest"""
    client = case.client()
    for number in (1, 255, 256, 65535):
        client.send(mq.publish(case.topic(), b"", 1, number))
        assert client.expect(PUBACK).id == number
        client.send(mq.publish(case.topic(), b"", 2, number))
        assert client.expect(PUBREC).id == number
        client.ack(PUBREL, number)
        assert client.expect(PUBCOMP).id == number


@each(("PUBACK", PUBACK), ("PUBREC", PUBREC), ("PUBREL", PUBREL), ("PUBCOMP", PUBCOMP))
def test_answers_to_nothing(case, what):
    """4.3: an id that is not in use does not end the connection; PUBREL is always answered (3.6.4)."""
    client = case.client()
    client.ack(what[1], 1234)
    if what[1] == PUBREL:
        assert client.expect(PUBCOMP).id == 1234
    if what[1] == PUBREC:
        assert client.expect(PUBREL).id == 1234
    client.expect_nothing()


def test_ids_in_flight_differ(case):
    """[MQTT-2.3.1-2], [MQTT-2.3.1-4]; QoS 0 has none [MQTT-2.3.1-5]"""
    sub, pub = case.pair()
    for n in range(15):
        pub.publish(case.topic(), b"", n % 3)
    found = [sub.expect(PUBLISH) for _ in range(15)]
    ids = [m.id for m in found if m.qos]
    assert len(set(ids)) == 10 and 0 not in ids


def test_unacknowledged_messages_come_again(case):
    """[MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-2.3.1-3], [MQTT-4.6.0-1]: same ids, DUP, in their order"""
    sub, pub = case.pair(clean=False)
    for n in range(6):
        pub.publish(case.topic(), b"%d" % n, 1 + n % 2)
    first = [sub.expect(PUBLISH) for _ in range(6)]
    sub.close()
    sub = case.client("sub", clean=False)
    again = [sub.expect(PUBLISH) for _ in range(6)]
    assert [(m.id, m.payload, m.qos) for m in first] == [(m.id, m.payload, m.qos) for m in again]
    assert [m.dup for m in first + again] == [0] * 6 + [1] * 6
    sub.expect_nothing()


def test_not_sent_again_within_a_connection(case):
    """4.4: only when a client connects again"""
    sub, pub = case.pair()
    pub.publish(case.topic(), b"", 1)
    sub.expect(PUBLISH)
    time.sleep(1.5)
    sub.expect_nothing()


def test_pubrel_comes_again(case):
    """[MQTT-4.4.0-1], [MQTT-4.3.3-1]: after PUBREC, PUBREL and never PUBLISH"""
    sub, pub = case.pair(clean=False)
    pub.publish(case.topic(), b"", 2)
    m = sub.expect(PUBLISH)
    sub.ack(PUBREC, m.id)
    assert sub.expect(PUBREL).id == m.id
    sub.close()
    for _ in range(2):
        sub = case.client("sub", clean=False)
        assert sub.expect(PUBREL).id == m.id
        sub.expect_nothing()
        sub.close()
    sub = case.client("sub", clean=False)
    sub.expect(PUBREL)
    sub.ack(PUBCOMP, m.id)
    sub.close()
    case.client("sub", clean=False).expect_nothing()


def test_pubrels_in_the_order_of_pubrecs(case):
    """[MQTT-4.6.0-4], and PUBACK, PUBREC in that of PUBLISH [MQTT-4.6.0-2], [MQTT-4.6.0-3]"""
    sub, pub = case.pair()
    for n in range(5):
        pub.send(mq.publish(case.topic(), b"", 2, 10 + n))
    assert [pub.expect(PUBREC).id for _ in range(5)] == list(range(10, 15))
    ids = [sub.expect(PUBLISH).id for _ in range(5)]
    for number in reversed(ids):
        sub.ack(PUBREC, number)
    assert [sub.expect(PUBREL).id for _ in range(5)] == ids[::-1]
    for n in range(5):
        pub.send(mq.publish(case.topic(), b"", 1, 20 + n))
    assert [pub.expect(PUBACK).id for _ in range(5)] == list(range(20, 25))


def test_order_of_a_topic(case):
    """[MQTT-4.6.0-5], [MQTT-4.6.0-6]"""
    sub, pub = case.pair()
    for qos in (0, 1, 2):
        for n in range(300):
            pub.publish(case.topic(str(qos)), b"%d" % n, qos)
            assert sub.take().payload == b"%d" % n


@each(("+", "a/+"), ("#", "a/#"), ("middle", "a/+/b"), ("within a level", "a+b"), ("only #", "#"))
def test_no_wildcards_in_topic_names(case, topic):
    """[MQTT-3.3.2-2], [MQTT-4.7.1-1]"""
    for qos in (0, 1, 2):
        case.closes(mq.publish(topic[1], b"", qos, 1))


@each(("$SYS", "$SYS/x"), ("$SYS alone", "$SYS"))
def test_the_servers_topics_are_its_own(case, topic):
    """[MQTT-4.7.2-1], [MQTT-3.3.5-2]: acknowledged, and not delivered"""
    sub = case.client("sub")
    sub.subscribe(topic[1], 0)
    pub = case.client("pub")
    for qos in (0, 1, 2):
        pub.publish(topic[1], b"mine", qos)
    assert b"mine" not in [m.payload for m in sub.take_all()]


def test_bom_is_kept(case):
    """[MQTT-1.5.3-3]: EF BB BF is U+FEFF, never skipped"""
    sub, pub = case.pair()
    topic = case.topic("\ufeffx")
    pub.publish(topic)
    assert sub.take().topic == topic
    other = case.client("other")
    other.subscribe(case.topic("x"), 0)
    pub.publish(topic)
    other.expect_nothing()


@each(("two octets", "ü/ß"), ("three", "温度"), ("four", "😀/\U0010fffd"), ("spaces", " / a b "), ("empty levels", "//"),
      ("one empty level", "/"), ("$ within", "a/$b"))
def test_topic_names_come_as_they_were(case, what):
    """[MQTT-3.3.2-1], [MQTT-4.7.3-4], 4.7.3: case, spaces and empty levels count"""
    sub, pub = case.pair()
    pub.publish(case.topic(what[1]), b"x", 1)
    assert sub.take().topic == case.topic(what[1])


def test_a_topic_that_is_too_long(case):
    """[MQTT-4.7.3-3]: up to 65535 octets can be said; what the gateway does not take it refuses whole"""
    client = case.client()
    client.send(mq.publish("t" * 65535, b"", 0))
    try:
        client.expect_nothing()
    except (OSError, AssertionError):
        pass
    case.client("next").expect_nothing()


# Retained messages


def retained(case, *expected, filter_="#"):
    """A new subscriber gets these payloads, flagged, and nothing else."""
    late = case.client("late")
    late.subscribe(case.topic(filter_), 2)
    got = sorted((late.take() for _ in expected), key=lambda m: m.payload)
    assert [(m.payload, m.retain) for m in got] == [(p, 1) for p in expected], got
    late.expect_nothing()
    late.close()


@each(("0", 0), ("1", 1), ("2", 2))
def test_retained_is_kept_with_its_qos(case, qos):
    """[MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8], [MQTT-3.3.1-7]"""
    case.client("pub").publish(case.topic(), b"r", qos[1], retain=True)
    late = case.client("late")
    late.subscribe(case.topic(), 2)
    m = late.take()
    assert (m.payload, m.qos, m.retain, m.dup) == (b"r", qos[1], 1, 0)


def test_retained_is_not_flagged_for_those_who_listen(case):
    """[MQTT-3.3.1-9]"""
    sub, pub = case.pair()
    pub.publish(case.topic(), b"r", 1, retain=True)
    assert sub.take().retain == 0


def test_the_last_one_is_retained(case):
    """[MQTT-3.3.1-5], also a QoS 0 one in place of a QoS 2 one [MQTT-3.3.1-7]"""
    pub = case.client("pub")
    for n, qos in enumerate((0, 2, 1, 0)):
        pub.publish(case.topic(), b"%d" % n, qos, retain=True)
        retained(case, b"%d" % n)


@each(("0", 0), ("1", 1), ("2", 2))
def test_an_empty_message_clears(case, qos):
    """[MQTT-3.3.1-10], [MQTT-3.3.1-11]"""
    sub, pub = case.pair()
    pub.publish(case.topic(), b"r", 1, retain=True)
    sub.take()
    pub.publish(case.topic(), b"", qos[1], retain=True)
    m = sub.take()
    assert (m.payload, m.retain) == (b"", 0)
    retained(case)


def test_without_the_flag_nothing_changes(case):
    """[MQTT-3.3.1-12]"""
    pub = case.client("pub")
    pub.publish(case.topic(), b"r", 1, retain=True)
    pub.publish(case.topic(), b"live", 1)
    pub.publish(case.topic(), b"", 1)
    retained(case, b"r")


def test_many_retained(case):
    """All that match, and only these"""
    pub = case.client("pub")
    for n in range(100):
        pub.publish(case.topic("%02d/v" % n), b"%02d" % n, 1, retain=True)
    retained(case, *[b"%02d" % n for n in range(100)])
    retained(case, *[b"%02d" % n for n in range(100)], filter_="+/v")
    retained(case, b"42", filter_="42/#")
    retained(case, filter_="+")


def test_retained_and_the_suback(case):
    """3.8.4: one that is retained may come before or after SUBACK; it comes for a filter of the same name again
    [MQTT-3.8.4-3]"""
    client = case.client()
    client.publish(case.topic(), b"r", 0, retain=True)
    for _ in range(3):
        client.send(subscribe(5, (case.topic(), 0)))
        kinds = sorted([client.recv().kind, client.recv().kind])
        assert kinds == [PUBLISH, SUBACK], kinds


def test_retained_to_one_who_publishes_it(case):
    """A client may subscribe to what it publishes (3.3.5)."""
    client = case.client()
    client.subscribe(case.topic(), 1)
    client.publish(case.topic("x"), b"", 0)
    client.send(mq.publish(case.topic(), b"mine", 1, 3))
    kinds = {client.recv().kind, client.recv().kind}
    assert kinds == {PUBACK, PUBLISH}


# Octets


def test_octet_by_octet(case):
    """4.2: packets come in pieces of any size"""
    sub, pub = case.pair()
    for octet in mq.publish(case.topic(), b"slow", 1, 3):
        pub.send(struct.pack("B", octet))
    pub.expect(PUBACK)
    assert sub.take().payload == b"slow"


def test_many_in_one_segment(case):
    sub, pub = case.pair(qos=0)
    pub.send(b"".join(mq.publish(case.topic(), b"%d" % n) for n in range(200)) + packet(12))
    pub.expect(PINGRESP)
    assert [sub.take().payload for _ in range(200)] == [b"%d" % n for n in range(200)]


@each(("QoS 3", b"\x36"), ("QoS 3 DUP", b"\x3e"), ("DUP QoS 0", b"\x38"))
def test_flags_of_publish(case, first):
    """[MQTT-3.3.1-4], [MQTT-3.3.1-2]"""
    case.closes(first[1] + b"\x06\x00\x01a\x00\x01x")


@each(("no id", mq.text("a")), ("half an id", mq.text("a") + b"\0"), ("id 0", mq.text("a") + u16(0)), ("empty", b""),
      ("half a length", b"\0"), ("topic cut", b"\0\x05abc"), ("empty topic", b"\0\0\0\x01"), ("NUL", b"\0\x02a\0\0\x01"),
      ("surrogate", b"\0\x03\xed\xbf\xbf\0\x01"), ("overlong", b"\0\x02\xc1\x81\0\x01"), ("beyond Unicode", b"\0\x04\xf4\x90\x80\x80\0\x01"),
      ("cut character", b"\0\x01\xc3\0\x01"))
def test_malformed_publish(case, body):
    """[MQTT-2.3.1-1], [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.8.0-1]"""
    case.closes(packet(PUBLISH, body[1], 2))


def test_a_remaining_length_longer_than_needed(case):
    """2.2.3: MQTT 3.1.1 does not ask for the shortest one."""
    client = case.client()
    client.subscribe(case.topic(), 0)
    body = mq.text(case.topic()) + b"x"
    client.send(b"\x30" + bytes([0x80 | len(body), 0]) + body)
    assert client.expect(PUBLISH).payload == b"x"


suite311.run(globals(), at_once=4)
