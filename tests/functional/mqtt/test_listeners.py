"""Listeners: any number, both families, one for both, and a limit for the connections of all."""

import socket

import harness
import suite311
from harness import until

CONNACK = b"\x20\x02\x00\x00"


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            return True
    except OSError:
        return False


def listening(site, *listeners, **mqtt):
    """Each listener with {} in place of the port; the gateway and the ports."""
    ports = [harness.free_port() for _ in listeners]
    listen = ", ".join(l.format(port) for l, port in zip(listeners, ports))
    return site.gateway(mqtt=dict(mqtt, listen=listen)).start(), ports


def connect(host, port, name):
    client = socket.create_connection((host, port), 10)
    client.sendall(suite311.connect(name))
    return client


def is_served(host, port, name="client"):
    try:
        with connect(host, port, name) as client:
            return client.recv(4) == CONNACK
    except ConnectionError:
        return False


def test_many_listeners_are_one_hub(site):
    _, ports = listening(site, *["mqtt://127.0.0.%d:{}" % n for n in range(1, 9)])
    clients = [connect("127.0.0.%d" % (n + 1), port, "c%d" % n) for n, port in enumerate(ports)]
    for client in clients:
        assert client.recv(4) == CONNACK
        client.sendall(suite311.subscribe(1, ("all", 0)))
        assert client.recv(5) == b"\x90\x03\x00\x01\x00"
    clients[0].sendall(suite311.mq.publish("all", b"x"))
    for client in clients:
        assert client.recv(8) == b"\x30\x06\x00\x03allx"


def test_families_apart(site):
    """An address of one family serves that one; both families may have the same port."""
    if not have_ipv6():
        return
    gateway, (four, six) = listening(site, "mqtt://127.0.0.1:{}", "mqtt://[::1]:{}")
    assert is_served("127.0.0.1", four) and not is_served("::1", four)
    assert is_served("::1", six) and not is_served("127.0.0.1", six)
    gateway.stop()
    gateway.sections["mqtt"]["listen"] = "mqtt://[::]:%d, mqtt://0.0.0.0:%d" % (four, four)
    gateway.sections["mqtt"]["allow_plain"] = "yes"
    gateway.write_conf()
    gateway.start()
    assert is_served("::1", four) and is_served("127.0.0.1", four)


def test_one_for_both_families(site):
    if not have_ipv6():
        return
    gateway, (port,) = listening(site, "mqtt://[::]:{}", allow_plain="yes")
    assert is_served("::1", port, "six") and is_served("127.0.0.1", port, "four")
    gateway.wait_log(r"four 127\.0\.0\.1:\d+ mqtt: connected")  # not as ::ffff:127.0.0.1


def test_a_limit_for_the_connections(site):
    gateway, (one, other) = listening(site, "mqtt://127.0.0.1:{}", "mqtt://127.0.0.1:{}", max_connections=4)
    inside = [connect("127.0.0.1", (one, other)[n % 2], "c%d" % n) for n in range(4)]
    assert all(client.recv(4) == CONNACK for client in inside)
    for port in (one, other):
        outside = socket.create_connection(("127.0.0.1", port), 10)
        assert outside.recv(1) == b""
    assert gateway.counters()["mqtt.turned_away"] == 2
    inside.pop().close()
    until(lambda: is_served("127.0.0.1", one, "late"), "a place for another")
    for n, client in enumerate(inside):
        client.sendall(suite311.packet(12))
        assert client.recv(2) == b"\xd0\x00", n


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
