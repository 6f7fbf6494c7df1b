"""MQTT 5.0: CONNECT, CONNACK, sessions, wills and DISCONNECT (3.1, 3.2, 3.14, 4.1)."""

import time

import mq5
import suite5
from mq5 import (ALIAS_MAX, ASSIGNED_ID, AUTH, AUTH_DATA, AUTH_METHOD, CONNACK, CONTENT_TYPE, DISCONNECT,
                 MAX_PACKET, MESSAGE_EXPIRY, PAYLOAD_FORMAT, PUBACK, PUBLISH, REASON, RECEIVE_MAX, REQUEST_PROBLEM,
                 REQUEST_RESPONSE, RESPONSE_TOPIC, SERVER_KEEP_ALIVE, SESSION_EXPIRY, SHARED_AVAILABLE, USER,
                 WILL_DELAY)


def refused(case, code, *arguments, **keywords):
    client = case.raw()
    client.send(mq5.connect(case.name(), *arguments, **keywords))
    answer = client.expect(CONNACK, code)
    assert not answer.present
    client.expect_closed()
    return answer


def test_connack_tells_the_limits(case):
    answer = case.client().connack
    assert answer.get(RECEIVE_MAX) == 1000
    assert answer.get(MAX_PACKET) > 1024 * 1024
    assert answer.get(ALIAS_MAX) == 16
    assert answer.get(SHARED_AVAILABLE) is None  # which says that they are
    for absent in (ASSIGNED_ID, SERVER_KEEP_ALIVE, SESSION_EXPIRY, REASON):
        assert not answer.all(absent)


def test_every_property_of_connect_is_taken(case):
    pairs = ((SESSION_EXPIRY, 5), (RECEIVE_MAX, 1), (MAX_PACKET, 1000), (ALIAS_MAX, 65535), (REQUEST_RESPONSE, 1),
             (REQUEST_PROBLEM, 1), (USER, ("a", "b")), (USER, ("a", "b")))
    will = (case.topic(), b"w", 1, 0, (WILL_DELAY, 1), (PAYLOAD_FORMAT, 1), (MESSAGE_EXPIRY, 9), (CONTENT_TYPE, "c"),
            (RESPONSE_TOPIC, "r"), (mq5.CORRELATION, b"\0"), (USER, ("k", "v")))
    case.client(pairs=pairs, will=will, user="u", password=b"p").disconnect(0)


def test_an_id_is_assigned(case):
    client = mq5.Mq5Client(case.gateway, "", clean=False, pairs=((SESSION_EXPIRY, 60),))
    name = client.connack.get(ASSIGNED_ID)
    client.close()
    again = mq5.Mq5Client(case.gateway, name, clean=False)
    assert again.connack.present and not again.connack.all(ASSIGNED_ID)
    again.disconnect()


def test_a_password_needs_no_user_name(case):
    case.client(password=b"p").disconnect()


def test_authentication_methods_are_refused(case):
    refused(case, 0x8c, pairs=((AUTH_METHOD, "SCRAM-SHA-1"), (AUTH_DATA, b"x")))


def test_the_reason_is_told_unless_unwanted(case):
    answer = refused(case, 0x8c, pairs=((AUTH_METHOD, "m"),))
    assert answer.get(REASON) == b"bad authentication method"
    answer = refused(case, 0x8c, pairs=((AUTH_METHOD, "m"), (REQUEST_PROBLEM, 0)))
    assert not answer.props


def test_a_malformed_connect_is_told(case):
    for code, pairs in ((0x82, ((RECEIVE_MAX, 0),)), (0x82, ((MAX_PACKET, 0),)), (0x82, ((REQUEST_PROBLEM, 2),)),
                        (0x82, ((REQUEST_RESPONSE, 2),)), (0x82, ((AUTH_DATA, b"x"),)),
                        (0x82, ((SESSION_EXPIRY, 1), (SESSION_EXPIRY, 1))), (0x81, ((WILL_DELAY, 1),)),
                        (0x81, (b"\x7f\0",)), (0x81, (b"\x11\0\0",)), (0x81, ((USER, ("a", b"\xff")),))):
        refused(case, code, pairs=pairs)


