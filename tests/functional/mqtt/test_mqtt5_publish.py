"""MQTT 5.0: PUBLISH and its answers, flow control, packet size, topic aliases (3.3 to 3.7, 4.3, 4.9)."""

import struct
import time

import mq5
import suite5
from mq5 import (ALIAS, ALIAS_MAX, CONTENT_TYPE, CORRELATION, MAX_PACKET, MESSAGE_EXPIRY, PAYLOAD_FORMAT, PUBACK,
                 PUBCOMP, PUBLISH, PUBREC, PUBREL, REASON, RECEIVE_MAX, REQUEST_PROBLEM, RESPONSE_TOPIC,
                 SESSION_EXPIRY, SUBSCRIPTION_ID, USER)

KEEP = dict(clean=False, pairs=((SESSION_EXPIRY, 60),))


def pair(case, qos=2, **arguments):
    subscriber, publisher = case.client("sub", **arguments), case.client("pub")
    assert subscriber.subscribe(case.topic("#"), qos) == qos
    return subscriber, publisher


def test_properties_travel_in_their_order(case):
    sub, pub = pair(case)
    properties = [(USER, ("k", "2")), (RESPONSE_TOPIC, b"a/b"), (PAYLOAD_FORMAT, 1), (USER, ("k", "1")),
                  (CORRELATION, b"\0\xff"), (CONTENT_TYPE, b"application/json"), (USER, ("", ""))]
    for qos in (0, 1, 2):
        pub.publish(case.topic(), b"{}", qos, *properties)
        m = sub.expect(PUBLISH)
        assert (m.props, m.qos, m.payload) == (properties, qos, b"{}")
        if qos:
            sub.ack(PUBACK if qos == 1 else PUBREC, m.id)
        if qos == 2:
            sub.expect(PUBREL)
            sub.ack(PUBCOMP, m.id)


def test_large_properties_travel(case):
    sub, pub = pair(case)
    properties = [(CORRELATION, bytes(40000)), (CONTENT_TYPE, b"x" * 20000)]
    assert pub.publish(case.topic(), b"y" * 100000, 1, *properties) == 0
    m = sub.expect(PUBLISH)
    assert m.props == properties and m.payload == b"y" * 100000


def test_the_remaining_life_is_passed_on(case):
    sub, pub = pair(case, **KEEP)
    pub.publish(case.topic(), b"", 1, (MESSAGE_EXPIRY, 100))
    m = sub.expect(PUBLISH)
    assert m.get(MESSAGE_EXPIRY) == 100
    sub.ack(PUBACK, m.id)
    sub.disconnect()
    pub.publish(case.topic(), b"short", 1, (MESSAGE_EXPIRY, 1))
    pub.publish(case.topic(), b"long", 1, (MESSAGE_EXPIRY, 100))
    time.sleep(1.5)
    m = case.client("sub", **KEEP).expect(PUBLISH)
    assert m.payload == b"long" and m.get(MESSAGE_EXPIRY) in (98, 99), m


def test_a_retained_message_expires(case):
    pub = case.client("pub")
    pub.publish(case.topic("a"), b"1", 1, (MESSAGE_EXPIRY, 1), (USER, ("k", "v")), retain=True)
    pub.publish(case.topic("b"), b"2", 1, (MESSAGE_EXPIRY, 100), (USER, ("k", "v")), retain=True)
    time.sleep(1.2)
    sub = case.client("sub")
    sub.subscribe(case.topic("#"), 0)
    m = sub.expect(PUBLISH)
    assert (m.topic, m.retain, m.get(USER)) == (case.topic("b"), 1, ("k", "v")) and m.get(MESSAGE_EXPIRY) <= 99
    sub.expect_nothing()


def test_expiry_does_not_stop_what_is_in_flight(case):
    sub, pub = pair(case, **KEEP)
    pub.publish(case.topic(), b"x", 2, (MESSAGE_EXPIRY, 1))
    m = sub.expect(PUBLISH)
    sub.close()
    time.sleep(1.2)
    sub = case.client("sub", **KEEP)
    again = sub.expect(PUBLISH)
    assert again.dup and again.id == m.id and again.payload == b"x"
    sub.ack(PUBREC, m.id)
    sub.expect(PUBREL)
    sub.ack(PUBCOMP, m.id)


