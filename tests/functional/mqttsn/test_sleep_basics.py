"""MQTT-SN 1.2, 6.14: sleeping clients: falling asleep, collecting, waking, oversleeping."""

import time

import sn
import suite
from harness import each
from suite import FOREIGN, as_id, u16


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = p/five\n",
                       mqttsn={"retry_interval": "600ms", "retry_count": 1, "wait_interval": "200ms"})


def asleep(c, sleep_s=60, qos=1, **arguments):
    dev = c.connected(**arguments)
    dev.subscribe_short(c.two(), qos)
    dev.disconnect(sleep_s)
    return dev, c.two_names[-1]


def test_falls_asleep(c):
    """6.14: DISCONNECT with a Duration is answered with DISCONNECT."""
    dev = c.connected()
    assert dev.ask(sn.DISCONNECT, u16(60), sn.DISCONNECT) == b""
    dev.silent()


@each(("0", 0), ("1", 1), ("2", 2))
def test_nothing_is_sent(c, value):
    """6.14: messages of every QoS are kept for it."""
    dev, two = asleep(c, qos=2)
    c.say(two, b"x", qos=value[1])
    dev.silent()
    assert dev.collect() == [b"x"]


def test_no_repetitions(c):
    """6.14: what was under way is not repeated to a sleeper, but comes again at the next awakening."""
    dev = c.connected()
    two = c.two()
    dev.subscribe_short(two)
    c.say(two, b"x")
    m = dev.next_message()
    dev.disconnect(60)
    time.sleep(1.5)
    dev.silent()
    dev.send(sn.PINGREQ, dev.client_id.encode())
    again = dev.next_message()
    assert (again.payload, again.msg_id, again.dup) == (b"x", m.msg_id, True)
    dev.puback(again)
    dev.next(sn.PINGRESP)


def test_empty_mailbox(c):
    """6.14: PINGRESP at once."""
    dev, _ = asleep(c)
    dev.ask(sn.PINGREQ, dev.client_id.encode(), sn.PINGRESP)
    dev.silent()


def test_in_order(c):
    """6.14: each QoS 1 and 2 acknowledged before the next; PINGRESP at the end."""
    dev, two = asleep(c, qos=2)
    for n in range(9):
        c.say(two, b"%d" % n, qos=n % 3)
    assert dev.collect() == [b"%d" % n for n in range(9)]
    dev.silent()


