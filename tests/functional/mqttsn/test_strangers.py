"""MQTT-SN 1.2, 6.2 and 6.3: what an address without a session hears."""

import sn
import suite
from harness import each
from suite import FOREIGN, as_id, u16

TOLD = [("REGISTER", sn.REGISTER, b"\x00\x00\x00\x01topic"), ("REGACK", sn.REGACK, b"\x00\x01\x00\x01\x00"),
        ("PUBLISH 0", sn.PUBLISH, b"\x00\x00\x01\x00\x00x"), ("PUBLISH 1", sn.PUBLISH, b"\x20\x00\x01\x00\x01x"),
        ("PUBLISH 2", sn.PUBLISH, b"\x40\x00\x01\x00\x01x"), ("PUBACK", sn.PUBACK, b"\x00\x01\x00\x01\x00"),
        ("PUBCOMP", sn.PUBCOMP, b"\x00\x01"), ("PUBREC", sn.PUBREC, b"\x00\x01"), ("PUBREL", sn.PUBREL, b"\x00\x01"),
        ("SUBSCRIBE", sn.SUBSCRIBE, b"\x00\x00\x01topic"), ("UNSUBSCRIBE", sn.UNSUBSCRIBE, b"\x00\x00\x01topic"),
        ("PINGREQ", sn.PINGREQ, b""), ("PINGREQ id", sn.PINGREQ, b"nobody"), ("DISCONNECT", sn.DISCONNECT, b""),
        ("DISCONNECT sleep", sn.DISCONNECT, b"\x00\x3c"), ("WILLTOPICUPD", sn.WILLTOPICUPD, b"\x00topic"),
        ("WILLMSGUPD", sn.WILLMSGUPD, b"text")]

IGNORED = [("WILLTOPIC", sn.WILLTOPIC, b"\x00topic"), ("WILLTOPIC empty", sn.WILLTOPIC, b""),
           ("WILLMSG", sn.WILLMSG, b"text"), ("ADVERTISE", sn.ADVERTISE, b"\x01\x00\x3c"),
           ("GWINFO", sn.GWINFO, b"\x01"), ("CONNACK", sn.CONNACK, b"\x00"), ("WILLTOPICREQ", sn.WILLTOPICREQ, b""),
           ("WILLMSGREQ", sn.WILLMSGREQ, b""), ("SUBACK", sn.SUBACK, b"\x00\x00\x01\x00\x01\x00"),
           ("UNSUBACK", sn.UNSUBACK, b"\x00\x01"), ("PINGRESP", sn.PINGRESP, b""),
           ("WILLTOPICRESP", sn.WILLTOPICRESP, b"\x00"), ("WILLMSGRESP", sn.WILLMSGRESP, b"\x00")]


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = predefined/five\n")


@each(*TOLD)
def test_told(c, value):
    """6.3: one DISCONNECT, so that a device learns of a lost session."""
    dev = c.device()
    assert dev.ask(value[1], value[2], sn.DISCONNECT) == b""
    dev.silent()


@each(*TOLD)
def test_told_after_disconnect(c, value):
    """6.12: a device that has said goodbye is a stranger."""
    dev = c.connected()
    dev.disconnect()
    assert dev.ask(value[1], value[2], sn.DISCONNECT) == b""


@each(*IGNORED)
def test_ignored(c, value):
    """5.2.2: what belongs to no exchange, or only to gateways."""
    dev = c.device()
    dev.send(*value[1:])
    dev.silent()


@each(*[v for v in IGNORED if v[1] not in (sn.WILLTOPIC, sn.WILLMSG)])
def test_ignored_from_clients(c, value):
    """5.2.2: what only gateways send does nothing in a session either."""
    dev = c.connected()
    dev.send(*value[1:])
    dev.silent()
    assert dev.is_connected()


def test_at_a_rate(c):
    """6.3: whoever answers DISCONNECT with DISCONNECT does not keep the gateway busy."""
    dev = c.device()
    for _ in range(50):
        dev.send(sn.DISCONNECT)
    dev.send(sn.SEARCHGW, b"\x00")
    n = 0
    while dev.recv()[0] == sn.DISCONNECT:
        n += 1
    assert 1 <= n < 10, n


