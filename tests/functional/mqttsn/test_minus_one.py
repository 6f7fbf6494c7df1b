"""MQTT-SN 1.2, 6.8: QoS -1, where it is configured (here: for predefined and short topics)."""

import sn
import suite
from harness import each
from suite import as_id, u16


def prepare(site):
    bench = suite.Bench(site, predefined="[*]\n5 = p/five\n[own]\n6 = p/six\n", mqttsn={"qos_minus_one": "all"})
    bench.narrow = suite.Bench(site, "[*]\n5 = p/five\n", "narrow")
    bench.off = suite.Bench(site, "[*]\n5 = p/five\n", "off", mqttsn={"qos_minus_one": "off"})
    return bench


def blurt(dev, topic_id, payload, kind, msg_id=0, **flags):
    dev.send(sn.PUBLISH, bytes([sn.flags(qos=3, kind=kind, **flags)]) + u16(topic_id, msg_id) + payload)
    dev.silent()


def test_predefined(c):
    """6.8: without a connection, at QoS 0 from here on."""
    dev = c.device()
    mark = dev.client_id.encode()
    blurt(dev, 5, mark, sn.PREDEFINED)
    c.fence()
    assert [m.qos for m in c.local.messages if m.payload == mark] == [0]


def test_short(c):
    """6.8"""
    blurt(c.device(), as_id(c.two()), b"x", sn.SHORT)
    assert c.heard() == [(c.two_names[0], b"x")]


def test_makes_no_session(c):
    """6.8: the sender is as unknown as before."""
    dev = c.device()
    blurt(dev, as_id(c.two()), b"x", sn.SHORT)
    assert not dev.is_connected()


def test_normal_ids_are_not_for_it(c):
    """6.8: nothing is registered without a connection; never answered."""
    dev = c.device()
    blurt(dev, 1, b"x", sn.NORMAL)


def test_unknown_predefined(c):
    """6.8: never answered."""
    blurt(c.device(), 4711, b"x", sn.PREDEFINED)


def test_predefined_of_one_client(c):
    """3, 6.8: nobody can tell who it is."""
    dev = c.device("own")
    mark = dev.client_id.encode()
    blurt(dev, 6, mark, sn.PREDEFINED)
    c.fence()
    assert mark not in [m.payload for m in c.local.messages]


@each(("#", "a#"), ("+", "+a"))
def test_short_wildcard(c, value):
    """6.7: not published, not answered."""
    blurt(c.device(), as_id(value[1]), b"x", sn.SHORT)
    c.fence()
    assert value[1] not in [m.topic for m in c.local.messages]


def test_reserved_type(c):
    """5.3.4: dropped."""
    blurt(c.device(), 5, b"x", 3)


@each(("0", 0), ("1", 1), ("FFFF", 0xFFFF))
def test_message_id(c, value):
    """6.8: is not relevant, nor is DUP."""
    blurt(c.device(), as_id(c.two()), b"x", sn.SHORT, msg_id=value[1], dup=True)
    assert c.heard() == [(c.two_names[0], b"x")]


def test_retain(c):
    """6.8: holds as for any other message."""
    two = c.two()
    blurt(c.device(), as_id(two), b"kept", sn.SHORT, retain=True)
    c.fence()
    assert c.retained(two) == b"kept"


def test_each_counts(c):
    """6.8: there are no repetitions at QoS -1."""
    dev, two = c.device(), c.two()
    for _ in range(3):
        blurt(dev, as_id(two), b"x", sn.SHORT)
    assert c.heard() == [(two, b"x")] * 3


def test_by_a_connected_client(c):
    """6.8: its session goes on."""
    dev = c.connected()
    topic_id = dev.register(c.topic())
    blurt(dev, as_id(c.two()), b"x", sn.SHORT)
    dev.publish_id(topic_id, b"y", qos=1)
    assert c.wait_heard(2) == [(c.two_names[0], b"x"), (c.topic(), b"y")]


def test_by_a_connected_client_unknown_id(c):
    """6.8: not answered there either."""
    dev = c.connected()
    blurt(dev, 4711, b"x", sn.PREDEFINED)
    blurt(dev, 4711, b"x", sn.NORMAL)
    assert dev.is_connected()


def test_by_a_sleeper(c):
    """6.8, 6.14: it goes on sleeping."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    dev.disconnect(60)
    blurt(dev, as_id(c.two()), b"x", sn.SHORT)
    c.say(c.two_names[0], b"mail")
    dev.silent()
    assert (c.two_names[1], b"x") in c.heard()


def test_reaches_devices(c):
    """6.8: a message like any other."""
    dev, two = c.connected(), c.two()
    dev.subscribe_short(two)
    blurt(c.device(), as_id(two), b"x", sn.SHORT)
    m = dev.next_message()
    assert (m.payload, m.qos) == (b"x", 0)


def test_empty_payload(c):
    """5.4.12"""
    blurt(c.device(), as_id(c.two()), b"", sn.SHORT)
    assert c.heard() == [(c.two_names[0], b"")]


@each("narrow", "off")
def test_not_configured(c, value):
    """6.8: only where it is allowed: predefined topics alone, or none; never answered."""
    bench = getattr(c.bench, value)
    with bench.case() as other:
        dev = other.device()
        blurt(dev, 5, b"x", sn.PREDEFINED)
        blurt(dev, as_id("ab"), b"x", sn.SHORT)
        other.fence()
        got = [m.topic for m in bench.local.messages if not m.topic.startswith("fence/")]
        assert got == (["p/five"] if value == "narrow" else []), got


suite.run(prepare, globals())
