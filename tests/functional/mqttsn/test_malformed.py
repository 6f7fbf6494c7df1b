"""MQTT-SN 1.2, 5.2: what is no message is dropped and counted; nobody else notices, nor does the sender."""

import sn
import suite
from harness import each
from suite import as_id, u16

# One good message of every type a client sends, to be spoiled.
GOOD = [("SEARCHGW", sn.SEARCHGW, b"\x00"), ("CONNECT", sn.CONNECT, b"\x04\x01\x00\x3cspoiled"),
        ("WILLTOPIC", sn.WILLTOPIC, b"\x00topic"), ("WILLMSG", sn.WILLMSG, b"text"),
        ("REGISTER", sn.REGISTER, b"\x00\x00\x00\x01topic"), ("REGACK", sn.REGACK, b"\x00\x01\x00\x01\x00"),
        ("PUBLISH", sn.PUBLISH, b"\x22zz\x00\x01spoiled"), ("PUBACK", sn.PUBACK, b"\x00\x01\x00\x01\x00"),
        ("PUBCOMP", sn.PUBCOMP, b"\x00\x01"), ("PUBREC", sn.PUBREC, b"\x00\x01"), ("PUBREL", sn.PUBREL, b"\x00\x01"),
        ("SUBSCRIBE", sn.SUBSCRIBE, b"\x00\x00\x01topic"), ("SUBSCRIBE id", sn.SUBSCRIBE, b"\x01\x00\x01\x00\x05"),
        ("UNSUBSCRIBE", sn.UNSUBSCRIBE, b"\x00\x00\x01topic"), ("PINGREQ", sn.PINGREQ, b""),
        ("DISCONNECT", sn.DISCONNECT, b""), ("DISCONNECT sleep", sn.DISCONNECT, b"\x00\x3c"),
        ("WILLTOPICUPD", sn.WILLTOPICUPD, b"\x00topic"), ("WILLMSGUPD", sn.WILLMSGUPD, b"text")]

# Those with a fixed length, of which every other one is wrong.
EXACT = {sn.SEARCHGW: [3], sn.REGACK: [7], sn.PUBACK: [7], sn.PUBCOMP: [4], sn.PUBREC: [4], sn.PUBREL: [4],
         sn.DISCONNECT: [2, 4]}
# The least octets of the others.
LEAST = {sn.CONNECT: 6, sn.WILLTOPIC: 2, sn.WILLMSG: 2, sn.REGISTER: 6, sn.PUBLISH: 7, sn.SUBSCRIBE: 5,
         sn.UNSUBSCRIBE: 5, sn.PINGREQ: 2, sn.WILLTOPICUPD: 2, sn.WILLMSGUPD: 2}


def prepare(site):
    return suite.Bench(site, predefined="[*]\n5 = p/five\n", mqttsn={"qos_minus_one": "all"})


def dropped(c, dev, *datagrams):
    """None of them does anything, and dev is served as before."""
    for d in datagrams:
        dev.send_raw(d)
    dev.silent()
    assert dev.is_connected()
    assert c.heard() == []


def long_form(kind, body, length=None):
    return b"\x01" + u16(len(body) + 4 if length is None else length) + bytes([kind]) + body


@each(*GOOD)
def test_length_too_large(c, value):
    """5.2.1: more than came: the datagram was cut."""
    good = sn.packet(*value[1:])
    dropped(c, c.connected(), *[bytes([n]) + good[1:] for n in (len(good) + 1, len(good) + 9, 255)])


@each(*GOOD)
def test_length_too_small(c, value):
    """5.2.1: octets behind Length are no payload."""
    good = sn.packet(*value[1:])
    dropped(c, c.connected(), *[bytes([n]) + good[1:] for n in range(len(good)) if n != 1])


@each(*GOOD)
def test_trailing_octets(c, value):
    """5.2.1: a message and something else in one datagram."""
    good = sn.packet(*value[1:])
    dropped(c, c.connected(), good + b"\x00", good + good, good + bytes(100))


@each(*GOOD)
def test_truncated(c, value):
    """5.2.1: each prefix with the old Length."""
    good = sn.packet(*value[1:])
    dropped(c, c.connected(), *[good[:n] for n in range(len(good))])


@each(*GOOD)
def test_truncated_with_a_length_that_fits(c, value):
    """5.4: a field that is not there whole."""
    good = sn.packet(*value[1:])
    least = min(EXACT[value[1]]) if value[1] in EXACT else LEAST[value[1]]
    if value[0] == "SUBSCRIBE id":
        least = 7
    dropped(c, c.connected(), *[bytes([n]) + good[1:n] for n in range(2, least)])


@each(*[v for v in GOOD if v[1] in EXACT])
def test_longer_than_its_fields(c, value):
    """5.4: a message of fixed length with more in it."""
    body = value[2]
    dropped(c, c.connected(), *[sn.packet(value[1], body + bytes(n)) for n in (1, 3, 100, 300)
                                if len(body) + 2 + n not in EXACT[value[1]]])


@each(*GOOD)
def test_long_form_with_a_wrong_length(c, value):
    """5.2.1: the same in three octets."""
    _, kind, body = value
    n = len(body) + 4
    dropped(c, c.connected(), *[long_form(kind, body, wrong) for wrong in (0, 1, 2, 3, n - 1, n + 1, 300, 65535)],
            long_form(kind, body) + b"x")


