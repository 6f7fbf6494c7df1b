"""MQTT-SN 1.2, 5.5: wireless nodes behind a forwarder. Each is a client of its own."""

import os
import struct

import harness
import sn
from forwarder import ENCAPSULATED, Forwarder, Node
from harness import until


def test_a_node_is_a_client(site):
    """All of it: connecting with a will, registering, publishing and subscribing at every QoS, the will."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 2)
    node = Node(Forwarder(gateway), b"\x00\x17\xff", "node-1", ctrl=2)
    node.connect(will=("will/t", b"gone", 0, False), duration=1)
    for qos in (0, 1, 2):
        node.publish("from/node", b"up%d" % qos, qos)
        node.subscribe("to/%d" % qos, qos)
    local.wait_messages(3)
    assert sorted(m.payload for m in local.messages) == [b"up0", b"up1", b"up2"]
    for qos in (0, 1, 2):
        local.publish("to/%d" % qos, b"down%d" % qos, qos, wait=False)
    node.wait_messages(3)
    assert sorted(node.received()) == [("to/%d" % qos, b"down%d" % qos) for qos in (0, 1, 2)]
    node.expect(sn.DISCONNECT)  # silent for too long
    until(lambda: any(m.payload == b"gone" for m in local.messages), "the will")


def test_nodes_do_not_mix(site):
    """The same message ids and topic ids at one address, and the forwarder itself is a client."""
    gateway = site.gateway(store={"commit_interval": "10ms"}).start()
    forwarder = Forwarder(gateway)
    nodes = [Node(forwarder, bytes([i]), "node-%d" % i).connect() for i in range(20)]
    for i, node in enumerate(nodes):
        node.subscribe("to/%d" % i)
    plain = sn.SnClient(gateway, "forwarder")
    plain.sock.close()
    plain.sock = forwarder.sock
    plain.connect()
    local = site.mqtt(gateway, "local")
    for i, node in enumerate(nodes):
        local.publish("to/%d" % i, b"%d" % i, 1, wait=False)
        node.wait_messages(1)
        assert node.received() == [("to/%d" % i, b"%d" % i)]
    nodes[3].send(sn.DISCONNECT)
    nodes[3].expect(sn.DISCONNECT)
    nodes[4].send(sn.PINGREQ)
    nodes[4].expect(sn.PINGRESP)
    plain.send(sn.PINGREQ)
    plain.expect(sn.PINGRESP)


def test_ctrl_and_radius(site):
    """The answer has those of the last message."""
    forwarder = Forwarder(site.gateway().start())
    for ctrl in (0, 1, 2, 3):
        forwarder.say(b"n", b"\x03\x01\x00", ctrl)
        assert forwarder.hear() == (b"n", ctrl, b"\x03\x02\x01")


def test_node_ids(site):
    """1 to 252 octets of any kind; none is ignored."""
    gateway = site.gateway().start()
    forwarder = Forwarder(gateway)
    forwarder.say(b"", b"\x03\x01\x00")
    forwarder.quiet()
    for node in (b"\x00", b"\x00\x00", bytes(range(252)), b"\xff" * 252):
        forwarder.say(node, b"\x03\x01\x00")
        assert forwarder.hear()[0] == node
        Node(forwarder, node, "id-%d-%d" % (len(node), node[0])).connect()
    forwarder.send_raw(b"\x01\x01\x02\xfe\x00" + bytes(253) + b"\x03\x01\x00")
    forwarder.quiet()


def test_one_level_only(site):
    gateway = site.gateway().start()
    forwarder = Forwarder(gateway)
    forwarder.say(b"a", b"\x04\xfe\x00b\x03\x01\x00")
    forwarder.quiet()


def test_garbage_leaves_nothing(site):
    """Every truncation and random octets inside encapsulations; nobody is connected by it, everybody served."""
    gateway = site.gateway().start()
    forwarder = Forwarder(gateway)
    good = b"\x04\xfe\x00n" + sn.packet(sn.CONNECT, b"\x0c\x01\x00\x3cid")
    for cut in range(len(good)):
        forwarder.send_raw(good[:cut])
    for i in range(2000):
        forwarder.say(os.urandom(1 + i % 5), os.urandom(i % 40), i & 3)
    # Half-open ones have one limit for all, whatever they call themselves.
    for i in range(2000):
        forwarder.say(struct.pack(">I", i), sn.packet(sn.CONNECT, b"\x0c\x01\x00\x3cid-%d" % i))
    sn.SnClient(gateway).connect()
    until(lambda: "mqttsn.forwarded" in gateway.counters(), "counters")
    peers = [line for line in gateway.process.lines if " peers, " in line][-1]
    assert int(peers.split(" peers")[0].split()[-1]) <= 210, peers


def test_lost_session(site):
    """A node without session is told with DISCONNECT, encapsulated."""
    forwarder = Forwarder(site.gateway().start())
    forwarder.say(b"n", sn.packet(sn.SUBSCRIBE, b"\x00\x00\x01t"))
    assert forwarder.hear() == (b"n", 0, b"\x02\x18")


def test_moves_to_another_forwarder(site):
    """By CONNECT, with the session; the old place is told so and has no say any more."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    first, second = Forwarder(gateway), Forwarder(gateway)
    old = Node(first, b"a", "node").connect(clean=False)
    old.subscribe("to/node")
    new = Node(second, b"zz", "node").connect(clean=False)
    assert old.recv()[0] == sn.DISCONNECT
    local.publish("to/node", b"x", 1)
    assert new.wait_messages(1)[0].payload == b"x"
    old.send(sn.PINGREQ)
    assert old.recv()[0] == sn.DISCONNECT


