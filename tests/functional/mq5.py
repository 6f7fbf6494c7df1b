"""A raw MQTT 5.0 client: what it sends is what the test says, octet for octet; what comes is taken apart."""

import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
NAMES = dict((v, k) for k, v in list(globals().items()) if k.isupper())

# Properties: identifier and form.
PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION = 0x01, 0x02, 0x03, 0x08, 0x09
SUBSCRIPTION_ID, SESSION_EXPIRY, ASSIGNED_ID, SERVER_KEEP_ALIVE = 0x0b, 0x11, 0x12, 0x13
AUTH_METHOD, AUTH_DATA, REQUEST_PROBLEM, WILL_DELAY, REQUEST_RESPONSE = 0x15, 0x16, 0x17, 0x18, 0x19
RESPONSE_INFO, SERVER_REFERENCE, REASON, RECEIVE_MAX, ALIAS_MAX, ALIAS = 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x23
MAX_QOS, RETAIN_AVAILABLE, USER, MAX_PACKET, WILDCARD_AVAILABLE = 0x24, 0x25, 0x26, 0x27, 0x28
SUBSCRIPTION_ID_AVAILABLE, SHARED_AVAILABLE = 0x29, 0x2a
FORMS = {"B": (0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a), "H": (0x13, 0x21, 0x22, 0x23),
         "I": (0x02, 0x11, 0x18, 0x27), "v": (0x0b,), "s": (0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f),
         "p": (0x26,)}
FORM = {identifier: form for form, ids in FORMS.items() for identifier in ids}


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack(">H", len(s)) + s


def varint(n):
    out = b""
    while True:
        out += bytes([n % 128 | (128 if n > 127 else 0)])
        n //= 128
        if not n:
            return out


def prop(identifier, value):
    form = FORM[identifier]
    if form == "v":
        return bytes([identifier]) + varint(value)
    if form == "s":
        return bytes([identifier]) + text(value)
    if form == "p":
        return bytes([identifier]) + text(value[0]) + text(value[1])
    return bytes([identifier]) + struct.pack(">" + form, value)


def props(*pairs):
    """Of (identifier, value) pairs, or octets as they are; the length in front."""
    body = b"".join(p if isinstance(p, bytes) else prop(*p) for p in pairs)
    return varint(len(body)) + body


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert len(self.data) - self.at >= n, "cut short"
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def text(self):
        return self.take(self.number("H"))

    def varint(self):
        value, shift = 0, 0
        while True:
            octet = self.number("B")
            value |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return value

    def props(self):
        """A list of (identifier, value), in their order."""
        inner, found = Reader(self.take(self.varint())), []
        while inner.at < len(inner.data):
            identifier = inner.number("B")
            form = FORM[identifier]
            if form == "v":
                value = inner.varint()
            elif form == "s":
                value = inner.text()
            elif form == "p":
                value = inner.text().decode(), inner.text().decode()
            else:
                value = inner.number(form)
            found.append((identifier, value))
        return found

    def rest(self):
        return self.take(len(self.data) - self.at)


class Packet:
    """Fields by name; `size` is that of the whole packet."""

    def __init__(self, first, body, size):
        self.kind, self.flags, self.size = first >> 4, first & 15, size
        self.code, self.props, self.id = 0, [], 0
        r = Reader(body)
        if self.kind == CONNACK:
            self.present, self.code, self.props = r.number("B"), r.number("B"), r.props()
        elif self.kind == PUBLISH:
            self.qos, self.retain, self.dup = self.flags >> 1 & 3, self.flags & 1, self.flags >> 3
            self.topic = r.text().decode()
            self.id = r.number("H") if self.qos else 0
            self.props, self.payload = r.props(), r.rest()
        elif self.kind in (SUBACK, UNSUBACK):
            self.id, self.props, self.codes = r.number("H"), r.props(), list(r.rest())
        elif self.kind != PINGRESP:
            self.id = r.number("H") if PUBACK <= self.kind <= PUBCOMP else 0
            self.code = r.number("B") if r.at < len(body) else 0
            self.props = r.props() if r.at < len(body) else []
        assert r.at == len(body), "octets left over"

    def all(self, identifier):
        return [v for i, v in self.props if i == identifier]

    def get(self, identifier, absent=None):
        found = self.all(identifier)
        assert len(found) <= 1, found
        return found[0] if found else absent

    def __repr__(self):
        return "%s %r" % (NAMES[self.kind], self.__dict__)