def test_with_registers(c):
    """6.14, 6.5: names the device does not know yet are registered on the way."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    dev.disconnect(60)
    for n in range(5):
        c.say(c.topic("%d" % n), b"%d" % n, qos=n % 2)
    dev.silent()
    assert dev.collect() == [b"%d" % n for n in range(5)]
    assert [t for t, _ in dev.received()] == [c.topic("%d" % n) for n in range(5)]


def test_predefined(c):
    """6.14: goes out in its form."""
    dev = c.connected()
    dev.subscribe(5, kind=sn.PREDEFINED)
    dev.disconnect(60)
    c.say("p/five", dev.client_id.encode())
    assert dev.client_id.encode() in dev.collect()
    assert dev.messages[0].kind == sn.PREDEFINED


def test_one_at_a_time(c):
    """6.14: the next, and PINGRESP, wait for PUBACK."""
    dev, two = asleep(c)
    c.say(two, b"1")
    c.say(two, b"2")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    dev.silent()
    dev.puback(m)
    m = dev.next_message()
    assert m.payload == b"2"
    dev.silent()
    dev.puback(m)
    dev.next(sn.PINGRESP)


def test_qos2_is_finished_before_pingresp(c):
    """6.14: PUBCOMP included."""
    dev, two = asleep(c, qos=2)
    c.say(two, b"1", qos=2)
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    dev.ask(sn.PUBREC, u16(m.msg_id), sn.PUBREL)
    dev.silent()
    dev.send(sn.PUBCOMP, u16(m.msg_id))
    dev.next(sn.PINGRESP)


def test_asleep_again(c):
    """6.14: after PINGRESP nothing comes until the next PINGREQ."""
    dev, two = asleep(c)
    dev.collect()
    c.say(two, b"x")
    dev.silent()
    assert dev.collect() == [b"x"]
    assert dev.collect() == []


def test_what_arrives_meanwhile(c):
    """6.14: is sent before PINGRESP."""
    dev, two = asleep(c)
    c.say(two, b"1")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    c.say(two, b"2")
    dev.puback(m)
    m = dev.next_message()
    assert m.payload == b"2"
    dev.puback(m)
    dev.next(sn.PINGRESP)


def test_pingreq_repeated_while_awake(c):
    """6.14: does not start the flush again; one PINGRESP."""
    dev, two = asleep(c)
    c.say(two, b"1")
    c.say(two, b"2")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    dev.send(sn.PINGREQ, dev.client_id.encode())
    dev.silent()
    dev.puback(m)
    m = dev.next_message()
    assert m.payload == b"2"
    dev.puback(m)
    dev.next(sn.PINGRESP)
    dev.silent()


def test_unanswered_goes_back_to_sleep(c):
    """6.14: N_retry used up: not lost, but asleep; the message is kept."""
    dev, two = asleep(c, will=(c.topic("will"), b"gone", 1, False))
    c.say(two, b"x")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    assert dev.next_message().dup
    time.sleep(1)
    dev.silent()
    dev.send(sn.PINGREQ, dev.client_id.encode())
    again = dev.next_message()
    assert (again.payload, again.msg_id, again.dup) == (b"x", m.msg_id, True)
    dev.puback(again)
    dev.next(sn.PINGRESP)
    assert c.topic("will") not in [t for t, _ in c.heard()]


def test_congested_while_awake(c):
    """6.14: a device that has no room sleeps on; the message waits."""
    dev, two = asleep(c)
    c.say(two, b"x")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    dev.puback(dev.next_message(), 1)
    dev.next(sn.PINGRESP)
    time.sleep(0.3)
    dev.silent()
    assert dev.collect() == [b"x"]


def test_pingreq_without_id(c):
    """6.14: a sign of life that asks for nothing."""
    dev, two = asleep(c)
    c.say(two, b"x")
    dev.ping()
    dev.silent()
    assert dev.collect() == [b"x"]


def test_pingreq_with_another_id(c):
    """6.14: DISCONNECT, and nobody's mail."""
    dev, two = asleep(c)
    c.say(two, b"x")
    dev.ask(sn.PINGREQ, b"somebody-else", sn.DISCONNECT)
    assert dev.collect() == [b"x"]


def test_from_a_new_port(c):
    """6.14: a NAT may have forgotten the old one; answers go to the new."""
    dev, two = asleep(c)
    c.say(two, b"x")
    moved = c.device(dev.client_id)
    assert moved.collect() == [b"x"]
    c.say(two, b"y")
    assert moved.collect() == [b"y"]
    dev.silent()


def test_from_a_foreign_host(c):
    """6.14: does not get it."""
    dev, two = asleep(c)
    c.say(two, b"x")
    thief = c.device(dev.client_id, FOREIGN)
    thief.ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)
    thief.silent()
    assert dev.collect() == [b"x"]


def test_oversleeping(c):
    """6.14: after one and a half times the Duration: lost, with the will."""
    dev, _ = asleep(c, 1, will=(c.topic("will"), b"overslept", 1, False))
    began = time.monotonic()
    assert c.wait_heard(1) == [(c.topic("will"), b"overslept")]
    assert time.monotonic() - began > 1.3
    dev.next(sn.DISCONNECT)
    dev.ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)


def test_sleep_replaces_keep_alive(c):
    """6.14: the Duration of CONNECT does not count while asleep."""
    dev, _ = asleep(c, 60, duration=1)
    time.sleep(2.2)
    dev.silent()
    assert dev.collect() == []