def test_the_payload_format_is_checked(case):
    sub, pub = pair(case)
    for payload in (b"", "grüße\n\t\0".encode()):
        assert pub.publish(case.topic(), payload, 1, (PAYLOAD_FORMAT, 1)) == 0
        m = sub.expect(PUBLISH)
        sub.ack(PUBACK, m.id)
    assert pub.publish(case.topic(), b"\xff", 1, (PAYLOAD_FORMAT, 1)) == 0x99
    assert pub.publish(case.topic(), b"\xed\xa0\x80", 2, (PAYLOAD_FORMAT, 1)) == 0x99
    assert pub.publish(case.topic(), b"\xff", 1, (PAYLOAD_FORMAT, 0)) == 0
    assert sub.expect(PUBLISH).payload == b"\xff"
    pub.send(mq5.publish(case.topic(), b"\xff", 0, 0, (PAYLOAD_FORMAT, 1)))
    pub.expect_bye(0x99)


def test_nobody_listens(case):
    client = case.client()
    assert client.publish(case.topic(), b"", 1) == 0x10
    assert client.publish(case.topic(), b"", 2) == 0x10


def test_what_a_client_may_not_publish_is_told(case):
    client = case.client()
    client.send(mq5.publish("$SYS/x", b"", 1, 5))
    assert client.expect(PUBACK, 0x90).get(REASON) == b"topic name invalid"
    assert client.publish("$SYS/x", b"", 2) == 0x90
    assert client.publish("x/" * 100, b"", 1) == 0x90  # deeper than the gateway goes
    quiet = case.client("quiet", pairs=((REQUEST_PROBLEM, 0),))
    quiet.send(mq5.publish("$SYS/x", b"", 1, 5))
    assert not quiet.expect(PUBACK, 0x90).props


def test_a_payload_beyond_the_limit_is_told(case):
    client = case.client()
    assert client.publish(case.topic(), bytes(1024 * 1024), 1) == 0x10
    assert client.publish(case.topic(), bytes(1024 * 1024 + 1), 1) == 0x97


def test_packet_ids_unknown_and_in_use(case):
    client = case.client()
    client.ack(PUBREL, 77)
    assert client.expect(PUBCOMP, 0x92).id == 77
    client.ack(PUBREC, 78)
    assert client.expect(PUBREL, 0x92).id == 78
    client.ack(PUBREC, 79, 0x97)  # over already
    client.ack(PUBACK, 80)
    client.ack(PUBCOMP, 81, 0x92, (REASON, "r"), (USER, ("a", "b")))
    client.expect_nothing()
    client.send(mq5.publish(case.topic("a"), b"a", 2, 5))
    client.expect(PUBREC, 0x10)
    client.send(mq5.publish(case.topic("b"), b"b", 2, 5))
    client.expect(PUBREC, 0x91)


def test_a_refusal_frees_the_window(case):
    sub, pub = pair(case, pairs=((RECEIVE_MAX, 1),))
    for n in range(4):
        pub.publish(case.topic(), b"%d" % n, 1 + n % 2)
    for n in range(4):
        m = sub.expect(PUBLISH)
        assert m.payload == b"%d" % n
        sub.expect_nothing()
        sub.ack(PUBREC if m.qos == 2 else PUBACK, m.id, 0x83, (REASON, "no"))
    sub.expect_nothing()


def take(client, n):
    taken = [client.expect(PUBLISH) for _ in range(n)]
    client.expect_nothing()
    return taken


def test_the_clients_receive_maximum(case):
    sub, pub = pair(case, clean=False, pairs=((SESSION_EXPIRY, 60), (RECEIVE_MAX, 3)))
    for n in range(8):
        pub.publish(case.topic(), b"%d" % n, 1 + n % 2)
    first = take(sub, 3)
    sub.ack(PUBREC, first[1].id)  # still counts
    sub.expect(PUBREL)
    sub.expect_nothing()
    sub.ack(PUBACK, first[0].id)
    assert [m.payload for m in take(sub, 1)] == [b"3"]
    # Less room after a reconnect: what is in flight comes again, one at a time.
    sub.close()
    sub = case.client("sub", clean=False, pairs=((SESSION_EXPIRY, 60), (RECEIVE_MAX, 1)))
    sub.expect(PUBREL)
    sub.expect_nothing()
    sub.ack(PUBCOMP, first[1].id)
    for n in (2, 3, 4, 5, 6, 7):
        m, = take(sub, 1)
        assert m.payload == b"%d" % n and m.dup == (n < 4), m
        if m.qos == 2:
            sub.ack(PUBREC, m.id)
            sub.expect(PUBREL)
            sub.expect_nothing()
        sub.ack(PUBCOMP if m.qos == 2 else PUBACK, m.id)
    sub.expect_nothing()


