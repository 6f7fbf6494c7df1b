"""MQTT 5.0, 2.2.2: every packet of a client with every property: where it belongs, twice, elsewhere, cut short, and with
values that it may not have (table 2-4)."""

import struct

import mq5
import suite5
from harness import each
from mq5 import (CONNACK, CONNECT, DISCONNECT, FORM, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE,
                 UNSUBSCRIBE, packet, prop, text, varint)

WILL = "WILL"
LEGAL = {
    CONNECT: {0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27},
    WILL: {0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26},
    PUBLISH: {0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26},
    PUBACK: {0x1f, 0x26}, PUBREC: {0x1f, 0x26}, PUBREL: {0x1f, 0x26}, PUBCOMP: {0x1f, 0x26},
    SUBSCRIBE: {0x0b, 0x26}, UNSUBSCRIBE: {0x26}, DISCONNECT: {0x11, 0x1f, 0x26},
}
VALUE = {"B": 1, "H": 1, "I": 1000, "v": 1, "s": "text", "p": ("k", "v")}
# Authentication is refused (4.12); the expiry of a session that ends with its connection may not be changed (3.14.2.2.2).
REFUSED = {(CONNECT, 0x15): 0x8c, (CONNECT, 0x16): 0x82, (DISCONNECT, 0x11): 0x82}


def with_props(case, where, octets):
    """The packet with these octets as properties, their length in front."""
    body = varint(len(octets)) + octets
    number = struct.pack(">H", 5)
    if where in (CONNECT, WILL):
        will = where == WILL
        head = text("MQTT") + bytes([5, 6 if will else 2]) + struct.pack(">H", 60)
        tail = text(case.name()) + (body + text(case.topic()) + text("w") if will else b"")
        return packet(CONNECT, head + (b"\0" if will else body) + tail)
    if where == PUBLISH:
        return packet(PUBLISH, text(case.topic()) + number + body, 2)
    if where == SUBSCRIBE:
        return packet(SUBSCRIBE, number + body + text(case.topic()) + b"\0", 2)
    if where == UNSUBSCRIBE:
        return packet(UNSUBSCRIBE, number + body + text(case.topic()), 2)
    if where == DISCONNECT:
        return packet(DISCONNECT, b"\0" + body)
    return packet(where, number + b"\0" + body, 2 if where == PUBREL else 0)


def said(case, where, octets):
    """The code with which the gateway ends the connection, or 0."""
    client = case.raw()
    try:
        if where not in (CONNECT, WILL):
            client.send(mq5.connect(case.name()))
            client.expect(CONNACK, 0)
        client.send(with_props(case, where, octets))
        if where == DISCONNECT:
            try:
                return client.expect(DISCONNECT).code
            except OSError:
                return 0
        client.send(packet(mq5.PINGREQ))
        while True:
            found = client.recv()
            assert found is not None, "neither answered nor closed"
            if found.kind == mq5.PINGRESP:
                return 0
            if found.kind == DISCONNECT or (found.kind == CONNACK and found.code):
                client.expect_closed()
                return found.code
    finally:
        client.close()


def name(where):
    return where if where == WILL else mq5.NAMES[where]


PLACES = [(name(where), where) for where in LEGAL]


@each(*PLACES)
def test_every_property_where_it_belongs_and_elsewhere(case, place):
    """2.2.2.2, table 2-4: [MQTT-2.2.2-2]"""
    where = place[1]
    for identifier, form in FORM.items():
        code = said(case, where, prop(identifier, VALUE[form]))
        due = REFUSED.get((where, identifier), 0) if identifier in LEGAL[where] else None
        assert code == due if due is not None else code in (0x81, 0x82), (identifier, code)


@each(*PLACES)
def test_a_property_twice(case, place):
    """2.2.2.2: but for User Property only once"""
    where = place[1]
    for identifier in LEGAL[where]:
        code = said(case, where, 2 * prop(identifier, VALUE[FORM[identifier]]))
        assert code == 0 if identifier == 0x26 else code == 0x82, (identifier, code)


@each(*PLACES)
def test_properties_cut_short(case, place):
    """1.5: every prefix of a property is malformed, with a length that fits it"""
    where = place[1]
    for identifier in LEGAL[where]:
        whole = prop(identifier, VALUE[FORM[identifier]])
        for n in range(1, len(whole)):
            code = said(case, where, whole[:n])
            assert code in (0x81, 0x82), (identifier, n, code)


@each(*PLACES)
def test_identifiers_that_are_none(case, place):
    """2.2.2.2"""
    for octets in (b"\0", b"\x04\0", b"\x2b\0", b"\x7f\0", b"\x80\x01\0", b"\xff\xff\xff\xff"):
        assert said(case, place[1], octets) in (0x81, 0x82), octets


@each(*PLACES)
def test_text_that_is_none(case, place):
    """1.5.4: [MQTT-1.5.4-1], [MQTT-1.5.4-2]; 1.5.7: [MQTT-1.5.7-1]"""
    binary = (0x09, 0x16)
    for bad in (b"\xff", b"a\0", b"\xed\xa0\x80", b"\xc0\x80"):
        for identifier in LEGAL[place[1]] - set(binary):
            if FORM[identifier] == "s":
                assert said(case, place[1], prop(identifier, bad)) in (0x81, 0x82), (identifier, bad)
        for pair in ((bad, "v"), ("k", bad)):
            assert said(case, place[1], prop(0x26, pair)) in (0x81, 0x82), pair


@each(("receive maximum 0", CONNECT, (0x21, 0), 0x82), ("packet size 0", CONNECT, (0x27, 0), 0x82),
      ("problem 2", CONNECT, (0x17, 2), 0x82), ("response 2", CONNECT, (0x19, 2), 0x82),
      ("format 2", PUBLISH, (0x01, 2), 0x82), ("format 2 of a will", WILL, (0x01, 2), 0x82),
      ("alias 0", PUBLISH, (0x23, 0), 0x94), ("alias too large", PUBLISH, (0x23, 65535), 0x94),
      ("response topic with a wildcard", PUBLISH, (0x08, "a/+"), 0x82),
      ("response topic of a will", WILL, (0x08, "#"), 0x82), ("subscription id 0", SUBSCRIBE, (0x0b, 0), 0x82))
def test_values_out_of_range(case, what):
    """3.1.2.11, 3.1.3.2, 3.3.2.3, 3.8.2.1.2"""
    assert said(case, what[1], prop(*what[2])) == what[3]


suite5.run(globals(), at_once=4)
