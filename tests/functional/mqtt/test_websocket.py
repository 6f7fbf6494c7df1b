"""MQTT over WebSocket: real clients over ws and wss, and what RFC 6455 asks of a server, on raw sockets."""

import base64
import os
import signal
import socket
import ssl
import struct
import threading

import certificates
import harness
import paho.mqtt.client as mqtt
from harness import until

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01w"
CONNACK = b"\x20\x02\x00\x00"


def gateway_with(site, scheme="ws", **sections):
    port = harness.free_port()
    gateway = site.gateway(**sections)
    rows = gateway.sections["mqtt"]
    rows["listen"] += ", %s://127.0.0.1:%d" % (scheme, port)
    if scheme == "wss":
        ca = certificates.make_ca(site.dir)
        rows["key_file"], rows["cert_file"] = certificates.make_server(site.dir, ca)
        gateway.ca = ca[1]
    gateway.ws_port = port
    gateway.write_conf()
    return gateway.start()


class WebSocketClient:
    """paho-mqtt with its messages in a list."""

    def __init__(self, gateway, ca=None, path="/mqtt"):
        self.messages = []
        self.connected, self.subscribed = threading.Event(), threading.Event()
        self.client = mqtt.Client("", transport="websockets")
        self.client.ws_set_options(path=path)
        if ca:
            self.client.tls_set(ca)
        self.client.on_connect = lambda *_: self.connected.set()
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda c, u, m: self.messages.append(m)
        self.client.connect("localhost", gateway.ws_port, 60)
        self.client.loop_start()
        assert self.connected.wait(10), "no CONNACK"

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def speak(site, scheme):
    gateway = gateway_with(site, scheme, limits={"queue_bytes": "4MB"})
    c = WebSocketClient(gateway, getattr(gateway, "ca", None))
    site.clients.append(c)
    c.client.subscribe("ws/#", 2)
    assert c.subscribed.wait(10)
    plain = site.mqtt(gateway, "plain")
    plain.subscribe("ws/#", 2)
    sizes = (0, 1, 120, 121, 1000, 60000, 65535, 70000, 500000)
    for n, size in enumerate(sizes):
        source = c.client if n % 2 else plain.client
        source.publish("ws/%d" % n, bytes(i % 253 for i in range(size)), n % 3)
    for messages in (c.messages, plain.messages):
        until(lambda: len(messages) == len(sizes), "all messages (%d)" % len(messages))
        got = {m.topic: m.payload for m in messages}
        for n, size in enumerate(sizes):
            assert got["ws/%d" % n] == bytes(i % 253 for i in range(size)), n


def test_a_client_over_ws(site):
    speak(site, "ws")


def test_a_client_over_wss(site):
    speak(site, "wss")


def test_many_messages_in_order(site):
    gateway = gateway_with(site, limits={"queue_messages": 5000, "queue_bytes": "4MB"})
    c = WebSocketClient(gateway)
    site.clients.append(c)
    c.client.subscribe("order", 1)
    assert c.subscribed.wait(10)
    writer = WebSocketClient(gateway)
    site.clients.append(writer)
    for n in range(2000):
        writer.client.publish("order", b"%d" % n, 1)
    until(lambda: len(c.messages) >= 2000, "all of them")
    assert [int(m.payload) for m in c.messages] == list(range(2000))


def test_another_path(site):
    gateway = gateway_with(site, mqtt={"ws_path": "/hub/socket"})
    site.clients.append(WebSocketClient(gateway, path="/hub/socket?who=me"))
    assert status(gateway, ask()) == 404
    assert status(gateway, ask("/hub/socket")) == 101


def ask(path="/mqtt", method="GET", **headers):
    rows = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Protocol": "mqtt"}
    rows.update({key.replace("_", "-"): value for key, value in headers.items()})
    lines = ["%s: %s" % row for row in rows.items() if row[1] is not None]
    return ("%s %s HTTP/1.1\r\n" % (method, path) + "".join(line + "\r\n" for line in lines) + "\r\n").encode()


def frame(opcode, data=b"", fin=True, mask=b"\x12\x34\x56\x78"):
    first = bytes([(0x80 if fin else 0) | opcode])
    length = struct.pack(">B", 0x80 | len(data)) if len(data) < 126 else struct.pack(">BH", 0xfe, len(data))
    return first + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


