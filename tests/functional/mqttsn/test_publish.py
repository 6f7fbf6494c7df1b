"""MQTT-SN 1.2, 6.6: what devices publish at QoS 0, 1 and 2."""

import sn
import suite
from harness import each, until
from suite import as_id, u16

QOS = each(("qos 0", 0), ("qos 1", 1), ("qos 2", 2))


def prepare(site):
    return suite.Bench(site, limits={"inbound_qos2": 4, "message_bytes": "70KB"})


def connected(c):
    return c.connected(), c.two()


def say(dev, two, payload, qos, msg_id, **arguments):
    dev.send_publish(as_id(two), payload, qos, sn.SHORT, msg_id=msg_id, **arguments)


@QOS
def test_reaches_the_hub(c, value):
    """6.6: with its QoS."""
    dev, two = connected(c)
    dev.publish(two, b"x", qos=value[1])
    assert c.wait_heard(1) == [(two, b"x")]
    assert c.mine()[0].qos == value[1]
    dev.silent()


def test_qos0_is_not_answered(c):
    """6.6"""
    dev, two = connected(c)
    say(dev, two, b"x", 0, 0)
    dev.silent()


def test_qos1_is_acknowledged(c):
    """6.6: PUBACK with topic id, message id and 0x00."""
    dev = c.connected()
    topic_id = dev.register(c.topic())
    dev.send_publish(topic_id, b"x", 1, msg_id=0xABCD)
    assert dev.next(sn.PUBACK) == u16(topic_id, 0xABCD) + b"\x00"
    dev.silent()


def test_qos2_steps(c):
    """6.6: PUBREC, PUBREL, PUBCOMP, each with the message id."""
    dev, two = connected(c)
    say(dev, two, b"x", 2, 0x0102)
    assert dev.next(sn.PUBREC) == b"\x01\x02"
    assert dev.ask(sn.PUBREL, b"\x01\x02", sn.PUBCOMP) == b"\x01\x02"
    dev.silent()


@each(("0", 0), ("1", 1), ("247", 247), ("248", 248), ("249", 249), ("250", 250), ("251", 251), ("1400", 1400),
      ("65000", 65000))
def test_payload_length(c, value):
    """5.2.1: at both sides of the one-octet length."""
    dev, two = connected(c)
    payload = bytes(n % 251 for n in range(value[1]))
    dev.publish(two, payload, qos=1)
    assert c.wait_heard(1) == [(two, payload)]


def test_any_octets(c):
    """5.4.12: the data are the application's."""
    dev, two = connected(c)
    dev.publish(two, bytes(range(256)), qos=1)
    assert c.wait_heard(1) == [(two, bytes(range(256)))]


@QOS
def test_retain(c, value):
    """6.6, 5.3.4: kept for later subscribers; those of today see it without the flag."""
    dev, two = connected(c)
    other = c.connected()
    other.subscribe_short(two)
    dev.publish(two, b"kept", qos=value[1], retain=True)
    assert not other.next_message().retain
    assert c.retained(two) == b"kept"


def test_retain_is_deleted(c):
    """6.6: by an empty retained message."""
    dev, two = connected(c)
    dev.publish(two, b"kept", retain=True)
    dev.publish(two, b"", retain=True)
    assert c.retained(two) is None


def test_without_retain(c):
    """6.6"""
    dev, two = connected(c)
    dev.publish(two, b"kept", retain=True)
    dev.publish(two, b"passing")
    assert c.retained(two) == b"kept"


@each(("1", 1), ("2", 2))
def test_dup_never_seen(c, value):
    """6.13: the first transmission may have been lost: it is processed."""
    dev, two = connected(c)
    say(dev, two, b"x", value[1], 5, dup=True)
    dev.next(sn.PUBREC if value[1] == 2 else sn.PUBACK)
    assert c.wait_heard(1) == [(two, b"x")]


def test_qos2_repetitions_are_absorbed(c):
    """6.13: however often it comes before PUBREL."""
    dev, two = connected(c)
    for n in range(5):
        say(dev, two, b"x", 2, 5, dup=n > 0)
        assert dev.next(sn.PUBREC) == u16(5)
    dev.ask(sn.PUBREL, u16(5), sn.PUBCOMP)
    c.fence()
    assert c.heard() == [(two, b"x")]


def test_qos2_late_copy(c):
    """6.13: one that overtook nothing but PUBREL: answered, not published again."""
    dev, two = connected(c)
    dev.publish(two, b"x", qos=2)
    say(dev, two, b"x", 2, dev.msg_id, dup=True)
    assert dev.next(sn.PUBREC) == u16(dev.msg_id)
    dev.ask(sn.PUBREL, u16(dev.msg_id), sn.PUBCOMP)
    c.fence()
    assert c.heard() == [(two, b"x")]


def test_qos2_id_used_again(c):
    """5.3.7: after PUBCOMP the id is free for another message."""
    dev, two = connected(c)
    for payload in (b"1", b"2", b"3"):
        say(dev, two, payload, 2, 5)
        dev.next(sn.PUBREC)
        dev.ask(sn.PUBREL, u16(5), sn.PUBCOMP)
    assert c.wait_heard(3) == [(two, b"1"), (two, b"2"), (two, b"3")]


def test_pubrel_unknown(c):
    """6.13: the exchange is over here: PUBCOMP, so that it ends there."""
    dev = c.connected()
    assert dev.ask(sn.PUBREL, u16(99), sn.PUBCOMP) == u16(99)