class Mq5Client:
    """One connection; connects unless `client_id` is None."""

    take_apart = Packet

    def __init__(self, gateway, client_id="", timeout=10, **arguments):
        self.buffer, self.timeout, self.next_id = b"", timeout, 0
        self.sock = socket.create_connection(("127.0.0.1", gateway.mqtt_port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connack = None
        if client_id is not None:
            self.send(connect(client_id, **arguments))
            self.connack = self.expect(CONNACK)
            assert self.connack.code == 0, self.connack

    def send(self, data):
        self.sock.sendall(data)

    def _parse(self):
        for i, octet in enumerate(self.buffer[1:5]):
            if octet < 128:
                start = 2 + i
                end = start + Reader(self.buffer[1:start]).varint()
                if len(self.buffer) < end:
                    return None
                found = self.take_apart(self.buffer[0], self.buffer[start:end], end)
                self.buffer = self.buffer[end:]
                return found
        return None

    def recv(self, timeout=None):
        """The next packet; None: nothing came. Raises OSError at the end of the connection."""
        self.sock.settimeout(timeout or self.timeout)
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

    def expect(self, kind, code=None):
        found = self.recv()
        assert found is not None, "no %s came" % NAMES[kind]
        assert found.kind == kind, "%s expected, not %r" % (NAMES[kind], found)
        assert code is None or found.code == code, "0x%02x expected in %r" % (code, found)
        return found

    def expect_closed(self):
        try:
            found = self.recv()
        except OSError:
            return
        raise AssertionError("not closed, but %r" % found)

    def expect_bye(self, code):
        """DISCONNECT with this reason, then the end."""
        bye = self.expect(DISCONNECT, code)
        self.expect_closed()
        return bye

    def expect_nothing(self):
        """What was sent before has been dealt with, and brought nothing."""
        self.send(packet(PINGREQ))
        self.expect(PINGRESP)

    def new_id(self):
        self.next_id += 1
        return self.next_id

    def subscribe(self, topic, options=0, *pairs):
        """The code."""
        number = self.new_id()
        self.send(subscribe(number, [(topic, options)], *pairs))
        answer = self.expect(SUBACK)
        assert answer.id == number and len(answer.codes) == 1, answer
        return answer.codes[0]

    def publish(self, topic, payload=b"", qos=0, *pairs, retain=False):
        """The whole exchange; the code that was given."""
        number = self.new_id() if qos else 0
        self.send(publish(topic, payload, qos, number, *pairs, retain=retain))
        if qos == 0:
            return 0
        answer = self.expect(PUBACK if qos == 1 else PUBREC)
        assert answer.id == number, answer
        if qos == 2 and answer.code < 0x80:
            self.ack(PUBREL, number)
            assert self.expect(PUBCOMP, 0).id == number
        return answer.code

    def ack(self, kind, number, code=None, *pairs):
        body = struct.pack(">H", number) + (b"" if code is None else bytes([code]))
        self.send(packet(kind, body + (props(*pairs) if pairs else b""), 2 if kind == PUBREL else 0))

    def disconnect(self, code=None, *pairs):
        body = b"" if code is None else bytes([code]) + props(*pairs)
        self.send(packet(DISCONNECT, body))
        self.expect_closed()

    def close(self):
        self.sock.close()


def connect(client_id, clean=True, keepalive=60, pairs=(), will=None, user=None, password=None):
    """will: (topic, payload, qos, retain, property, ...)."""
    flags, tail = clean << 1, text(client_id)
    if will:
        flags |= 4 | will[2] << 3 | will[3] << 5
        tail += props(*will[4:]) + text(will[0]) + text(will[1])
    if user is not None:
        flags |= 0x80
        tail += text(user)
    if password is not None:
        flags |= 0x40
        tail += text(password)
    body = text("MQTT") + bytes([5, flags]) + struct.pack(">H", keepalive) + props(*pairs) + tail
    return packet(CONNECT, body)


def publish(topic, payload=b"", qos=0, number=0, *pairs, retain=False, dup=False):
    body = text(topic) + (struct.pack(">H", number) if qos else b"") + props(*pairs) + payload
    return packet(PUBLISH, body, dup << 3 | qos << 1 | retain)


def subscribe(number, filters, *pairs):
    body = struct.pack(">H", number) + props(*pairs)
    return packet(SUBSCRIBE, body + b"".join(text(f) + bytes([options]) for f, options in filters), 2)


def unsubscribe(number, filters, *pairs):
    body = struct.pack(">H", number) + props(*pairs)
    return packet(UNSUBSCRIBE, body + b"".join(text(f) for f in filters), 2)