class Raw:
    def __init__(self, gateway, request=None):
        self.sock = socket.create_connection(("127.0.0.1", gateway.ws_port), 10)
        self.buffer = b""
        if request:
            self.sock.sendall(request)

    def fill(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return data

    def head(self):
        """The HTTP answer, or what came before the end."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                break
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def frame(self):
        """(opcode, payload) of the next frame; None at the end."""
        while True:
            b = self.buffer
            if len(b) >= 2:
                assert b[0] & 0x80 and not b[1] & 0x80, "whole, and not masked: %r" % b[:2]
                size, at = b[1], 2
                if size == 126:
                    size, at = struct.unpack(">H", b[2:4])[0] if len(b) >= 4 else 1 << 16, 4
                if len(b) >= at + size:
                    self.buffer = b[at + size:]
                    return b[0] & 15, b[at:at + size]
            if not self.fill():
                return None

    def closed(self):
        assert self.buffer == b""
        return self.fill() == b""


def status(gateway, request):
    raw = Raw(gateway, request)
    head = raw.head()
    if " 101 " not in head:
        assert raw.closed()
    return int(head.split(" ")[1])


def opened(gateway):
    raw = Raw(gateway, ask())
    assert raw.head().startswith("HTTP/1.1 101 ")
    return raw


def test_refused_requests(site):
    gateway = gateway_with(site)
    assert status(gateway, ask("/")) == 404
    assert status(gateway, ask("/mqtt2")) == 404
    assert status(gateway, ask(method="POST")) == 405
    assert status(gateway, ask(Sec_WebSocket_Key=None)) == 400
    assert status(gateway, ask(Sec_WebSocket_Key="short")) == 400
    assert status(gateway, ask(Sec_WebSocket_Version="8")) == 426
    assert status(gateway, ask(Sec_WebSocket_Version=None)) == 426
    assert status(gateway, ask(Upgrade=None)) == 426
    assert status(gateway, ask(Sec_WebSocket_Protocol=None)) == 400
    assert status(gateway, ask(Sec_WebSocket_Protocol="chat")) == 400
    assert status(gateway, ask(X="x" * 5000)) == 431
    assert status(gateway, CONNECT) == 400
    assert status(gateway, ask()) == 101


def test_web_pages(site):
    gateway = gateway_with(site)
    assert status(gateway, ask(Origin="http://localhost:8080")) == 101
    assert status(gateway, ask(Origin="https://panel.example")) == 403
    gateway.wait_log("mqtt: .*ws_origins")
    gateway.sections["mqtt"]["ws_origins"] = "https://other.example, https://panel.example"
    gateway.write_conf()
    mark = gateway.mark()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded", after=mark)
    assert status(gateway, ask(Origin="https://panel.example")) == 101
    assert status(gateway, ask(Origin="https://evil.example")) == 403


def test_the_answer(site):
    gateway = gateway_with(site)
    head = Raw(gateway, ask(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Sec_WebSocket_Protocol="x, mqtt")).head()
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
    assert "Sec-WebSocket-Protocol: mqtt" in head, head


def test_octet_by_octet(site):
    gateway = gateway_with(site)
    raw = Raw(gateway)
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in ask() + frame(BINARY, CONNECT):
        raw.sock.sendall(bytes([octet]))
    assert " 101 " in raw.head()
    assert raw.frame() == (BINARY, CONNACK)


def test_all_at_once(site):
    """The first frames behind the request, before it is answered."""
    gateway = gateway_with(site)
    raw = Raw(gateway, ask() + frame(BINARY, CONNECT) + frame(BINARY, b"\xc0\x00"))
    assert " 101 " in raw.head()
    got = raw.frame()[1]
    while len(got) < 6:
        got += raw.frame()[1]
    assert got == CONNACK + b"\xd0\x00"


def test_packets_and_frames_need_not_agree(site):
    gateway = gateway_with(site)
    raw = opened(gateway)
    for i, octet in enumerate(CONNECT):
        raw.sock.sendall(frame(BINARY if i == 0 else 0, bytes([octet]), fin=i == len(CONNECT) - 1))
    assert raw.frame() == (BINARY, CONNACK)
    raw.sock.sendall(frame(BINARY, b"\xc0\x00" * 3))
    assert raw.frame() == (BINARY, b"\xd0\x00" * 3)


def test_pings(site):
    gateway = gateway_with(site)
    raw = opened(gateway)
    raw.sock.sendall(frame(PING, b"early"))
    assert raw.frame() == (PONG, b"early")
    raw.sock.sendall(frame(BINARY, CONNECT[:5], fin=False) + frame(PING, b"p" * 125) + frame(0, CONNECT[5:]) + frame(PONG, b"x"))
    got = [raw.frame(), raw.frame()]
    assert sorted(got) == [(BINARY, CONNACK), (PONG, b"p" * 125)], got
    for _ in range(2000):
        raw.sock.sendall(frame(PING, b"flood"))
    raw.sock.sendall(frame(BINARY, b"\xc0\x00"))
    while True:
        answer = raw.frame()
        if answer != (PONG, b"flood"):
            break
    assert answer == (BINARY, b"\xd0\x00")


def test_close(site):
    gateway = gateway_with(site)
    raw = opened(gateway)
    raw.sock.sendall(frame(BINARY, CONNECT))
    assert raw.frame() == (BINARY, CONNACK)
    raw.sock.sendall(frame(CLOSE, struct.pack(">H", 1001) + b"going away"))
    assert raw.frame() == (CLOSE, struct.pack(">H", 1001))
    assert raw.closed()
    raw = opened(gateway)
    raw.sock.sendall(frame(BINARY, CONNECT) + frame(BINARY, b"\xe0\x00"))
    assert raw.frame()[0] in (BINARY, CLOSE)


def test_broken_frames(site):
    gateway = gateway_with(site)
    for data, code in ((frame(TEXT, b"x"), 1003), (b"\x82\x01x", 1002), (frame(BINARY | 0x40, b"x"), 1002), (frame(3, b"x"), 1002),
                       (frame(PING, b"x" * 126), 1002), (frame(PING, b"x", fin=False), 1002), (frame(0, b"x"), 1002),
                       (frame(CLOSE, b"x"), 1002)):
        raw = opened(gateway)
        raw.sock.sendall(frame(BINARY, CONNECT) + data)
        assert raw.frame() in ((BINARY, CONNACK), (CLOSE, struct.pack(">H", code))), data
        last = raw.frame()
        assert last in (None, (CLOSE, struct.pack(">H", code))), (data, last)
    assert status(gateway, ask()) == 101


def test_the_gateway_stops(site):
    gateway = gateway_with(site)
    raw = opened(gateway)
    raw.sock.sendall(frame(BINARY, CONNECT))
    assert raw.frame() == (BINARY, CONNACK)
    gateway.stop()
    assert raw.frame() == (CLOSE, struct.pack(">H", 1000))
    assert raw.frame() is None


def test_silence_ends(site):
    gateway = gateway_with(site, mqtt={"connect_timeout": "1s"})
    silent = [Raw(gateway), Raw(gateway, ask()[:40]), opened(gateway)]
    for raw in silent:
        while raw.fill():
            pass


def read_long(raw, size):
    """Reads frames of any length until so many octets of data have come: these, and the number of pongs."""
    buffer, data, pongs = raw.buffer, bytearray(), 0
    while len(data) < size:
        more = raw.sock.recv(1 << 16)
        assert more, "closed after %d octets" % len(data)
        buffer += more
        while len(buffer) >= 10:
            length, at = buffer[1], 2
            if length == 126:
                length, at = struct.unpack(">H", buffer[2:4])[0], 4
            elif length == 127:
                length, at = struct.unpack(">Q", buffer[2:10])[0], 10
            if len(buffer) < at + length:
                break
            assert buffer[0] in (0x80 | BINARY, 0x80 | PONG), buffer[:2]
            if buffer[0] == 0x80 | PONG:
                pongs += 1
            else:
                data += buffer[at:at + length]
            buffer = buffer[at + length:]
    return data, pongs


def test_a_slow_reader_gets_all(site):
    gateway = gateway_with(site, limits={"queue_bytes": "16MB", "queue_messages": 10000})
    raw = opened(gateway)
    raw.sock.sendall(frame(BINARY, CONNECT) + frame(BINARY, b"\x82\x08\x00\x01\x00\x03a/b\x00"))
    got = b""
    while len(got) < 9:
        got += raw.frame()[1]
    client = site.mqtt(gateway, "writer")
    for n in range(3000):
        client.publish("a/b", b"%06d" % n + bytes(1994), qos=0, wait=False)
    client.publish("last", b"", qos=1)
    raw.sock.sendall(frame(PING, b"now"))
    data, pongs = read_long(raw, 3000 * (3 + 5 + 2000))
    at = [data.index(b"a/b%06d" % n) for n in range(3000)]
    assert at == list(range(at[0], at[0] + 3000 * 2008, 2008)), "in order and whole"
    assert pongs == 1, pongs


def test_wss_needs_tls(site):
    gateway = gateway_with(site, "wss")
    raw = Raw(gateway, ask())
    assert " 101 " not in raw.head()
    context = ssl.create_default_context(cafile=gateway.ca)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", gateway.ws_port), 10), server_hostname="localhost") as s:
        s.sendall(ask("/nothing"))
        assert b" 404 " in s.recv(1000)


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
