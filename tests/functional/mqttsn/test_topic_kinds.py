"""MQTT-SN 1.2, 3, 5.3.4 and 6.7: normal, predefined and short topics, and which of them a message goes out as."""

import sn
import suite
from harness import each
from suite import as_id, u16


def prepare(site):
    return suite.Bench(site, predefined="[*]\n1 = p/everybody\n2 = p/everybody/two\n3 = xy\n"
                                        "[special]\n1 = p/special\n9 = p/special/nine\n")


def deliver(c, dev, topic, payload=b"x"):
    """The PUBLISH that reaches the device, REGISTER answered."""
    c.say(topic, payload)
    kind, body = dev.recv()
    if kind == sn.REGISTER:
        assert dev.regack(body) == topic
        body = dev.next(sn.PUBLISH)
    m = sn.Message(body)
    dev.puback(m)
    assert m.payload == payload
    return m.kind, m.topic_id


def test_publish_predefined(c):
    """6.7: without REGISTER."""
    dev = c.connected()
    mark = dev.client_id.encode()
    dev.publish_id(1, mark, qos=1, kind=sn.PREDEFINED)
    c.fence()
    assert mark in c.local.payloads("p/everybody")


def test_publish_predefined_of_one_client(c):
    """3: an entry of one client precedes that of all."""
    dev = c.device("special").connect()
    dev.publish_id(1, b"own", qos=1, kind=sn.PREDEFINED)
    dev.publish_id(9, b"nine", qos=1, kind=sn.PREDEFINED)
    dev.publish_id(2, b"common", qos=1, kind=sn.PREDEFINED)
    c.fence()
    assert c.local.payloads("p/special") == [b"own"]
    assert c.local.payloads("p/special/nine") == [b"nine"]
    assert b"common" in c.local.payloads("p/everybody/two")


def test_predefined_of_another_client(c):
    """3: its entries are not there for others."""
    c.connected().refused_publish(9, 2, kind=sn.PREDEFINED)


@each(("qos 0", 0), ("qos 1", 1), ("qos 2", 2))
def test_publish_unknown_predefined(c, value):
    """6.10: PUBACK 0x02 at every QoS."""
    c.connected().refused_publish(4711, 2, qos=value[1], kind=sn.PREDEFINED)


@each(("qos 0", 0), ("qos 1", 1), ("qos 2", 2))
def test_publish_unknown_normal(c, value):
    """6.10: the same, so that the device registers the name again."""
    c.connected().refused_publish(4711, 2, qos=value[1])


@each(("0", 0), ("FFFF", 0xFFFF))
def test_reserved_ids(c, value):
    """5.3.11: 0x0000 and 0xFFFF are no topic ids."""
    dev = c.connected()
    dev.register(c.topic())
    for kind in (sn.NORMAL, sn.PREDEFINED):
        dev.refused_publish(value[1], 2, kind=kind)


@each(("qos 0", 0), ("qos 1", 1), ("qos 2", 2))
def test_publish_short(c, value):
    """6.7: two octets in place of the id."""
    dev, two = c.connected(), c.two()
    dev.publish_id(as_id(two), b"x", qos=value[1], kind=sn.SHORT)
    assert c.wait_heard(1) == [(two, b"x")]


@each(("#", "a#"), ("+", "+b"), ("both", "+#"))
def test_publish_short_wildcard(c, value):
    """6.7: PUBACK 0x03, and nothing is published."""
    dev = c.connected()
    for qos in (0, 1, 2):
        dev.refused_publish(as_id(value[1]), 3, qos=qos, kind=sn.SHORT)
    c.fence()
    assert value[1] not in [m.topic for m in c.local.messages]


@each(("nul", 0x6100), ("control", 0x0A61), ("broken", 0xFFFE), ("half", 0x61C3))
def test_publish_short_not_utf8(c, value):
    """5.3.11: two octets that are no text: 0x03, and no broker ever sees them."""
    c.connected().refused_publish(value[1], 3, kind=sn.SHORT)


def test_short_name_of_two_byte_utf8(c):
    """5.3.11: one character of two octets."""
    dev = c.connected()
    mark = dev.client_id.encode()
    dev.publish_id(int.from_bytes("é".encode(), "big"), mark, qos=1, kind=sn.SHORT)
    c.fence()
    assert mark in c.local.payloads("é")


def test_puback_echoes_the_short_name(c):
    """5.4.13: in place of the topic id."""
    dev, two = c.connected(), c.two()
    dev.send_publish(as_id(two), b"x", 1, sn.SHORT, msg_id=3)
    assert dev.next(sn.PUBACK) == two.encode() + u16(3) + b"\x00"


@each(("PUBLISH", sn.PUBLISH, b"\x23\x00\x01\x00\x01x"), ("PUBLISH 0", sn.PUBLISH, b"\x03\x00\x01\x00\x00x"),
      ("SUBSCRIBE", sn.SUBSCRIBE, b"\x23\x00\x01ab"), ("UNSUBSCRIBE", sn.UNSUBSCRIBE, b"\x03\x00\x01ab"))
