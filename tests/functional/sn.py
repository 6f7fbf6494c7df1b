"""A raw MQTT-SN 1.2 client: what it sends is what the test says, octet for octet."""

import socket
import struct
import time

from harness import WAIT_S

ADVERTISE, SEARCHGW, GWINFO = 0x00, 0x01, 0x02
CONNECT, CONNACK = 0x04, 0x05
WILLTOPICREQ, WILLTOPIC, WILLMSGREQ, WILLMSG = 0x06, 0x07, 0x08, 0x09
REGISTER, REGACK, PUBLISH, PUBACK = 0x0A, 0x0B, 0x0C, 0x0D
PUBCOMP, PUBREC, PUBREL = 0x0E, 0x0F, 0x10
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 0x12, 0x13, 0x14, 0x15
PINGREQ, PINGRESP, DISCONNECT = 0x16, 0x17, 0x18
WILLTOPICUPD, WILLTOPICRESP, WILLMSGUPD, WILLMSGRESP = 0x1A, 0x1B, 0x1C, 0x1D

NORMAL, PREDEFINED, SHORT = 0, 1, 2
NAMES = {value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)
         and name not in ("NORMAL", "PREDEFINED", "SHORT", "WAIT_S")}


def packet(kind, body=b""):
    length = len(body) + 2
    if length < 256:
        return bytes([length, kind]) + body
    return b"\x01" + struct.pack(">HB", length + 2, kind) + body


def parse(data):
    if data[0] == 1:
        length, kind = struct.unpack(">HB", data[1:4])
        body = data[4:]
    else:
        length, kind, body = data[0], data[1], data[2:]
    assert length == len(data), "length %d of %d octets" % (length, len(data))
    return kind, body


def flags(dup=False, qos=0, retain=False, will=False, clean=False, kind=NORMAL):
    return dup << 7 | (qos & 3) << 5 | retain << 4 | will << 3 | clean << 2 | kind


class Message:
    def __init__(self, body):
        self.flags, self.topic_id, self.msg_id = struct.unpack(">BHH", body[:5])
        self.payload = body[5:]
        self.qos = self.flags >> 5 & 3
        self.dup = bool(self.flags & 0x80)
        self.retain = bool(self.flags & 0x10)
        self.kind = self.flags & 3

    def topic(self, names):
        if self.kind == SHORT:
            return struct.pack(">H", self.topic_id).decode()
        return names[(self.kind, self.topic_id)]