def test_the_rate_is_each_address_own(c):
    """6.3: one that floods does not keep others from being told."""
    flood = c.device()
    for _ in range(50):
        flood.send(sn.PINGREQ)
    c.device().ask(sn.PINGREQ, b"", sn.DISCONNECT)


def test_answers_are_no_amplifier(c):
    """6.3: no answer to a stranger is larger than three times the question."""
    for _, kind, body in TOLD:
        dev = c.device()
        dev.send(kind, body)
        got = dev.recv()
        assert len(got[1]) + 2 <= 3 * (len(body) + 2)
    assert len(c.device().ask(sn.SEARCHGW, b"\x00", sn.GWINFO)) + 2 <= 9


def test_told_and_then_connected(c):
    """6.3: what DISCONNECT is for."""
    dev = c.device()
    dev.ask(sn.PINGREQ, b"", sn.DISCONNECT)
    assert dev.connect().is_connected()


def test_a_stranger_publishes_nothing(c):
    """6.6: at no QoS but -1."""
    for qos in range(3):
        dev = c.device()
        dev.send_publish(as_id(c.two()), b"x", qos, sn.SHORT, msg_id=1)
        dev.next(sn.DISCONNECT)
    assert c.heard() == []


def test_a_stranger_cannot_use_another_clients_ids(c):
    """6.5: ids belong to a session, a session to an address."""
    dev = c.connected()
    topic_id = dev.register(c.topic())
    other = c.device()
    other.send_publish(topic_id, b"x", qos=1)
    other.next(sn.DISCONNECT)
    assert c.heard() == []


def test_foreign_disconnect_ends_nothing(c):
    """6.12: answered, but the session it means is another address's."""
    dev = c.connected()
    c.device(dev.client_id).disconnect()
    c.device(dev.client_id, FOREIGN).disconnect(60)
    assert dev.is_connected()


def test_foreign_ping_is_no_life(c):
    """6.11: PINGREQ with the id of an active client from elsewhere: DISCONNECT."""
    dev = c.connected()
    for ip in ("127.0.0.1", FOREIGN):
        c.device(dev.client_id, ip).ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)
    assert dev.is_connected()


def test_foreign_ping_takes_no_mail(c):
    """6.14: nor a sleeper's."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    dev.disconnect(60)
    c.say(c.two_names[0], b"mail")
    thief = c.device(dev.client_id, FOREIGN)
    thief.ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)
    thief.silent()
    assert dev.collect() == [b"mail"]


def test_foreign_acknowledgement_counts_nothing(c):
    """6.6: PUBACK from another address."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    c.say(c.two_names[0], b"1")
    m = dev.next_message()
    other = c.device(dev.client_id, FOREIGN)
    other.puback(m)
    other.next(sn.DISCONNECT)
    c.say(c.two_names[0], b"2")
    dev.silent()
    dev.puback(m)
    assert dev.next_message().payload == b"2"


def test_foreign_subscribe_changes_nothing(c):
    """6.9"""
    dev = c.connected()
    other = c.device(dev.client_id)
    other.say_subscribe(c.topic())
    other.next(sn.DISCONNECT)
    c.say(c.topic(), b"x")
    dev.silent()
    other.silent()


def test_foreign_will_update_changes_nothing(c):
    """6.4"""
    dev = c.connected(duration=1, will=(c.topic("will"), b"mine", 1, False))
    other = c.device(dev.client_id)
    other.ask(sn.WILLMSGUPD, b"forged", sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    assert c.wait_heard(1) == [(c.topic("will"), b"mine")]


def test_minus_one_is_no_question(c):
    """6.8: a stranger may; nothing is answered."""
    dev = c.device()
    dev.send(sn.PUBLISH, bytes([sn.flags(qos=3, kind=sn.PREDEFINED)]) + u16(5, 0) + b"x")
    dev.silent()


suite.run(prepare, globals(), at_once=4)
