"""MQTT 3.1.1: CONNECT, CONNACK, sessions, will, keep alive, DISCONNECT (3.1, 3.2, 3.12, 3.14, 4.1)."""

import time

import mq
import suite311
from harness import each
from mq import packet, text
from mq5 import CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBLISH, SUBACK
from suite311 import PASSWORD, USER, WILL, WILL_RETAIN, Client, connect, subscribe, u16


def silently_closed(case, data):
    client = case.raw()
    client.send(data)
    client.expect_closed()
    client.close()


def refused(case, data, code):
    client = case.raw()
    client.send(data)
    answer = client.expect(CONNACK, code)
    assert answer.present == 0  # [MQTT-3.2.2-4]
    client.expect_closed()  # [MQTT-3.2.2-5]


@each(("PUBLISH", mq.publish("a", b"")), ("SUBSCRIBE", subscribe(1, ("a", 0))), ("PINGREQ", packet(PINGREQ)),
      ("DISCONNECT", packet(DISCONNECT)), ("PUBREL", packet(6, u16(1), 2)), ("CONNACK", packet(CONNACK, b"\0\0")),
      ("AUTH", packet(15)), ("reserved", packet(0)))
def test_the_first_packet_is_connect(case, what):
    """[MQTT-3.1.0-1]"""
    silently_closed(case, what[1])


def test_a_second_connect_ends_the_connection(case):
    """[MQTT-3.1.0-2]"""
    case.closes(connect(case.name("bad")))


@each("mqtt", "MQTX", "MQTTX", "", "HTTP")
def test_another_protocol_is_not_answered(case, name):
    """[MQTT-3.1.2-1]"""
    silently_closed(case, connect(case.name(), name=name))


@each(("0", 0), ("1", 1), ("2", 2), ("3", 3))
def test_an_unknown_level_is_told(case, level):
    """[MQTT-3.1.2-2]"""
    refused(case, connect(case.name(), level=level[1]), 1)


def test_mqtt_31_is_spoken(case):
    client = case.raw()
    client.send(connect(case.name(), name="MQIsdp", level=3))
    assert client.expect(CONNACK, 0).present == 0


@each(("reserved", 0x03), ("will QoS 3", 0x1e), ("password without a user name", 0x42),
      ("will QoS 1 without a will", 0x0a), ("will QoS 2 without a will", 0x12),
      ("will retained without a will", 0x22))
def test_flags_that_do_not_fit(case, what):
    """[MQTT-3.1.2-3], [MQTT-3.1.2-14], [MQTT-3.1.2-22], [MQTT-3.1.2-13], [MQTT-3.1.2-15]"""
    silently_closed(case, connect(case.name(), flags=what[1], tail=text("t") + text("p")))


@each(("will", WILL | 2), ("user name", USER | 2), ("both", USER | PASSWORD | 2), ("all", USER | PASSWORD | WILL | 2))
def test_fields_that_flags_promise_must_come(case, what):
    """[MQTT-3.1.2-9], [MQTT-3.1.2-19], [MQTT-3.1.2-21], [MQTT-3.1.4-1]"""
    silently_closed(case, connect(case.name(), flags=what[1]))


@each(("a will", text("t") + text("p")), ("a user name", text("u")), ("an octet", b"\0"))
def test_fields_without_a_flag_must_not_come(case, what):
    """[MQTT-3.1.2-11], [MQTT-3.1.2-18], [MQTT-3.1.2-20]"""
    silently_closed(case, connect(case.name(), tail=what[1]))


def test_connect_cut_anywhere_is_malformed(case):
    """[MQTT-3.1.4-1], [MQTT-3.1.3-1]: every prefix, with a length that fits it."""
    whole = connect(case.name(), will=(case.topic(), b"w", 1, 1), user="u", password="p")[2:]
    for n in range(len(whole)):
        silently_closed(case, packet(CONNECT, whole[:n]))
    client = case.raw()
    client.send(packet(CONNECT, whole))
    client.expect(CONNACK, 0)
    client.disconnect()


