"""MQTT-SN 1.2, 6.3: what CleanSession forgets, and what stays without it."""

import time

import sn
import suite
from harness import until
from suite import as_id, u16


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = predefined/five\n",
                       mqttsn={"session_expiry": "2s"})


def kept(c, **arguments):
    return c.connected(clean=False, **arguments)


def test_true_forgets_subscriptions(c):
    """6.3"""
    dev = kept(c)
    dev.subscribe(c.topic())
    dev.disconnect()
    dev.connect(clean=True)
    c.say(c.topic(), b"x")
    dev.silent()


def test_true_forgets_topic_ids(c):
    """6.3, 6.10: an id of the old session is refused."""
    dev = kept(c)
    topic_id = dev.register(c.topic())
    dev.disconnect()
    dev.connect(clean=True)
    dev.refused_publish(topic_id, 2)
    assert c.heard() == []


def test_true_forgets_mail(c):
    """6.3"""
    dev = kept(c)
    dev.subscribe(c.topic())
    dev.disconnect()
    c.say(c.topic(), b"mail")
    dev.connect(clean=True)
    dev.silent()


def test_true_ends_with_the_connection(c):
    """6.3: nothing is left for a later CONNECT without the flag."""
    dev = c.connected(clean=True)
    dev.subscribe(c.topic())
    dev.disconnect()
    c.say(c.topic(), b"mail")
    dev.connect(clean=False)
    c.say(c.topic(), b"more")
    dev.silent()


def test_true_forgets_open_exchanges(c):
    """6.3: a QoS 2 message id of the old session is free: a message like the old one is new."""
    two = c.two()
    dev = kept(c)
    dev.send_publish(as_id(two), b"same", qos=2, kind=sn.SHORT, msg_id=5)
    dev.next(sn.PUBREC)
    dev.connect(clean=True)
    dev.send_publish(as_id(two), b"same", qos=2, kind=sn.SHORT, msg_id=5)
    dev.next(sn.PUBREC)
    dev.ask(sn.PUBREL, u16(5), sn.PUBCOMP)
    assert c.wait_heard(2) == [(two, b"same")] * 2


def test_false_keeps_subscriptions(c):
    """6.3"""
    dev = kept(c)
    dev.subscribe(c.topic())
    dev.disconnect()
    dev.connect(clean=False)
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"


def test_false_keeps_topic_ids(c):
    """6.3, 6.5: the device may go on with its ids."""
    dev = kept(c)
    topic_id = dev.register(c.topic())
    dev.disconnect()
    dev.connect(clean=False)
    dev.publish_id(topic_id, b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic(), b"x")]
    assert dev.register(c.topic()) == topic_id


def test_false_never_gives_an_id_to_another_name(c):
    """6.5: also after the first name is not used any more."""
    dev = kept(c)
    first = dev.subscribe(c.topic("a"))
    dev.unsubscribe(c.topic("a"))
    dev.disconnect()
    dev.connect(clean=False)
    assert dev.register(c.topic("b")) != first
    dev.publish_id(first, b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic("a"), b"x")]


def test_false_keeps_mail_in_order(c):
    """6.3: QoS 1 and 2 of a client that is away."""
    dev = kept(c)
    dev.subscribe(c.topic("#"), qos=2)
    dev.disconnect()
    for n in range(10):
        c.say(c.topic("%d" % n), b"%d" % n, qos=1 + n % 2)
    dev.connect(clean=False)
    assert [m.payload for m in dev.wait_messages(10)] == [b"%d" % n for n in range(10)]


def test_registered_again_with_the_same_id(c):
    """6.5: the device may have rebooted: REGISTER precedes the first PUBLISH after CONNECT."""
    dev = kept(c)
    topic_id = dev.subscribe(c.topic())
    c.say(c.topic(), b"1")
    dev.wait_messages(1)
    dev.disconnect()
    dev.connect(clean=False)
    c.say(c.topic(), b"2")
    body = dev.next(sn.REGISTER)
    assert body[:2] == u16(topic_id) and body[4:] == c.topic().encode()
    dev.regack(body)
    assert dev.next_message().topic_id == topic_id


def test_registered_again_after_a_repeated_connect(c):
    """6.5: which may be that of a rebooted device."""
    dev = kept(c)
    topic_id = dev.subscribe(c.topic())
    dev.connect(clean=False)
    c.say(c.topic(), b"2")
    assert dev.next(sn.REGISTER)[:2] == u16(topic_id)


def test_not_registered_again_where_the_device_did(c):
    """6.5: it has told us that it knows the id."""
    dev = kept(c)
    topic_id = dev.subscribe(c.topic())
    dev.disconnect()
    dev.connect(clean=False)
    assert dev.register(c.topic()) == topic_id
    c.say(c.topic(), b"x")
    assert dev.next_message().topic_id == topic_id


