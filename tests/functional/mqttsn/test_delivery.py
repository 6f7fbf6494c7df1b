"""MQTT-SN 1.2, 6.6, 6.10, 6.13: messages towards devices: order, acknowledgements, repetitions (T_retry, N_retry)."""

import time

import sn
import suite
from harness import each
from suite import as_id, u16


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = p/five\n", limits={"message_bytes": "70KB"},
                       mqttsn={"retry_interval": "700ms", "retry_count": 2, "wait_interval": "200ms"})


def subscribed(c, qos=1, **arguments):
    """A device with a short topic, so that no REGISTER is in the way."""
    arguments.setdefault("duration", 0)
    dev = c.connected(**arguments)
    dev.subscribe_short(c.two(), qos)
    return dev, c.two_names[-1]


def test_qos0(c):
    """6.6: sent once, with message id 0."""
    dev, two = subscribed(c, 0)
    c.say(two, b"x", qos=1)
    m = dev.next_message()
    assert (m.payload, m.qos, m.msg_id, m.dup, m.retain) == (b"x", 0, 0, False, False)
    time.sleep(0.9)
    dev.silent()


def test_qos1(c):
    """6.6: with a message id, until PUBACK."""
    dev, two = subscribed(c)
    c.say(two, b"x")
    m = dev.next_message()
    assert (m.qos, m.dup) == (1, False) and m.msg_id
    dev.puback(m)
    time.sleep(0.9)
    dev.silent()


def test_qos2(c):
    """6.6: PUBREC is answered with PUBREL; PUBCOMP ends it."""
    dev, two = subscribed(c, 2)
    c.say(two, b"x", qos=2)
    m = dev.next_message()
    assert (m.qos, m.dup) == (2, False)
    assert dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL) == u16(m.msg_id)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    time.sleep(0.9)
    dev.silent()


@each(("1", 1), ("2", 2))
def test_one_outstanding(c, value):
    """6.13: one QoS 1 or 2 message at a time; those behind it wait in order, QoS 0 too."""
    dev, two = subscribed(c, 2)
    for n in range(5):
        c.say(two, b"%d" % n, qos=0 if n == 2 else value[1])
    first = dev.next_message()
    dev.silent()
    dev.acknowledge = True
    dev.take(sn.PUBLISH, bytes([first.flags]) + u16(first.topic_id, first.msg_id) + first.payload)
    dev.wait_messages(5)
    assert [m.payload for m in dev.messages] == [b"0", b"1", b"2", b"3", b"4"]


def test_pubrel_is_waited_for(c):
    """6.13: the next message comes after PUBCOMP, not after PUBREC."""
    dev, two = subscribed(c, 2)
    c.say(two, b"1", qos=2)
    c.say(two, b"2", qos=2)
    m = dev.next_message()
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.silent()
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    assert dev.next_message().payload == b"2"


def test_a_hundred_at_once(c):
    """6.13: all of them, in order."""
    dev, two = subscribed(c, 2)
    for n in range(100):
        c.local.publish(two, b"%d" % n, n % 3, wait=False)
    dev.wait_messages(100)
    # MQTT itself keeps no order between QoS levels of a publisher; each level has its own.
    for qos in range(3):
        got = [m.payload for m in dev.messages if int(m.payload) % 3 == qos]
        assert got == [b"%d" % n for n in range(qos, 100, 3)]


def test_thirty_names_of_a_wildcard(c):
    """6.5, 6.13: each behind its REGISTER, at all QoS, in order."""
    dev = c.connected()
    assert dev.subscribe(c.topic("+/x"), qos=2) == 0
    for n in range(30):
        c.say(c.topic("%d/x" % n), b"%d" % n, qos=n % 3)
    dev.wait_messages(30)
    assert dev.received() == [(c.topic("%d/x" % n), b"%d" % n) for n in range(30)]


def test_message_ids_differ(c):
    """5.3.7: from one message to the next."""
    dev, two = subscribed(c)
    for n in range(10):
        c.say(two, b"%d" % n)
        dev.wait_messages(n + 1)
    assert len({m.msg_id for m in dev.messages if not m.dup} - {0}) == 10