def test_a_bad_will_is_told(case):
    t = case.topic()
    refused(case, 0x99, will=(t, b"\xff", 0, 0, (PAYLOAD_FORMAT, 1)))
    refused(case, 0x82, will=(t, b"", 0, 0, (PAYLOAD_FORMAT, 2)))
    refused(case, 0x82, will=(t, b"", 0, 0, (RESPONSE_TOPIC, "a/#")))
    refused(case, 0x82, will=(t, b"", 0, 0, (WILL_DELAY, 1), (WILL_DELAY, 1)))
    refused(case, 0x81, will=(t, b"", 0, 0, (SESSION_EXPIRY, 1)))
    refused(case, 0x81, will=("a/+", b"", 0, 0))


def test_a_later_version_is_refused(case):
    client = case.raw()
    client.send(mq5.packet(mq5.CONNECT, mq5.text("MQTT") + bytes([6, 2, 0, 0, 0]) + mq5.text("x")))
    client.expect(CONNACK, 0x84)
    client.expect_closed()


def test_a_second_connect_and_auth_are_protocol_errors(case):
    client = case.client("a")
    client.send(mq5.connect(case.name("a")))
    client.expect_bye(0x82)
    client = case.client("b")
    client.send(mq5.packet(AUTH, b"\x18" + mq5.props((AUTH_METHOD, "m"))))
    assert client.expect_bye(0x82).get(REASON) == b"protocol error"
    client = case.client("c", pairs=((REQUEST_PROBLEM, 0),))
    client.send(mq5.packet(AUTH))
    assert not client.expect_bye(0x82).props


def test_a_session_ends_with_its_connection_or_later(case):
    client = case.client()
    client.subscribe(case.topic(), 1)
    client.close()
    client = case.client(clean=False, pairs=((SESSION_EXPIRY, 60),))
    assert not client.connack.present
    client.subscribe(case.topic(), 1)
    client.close()
    case.client("other").publish(case.topic(), b"kept", 1)
    client = case.client(clean=False)
    assert client.connack.present
    assert client.expect(PUBLISH).payload == b"kept"
    client.close()  # now without an expiry
    assert not case.client(clean=False).connack.present


def test_a_session_expires(case):
    case.client(clean=False, pairs=((SESSION_EXPIRY, 1),)).close()
    time.sleep(1.5)
    assert not case.client(clean=False).connack.present


def test_the_expiry_is_capped_and_told(case):
    answer = case.client(pairs=((SESSION_EXPIRY, 0xffffffff),)).connack
    assert answer.get(SESSION_EXPIRY) == 7 * 86400


def test_disconnect_changes_the_expiry(case):
    case.client(clean=False, pairs=((SESSION_EXPIRY, 60),)).disconnect(0, (SESSION_EXPIRY, 0))
    client = case.client(clean=False, pairs=((SESSION_EXPIRY, 1),))
    assert not client.connack.present
    client.disconnect(0, (SESSION_EXPIRY, 60))
    time.sleep(1.5)
    client = case.client(clean=False)
    assert client.connack.present
    client.send(mq5.packet(DISCONNECT, b"\0" + mq5.props((SESSION_EXPIRY, 1))))
    client.expect_bye(0x82)  # it was to end with the connection


def test_disconnect_has_reasons_of_a_client(case):
    for code, packet in ((0x82, b"\x8e"), (0x82, b"\x01"), (0x82, b"\0" + mq5.props((SESSION_EXPIRY, 1))),
                         (0x81, b"\0" + mq5.props((mq5.SERVER_REFERENCE, "x"))), (0x81, b"\0\0\0"),
                         (0x81, b"\0" + mq5.props((RECEIVE_MAX, 1)))):
        client = case.client()
        client.send(mq5.packet(DISCONNECT, packet))
        client.expect_bye(code)


