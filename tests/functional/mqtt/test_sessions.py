"""Sessions of local MQTT clients: take-over, resumption, keep alive, order."""

import socket
import struct
import time

import harness
from harness import until


def packet(kind, body=b"", flags=0):
    assert len(body) < 128
    return bytes([kind << 4 | flags, len(body)]) + body


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def connect(gateway, client_id, clean=True, keepalive=60, level=4):
    s = socket.create_connection(("127.0.0.1", gateway.mqtt_port), 10)
    s.sendall(packet(1, string("MQTT") + bytes([level, 2 if clean else 0]) + struct.pack(">H", keepalive) + string(client_id)))
    return s


def connack(s):
    data = s.recv(4)
    assert data[:2] == b"\x20\x02", data
    return data[2], data[3]


def closed(s, timeout=10):
    s.settimeout(timeout)
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def test_takeover(site):
    gateway = site.gateway().start()
    first = connect(gateway, "same")
    assert connack(first) == (0, 0)
    second = connect(gateway, "same")
    assert connack(second) == (0, 0)
    assert closed(first)
    second.sendall(packet(12))
    assert second.recv(2) == b"\xd0\x00"


def test_session_present(site):
    gateway = site.gateway().start()
    s = connect(gateway, "kept", clean=False)
    assert connack(s) == (0, 0)
    s.sendall(packet(14))
    assert closed(s)
    s = connect(gateway, "kept", clean=False)
    assert connack(s) == (1, 0)
    s.close()
    s = connect(gateway, "kept", clean=True)
    assert connack(s) == (0, 0)


def test_keep_alive(site):
    gateway = site.gateway().start()
    s = connect(gateway, "silent", keepalive=1)
    assert connack(s) == (0, 0)
    began = time.monotonic()
    assert closed(s)
    assert 1.0 < time.monotonic() - began < 5


def test_refusals(site):
    gateway = site.gateway().start()
    s = connect(gateway, "", clean=False)
    assert connack(s)[1] == 2
    assert closed(s)
    s = connect(gateway, "", clean=True)
    assert connack(s) == (0, 0)
    s = connect(gateway, "old", level=2)
    assert connack(s)[1] == 1
    s = connect(gateway, "new", level=9)
    assert s.recv(4)[3] == 0x84, "whoever is newer than MQTT 5 understands its answer"
    for data in (packet(3, string("a") + b"x"), packet(8, b"\x00\x01" + string("a") + b"\x00", flags=0), b"\xf0\x00",
                 packet(1, string("MQTT") + b"\x04\x02\x00\x3c" + string("twice")), packet(2, b"\x00\x00"),
                 packet(3, string("a/#") + b"x")):
        s = connect(gateway, "bad")
        assert connack(s) == (0, 0)
        if data[0] == 0x30 and b"a/#" not in data:
            continue  # a plain QoS 0 PUBLISH is fine
        s.sendall(data)
        assert closed(s), data


def test_in_flight_resumes_in_order(site):
    """Four cuts in the flow: nothing lost at QoS 1 and 2, nothing out of order, QoS 2 once."""
    for qos in (1, 2):
        gateway = site.gateway("gw%d" % qos).start()
        client = site.mqtt(gateway, "reader", clean=False)
        client.subscribe("flow", qos)
        writer = site.mqtt(gateway, "writer")
        sent = 0
        for _ in range(5):
            before = len(client.messages)
            for _ in range(200):
                writer.publish("flow", b"%d" % sent, qos=qos, wait=False)
                sent += 1
            until(lambda: len(client.messages) > before + 20, "some of it")
            client.interrupt()
            assert client.present
        until(lambda: client.messages[-1].payload == b"%d" % (sent - 1), "the last one")
        got = [int(m.payload) for m in client.messages]
        firsts = list(dict.fromkeys(got))
        assert firsts == list(range(sent)), "lost or out of order"
        if qos == 2:
            assert got == firsts, "doubled"


harness.run(test_takeover, test_session_present, test_keep_alive, test_refusals, test_in_flight_resumes_in_order)