def test_our_receive_maximum(case):
    client = case.client()
    most = client.connack.get(RECEIVE_MAX)
    for n in range(most):
        client.send(mq5.publish(case.topic(), b"", 2, n + 1))
    for n in range(most):
        client.expect(PUBREC, 0x10)
    client.ack(PUBREL, 1)
    client.expect(PUBCOMP)
    client.send(mq5.publish(case.topic(), b"", 1, 100))
    client.expect(PUBACK)  # over at once
    client.send(mq5.publish(case.topic(), b"", 2, 101))
    client.expect(PUBREC)
    client.send(mq5.publish(case.topic(), b"", 0))
    client.expect_nothing()  # QoS 0 is not counted
    client.send(mq5.publish(case.topic(), b"", 1, 102))
    client.expect_bye(0x93)


def test_our_receive_maximum_after_a_reconnect(case):
    client = case.client(**KEEP)
    most = client.connack.get(RECEIVE_MAX)
    for n in range(most):
        client.send(mq5.publish(case.topic(), b"", 2, n + 1))
    for n in range(most):
        client.expect(PUBREC)
    client.close()
    client = case.client(**KEEP)
    assert client.connack.present
    for n in range(most):
        client.ack(PUBREL, n + 1)
    for n in range(most):
        client.expect(PUBCOMP, 0)
    for n in range(most):
        assert client.publish(case.topic(), b"", 2) == 0x10


def test_refused_publications_do_not_use_up_the_window(case):
    client = case.client()
    for n in range(50):
        assert client.publish("$SYS/x", b"", 1 + n % 2) == 0x90


def test_the_clients_maximum_packet_size(case):
    sub, pub = pair(case, qos=2, clean=False, pairs=((MAX_PACKET, 60), (RECEIVE_MAX, 1)))
    t = case.topic()
    room = 60 - 2 - 2 - len(t) - 2 - 1  # header, length and topic, packet id, no properties
    for payload in (b"a" * room, b"b" * (room + 1), b"c"):
        for qos in (1, 2):
            pub.publish(t, payload, qos)
    pub.publish(t, b"", 1, (USER, ("x" * 30, "y" * 30)))
    pub.publish(t, b"d" * (room + 2), 0)
    pub.publish(t, b"e" * (room + 3), 0)
    pub.publish(t, b"end", 1)
    got = []
    while not got or got[-1].payload != b"end":
        m = sub.expect(PUBLISH)
        assert m.size <= 60
        got.append(m)
        if m.qos == 2:
            sub.ack(PUBREC, m.id)
            sub.expect(PUBREL)
        if m.qos:
            sub.ack(PUBCOMP if m.qos == 2 else PUBACK, m.id)
    kinds = [(m.payload[:1], m.qos, m.size == 60) for m in got]
    assert kinds == [(b"a", 1, True), (b"a", 2, True), (b"c", 1, False), (b"c", 2, False), (b"d", 0, True),
                     (b"e", 1, False)], kinds


def test_a_smaller_packet_size_after_a_reconnect(case):
    sub, pub = pair(case, **KEEP)
    pub.publish(case.topic(), b"x" * 100, 1)
    pub.publish(case.topic(), b"small", 1)
    sub.expect(PUBLISH)
    sub.close()
    sub = case.client("sub", clean=False, pairs=((SESSION_EXPIRY, 60), (MAX_PACKET, 60), (RECEIVE_MAX, 1)))
    assert sub.expect(PUBLISH).payload == b"small"


def test_reasons_are_left_out_of_short_packets(case):
    client = case.client(pairs=((MAX_PACKET, 20),))
    assert client.connack.size <= 20
    client.send(mq5.publish("$SYS/x", b"", 1, 5))
    assert not client.expect(PUBACK, 0x90).props
    client = case.raw()
    client.send(mq5.connect(case.name(), pairs=((MAX_PACKET, 10),)))
    client.expect_closed()  # there is no CONNACK that it would take