@each(("PUBACK other id", sn.PUBACK, 1), ("PUBREC", sn.PUBREC, 0), ("PUBCOMP", sn.PUBCOMP, 0))
def test_not_an_acknowledgement(c, value):
    """6.6: of this QoS 1 message."""
    dev, two = subscribed(c)
    c.say(two, b"1")
    c.say(two, b"2")
    m = dev.next_message()
    msg_id = m.msg_id + value[2]
    dev.send(value[1], u16(m.topic_id, msg_id) + b"\x00" if value[1] == sn.PUBACK else u16(msg_id))
    if value[1] == sn.PUBREC:  # an exchange unknown here must end there
        assert dev.next(sn.PUBREL) == u16(msg_id)
    dev.silent()
    dev.puback(m)
    assert dev.next_message().payload == b"2"


def test_puback_for_qos2(c):
    """6.6: PUBACK 0x00 is no answer to a QoS 2 message."""
    dev, two = subscribed(c, 2)
    c.say(two, b"1", qos=2)
    c.say(two, b"2", qos=2)
    m = dev.next_message()
    dev.puback(m)
    dev.silent()
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    assert dev.next_message().payload == b"2"


def test_puback_nobody_waits_for(c):
    """6.6: ignored."""
    dev = c.connected()
    for code in range(5):
        dev.send(sn.PUBACK, u16(1, 1) + bytes([code]))
    dev.send(sn.PUBCOMP, u16(1))
    dev.silent()
    assert dev.is_connected()


def test_pubrec_unknown(c):
    """6.13: PUBREL, so that the exchange ends there."""
    assert c.connected().ask(sn.PUBREC, u16(77), sn.PUBREL) == u16(77)


def test_pubrec_repeated(c):
    """6.13: PUBREL may have been lost."""
    dev, two = subscribed(c, 2)
    c.say(two, b"1", qos=2)
    m = dev.next_message()
    for _ in range(3):
        assert dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL) == u16(m.msg_id)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.silent()


def test_puback_repeated(c):
    """6.13: acknowledges nothing else."""
    dev, two = subscribed(c)
    c.say(two, b"1")
    m = dev.next_message()
    dev.puback(m)
    c.say(two, b"2")
    assert dev.next_message().payload == b"2"
    dev.puback(m)
    assert dev.next_message().dup  # 2 is still waited for


@each(("1", 1), ("2", 2))
def test_publish_is_repeated(c, value):
    """6.13: after T_retry, the same with DUP, N_retry times."""
    dev, two = subscribed(c, value[1])
    c.say(two, b"x", qos=2)
    first = dev.next_message()
    began = time.monotonic()
    for _ in range(2):
        again = dev.next_message()
        assert again.dup and (again.msg_id, again.payload, again.topic_id) == (
            first.msg_id, b"x", first.topic_id)
    assert time.monotonic() - began > 1.2


def test_register_is_repeated(c):
    """6.13: REGISTER like PUBLISH; the same message id."""
    dev = c.connected(duration=0)
    dev.subscribe(c.topic("+"))
    c.say(c.topic("a"), b"x")
    first = dev.next(sn.REGISTER)
    assert dev.next(sn.REGISTER) == first
    dev.regack(first)
    m = dev.next_message()
    assert (m.payload, m.dup) == (b"x", False)


def test_pubrel_is_repeated(c):
    """6.13: after PUBREC the message never comes again, only PUBREL."""
    dev, two = subscribed(c, 2)
    c.say(two, b"x", qos=2)
    m = dev.next_message()
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    for _ in range(2):
        assert dev.next(sn.PUBREL) == u16(m.msg_id)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.silent()


@each(("PUBLISH", "publish"), ("REGISTER", "register"), ("PUBREL", "pubrel"))
def test_lost_after_n_retry(c, value):
    """6.13: then the client is lost: DISCONNECT, and its will."""
    dev, two = subscribed(c, 2, will=(c.topic("will"), b"gone", 1, False))
    if value[1] == "register":
        dev.subscribe(c.topic("+"))
        c.say(c.topic("a"), b"x")
    else:
        c.say(two, b"x", qos=2)
    if value[1] == "pubrel":
        dev.send(sn.PUBREC, u16(dev.next_message().msg_id))
    kinds = []
    while not kinds or kinds[-1] != sn.DISCONNECT:
        kinds.append(dev.recv()[0])
    assert kinds == [getattr(sn, value[0])] * 3 + [sn.DISCONNECT]
    assert (c.topic("will"), b"gone") in c.heard()
    assert not dev.is_connected()


