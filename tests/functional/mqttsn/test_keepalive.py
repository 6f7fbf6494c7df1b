"""MQTT-SN 1.2, 6.11 and 6.12: keep alive, PINGREQ, DISCONNECT."""

import time

import sn
import suite
from harness import each
from suite import as_id, u16


def prepare(site):
    bench = suite.Bench(site, mqttsn={"keepalive_max": "4s"})
    return bench


def lost_after(dev, timeout=10):
    began = time.monotonic()
    dev.expect(sn.DISCONNECT, timeout)
    return time.monotonic() - began


@each(("1", 1), ("2", 2))
def test_lost(c, value):
    """6.11, 7.2: after one and a half times the Duration without a word; told once."""
    dev = c.connected(duration=value[1])
    assert 1.4 * value[1] < lost_after(dev) < 1.5 * value[1] + 2
    dev.silent()
    assert not dev.is_connected()


@each(("PINGREQ", sn.PINGREQ, b""), ("PINGREQ id", sn.PINGREQ, None), ("PUBLISH", sn.PUBLISH, b"\x02zz\x00\x00x"),
      ("PUBLISH -1", sn.PUBLISH, b"\x62zz\x00\x00x"), ("REGISTER", sn.REGISTER, b"\0\0\0\1t"),
      ("SUBSCRIBE", sn.SUBSCRIBE, b"\0\0\1t"), ("UNSUBSCRIBE", sn.UNSUBSCRIBE, b"\0\0\1t"),
      ("PUBREL", sn.PUBREL, b"\0\1"), ("PUBACK", sn.PUBACK, b"\0\1\0\1\0"), ("REGACK", sn.REGACK, b"\0\1\0\1\0"),
      ("WILLMSGUPD", sn.WILLMSGUPD, b"m"), ("PUBCOMP", sn.PUBCOMP, b"\0\1"), ("SEARCHGW", sn.SEARCHGW, b"\0"))
def test_any_message_is_life(c, value):
    """6.11: not only PINGREQ."""
    dev = c.connected(duration=2)
    body = dev.client_id.encode() if value[2] is None else value[2]
    for _ in range(3):
        time.sleep(1.3)
        dev.send(value[1], body)
        while True:
            dev.sock.settimeout(0.001)
            try:
                assert sn.parse(dev.sock.recv(100))[0] != sn.DISCONNECT
            except OSError:
                break
    assert dev.expect(sn.DISCONNECT) == b""


def test_malformed_is_no_life(c):
    """6.11: what is no message keeps nobody alive."""
    dev = c.connected(duration=1)
    began = time.monotonic()
    while True:
        dev.send_raw(b"\x05\x16")
        got = dev.recv(0.2)
        if got:
            break
        assert time.monotonic() - began < 8
    assert got[0] == sn.DISCONNECT


def test_duration_zero_gets_the_configured_cap(c):
    """6.11: 0 is never, but keepalive_max bounds it here."""
    dev = c.connected(duration=0)
    assert 5 < lost_after(dev, 12) < 9


def test_duration_beyond_the_cap(c):
    """6.11"""
    dev = c.connected(duration=3600)
    assert 5 < lost_after(dev, 12) < 9


def test_the_last_connect_counts(c):
    """6.2: a repeated CONNECT may bring another Duration."""
    dev = c.connected(duration=3)
    dev.connect(duration=1)
    assert lost_after(dev) < 4


def test_pingreq(c):
    """6.11: PINGRESP, nothing in it."""
    dev = c.connected()
    for _ in range(3):
        assert dev.ask(sn.PINGREQ, b"", sn.PINGRESP) == b""
    dev.silent()


def test_pingreq_with_own_id(c):
    """6.11: an active client may name itself."""
    dev = c.connected()
    dev.ask(sn.PINGREQ, dev.client_id.encode(), sn.PINGRESP)
    dev.silent()


@each(("other", b"somebody-else"), ("broken", b"\xff"), ("long", b"x" * 300))
def test_pingreq_with_another_id(c, value):
    """6.11: not the client of this address: DISCONNECT; its session goes on."""
    dev = c.connected()
    dev.ask(sn.PINGREQ, value[1], sn.DISCONNECT)
    assert dev.is_connected()


def test_pingreq_does_not_disturb_a_delivery(c):
    """6.11: the message waits for its PUBACK as before."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    c.say(two, b"1")
    m = dev.next_message()
    dev.ping()
    dev.puback(m)
    c.say(two, b"2")
    assert dev.next_message().payload == b"2"


def test_disconnect(c):
    """6.12: answered with DISCONNECT without Duration."""
    dev = c.connected()
    assert dev.ask(sn.DISCONNECT, b"", sn.DISCONNECT) == b""
    dev.silent()
    assert not dev.is_connected()


def test_disconnect_duration_zero(c):
    """6.12, 6.14: is a plain DISCONNECT."""
    dev = c.connected()
    assert dev.ask(sn.DISCONNECT, u16(0), sn.DISCONNECT) == b""
    assert not dev.is_connected()


def test_disconnect_repeated(c):
    """6.12: the answer may have been lost."""
    dev = c.connected()
    for _ in range(4):
        assert dev.ask(sn.DISCONNECT, b"", sn.DISCONNECT) == b""
    dev.silent()


def test_disconnect_keeps_a_session(c):
    """6.12, 6.3: without CleanSession (the sentence in 6.12 has it the wrong way round)."""
    dev, two = c.connected(clean=False), c.two()
    dev.subscribe_short(two)
    dev.disconnect()
    c.say(two, b"x")
    dev.silent()
    dev.connect(clean=False)
    assert dev.next_message().payload == b"x"


def test_disconnect_stops_deliveries(c):
    """6.12: nothing more is sent."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    c.say(two, b"1")
    c.say(two, b"2")
    m = dev.next_message()
    dev.disconnect()
    dev.puback(m)
    dev.next(sn.DISCONNECT)
    dev.silent()


def test_disconnect_publishes_no_will(c):
    """6.12"""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, False))
    dev.disconnect()
    time.sleep(1.7)
    assert c.heard() == []


def test_what_was_published_before_disconnect_arrives(c):
    """6.12: QoS 0 and 1, sent without waiting."""
    dev, two = c.connected(), c.two()
    dev.send_publish(as_id(two), b"0", 0, sn.SHORT)
    dev.send_publish(as_id(two), b"1", 1, sn.SHORT, msg_id=1)
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    assert c.wait_heard(2) == [(two, b"0"), (two, b"1")]


def test_qos2_finished_after_a_reconnect(c):
    """6.12, 6.3: PUBREL after DISCONNECT belongs to the next connection."""
    dev, two = c.connected(clean=False), c.two()
    dev.send_publish(as_id(two), b"x", 2, sn.SHORT, msg_id=9)
    dev.next(sn.PUBREC)
    dev.disconnect()
    dev.ask(sn.PUBREL, u16(9), sn.DISCONNECT)
    dev.connect(clean=False)
    dev.ask(sn.PUBREL, u16(9), sn.PUBCOMP)
    assert c.heard() == [(two, b"x")]


def test_others_go_on(c):
    """6.11: one lost client costs nobody else anything."""
    lost, other = c.connected(duration=1), c.connected(duration=3)
    other.subscribe_short(c.two())
    lost.expect(sn.DISCONNECT)
    c.say(c.two_names[0], b"x")
    assert other.next_message().payload == b"x"


suite.run(prepare, globals(), at_once=16)
