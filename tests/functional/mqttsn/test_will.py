"""MQTT-SN 1.2, 6.3: the dialogue that asks for the will, and when the will is published."""

import time

import sn
import suite
from harness import each, until


def prepare(site):
    return suite.Bench(site, mqttsn={"retry_interval": "400ms", "retry_count": 1})


def begin(c, **fields):
    """A device that has been asked for the topic of its will."""
    dev = c.device()
    dev.say_connect(flags=fields.pop("flags", 0x0C), **fields)
    dev.next(sn.WILLTOPICREQ)
    return dev


def topic_told(c, **flags):
    """A device that has been asked for the message of its will."""
    dev = begin(c, duration=1)
    dev.ask(sn.WILLTOPIC, bytes([sn.flags(**flags)]) + c.topic("will").encode(), sn.WILLMSGREQ)
    return dev


def lost(c, dev, n=1):
    """Waits until the silent device is lost; what has been published then."""
    dev.expect(sn.DISCONNECT)
    return c.wait_heard(n)


def test_dialogue(c):
    """6.3: WILLTOPICREQ, WILLMSGREQ, and CONNACK only at the end."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLTOPICREQ) == b""
    dev.silent()
    assert dev.ask(sn.WILLTOPIC, b"\x00" + c.topic("will").encode(), sn.WILLMSGREQ) == b""
    dev.silent()
    assert dev.ask(sn.WILLMSG, b"gone", sn.CONNACK) == b"\x00"
    dev.silent()
    assert dev.is_connected()


def test_no_will_flag_no_dialogue(c):
    """6.3: the Will flag asks for it, nothing else."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=0xF7), sn.CONNACK) == b"\x00"
    dev.silent()


@each(("bare", b""), ("with flags", b"\x30"))
def test_empty_will_topic(c, value):
    """5.4.7, 6.3: an empty WILLTOPIC says that there is no will; CONNACK follows at once."""
    dev = begin(c)
    assert dev.ask(sn.WILLTOPIC, value[1], sn.CONNACK) == b"\x00"
    dev.silent()
    assert dev.is_connected()


@each(("0", 0), ("1", 1), ("2", 2))
def test_published_when_lost(c, value):
    """6.3: at the QoS it was left with."""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", value[1], False))
    assert lost(c, dev) == [(c.topic("will"), b"gone")]
    assert c.mine()[0].qos == value[1]
    assert c.retained(c.topic("will")) is None


def test_qos_3_is_none(c):
    """5.3.4: there is no QoS -1 for a will."""
    dev = topic_told(c, qos=3)
    dev.ask(sn.WILLMSG, b"gone", sn.CONNACK)
    lost(c, dev)
    assert c.mine()[0].qos == 0


def test_retained_will(c):
    """6.3: the Retain flag of WILLTOPIC."""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, True))
    lost(c, dev)
    assert c.retained(c.topic("will")) == b"gone"


@each(("empty", b""), ("one", b"x"), ("long", b"y" * 300), ("binary", bytes(range(256))), ("huge", b"z" * 60000))
def test_message(c, value):
    """5.4.9: any octets, none included."""
    dev = topic_told(c, qos=1)
    dev.ask(sn.WILLMSG, value[1], sn.CONNACK)
    assert lost(c, dev) == [(c.topic("will"), value[1])]


def test_not_published_on_disconnect(c):
    """6.12: a goodbye is no loss."""
    dev = c.connected(will=(c.topic("will"), b"gone", 1, False))
    dev.disconnect()
    assert c.heard() == []


def test_published_once(c):
    """6.3: one loss, one will; the device is told once."""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, False))
    lost(c, dev)
    dev.silent()
    assert len(c.heard()) == 1


def test_kept_for_the_next_loss(c):
    """6.3: a session that goes on has its will again."""
    dev = c.connected(duration=1, clean=False, will=(c.topic("will"), b"gone", 1, False))
    lost(c, dev)
    dev.connect(duration=1, clean=False)
    assert lost(c, dev, 2) == [(c.topic("will"), b"gone")] * 2


def test_reaches_devices(c):
    """6.3: a will is a message like any other."""
    other = c.connected()
    other.subscribe(c.topic("will"))
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, False))
    assert other.wait_messages(1)[0].payload == b"gone"
    dev.expect(sn.DISCONNECT)


def test_connect_repeated_before_the_topic(c):
    """6.3: what is waited for is asked again."""
    dev = begin(c)
    dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLTOPICREQ)
    dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"


