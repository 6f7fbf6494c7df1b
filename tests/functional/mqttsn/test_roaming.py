"""Devices whose address changes: NAT gives them another port, they change networks, they swap."""

import socket

import harness
import sn


def moved(gateway, device, ip="127.0.0.1"):
    """The same device at another port; it remembers all it knows."""
    new = sn.SnClient(gateway, device.client_id)
    new.sock.close()
    new.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    new.sock.bind((ip, 0))
    new.names, new.ids = device.names, device.ids
    return new


def swap(a, b):
    """Each device is where the other one was."""
    a.sock, b.sock = b.sock, a.sock


def asleep(device, duration=b"\x00\x3c"):
    device.send(sn.DISCONNECT, duration)
    device.expect(sn.DISCONNECT)


def collect(device):
    device.messages.clear()
    device.send(sn.PINGREQ, device.client_id.encode())
    device.expect(sn.PINGRESP)
    return [m.payload for m in device.messages]


def two_sleepers(gateway):
    devices = [sn.SnClient(gateway, name).connect(clean=False) for name in ("dev-a", "dev-b")]
    for dev in devices:
        dev.subscribe("to/%s" % dev.client_id)
        asleep(dev)
    return devices


def test_new_port(site):
    """CONNECT from another port keeps the session, and the old port has no say any more."""
    gateway = site.gateway().start()
    old = sn.SnClient(gateway, "dev").connect(clean=False)
    old.subscribe("to/dev")
    new = moved(gateway, old).connect(clean=False)
    assert old.recv()[0] == sn.DISCONNECT
    site.mqtt(gateway, "local").publish("to/dev", b"x", 1)
    assert new.wait_messages(1)[0].payload == b"x"
    old.send_publish(new.ids["to/dev"], b"forged", 1)
    assert old.recv()[0] == sn.DISCONNECT


def test_new_address(site):
    """As the policy says."""
    strict = site.gateway("strict").start()
    old = sn.SnClient(strict, "dev").connect(clean=False)
    new = moved(strict, old, "127.0.0.2")
    new.send(sn.CONNECT, b"\x00\x01\x00\x3cdev")
    assert new.expect(sn.CONNACK) == b"\x03"
    old.send(sn.PINGREQ)
    old.expect(sn.PINGRESP)
    lenient = site.gateway("lenient", mqttsn={"takeover": "allow"}).start()
    old = sn.SnClient(lenient, "dev").connect(clean=False)
    old.subscribe("to/dev")
    new = moved(lenient, old, "127.0.0.2").connect(clean=False)
    site.mqtt(lenient, "local").publish("to/dev", b"x", 1)
    assert new.wait_messages(1)[0].payload == b"x"


def test_sleeper_comes_back_elsewhere(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    old, _ = two_sleepers(gateway)
    local.publish("to/dev-a", b"1", 1)
    new = moved(gateway, old)
    assert collect(new) == [b"1"]
    local.publish("to/dev-a", b"2", 1)
    assert collect(new) == [b"2"]
    old.quiet()
    stranger = moved(gateway, old, "127.0.0.2")  # knows the name, but is somebody else
    local.publish("to/dev-a", b"3", 1)
    stranger.send(sn.PINGREQ, b"dev-a")
    assert stranger.recv()[0] == sn.DISCONNECT
    assert collect(new) == [b"3"]


def test_swapped_sleepers(site):
    """Each gets its own mail, whoever asks first, and never the other one's."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    a, b = two_sleepers(gateway)
    for n in range(6):
        swap(a, b)
        local.publish("to/dev-a", b"a%d" % n, 1)
        local.publish("to/dev-b", b"b%d" % n, 1)
        first, second = (a, b) if n % 2 else (b, a)
        assert collect(first) == [b"%s%d" % (first.client_id[-1].encode(), n)]
        assert collect(second) == [b"%s%d" % (second.client_id[-1].encode(), n)]
    a.quiet()
    b.quiet()


def test_swapped_and_connecting(site):
    """An address belongs to who connected last from it."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    a, b = [sn.SnClient(gateway, name).connect(clean=False) for name in ("dev-a", "dev-b")]
    for dev in (a, b):
        dev.subscribe("to/%s" % dev.client_id)
    swap(a, b)
    a.connect(clean=False)  # where dev-b was; what is said to dev-a's old place, dev-b hears
    assert b.recv()[0] == sn.DISCONNECT
    b.connect(clean=False)
    local.publish("to/dev-a", b"for a", 1)
    local.publish("to/dev-b", b"for b", 1)
    a.wait_messages(1)
    b.wait_messages(1)
    assert a.received() == [("to/dev-a", b"for a")]
    assert b.received() == [("to/dev-b", b"for b")]


def test_sleeper_at_the_place_of_an_active_one(site):
    """It learns that it must connect; the other one is not touched."""
    gateway = site.gateway().start()
    a, b = two_sleepers(gateway)
    b.connect(clean=False)
    b.send(sn.PINGREQ, b"dev-a")
    assert b.recv()[0] == sn.DISCONNECT
    b.send(sn.PINGREQ, b"dev-b")
    b.expect(sn.PINGRESP)
    assert collect(a) == []


def test_many_moves(site):
    """A device that changes its port with every message is one device, and leaves nothing behind."""
    gateway = site.gateway(store={"commit_interval": "5ms"}).start()
    local = site.mqtt(gateway, "local")
    dev, _ = two_sleepers(gateway)
    for n in range(200):
        local.publish("to/dev-a", b"%d" % n, 1)
        old, dev = dev, moved(gateway, dev)
        assert collect(dev) == [b"%d" % n]
        old.close()
    gateway.counters()
    peers = [line for line in gateway.process.lines if " peers, " in line][-1]
    assert " 2 peers, " in peers, peers


def test_between_groups_of_listeners(site):
    """The stricter policy of the two decides while the client is there."""
    port = harness.free_port(socket.SOCK_DGRAM)
    gateway = site.gateway(**{"mqttsn": {"takeover": "refuse"},
                              "mqttsn.open": {"listen": "udp://127.0.0.1:%d" % port, "takeover": "allow"}}).start()
    dev = sn.SnClient(gateway, "dev").connect(clean=False)
    thief = moved(gateway, dev)
    thief.address = ("127.0.0.1", port)
    thief.send(sn.CONNECT, b"\x00\x01\x00\x3cdev")
    assert thief.expect(sn.CONNACK) == b"\x03"
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    thief.connect(clean=False)


harness.run(
    test_new_port,
    test_new_address,
    test_sleeper_comes_back_elsewhere,
    test_swapped_sleepers,
    test_swapped_and_connecting,
    test_sleeper_at_the_place_of_an_active_one,
    test_many_moves,
    test_between_groups_of_listeners,
)