def test_our_maximum_packet_size(case):
    client = case.client()
    most = client.connack.get(MAX_PACKET)
    client.send(bytes([PUBLISH << 4]) + mq5.varint(most - 4 + 1))  # an octet, and three of length
    client.expect_bye(0x95)
    client = case.client()
    number, t = b"\0\1", mq5.text(case.topic())
    payload = bytes(1024 * 1024)
    filler = most - 4 - len(t) - 2 - 3 - len(payload) - 3
    packet = mq5.packet(PUBLISH, t + number + mq5.props((CORRELATION, bytes(filler))) + payload, 2)
    assert len(packet) == most
    client.send(packet)
    client.expect(PUBACK, 0x10)


def test_topic_aliases_of_a_client(case):
    sub, pub = pair(case)
    pub.send(mq5.publish(case.topic("a"), b"1", 0, 0, (ALIAS, 1)))
    pub.send(mq5.publish(case.topic("b"), b"2", 0, 0, (ALIAS, 16)))
    pub.send(mq5.publish("", b"3", 1, 9, (ALIAS, 1)))
    pub.send(mq5.publish("", b"4", 0, 0, (ALIAS, 16)))
    pub.send(mq5.publish(case.topic("c"), b"5", 0, 0, (ALIAS, 1)))
    pub.send(mq5.publish("", b"6", 0, 0, (ALIAS, 1)))
    got = [sub.expect(PUBLISH) for _ in range(6)]
    assert [m.topic[-1] + m.payload.decode() for m in got] == ["a1", "b2", "a3", "b4", "c5", "c6"]
    assert not any(m.all(ALIAS) for m in got)


def test_wrong_topic_aliases(case):
    for code, topic, alias in ((0x94, case.topic(), 0), (0x94, case.topic(), 17), (0x94, "", 17), (0x82, "", 3)):
        client = case.client()
        client.send(mq5.publish(topic, b"", 0, 0, (ALIAS, alias)))
        client.expect_bye(code)
    client = case.client()
    client.send(mq5.publish("", b"", 0, 0))
    client.expect_bye(0x82)
    # An alias ends with its connection, whatever becomes of the session.
    client = case.client(**KEEP)
    client.publish(case.topic(), b"", 0, (ALIAS, 1))
    client.close()
    client = case.client(**KEEP)
    client.send(mq5.publish("", b"", 0, 0, (ALIAS, 1)))
    client.expect_bye(0x82)


def test_topic_aliases_of_the_gateway(case):
    sub, pub = pair(case, clean=False, pairs=((SESSION_EXPIRY, 60), (ALIAS_MAX, 2)))
    known, saved = {}, 0
    for n in range(30):
        pub.publish(case.topic("t%d" % (n * n % 5)), b"%d" % n, 0)
    for n in range(30):
        m = sub.expect(PUBLISH)
        alias = m.get(ALIAS)
        assert alias in (1, 2)
        if m.topic:
            known[alias] = m.topic
        else:
            saved += 1
        assert known[alias] == case.topic("t%d" % (n * n % 5)) and m.payload == b"%d" % n
    assert saved > 0
    sub.close()
    pub.publish(case.topic("t0"), b"", 1)
    assert case.client("sub", clean=False, pairs=((ALIAS_MAX, 2),)).expect(PUBLISH).topic == case.topic("t0")


def test_an_alias_does_not_make_a_packet_too_large(case):
    t = case.topic("long/name")
    exact = 2 + 2 + len(t) + 1 + 10
    sub = case.client("sub", pairs=((ALIAS_MAX, 5), (MAX_PACKET, exact)))
    pub = case.client("pub")
    sub.subscribe(t)
    for _ in range(2):
        pub.publish(t, b"x" * 10)
        m = sub.expect(PUBLISH)
        assert m.topic == t and m.size == exact and not m.props