def test_connect_repeated_before_the_message(c):
    """6.3: the topic is not asked for twice."""
    dev = begin(c)
    dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLMSGREQ)
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"
    dev.silent()


def test_will_topic_repeated(c):
    """6.3: WILLMSGREQ may have been lost; the last topic counts."""
    dev = begin(c, duration=1)
    dev.ask(sn.WILLTOPIC, b"\x20" + c.topic("first").encode(), sn.WILLMSGREQ)
    dev.ask(sn.WILLTOPIC, b"\x20" + c.topic("last").encode(), sn.WILLMSGREQ)
    dev.ask(sn.WILLMSG, b"m", sn.CONNACK)
    assert lost(c, dev) == [(c.topic("last"), b"m")]


def test_will_message_repeated(c):
    """6.3: CONNACK may have been lost."""
    dev = topic_told(c)
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"
    dev.silent()


def test_empty_will_topic_repeated(c):
    """6.3: the same for the short way."""
    dev = begin(c)
    assert dev.ask(sn.WILLTOPIC, b"", sn.CONNACK) == b"\x00"
    assert dev.ask(sn.WILLTOPIC, b"", sn.CONNACK) == b"\x00"
    dev.silent()


def test_will_message_without_dialogue(c):
    """6.3: nobody asked: ignored, and it changes no will."""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, False))
    dev.ping()
    other = c.connected()
    other.send(sn.WILLTOPIC, b"\x00" + c.topic("x").encode())
    other.send(sn.WILLMSG, b"m")
    other.silent()
    assert lost(c, dev) == [(c.topic("will"), b"gone")]


def test_message_before_its_time(c):
    """6.3: WILLMSG where the topic is asked for is not acted on."""
    dev = begin(c)
    dev.send(sn.WILLMSG, b"early")
    dev.silent()
    dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"


@each(("PUBLISH", sn.PUBLISH, b"\x20\x00\x01\x00\x05x"), ("PUBLISH -1", sn.PUBLISH, b"\x62ab\x00\x00x"),
      ("SUBSCRIBE", sn.SUBSCRIBE, b"\x00\x00\x01t"), ("UNSUBSCRIBE", sn.UNSUBSCRIBE, b"\x00\x00\x01t"),
      ("REGISTER", sn.REGISTER, b"\x00\x00\x00\x01t"), ("PINGREQ", sn.PINGREQ, b""),
      ("PUBREL", sn.PUBREL, b"\x00\x01"), ("WILLTOPICUPD", sn.WILLTOPICUPD, b"\x00t"),
      ("WILLMSGUPD", sn.WILLMSGUPD, b"t"), ("REGACK", sn.REGACK, b"\0\1\0\1\0"),
      ("PUBACK", sn.PUBACK, b"\0\1\0\1\0"), ("PUBREC", sn.PUBREC, b"\0\1"), ("PUBCOMP", sn.PUBCOMP, b"\0\1"))
def test_others_inside_the_dialogue(c, value):
    """6.3: not acted on, in neither half; the dialogue goes on."""
    dev = begin(c)
    dev.send(*value[1:])
    dev.silent()
    dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    dev.send(*value[1:])
    dev.silent()
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"


@each(("topic", False), ("message", True))
def test_disconnect_inside_the_dialogue(c, value):
    """6.12: is answered and ends it."""
    dev = topic_told(c) if value[1] else begin(c)
    dev.disconnect()
    dev.send(sn.WILLMSG, b"m")
    dev.silent()
    assert not dev.is_connected()
    assert c.heard() == []


def test_connect_without_will_inside_the_dialogue(c):
    """6.3: the device has changed its mind (or rebooted)."""
    dev = topic_told(c)
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=4), sn.CONNACK) == b"\x00"
    dev.send(sn.WILLMSG, b"m")
    dev.silent()
    assert dev.is_connected()


@each(("id", {"client_id": "another-one"}), ("duration", {"duration": 7}), ("clean", {"flags": 0x08}))
def test_other_connect_inside_the_dialogue(c, value):
    """6.3: another CONNECT begins another dialogue."""
    dev = topic_told(c)
    dev.ask(sn.CONNECT, dev.connect_body(**{"flags": 0x0C, "duration": 1, **value[1]}), sn.WILLTOPICREQ)
    dev.ask(sn.WILLTOPIC, b"", sn.CONNACK)
    dev.disconnect()


@each(("wildcard", b"a/#"), ("plus", b"+/a"), ("nul", b"a\x00"), ("broken", b"a\xff"), ("control", b"a\x07"),
      ("$", b"$SYS/x"), ("long", b"t" * 2000), ("deep", b"a/" * 40))