@each(("client id", dict(client_id=b"\xff")), ("client id NUL", dict(client_id=b"a\0")),
      ("client id surrogate", dict(client_id=b"\xed\xa0\x80")),
      ("will topic", dict(client_id="x", will=(b"\xc0\x80", b"", 0, 0))),
      ("will topic NUL", dict(client_id="x", will=(b"a\0b", b"", 0, 0))),
      ("will topic +", dict(client_id="x", will=("a/+", b"", 0, 0))),
      ("will topic #", dict(client_id="x", will=("#", b"", 0, 0))),
      ("empty will topic", dict(client_id="x", will=("", b"", 0, 0))),
      ("user name", dict(client_id="x", user=b"\xfe")))
def test_strings_are_checked(case, what):
    """[MQTT-3.1.3-4], [MQTT-3.1.3-10], [MQTT-3.1.3-11], [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-4.7.3-1]"""
    silently_closed(case, connect(**what[1]))


@each(("one octet", "a"), ("all of the standard's", "0123456789abcdefghijklm"), ("upper", "NOPQRSTUVWXYZ"),
      ("other letters", "gerät/温度 #+$"), ("256 octets", "z" * 256))
def test_client_ids_that_are_taken(case, what):
    """[MQTT-3.1.3-5]"""
    Client(case.gateway, what[1]).disconnect()


def test_a_client_id_that_is_too_long(case):
    """[MQTT-3.1.3-9]"""
    refused(case, connect("z" * 257), 2)


def test_an_empty_client_id_needs_a_clean_session(case):
    """[MQTT-3.1.3-6] to [MQTT-3.1.3-8]"""
    refused(case, connect("", clean=False), 2)
    first, second = Client(case.gateway, ""), Client(case.gateway, "")  # unique: both stay
    first.expect_nothing()
    second.expect_nothing()
    first.disconnect()
    second.disconnect()


def test_password_of_any_octets(case):
    """3.1.3.5: binary, up to 65535."""
    case.client(user="", password=b"").disconnect()
    case.client(user="u" * 65535, password=bytes(range(256)) * 255).disconnect()


def test_the_older_connection_ends(case):
    """[MQTT-3.1.4-2]"""
    older = case.client()
    newer = case.client()
    older.expect_closed()
    newer.expect_nothing()


def test_packets_right_behind_connect(case):
    """3.1.4: a client may send on without waiting for CONNACK, which comes first [MQTT-3.2.0-1]."""
    client = case.raw()
    client.send(connect(case.name()) + subscribe(7, (case.topic(), 0)) + mq.publish(case.topic(), b"x") + packet(PINGREQ))
    client.expect(CONNACK, 0)
    assert client.expect(SUBACK).id == 7
    kinds = {client.recv().kind, client.recv().kind}
    assert kinds == {PUBLISH, PINGRESP}


def test_what_follows_a_refused_connect_is_not_processed(case):
    """[MQTT-3.1.4-5]"""
    sub, _ = case.pair()
    refused(case, connect("", clean=False) + mq.publish(case.topic(), b"x"), 2)
    sub.expect_nothing()


def test_session_present(case):
    """[MQTT-3.2.2-1] to [MQTT-3.2.2-3]"""
    for clean, present in ((True, 0), (False, 0), (False, 1), (True, 0), (False, 0)):
        client = case.client(clean=clean)
        assert client.connack.present == present, (clean, present)
        client.disconnect()


def test_subscriptions_and_messages_are_kept(case):
    """[MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-4.1.0-1]"""
    sub, pub = case.pair(clean=False)
    sub.disconnect()
    pub.publish(case.topic(), b"1", 1)
    pub.publish(case.topic(), b"2", 2)
    sub = case.client("sub", clean=False)
    assert [(m.payload, m.qos, m.dup) for m in (sub.take(), sub.take())] == [(b"1", 1, 0), (b"2", 2, 0)]
    pub.publish(case.topic(), b"3", 0)
    assert sub.take().payload == b"3"
    sub.expect_nothing()


def test_a_clean_session_discards(case):
    """[MQTT-3.1.2-6]"""
    sub, pub = case.pair(clean=False)
    sub.disconnect()
    pub.publish(case.topic(), b"x", 1)
    case.client("sub").disconnect()
    sub = case.client("sub", clean=False)
    assert not sub.connack.present
    pub.publish(case.topic(), b"y", 1)
    sub.expect_nothing()


def test_retained_messages_outlive_the_session(case):
    """[MQTT-3.1.2-7]"""
    case.client("pub").publish(case.topic(), b"stays", 1, retain=True)
    case.client("pub").disconnect()
    sub = case.client("sub")
    sub.subscribe(case.topic())
    assert sub.take().payload == b"stays"