class SnClient:
    """One device. Messages that arrive while something else is awaited are acknowledged and kept in `messages`."""

    def __init__(self, gateway, client_id="dev"):
        self.address = ("127.0.0.1", gateway.sn_port)
        self.client_id = client_id
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.msg_id = 0
        self.names = {}     # (kind, topic id) -> name
        self.ids = {}       # name -> topic id
        self.messages = []  # Message, in order of arrival, repetitions of QoS 2 left out
        self.open_qos2 = set()
        self.acknowledge = True

    def send(self, kind, body=b""):
        self.sock.sendto(packet(kind, body), self.address)

    def send_raw(self, data):
        self.sock.sendto(data, self.address)

    def recv(self, timeout=WAIT_S):
        """The next datagram as (type, body), or None."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            data, _ = self.sock.recvfrom(65536)
        except socket.timeout:
            return None
        return parse(data)

    def next_id(self):
        self.msg_id = self.msg_id % 65535 + 1
        return self.msg_id

    def take(self, kind, body):
        """What a well-behaved device does with a message of the gateway. True when it was one of those."""
        if kind == REGISTER:
            topic_id, msg_id = struct.unpack(">HH", body[:4])
            name = body[4:].decode()
            self.names[(NORMAL, topic_id)] = name
            self.ids[name] = topic_id
            self.send(REGACK, struct.pack(">HHB", topic_id, msg_id, 0))
        elif kind == PUBLISH:
            m = Message(body)
            if m.qos != 2 or m.msg_id not in self.open_qos2:
                self.messages.append(m)
            if not self.acknowledge:
                return True
            if m.qos == 1:
                self.send(PUBACK, struct.pack(">HHB", m.topic_id, m.msg_id, 0))
            elif m.qos == 2:
                self.open_qos2.add(m.msg_id)
                self.send(PUBREC, struct.pack(">H", m.msg_id))
        elif kind == PUBREL:
            self.open_qos2.discard(struct.unpack(">H", body)[0])
            self.send(PUBCOMP, body)
        else:
            return False
        return True

    def expect(self, kind, timeout=WAIT_S, msg_id=None, at=0):
        """Waits for a message of this type (with this message id at offset `at`); returns its body."""
        end = time.monotonic() + timeout
        while True:
            got = self.recv(end - time.monotonic())
            if got is None:
                raise AssertionError("%s: no %s in %g s" % (self.client_id, NAMES.get(kind, kind), timeout))
            if got[0] == kind and (msg_id is None or struct.unpack_from(">H", got[1], at)[0] == msg_id):
                return got[1]
            if not self.take(*got) and got[0] == DISCONNECT:
                raise AssertionError("%s: DISCONNECT instead of %s" % (self.client_id, NAMES.get(kind, kind)))

    def quiet(self, seconds=0.3):
        """Nothing arrives for that long."""
        got = self.recv(seconds)
        assert got is None, "unexpected %s %s" % (NAMES.get(got[0]), got[1].hex())

    def connect(self, clean=True, duration=60, will=None):
        body = bytes([flags(clean=clean, will=will is not None), 1]) + struct.pack(">H", duration)
        self.send(CONNECT, body + self.client_id.encode())
        if will:
            topic, message, qos, retain = will
            self.expect(WILLTOPICREQ)
            self.send(WILLTOPIC, bytes([flags(qos=qos, retain=retain)]) + topic.encode())
            self.expect(WILLMSGREQ)
            self.send(WILLMSG, message)
        rc = self.expect(CONNACK)[0]
        assert rc == 0, "CONNACK 0x%02x" % rc
        return self

    def register(self, name):
        msg_id = self.next_id()
        self.send(REGISTER, struct.pack(">HH", 0, msg_id) + name.encode())
        topic_id, _, rc = struct.unpack(">HHB", self.expect(REGACK, msg_id=msg_id, at=2))
        assert rc == 0, "REGACK 0x%02x" % rc
        self.ids[name] = topic_id
        self.names[(NORMAL, topic_id)] = name
        return topic_id

    def send_publish(self, topic_id, payload, qos=0, kind=NORMAL, retain=False, msg_id=None, dup=False):
        if msg_id is None:
            msg_id = self.next_id() if qos in (1, 2) else 0
        self.send(PUBLISH, bytes([flags(dup, qos, retain, kind=kind)]) + struct.pack(">HH", topic_id, msg_id) + payload)
        return msg_id

    def publish(self, name, payload, qos=1, retain=False, timeout=WAIT_S):
        """By name: short, or registered first. Returns when it is acknowledged."""
        if len(name.encode()) == 2:
            topic_id, kind = struct.unpack(">H", name.encode())[0], SHORT
        else:
            topic_id, kind = self.ids.get(name) or self.register(name), NORMAL
        return self.publish_id(topic_id, payload, qos, kind, retain, timeout)

    def publish_id(self, topic_id, payload, qos=1, kind=NORMAL, retain=False, timeout=WAIT_S):
        msg_id = self.send_publish(topic_id, payload, qos, kind, retain)
        if qos == 1:
            rc = self.expect(PUBACK, timeout, msg_id, at=2)[4]
            assert rc == 0, "PUBACK 0x%02x" % rc
        elif qos == 2:
            self.expect(PUBREC, timeout, msg_id)
            self.send(PUBREL, struct.pack(">H", msg_id))
            self.expect(PUBCOMP, timeout, msg_id)
        return msg_id

    def subscribe(self, topic, qos=1, kind=NORMAL):
        msg_id = self.next_id()
        name = struct.pack(">H", topic) if isinstance(topic, int) else topic.encode()
        self.send(SUBSCRIBE, bytes([flags(qos=qos, kind=kind)]) + struct.pack(">H", msg_id) + name)
        answer = self.expect(SUBACK, msg_id=msg_id, at=3)
        topic_id, rc = struct.unpack(">H", answer[1:3])[0], answer[5]
        assert rc == 0, "SUBACK 0x%02x" % rc
        if kind == NORMAL and topic_id:
            self.names[(NORMAL, topic_id)] = topic
            self.ids[topic] = topic_id
        return topic_id

    def wait_messages(self, n, timeout=WAIT_S):
        end = time.monotonic() + timeout
        while len(self.messages) < n:
            got = self.recv(end - time.monotonic())
            assert got, "%s: %d of %d messages" % (self.client_id, len(self.messages), n)
            self.take(*got)
        return self.messages

    def received(self):
        return [(m.topic(self.names), m.payload) for m in self.messages]

    def close(self):
        self.sock.close()