def test_another_address_needs_permission(site):
    """The policy looks at the address of the forwarder."""
    strict = site.gateway("strict").start()
    Node(Forwarder(strict), b"a", "node").connect(clean=False)
    far = Node(Forwarder(strict, "127.0.0.2"), b"a", "node")
    far.send(sn.CONNECT, b"\x00\x01\x00\x3cnode")
    assert far.expect(sn.CONNACK) == b"\x03"
    lenient = site.gateway("lenient", mqttsn={"takeover": "allow"}).start()
    near = Node(Forwarder(lenient), b"a", "node").connect(clean=False)
    near.subscribe("to/node")
    far = Node(Forwarder(lenient, "127.0.0.2"), b"a", "node").connect(clean=False)
    site.mqtt(lenient, "local").publish("to/node", b"x", 1)
    assert far.wait_messages(1)[0].payload == b"x"


def test_sleeping_node(site):
    """6.14, and the mail may be collected through another forwarder."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    first, second = Forwarder(gateway), Forwarder(gateway)
    node = Node(first, b"a", "node").connect()
    node.subscribe("to/node")
    node.send(sn.DISCONNECT, b"\x00\x3c")
    node.expect(sn.DISCONNECT)
    for i in range(5):
        local.publish("to/node", b"%d" % i, 1)
    first.quiet()
    there = Node(second, b"b", "node")
    there.names = node.names
    there.send(sn.PINGREQ, b"node")
    there.expect(sn.PINGRESP)
    assert [m.payload for m in there.messages] == [b"0", b"1", b"2", b"3", b"4"]
    first.quiet()


def test_whose_forwarders(site):
    none = site.gateway("none", mqttsn={"forwarders": "none"}).start()
    forwarder = Forwarder(none)
    forwarder.say(b"n", b"\x03\x01\x00")
    forwarder.quiet()
    assert none.counters()["mqttsn.forward_refused"] == 1
    some = site.gateway("some", mqttsn={"forwarders": "127.0.0.3, 127.0.0.2"}).start()
    Node(Forwarder(some, "127.0.0.2"), b"n", "node").connect()
    stranger = Forwarder(some)
    stranger.say(b"n", b"\x03\x01\x00")
    stranger.quiet()


harness.run(
    test_a_node_is_a_client,
    test_nodes_do_not_mix,
    test_ctrl_and_radius,
    test_node_ids,
    test_one_level_only,
    test_garbage_leaves_nothing,
    test_lost_session,
    test_moves_to_another_forwarder,
    test_another_address_needs_permission,
    test_sleeping_node,
    test_whose_forwarders,
)
