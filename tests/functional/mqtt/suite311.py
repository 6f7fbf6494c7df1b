"""What the conformance files of MQTT 3.1.1 share: raw clients, one gateway for a file, as in suite5.py."""

import struct

import mq
import mq5
import suite5
from mq import packet, text
from mq5 import (CONNACK, CONNECT, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE,
                 UNSUBACK, UNSUBSCRIBE)

CLEAN, WILL, WILL_RETAIN, PASSWORD, USER = 0x02, 0x04, 0x20, 0x40, 0x80


def u16(n):
    return struct.pack(">H", n)


def connect(client_id, clean=True, keepalive=60, will=None, user=None, password=None, flags=None, name="MQTT", level=4,
            tail=b""):
    """will: (topic, payload, qos, retain). `flags` in place of those that the other arguments make."""
    found, body = CLEAN * clean, text(client_id)
    if will:
        found |= WILL | will[2] << 3 | WILL_RETAIN * will[3]
        body += text(will[0]) + text(will[1])
    if user is not None:
        found |= USER
        body += text(user)
    if password is not None:
        found |= PASSWORD
        body += text(password)
    head = text(name) + bytes([level, found if flags is None else flags]) + u16(keepalive)
    return packet(CONNECT, head + body + tail)


def subscribe(number, *filters):
    """Filters are (filter, qos)."""
    return packet(SUBSCRIBE, u16(number) + b"".join(text(f) + bytes([qos]) for f, qos in filters), 2)


def unsubscribe(number, *filters):
    return packet(UNSUBSCRIBE, u16(number) + b"".join(text(f) for f in filters), 2)


class Packet:
    """Fields by name."""

    def __init__(self, first, body, size):
        self.kind, self.flags, self.size = first >> 4, first & 15, size
        r = mq5.Reader(body)
        self.code = 0
        if self.kind == CONNACK:
            self.present, self.code = r.number("B"), r.number("B")
        elif self.kind == PUBLISH:
            self.qos, self.retain, self.dup = self.flags >> 1 & 3, self.flags & 1, self.flags >> 3
            self.topic = r.text().decode()
            self.id = r.number("H") if self.qos else 0
            self.payload = r.rest()
        elif self.kind == SUBACK:
            self.id, self.codes = r.number("H"), list(r.rest())
        elif PUBACK <= self.kind <= UNSUBACK:
            self.id = r.number("H")
        assert self.flags == (2 if self.kind == PUBREL else self.flags if self.kind == PUBLISH else 0), self
        assert r.at == len(body), "octets left over"

    def __repr__(self):
        return "%s %r" % (mq5.NAMES[self.kind], self.__dict__)


class Client(mq5.Mq5Client):
    """One connection; connects unless `client_id` is None."""

    take_apart = Packet

    def __init__(self, gateway, client_id=None, **arguments):
        super().__init__(gateway, None)
        if client_id is not None:
            self.send(connect(client_id, **arguments))
            self.connack = self.expect(CONNACK, 0)

    def subscribe(self, topic, qos=0):
        number = self.new_id()
        self.send(subscribe(number, (topic, qos)))
        answer = self.expect(SUBACK)
        assert answer.id == number and len(answer.codes) == 1, answer
        return answer.codes[0]

    def unsubscribe(self, *filters):
        number = self.new_id()
        self.send(unsubscribe(number, *filters))
        assert self.expect(UNSUBACK).id == number

    def publish(self, topic, payload=b"", qos=0, retain=False):
        number = self.new_id() if qos else 0
        self.send(mq.publish(topic, payload, qos, number, retain=retain))
        if qos:
            assert self.expect(PUBACK if qos == 1 else PUBREC).id == number
        if qos == 2:
            self.ack(PUBREL, number)
            assert self.expect(PUBCOMP).id == number

    def ack(self, kind, number):
        self.send(packet(kind, u16(number), 2 if kind == PUBREL else 0))

    def take(self):
        """The next message, acknowledged."""
        m = self.expect(PUBLISH)
        if m.qos == 1:
            self.ack(PUBACK, m.id)
        if m.qos == 2:
            self.ack(PUBREC, m.id)
            assert self.expect(PUBREL).id == m.id
            self.ack(PUBCOMP, m.id)
        return m

    def take_all(self):
        """Whatever was on its way (QoS 0 and 1), until the gateway has nothing more to say."""
        self.send(packet(mq5.PINGREQ))
        found = []
        while True:
            got = self.recv()
            assert got is not None, "no PINGRESP"
            if got.kind == mq5.PINGRESP:
                return found
            found.append(got)

    def disconnect(self):
        self.send(packet(DISCONNECT))
        self.expect_closed()


class Case(suite5.Case):
    def _kept(self, client):
        self.clients.append(client)
        return client

    def client(self, rest="c", **arguments):
        return self._kept(Client(self.gateway, self.name(rest), **arguments))

    def raw(self, rest=None):
        return self._kept(Client(self.gateway))

    def pair(self, qos=2, **arguments):
        """A subscriber to everything of this case, and a publisher."""
        sub = self.client("sub", **arguments)
        assert sub.subscribe(self.topic("#"), qos) == qos
        return sub, self.client("pub")

    def closes(self, data):
        """On a connection of its own this brings the end, and no answer."""
        client = self.client("bad")
        client.send(data)
        client.expect_closed()
        client.close()


class Bench(suite5.Bench):
    case_type = Case


def run(functions, at_once=1, **sections):
    suite5.run(functions, Bench, at_once, **sections)