def test_will_topic_nobody_may_publish_to(c, value):
    """5.4.7: CONNACK 0x03, and no session."""
    dev = begin(c)
    assert dev.ask(sn.WILLTOPIC, b"\x00" + value[1], sn.CONNACK) == b"\x03"
    dev.send(sn.WILLMSG, b"m")
    dev.silent()
    assert not dev.is_connected()


def test_dialogue_that_stops(c):
    """6.3: is forgotten without a word; no session, no will."""
    dev = topic_told(c)

    def forgotten():
        dev.send(sn.PINGREQ)
        return dev.recv(0.1) == (sn.DISCONNECT, b"")
    until(forgotten, "the end of the dialogue")
    assert c.heard() == []


def test_dialogue_touches_nothing_before_its_end(c):
    """6.3: a CleanSession that was never completed has cleaned nothing."""
    dev = c.connected(clean=False)
    dev.subscribe_short(c.two())
    dev.disconnect()
    other = c.device(dev.client_id)
    other.ask(sn.CONNECT, other.connect_body(flags=0x0C), sn.WILLTOPICREQ)
    other.disconnect()
    c.say(c.two_names[0], b"still")
    dev.connect(clean=False)
    assert dev.wait_messages(1)[0].payload == b"still"


def test_will_zero_keeps_the_will(c):
    """6.3: CONNECT without CleanSession and without Will leaves the stored will."""
    dev = c.connected(clean=False, will=(c.topic("will"), b"old", 1, False))
    dev.disconnect()
    dev.connect(clean=False, duration=1)
    assert lost(c, dev) == [(c.topic("will"), b"old")]


def test_will_is_replaced(c):
    """6.3: by the one given in a new dialogue."""
    dev = c.connected(clean=False, will=(c.topic("will"), b"old", 1, False))
    dev.disconnect()
    dev.connect(clean=False, duration=1, will=(c.topic("new"), b"new", 1, False))
    assert lost(c, dev) == [(c.topic("new"), b"new")]


def test_empty_will_topic_deletes_only_the_will(c):
    """6.3: subscriptions stay."""
    dev = c.connected(clean=False, will=(c.topic("will"), b"old", 1, False))
    dev.subscribe(c.topic())
    dev.disconnect()
    dev.ask(sn.CONNECT, dev.connect_body(flags=8, duration=1), sn.WILLTOPICREQ)
    dev.ask(sn.WILLTOPIC, b"", sn.CONNACK)
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"
    dev.expect(sn.DISCONNECT)
    assert (c.topic("will"), b"old") not in c.heard()


def test_clean_session_deletes_the_will(c):
    """6.3: with everything else."""
    dev = c.connected(clean=False, will=(c.topic("will"), b"old", 1, False))
    dev.disconnect()
    dev.connect(clean=True, duration=1)
    dev.expect(sn.DISCONNECT)
    assert c.heard() == []


def test_will_of_a_device_that_moved(c):
    """6.3: belongs to the session, not to the address."""
    old = c.connected(clean=False, will=(c.topic("will"), b"gone", 1, False))
    dev = c.device(old.client_id).connect(clean=False, duration=1)
    old.next(sn.DISCONNECT)
    assert lost(c, dev) == [(c.topic("will"), b"gone")]


def test_lost_by_retries(c):
    """6.13: N_retry used up is a loss as well."""
    two = c.two()
    dev = c.connected(duration=0, will=(c.topic("will"), b"gone", 1, False))
    dev.subscribe_short(two)
    c.say(two, b"x")
    dev.next_message()
    assert dev.next_message().dup
    dev.next(sn.DISCONNECT)
    assert (c.topic("will"), b"gone") in c.wait_heard(2)


def test_will_message_in_either_length_form(c):
    """5.2.1: three octets of length where one would do."""
    dev = topic_told(c, qos=1)
    dev.send_raw(b"\x01\x00\x08" + bytes([sn.WILLMSG]) + b"gone")
    assert dev.next(sn.CONNACK) == b"\x00"
    assert lost(c, dev) == [(c.topic("will"), b"gone")]


def test_time_of_the_will(c):
    """6.3, 7.2: not before the silence is one and a half times the Duration."""
    dev = c.connected(duration=1, will=(c.topic("will"), b"gone", 1, False))
    began = time.monotonic()
    lost(c, dev)
    assert time.monotonic() - began > 1.4


suite.run(prepare, globals(), at_once=8)