def will_of(case, ending, **arguments):
    """What a watcher gets when a connection with a will ends so."""
    watch = case.client("watch")
    watch.subscribe(case.topic("#"), 2)
    client = case.client("mortal", **arguments)
    ending(client)
    return watch


@each(("0", 0), ("1", 1), ("2", 2))
def test_a_will_is_published(case, qos):
    """[MQTT-3.1.2-8]"""
    will = (case.topic("w"), b"\0\xffgone", qos[1], 0)
    m = will_of(case, Client.close, will=will).take()
    assert (m.topic, m.payload, m.qos, m.retain) == (case.topic("w"), b"\0\xffgone", qos[1], 0)


@each(("protocol error", lambda c: c.send(packet(CONNACK, b"\0\0"))), ("malformed", lambda c: c.send(b"\x31\x01")),
      ("DISCONNECT with flags", lambda c: c.send(packet(DISCONNECT, b"", 1))),
      ("DISCONNECT with a body", lambda c: c.send(packet(DISCONNECT, b"\0"))))
def test_a_will_after_an_error(case, how):
    """[MQTT-3.1.2-8]: the server closes the connection because of a protocol error."""
    def end(client):
        how[1](client)
        client.sock.shutdown(1)
        client.expect_closed()
    will_of(case, end, will=(case.topic("w"), b"", 1, 0)).take()


def test_a_will_after_keep_alive(case):
    """[MQTT-3.1.2-24], [MQTT-3.1.2-8]"""
    watch = case.client("watch")
    watch.subscribe(case.topic("#"), 1)
    began = time.monotonic()
    silent = case.client("silent", keepalive=1, will=(case.topic("w"), b"", 1, 0))
    busy = case.client("busy", keepalive=1, will=(case.topic("not"), b"", 1, 0))
    for _ in range(4):
        time.sleep(0.5)
        busy.expect_nothing()
    assert watch.take().topic == case.topic("w")
    silent.expect_closed()
    assert time.monotonic() - began >= 1.4
    watch.expect_nothing()


def test_keep_alive_zero_never_ends(case):
    """3.1.2.10"""
    client = case.client(keepalive=0)
    time.sleep(2)
    client.expect_nothing()


def test_no_will_after_disconnect(case):
    """[MQTT-3.14.4-3], [MQTT-3.1.2-10], [MQTT-3.1.2-12]"""
    watch = will_of(case, Client.disconnect, will=(case.topic("w"), b"", 1, 0))
    case.client("mortal").close()  # had none of its own
    time.sleep(0.1)
    watch.expect_nothing()


@each(("no", 0), ("yes", 1))
def test_a_retained_will(case, retain):
    """[MQTT-3.1.2-16], [MQTT-3.1.2-17]"""
    will_of(case, Client.close, will=(case.topic("w"), b"last", 1, retain[1])).take()
    late = case.client("late")
    late.subscribe(case.topic("#"), 1)
    if retain[1]:
        m = late.take()
        assert (m.payload, m.retain) == (b"last", 1)
    late.expect_nothing()


def test_a_will_is_not_kept_for_the_next_connection(case):
    """[MQTT-3.1.2-10]: it is part of the connection, not of the session."""
    watch = will_of(case, Client.close, clean=False, will=(case.topic("w"), b"", 1, 0))
    watch.take()
    case.client("mortal", clean=False).close()
    time.sleep(0.1)
    watch.expect_nothing()


def test_an_empty_will(case):
    """3.1.3.3: a zero-length message"""
    assert will_of(case, Client.close, will=(case.topic("w"), b"", 0, WILL_RETAIN >> 5)).take().payload == b""


def test_ping(case):
    """[MQTT-3.12.4-1]"""
    client = case.client()
    client.send(packet(PINGREQ) * 100)
    for _ in range(100):
        client.expect(PINGRESP)
    client.expect_nothing()


def test_disconnect_ends_the_connection(case):
    """3.14.4; what comes behind it is not looked at."""
    sub, _ = case.pair()
    client = case.client()
    client.send(packet(DISCONNECT) + mq.publish(case.topic(), b"x"))
    client.expect_closed()
    sub.expect_nothing()


suite311.run(globals(), at_once=4)