def test_message_of_a_lost_client_is_kept(c):
    """6.3, 6.13: for its next connection, if the session stays."""
    dev, two = subscribed(c, clean=False)
    dev.acknowledge = False
    c.say(two, b"x")
    dev.expect(sn.DISCONNECT)
    dev.connect(clean=False)
    m = dev.next_message()
    assert (m.payload, m.dup) == (b"x", True)


def test_answer_in_time_starts_the_count_anew(c):
    """6.13: N_retry is for one message."""
    dev, two = subscribed(c)
    for n in range(3):
        c.say(two, b"%d" % n)
        dev.next_message()
        m = dev.next_message()
        assert m.dup and m.payload == b"%d" % n
        dev.puback(m)
    dev.silent()
    assert dev.is_connected()


def test_other_messages_do_not_stop_the_repetitions(c):
    """6.13: a sign of life is no acknowledgement."""
    dev, two = subscribed(c)
    c.say(two, b"x")
    m = dev.next_message()
    for _ in range(4):
        time.sleep(0.05)
        dev.ping()
    again = dev.next_message()
    assert again.dup and again.msg_id == m.msg_id


def test_rejected_topic_id(c):
    """6.10: PUBACK 0x02: the id is forgotten, REGISTER anew, and the message again."""
    dev = c.connected()
    topic_id = dev.subscribe(c.topic())
    c.say(c.topic(), b"x")
    m = dev.next_message()
    dev.puback(m, 2)
    body = dev.next(sn.REGISTER)
    assert body[:2] == u16(topic_id) and body[4:] == c.topic().encode()
    dev.regack(body)
    again = dev.next_message()
    assert (again.payload, again.topic_id, again.msg_id) == (b"x", topic_id, m.msg_id)


def test_rejected_topic_id_at_qos0(c):
    """6.10: the message is gone; the next one follows a REGISTER."""
    dev = c.connected()
    topic_id = dev.subscribe(c.topic(), qos=0)
    c.say(c.topic(), b"1")
    dev.puback(dev.next_message(), 2)
    dev.silent()
    c.say(c.topic(), b"2")
    body = dev.next(sn.REGISTER)
    assert body[:2] == u16(topic_id)
    dev.regack(body)
    assert dev.next_message().payload == b"2"


def test_rejected_topic_id_at_qos2(c):
    """6.10: PUBACK 0x02 is an answer to PUBLISH at any QoS."""
    dev = c.connected()
    dev.subscribe(c.topic(), qos=2)
    c.say(c.topic(), b"x", qos=2)
    dev.puback(dev.next_message(), 2)
    dev.regack(dev.next(sn.REGISTER))
    m = dev.next_message()
    assert m.payload == b"x"
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)


def test_rejected_for_ever(c):
    """6.10: a device that rejects whatever it is told does not get it for ever; the next goes on."""
    dev, other = c.connected(), c.two()
    dev.subscribe(c.topic())
    dev.subscribe_short(other)
    c.say(c.topic(), b"x")
    c.say(other, b"y")
    n = 0
    while True:
        kind, body = dev.recv()
        if kind == sn.REGISTER:
            dev.regack(body)
            continue
        m = sn.Message(body)
        if m.payload == b"y":
            break
        dev.puback(m, 2)
        n += 1
    assert 1 < n < 10


@each(("predefined", sn.PREDEFINED), ("short", sn.SHORT))
def test_rejected_predefined_or_short(c, value):
    """6.10: a device that does not know it gets a normal id for the name."""
    dev = c.connected()
    topic = "p/five" if value[1] == sn.PREDEFINED else c.two()
    dev.subscribe(5 if value[1] == sn.PREDEFINED else as_id(topic), kind=value[1])
    c.say(topic, b"x")
    m = dev.next_message()
    assert m.kind == value[1]
    dev.puback(m, 2)
    body = dev.next(sn.REGISTER)
    assert body[4:] == topic.encode()
    dev.regack(body)
    m = dev.next_message()
    assert (m.kind, m.payload) == (sn.NORMAL, b"x")
    dev.puback(m)