def test_predefined_and_short_need_no_register(c):
    """6.5, 6.7: nor after a reconnect."""
    dev = kept(c)
    dev.subscribe(5, kind=sn.PREDEFINED)
    dev.subscribe_short(c.two())
    dev.disconnect()
    dev.connect(clean=False)
    c.say("predefined/five", b"p")
    m = dev.next_message()
    assert (m.kind, m.topic_id) == (sn.PREDEFINED, 5)
    dev.puback(m)
    c.say(c.two_names[0], b"s")
    m = dev.next_message()
    assert (m.kind, m.topic_id) == (sn.SHORT, as_id(c.two_names[0]))


def test_unacknowledged_comes_again(c):
    """6.3: with its message id and DUP, before what is newer."""
    dev = kept(c)
    dev.subscribe_short(c.two())
    c.say(c.two_names[0], b"1")
    first = dev.next_message()
    dev.disconnect()
    c.say(c.two_names[0], b"2")
    dev.connect(clean=False)
    again = dev.next_message()
    assert (again.payload, again.msg_id, again.dup) == (b"1", first.msg_id, True)
    dev.puback(again)
    second = dev.next_message()
    assert (second.payload, second.dup) == (b"2", False)


def test_qos2_goes_on_after_pubrec(c):
    """6.3: PUBREL, and not the message again."""
    dev = kept(c)
    dev.subscribe_short(c.two(), qos=2)
    c.say(c.two_names[0], b"1", qos=2)
    m = dev.next_message()
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.disconnect()
    dev.connect(clean=False)
    assert dev.next(sn.PUBREL) == u16(m.msg_id)
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.silent()


def test_qos2_to_the_gateway_goes_on(c):
    """6.3: its repetition after a reconnect is not published twice."""
    two = c.two()
    dev = kept(c)
    dev.send_publish(as_id(two), b"once", qos=2, kind=sn.SHORT, msg_id=5)
    dev.next(sn.PUBREC)
    dev.disconnect()
    dev.connect(clean=False)
    dev.send_publish(as_id(two), b"once", qos=2, kind=sn.SHORT, msg_id=5, dup=True)
    dev.next(sn.PUBREC)
    dev.ask(sn.PUBREL, u16(5), sn.PUBCOMP)
    c.fence()
    assert c.heard() == [(two, b"once")]


def test_a_loss_keeps_the_session(c):
    """6.3: as DISCONNECT does."""
    dev = kept(c, duration=1)
    dev.subscribe(c.topic())
    dev.expect(sn.DISCONNECT)
    c.say(c.topic(), b"mail")
    dev.connect(clean=False)
    assert dev.wait_messages(1)[0].payload == b"mail"


def test_a_loss_ends_a_clean_session(c):
    """6.3"""
    dev = c.connected(clean=True, duration=1)
    dev.subscribe(c.topic())
    dev.expect(sn.DISCONNECT)
    dev.connect(clean=False)
    c.say(c.topic(), b"x")
    dev.silent()


def test_from_another_port(c):
    """6.3: the session is the client's, not the address's."""
    old = kept(c)
    topic_id = old.register(c.topic())
    old.disconnect()
    dev = c.device(old.client_id).connect(clean=False)
    dev.publish_id(topic_id, b"x", qos=1)
    assert c.wait_heard(1) == [(c.topic(), b"x")]


def test_ends_at_its_expiry(c):
    """6.3: not kept for ever: session_expiry of the configuration."""
    dev = kept(c)
    topic_id = dev.register(c.topic())
    dev.disconnect()

    def forgotten():
        dev.connect(clean=False)
        dev.send_publish(topic_id, b"x", qos=1, msg_id=3)
        code = dev.next(sn.PUBACK)[4]
        dev.disconnect()
        if code == 0:
            time.sleep(2.2)
        return code == 2
    until(forgotten, "the end of the session")


def test_does_not_expire_while_connected(c):
    """6.3: the time counts from the end of the connection."""
    dev = kept(c)
    dev.subscribe(c.topic())
    time.sleep(2.5)
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"


def test_many_sessions_do_not_mix(c):
    """6.3: each client finds its own."""
    devs = [kept(c) for _ in range(10)]
    for n, dev in enumerate(devs):
        dev.subscribe(c.topic("%d" % n))
        dev.disconnect()
    for n in range(10):
        c.say(c.topic("%d" % n), b"%d" % n)
    for n, dev in reversed(list(enumerate(devs))):
        dev.connect(clean=False)
        assert dev.wait_messages(1)[0].payload == b"%d" % n


suite.run(prepare, globals(), at_once=8)