def test_every_pingreq_restarts_the_timer(c):
    """6.14"""
    dev, _ = asleep(c, 2)
    for _ in range(3):
        time.sleep(1.4)
        assert dev.collect() == []


def test_a_new_duration(c):
    """6.14: DISCONNECT while asleep sets it anew, and is answered."""
    dev, two = asleep(c, 1)
    dev.disconnect(60)
    time.sleep(2.2)
    c.say(two, b"x")
    dev.silent()
    assert dev.collect() == [b"x"]


def test_a_shorter_duration(c):
    """6.14"""
    dev, _ = asleep(c, 60)
    dev.disconnect(1)
    dev.next(sn.DISCONNECT, 8)


def test_duration_zero_ends_it(c):
    """6.14: a plain DISCONNECT."""
    dev, two = asleep(c)
    c.say(two, b"x")
    dev.disconnect(0)
    dev.ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)


def test_plain_disconnect_while_asleep(c):
    """6.12: ends the session, without the will."""
    dev, _ = asleep(c, 1, will=(c.topic("will"), b"gone", 1, False))
    dev.disconnect()
    dev.ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)
    time.sleep(1.7)
    assert c.heard() == []


def test_disconnect_while_awake(c):
    """6.14: with a Duration: asleep again at once; without: gone."""
    dev, two = asleep(c)
    c.say(two, b"x")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    dev.next_message()
    dev.disconnect(60)
    dev.silent()
    assert dev.collect() == [b"x"]
    c.say(two, b"y")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    dev.next_message()
    dev.disconnect()
    assert not dev.is_connected()


def test_connect_wakes(c):
    """6.14: active, with its mail, and what comes later at once."""
    dev, two = asleep(c, clean=False)
    c.say(two, b"1")
    dev.connect(clean=False)
    m = dev.next_message()
    dev.puback(m)
    c.say(two, b"2")
    assert dev.next_message().payload == b"2"


def test_mail_of_a_clean_session(c):
    """6.14: sleep is no disconnection: CleanSession does not matter."""
    dev, two = asleep(c, clean=True)
    c.say(two, b"x")
    assert dev.collect() == [b"x"]


def test_publishes_while_asleep(c):
    """6.14: a device that wakes to report is served, without waking up for its mail."""
    dev, two = asleep(c)
    c.say(two, b"mail")
    other = c.two()
    dev.publish(other, b"report", qos=1)
    dev.publish(other, b"exactly", qos=2)
    dev.silent()
    assert [p for t, p in c.wait_heard(3) if t == other] == [b"report", b"exactly"]


def test_publishes_while_awake(c):
    """6.14: in the middle of the flush."""
    dev, two = asleep(c)
    c.say(two, b"mail")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    m = dev.next_message()
    other = c.two()
    dev.send_publish(as_id(other), b"up", 1, sn.SHORT, msg_id=4)
    assert dev.next(sn.PUBACK)[2:4] == u16(4)
    dev.puback(m)
    dev.next(sn.PINGRESP)


def test_unsubscribes_while_asleep(c):
    """6.14: answered; nothing more is kept for it."""
    dev, two = asleep(c)
    dev.unsubscribe(as_id(two), kind=sn.SHORT)
    c.say(two, b"x")
    assert dev.collect() == []


def test_retained_while_asleep(c):
    """6.14: SUBSCRIBE of a sleeper: SUBACK now, the retained message with the mail."""
    two = c.two()
    c.say(two, b"kept", retain=True)
    dev = c.connected()
    dev.disconnect(60)
    dev.subscribe_short(two)
    dev.silent()
    assert dev.collect() == [b"kept"]


def test_takeover_of_a_sleeper(c):
    """6.2: CONNECT from another port: its session moves there."""
    dev, two = asleep(c, clean=False)
    c.say(two, b"x")
    new = c.device(dev.client_id).connect(clean=False)
    assert new.next_message().payload == b"x"
    dev.next(sn.DISCONNECT)


suite.run(prepare, globals(), at_once=8)