def test_reserved_type(c, value):
    """5.3.4: TopicIdType 0b11 is reserved: dropped."""
    dev = c.connected()
    dev.send(value[1], value[2])
    dev.silent()
    assert dev.is_connected()


def test_subscribe_predefined(c):
    """6.9: SUBACK has the id; messages come with the predefined type, without REGISTER."""
    dev = c.connected()
    assert dev.subscribe(1, kind=sn.PREDEFINED) == 1
    assert deliver(c, dev, "p/everybody", dev.client_id.encode()) == (sn.PREDEFINED, 1)


def test_subscribe_predefined_of_one_client(c):
    """3, 6.9"""
    dev = c.device("special").connect()
    assert dev.subscribe(1, kind=sn.PREDEFINED) == 1
    assert deliver(c, dev, "p/special") == (sn.PREDEFINED, 1)


@each(("unknown", 4711), ("0", 0), ("FFFF", 0xFFFF), ("of another", 9))
def test_subscribe_unknown_predefined(c, value):
    """6.9: SUBACK 0x02."""
    dev = c.connected()
    dev.say_subscribe(value[1], 5, kind=sn.PREDEFINED)
    body = dev.next(sn.SUBACK)
    assert body[3:] == u16(5) + b"\x02"
    assert dev.is_connected()


def test_subscribe_short(c):
    """6.9: messages come with the short type."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    assert deliver(c, dev, two) == (sn.SHORT, as_id(two))


def test_subscribe_short_by_name(c):
    """6.9: a name of two octets may be subscribed like any other: it has an id then."""
    dev, two = c.connected(), c.two()
    topic_id = dev.subscribe(two)
    assert topic_id not in (0, 0xFFFF)
    assert deliver(c, dev, two) == (sn.NORMAL, topic_id)


def test_short_name_matched_by_a_wildcard(c):
    """6.7, 6.10: needs no REGISTER."""
    dev, two = c.connected(), c.two()
    dev.subscribe("+", qos=1)
    assert deliver(c, dev, two) == (sn.SHORT, as_id(two))
    dev.unsubscribe("+")


def test_predefined_name_by_name(c):
    """6.9: whoever subscribes to the name gets a normal id."""
    dev = c.connected()
    topic_id = dev.subscribe("p/everybody")
    assert deliver(c, dev, "p/everybody", dev.client_id.encode()) == (sn.NORMAL, topic_id)


def test_predefined_name_matched_by_a_wildcard(c):
    """6.10: a device that subscribed with a wildcard need not know our file: REGISTER."""
    dev = c.connected()
    dev.subscribe("p/+")
    c.say("p/everybody", dev.client_id.encode())
    body = dev.next(sn.REGISTER)
    assert body[4:] == b"p/everybody"
    dev.regack(body)
    assert dev.next_message().kind == sn.NORMAL


def test_predefined_and_wildcard(c):
    """6.9: subscribed by id and matched by a wildcard: one copy, in the predefined form."""
    dev = c.connected()
    dev.subscribe("p/everybody/+")
    dev.subscribe(2, kind=sn.PREDEFINED)
    assert deliver(c, dev, "p/everybody/two") == (sn.PREDEFINED, 2)
    dev.silent()


def test_short_and_wildcard(c):
    """6.9: one copy, in the short form."""
    dev, two = c.connected(), c.two()
    dev.subscribe("+", qos=1)
    dev.subscribe_short(two)
    assert deliver(c, dev, two) == (sn.SHORT, as_id(two))
    dev.silent()
    dev.unsubscribe("+")


def test_predefined_name_of_two_octets(c):
    """6.7: by its predefined id where it was subscribed so."""
    dev = c.connected()
    dev.subscribe(3, kind=sn.PREDEFINED)
    assert deliver(c, dev, "xy") == (sn.PREDEFINED, 3)


def test_the_last_way_of_subscribing_counts(c):
    """6.9: the device knows its latest form."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    topic_id = dev.subscribe(two)
    assert deliver(c, dev, two) == (sn.NORMAL, topic_id)
    dev.subscribe_short(two)
    assert deliver(c, dev, two) == (sn.SHORT, as_id(two))
    dev.silent()


def test_one_topic_three_ways(c):
    """6.7: the hub knows names only: published by id, heard by name, short name and wildcard."""
    by_id, by_name, by_two, wild = (c.connected() for _ in range(4))
    by_id.subscribe(3, kind=sn.PREDEFINED)
    topic_id = by_name.subscribe("xy")
    by_two.subscribe_short("xy")
    wild.subscribe("+", qos=1)
    mark = by_id.client_id.encode()
    assert deliver(c, by_id, "xy", mark) == (sn.PREDEFINED, 3)
    got = [dev.next_message() for dev in (by_name, by_two, wild)]
    assert [(m.kind, m.topic_id, m.payload) for m in got] == [
        (sn.NORMAL, topic_id, mark), (sn.SHORT, as_id("xy"), mark), (sn.SHORT, as_id("xy"), mark)]
    for dev in (by_id, by_name, by_two):
        dev.disconnect()
    wild.puback(got[2])
    wild.unsubscribe("+")


suite.run(prepare, globals())