def test_long_form_of_short_messages(c):
    """5.2.1: three octets of length where one would do are no error."""
    dev, two = c.device(), c.two()
    dev.send_raw(long_form(sn.CONNECT, dev.connect_body()))
    assert dev.next(sn.CONNACK) == b"\x00"
    dev.send_raw(long_form(sn.PINGREQ, b""))
    dev.next(sn.PINGRESP)
    dev.send_raw(long_form(sn.SUBSCRIBE, b"\x22\x00\x01" + two.encode()))
    dev.next(sn.SUBACK)
    dev.send_raw(long_form(sn.PUBLISH, b"\x22" + two.encode() + b"\x00\x02x"))
    assert {dev.recv()[0], dev.recv()[0]} == {sn.PUBACK, sn.PUBLISH}
    assert c.heard() == [(two, b"x")]
    dev.send_raw(long_form(sn.DISCONNECT, b""))
    dev.next(sn.DISCONNECT)


@each(("empty", b""), ("0", b"\x00"), ("1", b"\x01"), ("2", b"\x02"), ("two zeros", b"\0\0"), ("1 0", b"\1\0"),
      ("1 0 0", b"\1\0\0"), ("1 0 4", b"\1\0\4"), ("1 255 255", b"\1\xff\xff"), ("only length", b"\x01\x00\x03"),
      ("zeros", bytes(100)), ("ones", b"\x01" * 100), ("255", b"\xff" * 255), ("text", b"GET / HTTP/1.1\r\n\r\n"),
      ("large", b"\xa5" * 65000), ("large zeros", bytes(65000)))
def test_noise(c, value):
    """5.2: no message at all."""
    dropped(c, c.connected(), value[1])


@each(*[("%02X" % kind, kind) for kind in (0x03, 0x11, 0x19, 0x1E, 0x1F, 0x20, 0x7F, 0x80, 0xFD, 0xFF)])
def test_reserved_types(c, value):
    """5.2.2: reserved."""
    dropped(c, c.connected(), *[sn.packet(value[1], body) for body in (b"", b"\x00", b"\x00\x01\x02topic", bytes(300))])


def test_all_reserved_types(c):
    """5.2.2: all of 0x1E to 0xFD."""
    dropped(c, c.connected(), *[sn.packet(kind, b"\x00\x01") for kind in range(0x1E, 0xFE)])


def test_to_a_stranger_nothing(c):
    """5.2: what is no message is not answered, whoever sends it."""
    dev = c.device()
    for _, kind, body in GOOD:
        good = sn.packet(kind, body)
        dev.send_raw(good + b"x")
        dev.send_raw(bytes([len(good) + 1]) + good[1:])
    dev.silent()


def test_counted(c):
    """5.2: in the counters, by kind."""
    dev = c.connected()
    before = c.gateway.counters()
    for _ in range(5):
        dev.send_raw(b"\x05\x16")
    for _ in range(3):
        dev.send_raw(b"\x02\x1e")
    dev.silent()
    after = c.gateway.counters()
    assert after["mqttsn.malformed"] - before.get("mqttsn.malformed", 0) >= 5
    assert after["mqttsn.reserved_type"] - before.get("mqttsn.reserved_type", 0) >= 3


def test_asleep(c):
    """5.2: nonsense does not wake a sleeper's mail."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    dev.disconnect(60)
    c.say(c.two_names[0], b"mail")
    for _, kind, body in GOOD:
        dev.send_raw(sn.packet(kind, body) + b"x")
    dev.silent()
    assert dev.collect() == [b"mail"]


@each(("topic", 6), ("message", 8))
def test_in_the_will_dialogue(c, value):
    """5.2: nor does it end a dialogue."""
    dev = c.device()
    dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLTOPICREQ)
    if value[1] == sn.WILLMSGREQ:
        dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    for _, kind, body in GOOD:
        dev.send_raw(sn.packet(kind, body) + b"x")
    dev.silent()
    if value[1] == sn.WILLTOPICREQ:
        dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
    assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"


def test_others_are_served_meanwhile(c):
    """5.2: a device that sends nothing else costs the others nothing."""
    dev, other = c.device(), c.connected()
    other.subscribe_short(c.two())
    for n in range(500):
        dev.send_raw(bytes([n % 256]) * (n % 50))
    other.publish(c.two_names[0], b"x", qos=1)
    assert other.wait_messages(1)[0].payload == b"x"


@each(("REGISTER", sn.REGACK), ("SUBSCRIBE", sn.SUBACK))
def test_names_that_are_no_text(c, value):
    """5.3.11: refused with 0x03; a bad one costs only its sender, and never the link to a broker."""
    dev = c.connected()
    for bad in (b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x00b", b"\x7f", b"\xc2\x85",
                b"\xef\xb7\x90", b"\xef\xbf\xbf"):
        if value[1] == sn.REGACK:
            dev.say_register(bad)
        else:
            dev.say_subscribe(bad)
        assert dev.next(value[1])[-1] == 3, bad
    assert dev.is_connected()


def test_a_message_of_the_largest_datagram(c):
    """5.2.1: 65507 octets are a message like any other."""
    dev, two = c.connected(), c.two()
    dev.send(sn.PUBLISH, b"\x22" + u16(as_id(two), 1) + b"x" * (65507 - 9))
    assert dev.next(sn.PUBACK)[4] == 0
    assert [len(p) for _, p in c.wait_heard(1)] == [65498]


suite.run(prepare, globals(), at_once=4)