def test_the_older_connection_is_told_of_a_take_over(case):
    older = case.client()
    case.client()
    assert older.expect_bye(0x8e).get(REASON) == b"session taken over"


def test_the_will_of_a_connection_that_gives_way(case):
    watch = watcher(case)
    for n, (delay, clean, due) in enumerate(((0, False, True), (0, True, True), (60, False, False), (60, True, True))):
        will = (case.topic(str(n)), b"", 0, 0, (WILL_DELAY, delay))
        keep = dict(clean=clean, pairs=((SESSION_EXPIRY, 60),))
        older = case.client("twin%d" % n, will=will, **keep)
        case.client("twin%d" % n, **keep)
        older.expect_bye(0x8e)
        if due:
            assert watch.expect(PUBLISH).topic == case.topic(str(n))
        watch.expect_nothing()


def test_keep_alive_ends_with_a_reason(case):
    began = time.monotonic()
    case.client(keepalive=1).expect_bye(0x8d)
    assert 1.3 < time.monotonic() - began < 4


def watcher(case):
    client = case.client("watcher")
    client.subscribe(case.topic("#"), 2)
    return client


def test_a_will_with_its_properties(case):
    watch = watcher(case)
    properties = ((PAYLOAD_FORMAT, 1), (MESSAGE_EXPIRY, 100), (CONTENT_TYPE, "text/x"), (RESPONSE_TOPIC, "r/s"),
                  (mq5.CORRELATION, b"\0\1"), (USER, ("k", "1")), (USER, ("k", "2")))
    case.client(will=(case.topic("w"), b"gone", 2, 0) + properties).close()
    m = watch.expect(PUBLISH)
    assert (m.topic, m.payload, m.qos) == (case.topic("w"), b"gone", 2)
    assert sorted(m.props, key=repr) == sorted(((i, v.encode() if isinstance(v, str) else v)
                                                for i, v in properties), key=repr)


def test_the_will_and_the_reason_of_disconnect(case):
    watch = watcher(case)
    for n, (code, due) in enumerate(((None, False), (0x00, False), (0x04, True), (0x98, True))):
        case.client(will=(case.topic(str(n)), b"", 0, 0)).disconnect(code)
        if due:
            assert watch.expect(PUBLISH).topic == case.topic(str(n))
        else:
            watch.expect_nothing()


def test_a_delayed_will_waits_and_is_forgotten_on_return(case):
    watch = watcher(case)
    will = (case.topic("w"), b"", 0, 0, (WILL_DELAY, 1))
    case.client(clean=False, pairs=((SESSION_EXPIRY, 60),), will=will).close()
    began = time.monotonic()
    watch.expect(PUBLISH)
    assert 0.7 < time.monotonic() - began < 3
    case.client(clean=False, pairs=((SESSION_EXPIRY, 60),), will=will).close()
    back = case.client(clean=False, pairs=((SESSION_EXPIRY, 0),))
    time.sleep(1.4)
    watch.expect_nothing()
    back.disconnect()


def test_a_delayed_will_ends_with_the_session(case):
    watch = watcher(case)
    will = (case.topic("w"), b"", 0, 0, (WILL_DELAY, 100))
    case.client("a", will=will).close()  # without an expiry: at once
    watch.expect(PUBLISH)
    case.client("b", pairs=((SESSION_EXPIRY, 1),), will=will).close()
    watch.expect(PUBLISH)
    case.client("d", pairs=((SESSION_EXPIRY, 100),), will=will).close()
    time.sleep(0.2)
    watch.expect_nothing()
    case.client("d", clean=True)  # a clean start ends it
    watch.expect(PUBLISH)


suite5.run(globals())