def test_the_exchanges_of_qos_2(case):
    sub, pub = pair(case, **KEEP)
    pub.send(mq5.publish(case.topic(), b"x", 2, 1))
    pub.expect(PUBREC, 0)
    pub.send(mq5.publish(case.topic(), b"x", 2, 1, dup=True))
    pub.expect(PUBREC, 0)
    pub.ack(PUBREL, 1, 0, (USER, ("a", "b")))
    assert pub.expect(PUBCOMP, 0).id == 1
    m = sub.expect(PUBLISH)
    sub.expect_nothing()
    sub.ack(PUBREC, m.id, 0x10)
    assert sub.expect(PUBREL, 0).id == m.id
    sub.close()
    sub = case.client("sub", **KEEP)
    assert sub.expect(PUBREL, 0).id == m.id
    sub.ack(PUBCOMP, m.id, 0x92)
    sub.close()
    case.client("sub", **KEEP).expect_nothing()


def test_malformed_publish(case):
    t = mq5.text(case.topic())
    none = mq5.props()
    for code, flags, body in (
            (0x81, 6, t + b"\0\1" + none), (0x81, 8, t + none), (0x81, 2, t + b"\0\0" + none),
            (0x81, 0, mq5.text("a/#") + none), (0x81, 0, mq5.text(b"\xff") + none), (0x81, 0, t),
            (0x81, 0, t + b"\x05"), (0x81, 0, t + b"\x80\x00"), (0x81, 0, t + b"\xff\xff\xff\xff\x01"),
            (0x81, 0, t + mq5.props((SESSION_EXPIRY, 1))), (0x81, 0, t + mq5.props(b"\x01")),
            (0x81, 0, t + mq5.props((REASON, "x"))), (0x81, 0, t + mq5.props((CONTENT_TYPE, b"\xff"))),
            (0x82, 0, t + mq5.props((PAYLOAD_FORMAT, 2))), (0x82, 0, t + mq5.props((RESPONSE_TOPIC, "a/+"))),
            (0x82, 0, t + mq5.props((RESPONSE_TOPIC, ""))), (0x82, 0, t + mq5.props((SUBSCRIPTION_ID, 1))),
            (0x82, 0, t + mq5.props((MESSAGE_EXPIRY, 1), (MESSAGE_EXPIRY, 1))),
            (0x82, 0, t + mq5.props((ALIAS, 1), (ALIAS, 1))),
            (0x82, 0, t + mq5.props((CORRELATION, b""), (CORRELATION, b"")))):
        client = case.client()
        client.send(mq5.packet(PUBLISH, body, flags))
        client.expect_bye(code)


def test_malformed_acknowledgements(case):
    for kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        flags = 2 if kind == PUBREL else 0
        for code, flag, body in (
                (0x81, flags, b"\0"), (0x81, flags, b"\0\0"), (0x81, flags ^ 1, b"\0\1"),
                (0x82, flags, b"\0\1\x01"), (0x81, flags, b"\0\1\0\0\0"), (0x81, flags, b"\0\1\0\5"),
                (0x81, flags, b"\0\1\0" + mq5.props((CONTENT_TYPE, "x"))),
                (0x82, flags, b"\0\1\0" + mq5.props((REASON, "x"), (REASON, "x")))):
            client = case.client()
            client.send(mq5.packet(kind, body, flag))
            client.expect_bye(code)


def test_request_and_response(case):
    server, asker = case.client("server"), case.client("asker")
    server.subscribe(case.topic("ask"), 1)
    asker.subscribe(case.topic("reply/asker"), 1)
    asker.publish(case.topic("ask"), b"6*7", 1, (RESPONSE_TOPIC, case.topic("reply/asker")), (CORRELATION, b"\0\7"))
    m = server.expect(PUBLISH)
    server.ack(PUBACK, m.id)
    server.publish(m.get(RESPONSE_TOPIC).decode(), b"42", 1, (CORRELATION, m.get(CORRELATION)))
    m = asker.expect(PUBLISH)
    assert m.payload == b"42" and m.props == [(CORRELATION, b"\0\7")]


def test_packets_of_a_server_are_protocol_errors(case):
    for kind, body in ((mq5.CONNACK, b"\0\0\0"), (mq5.SUBACK, struct.pack(">H", 1) + b"\0\0"),
                       (mq5.UNSUBACK, b"\0\1\0\0"), (mq5.PINGRESP, b"")):
        client = case.client()
        client.send(mq5.packet(kind, body))
        client.expect_bye(0x82)
    for kind in (0, mq5.PINGREQ):
        client = case.client()
        client.send(mq5.packet(kind, b"\0"))
        client.expect_bye(0x81)


suite5.run(globals(), limits={"inbound_messages": 20})