def test_pubrel_repeated(c):
    """6.13: PUBCOMP may have been lost."""
    dev, two = connected(c)
    dev.publish(two, b"x", qos=2)
    for _ in range(3):
        assert dev.ask(sn.PUBREL, u16(dev.msg_id), sn.PUBCOMP) == u16(dev.msg_id)
    assert c.heard() == [(two, b"x")]


def test_several_qos1_at_once(c):
    """6.6: all are acknowledged, in order, without waiting for each other."""
    dev, two = connected(c)
    for n in range(1, 31):
        say(dev, two, b"%d" % n, 1, n)
    got = [dev.next(sn.PUBACK) for _ in range(30)]
    assert got == [two.encode() + u16(n) + b"\x00" for n in range(1, 31)]
    assert c.wait_heard(30) == [(two, b"%d" % n) for n in range(1, 31)]


def test_qos_mixed_keep_their_order(c):
    """6.6: of one publisher and topic."""
    dev, two = connected(c)
    for n in range(1, 13):
        dev.publish(two, b"%d" % n, qos=n % 3)
    other = c.wait_heard(12)
    assert sorted(other) == sorted((two, b"%d" % n) for n in range(1, 13))


def test_two_topics_one_message_id(c):
    """5.3.7: an acknowledged id is free."""
    dev = c.connected()
    one, two = c.two(), c.two()
    say(dev, one, b"1", 1, 5)
    dev.next(sn.PUBACK)
    say(dev, two, b"2", 1, 5)
    assert dev.next(sn.PUBACK)[:2] == two.encode()
    assert c.wait_heard(2) == [(one, b"1"), (two, b"2")]


def test_ids_of_both_directions(c):
    """5.3.7: the gateway's message ids and the device's are two sets."""
    dev, two = connected(c)
    dev.subscribe_short(two, qos=2)
    c.say(two, b"down", qos=2)
    m = dev.next_message()
    say(dev, c.two(), b"up", 2, m.msg_id)
    assert dev.next(sn.PUBREC) == u16(m.msg_id)
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.ask(sn.PUBREL, u16(m.msg_id), sn.PUBCOMP)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.silent()


def test_while_a_delivery_is_open(c):
    """6.6: the device may publish while it owes us PUBACK."""
    dev, two = connected(c)
    dev.subscribe_short(two)
    c.say(two, b"down")
    m = dev.next_message()
    other = c.two()
    say(dev, other, b"up", 1, 77)
    assert dev.next(sn.PUBACK)[2:4] == u16(77)
    dev.puback(m)
    assert (other, b"up") in c.wait_heard(2)


def test_to_itself(c):
    """6.6: its own subscription counts: acknowledged and delivered."""
    dev, two = connected(c)
    dev.subscribe_short(two)
    dev.publish(two, b"x", qos=1)
    assert dev.wait_messages(1)[0].payload == b"x"


@each(("1", 1), ("2", 2))
def test_message_id_zero(c, value):
    """5.3.7: such a message cannot be told from others: refused, not published."""
    dev, two = connected(c)
    dev.refused_publish(as_id(two), 3, qos=value[1], kind=sn.SHORT, msg_id=0)
    assert c.heard() == []


def test_too_many_open_qos2(c):
    """5.3.10: past the limit: 0x01, and room again after PUBREL."""
    dev, two = connected(c)
    for n in range(1, 5):
        say(dev, two, b"%d" % n, 2, n)
        dev.next(sn.PUBREC)
    dev.refused_publish(as_id(two), 1, qos=2, kind=sn.SHORT, msg_id=5)
    dev.ask(sn.PUBREL, u16(1), sn.PUBCOMP)
    say(dev, two, b"5", 2, 5)
    dev.next(sn.PUBREC)
    for n in range(2, 6):
        dev.ask(sn.PUBREL, u16(n), sn.PUBCOMP)
    assert c.wait_heard(5) == [(two, b"%d" % n) for n in range(1, 6)]


def test_refused_at_qos0_too(c):
    """6.10: a device must learn that its id is unknown."""
    dev = c.connected()
    dev.send_publish(55, b"x", 0)
    assert dev.next(sn.PUBACK) == u16(55, 0) + b"\x02"


def test_after_unsubscribe(c):
    """6.9: the id stays good for publishing."""
    dev = c.connected()
    topic_id = dev.subscribe(c.topic())
    dev.unsubscribe(c.topic())
    dev.publish_id(topic_id, b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic(), b"x")]


@QOS
def test_by_a_sleeper(c, value):
    """6.14: is served, and the device stays asleep."""
    dev, two = connected(c)
    dev.subscribe_short(two)
    dev.disconnect(60)
    other = c.two()
    dev.publish(other, b"x", qos=value[1])
    assert c.wait_heard(1) == [(other, b"x")]
    c.say(two, b"mail")
    dev.silent()
    assert dev.collect() == [b"mail"]


def test_to_a_dollar_topic(c):
    """6.6: topics of the gateway itself are nobody's to write."""
    dev = c.connected()
    topic_id = dev.register("$SYS/broker/uptime")
    dev.refused_publish(topic_id, 3)
    dev.silent()


def test_every_qos_answered_before_the_next_datagram(c):
    """6.6: a burst of everything at once is answered completely."""
    dev, two = connected(c)
    say(dev, two, b"0", 0, 0)
    say(dev, two, b"1", 1, 1)
    say(dev, two, b"2", 2, 2)
    dev.send(sn.PINGREQ)
    got = {dev.recv()[0] for _ in range(3)}
    assert got == {sn.PUBACK, sn.PUBREC, sn.PINGRESP}
    dev.ask(sn.PUBREL, u16(2), sn.PUBCOMP)
    until(lambda: len(c.mine()) == 3, "three publications")


suite.run(prepare, globals())
