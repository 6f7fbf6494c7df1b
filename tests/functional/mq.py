"""A raw MQTT 3.1.1 client: what it sends is what the test says, octet for octet."""

import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack(">H", len(s)) + s


def packet(kind, body=b"", flags=0):
    length, n = b"", len(body)
    while True:
        length += bytes([n % 128 | (128 if n > 127 else 0)])
        n //= 128
        if not n:
            return bytes([kind << 4 | flags]) + length + body


def publish(topic, payload, qos=0, packet_id=0, dup=False, retain=False):
    body = text(topic) + (struct.pack(">H", packet_id) if qos else b"") + payload
    return packet(PUBLISH, body, dup << 3 | qos << 1 | retain)


class MqClient:
    """One connection. Raises OSError when it ends."""

    def __init__(self, port, client_id, clean=True, keepalive=60, timeout=5):
        self.buffer = b""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = text("MQTT") + bytes([4, clean << 1]) + struct.pack(">H", keepalive) + text(client_id)
        self.send(packet(CONNECT, body))
        answer = self.recv(timeout)
        if answer is None or answer[0] != CONNACK or answer[2][1] != 0:
            self.close()
            raise OSError("no CONNACK: %r" % (answer,))
        self.present = bool(answer[2][0])

    def send(self, data):
        self.sock.sendall(data)

    def _parse(self):
        length, shift = 0, 0
        for i, octet in enumerate(self.buffer[1:5]):
            length |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                end = 2 + i + length
                if len(self.buffer) < end:
                    return None
                first, body = self.buffer[0], self.buffer[2 + i:end]
                self.buffer = self.buffer[end:]
                return first >> 4, first & 15, body
        return None

    def recv(self, timeout):
        """The next packet as (type, flags, body), or None."""
        self.sock.settimeout(max(timeout, 0.001))
        while True:
            found = self._parse()
            if found:
                return found
            try:
                data = self.sock.recv(1 << 16)
            except socket.timeout:
                return None
            if not data:
                raise OSError("closed by the peer")
            self.buffer += data

    def subscribe(self, topic, qos=0, packet_id=1):
        self.send(packet(SUBSCRIBE, struct.pack(">H", packet_id) + text(topic) + bytes([qos]), 2))
        answer = self.recv(5)
        if answer is None or answer[0] != SUBACK:
            raise OSError("no SUBACK: %r" % (answer,))

    def close(self):
        self.sock.close()


def parse_publish(flags, body):
    """(topic, packet id, payload)."""
    n = struct.unpack(">H", body[:2])[0]
    topic, rest = body[2:2 + n].decode(), body[2 + n:]
    if flags & 6:
        return topic, struct.unpack(">H", rest[:2])[0], rest[2:]
    return topic, 0, rest