def test_congested(c):
    """6.10: PUBACK 0x01: the same again after T_WAIT, and nothing before."""
    dev, two = subscribed(c)
    c.say(two, b"1")
    c.say(two, b"2")
    m = dev.next_message()
    began = time.monotonic()
    dev.puback(m, 1)
    again = dev.next_message()
    assert time.monotonic() - began > 0.15
    assert (again.payload, again.msg_id) == (b"1", m.msg_id)
    dev.puback(again)
    assert dev.next_message().payload == b"2"


def test_congested_is_not_lost(c):
    """6.10: however often it says so."""
    dev, two = subscribed(c)
    c.say(two, b"1")
    for _ in range(5):
        dev.puback(dev.next_message(), 1)
    assert dev.is_connected()


@each(("not supported", 3), ("unknown code", 0x44))
def test_refused(c, value):
    """5.3.10: PUBACK 0x03: dropped; the next one goes on, and the session."""
    dev, two = subscribed(c)
    c.say(two, b"1")
    c.say(two, b"2")
    m = dev.next_message()
    dev.puback(m, value[1])
    assert dev.next_message().payload == b"2"


def test_refused_qos2(c):
    """5.3.10: the same before PUBREC."""
    dev, two = subscribed(c, 2)
    c.say(two, b"1", qos=2)
    c.say(two, b"2", qos=2)
    dev.puback(dev.next_message(), 3)
    assert dev.next_message().payload == b"2"


@each(("0", 0), ("247", 247), ("248", 248), ("249", 249), ("250", 250), ("1400", 1400), ("9000", 9000),
      ("65498", 65498))
def test_length(c, value):
    """5.2.1: in one octet as long as it fits, else in three; up to what a datagram carries."""
    dev, two = subscribed(c)
    c.say(two, b"x" * value[1])
    m = dev.next_message()
    assert len(m.payload) == value[1]
    dev.puback(m)


@each(("65499", 65499), ("70000", 70000))
def test_too_long_for_a_datagram(c, value):
    """5.2.1: dropped and counted; the next one goes on."""
    dev, two = subscribed(c)
    before = c.gateway.counters()
    c.say(two, b"x" * value[1])
    c.say(two, b"next")
    assert dev.next_message().payload == b"next"
    after = c.gateway.counters()
    assert sum(after.values()) > sum(before.values())


def test_retain_flag(c):
    """5.3.4: 0 for a message that arrives now, 1 for a stored one."""
    dev, two = subscribed(c)
    c.say(two, b"x", retain=True)
    m = dev.next_message()
    assert not m.retain
    dev.puback(m)
    late = c.connected()
    late.subscribe_short(two)
    m = late.next_message()
    assert m.retain
    late.puback(m)


def test_any_payload(c):
    """5.4.12"""
    dev, two = subscribed(c)
    c.say(two, bytes(range(256)))
    m = dev.next_message()
    assert m.payload == bytes(range(256))
    dev.puback(m)


def test_devices_do_not_wait_for_each_other(c):
    """6.13: one that does not answer delays nobody."""
    dumb, two = subscribed(c)
    quick = c.connected()
    quick.subscribe_short(two)
    for n in range(5):
        c.say(two, b"%d" % n)
    assert len(quick.wait_messages(5)) == 5
    assert dumb.next_message().payload == b"0"


def test_device_to_device(c):
    """6.6: up at one QoS, down at another."""
    two = c.two()
    source, sink = c.connected(), c.connected()
    sink.subscribe_short(two, 2)
    for n in range(9):
        source.publish(two, b"%d" % n, qos=n % 3)
        sink.wait_messages(n + 1)
    assert [m.payload for m in sink.messages] == [b"%d" % n for n in range(9)]
    assert [m.qos for m in sink.messages] == [0, 1, 2] * 3


suite.run(prepare, globals(), at_once=6)
