"""MQTT-SN 1.2, the common part, seen by a device."""

import struct
import time

import harness
import sn
from harness import until


def short(name):
    return struct.unpack(">H", name.encode())[0]


def test_searchgw(site):
    """6.1: GWINFO with our id and no address field."""
    gateway = site.gateway(mqttsn={"gateway_id": 7}).start()
    dev = sn.SnClient(gateway)
    dev.send(sn.SEARCHGW, b"\x01")
    assert dev.expect(sn.GWINFO) == b"\x07"


def test_connect_with_will(site):
    """6.2, 6.3"""
    gateway = site.gateway().start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("w/#", 1)
    dev = sn.SnClient(gateway, "willy").connect(duration=1, will=("w/t", b"gone", 1, True))
    dev.expect(sn.DISCONNECT, timeout=10)
    watcher.wait_messages(1)
    assert (watcher.messages[0].topic, watcher.messages[0].payload) == ("w/t", b"gone")
    late = site.mqtt(gateway, "late")
    late.subscribe("w/t", 1)
    assert late.wait_messages(1)[0].retain


def test_connect_refusals(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway)
    dev.send(sn.CONNECT, b"\x04\x02\x00\x3cdev")  # 5.3.8: another protocol
    assert dev.expect(sn.CONNACK) == b"\x03"
    dev.send(sn.CONNECT, b"\x04\x01\x00\x3c")  # no client id
    assert dev.expect(sn.CONNACK) == b"\x03"


def test_clean_session_false_keeps_subscriptions(site):
    """6.3"""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "kept").connect(clean=False)
    dev.subscribe("k/#", qos=1)
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    local = site.mqtt(gateway, "local")
    local.publish("k/x", b"while away")
    dev.connect(clean=False)
    assert dev.wait_messages(1)[0].payload == b"while away"
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    dev.connect(clean=True)
    local.publish("k/x", b"nobody")
    dev.quiet()


def test_register_once_per_name(site):
    """6.5: one name has one id, whether by REGISTER or SUBSCRIBE."""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    first = dev.register("some/topic")
    assert dev.register("some/topic") == first
    assert dev.subscribe("some/topic") == first
    assert dev.register("other/topic") not in (0, 0xFFFF, first)
    for bad in ("a/#", "+/b", ""):
        dev.send(sn.REGISTER, b"\x00\x00\x12\x34" + bad.encode())
        assert dev.expect(sn.REGACK)[4] == 3, bad


def test_topic_kinds_both_ways(site):
    topics = site.dir + "/topics.conf"
    with open(topics, "w", encoding="utf-8") as f:
        f.write("[*]\n5 = predefined/five\n")
    gateway = site.gateway(mqttsn={"predefined_file": topics}).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 2)
    dev = sn.SnClient(gateway).connect()
    dev.publish_id(5, b"p", qos=1, kind=sn.PREDEFINED)
    dev.publish("ab", b"s", qos=2)
    dev.publish("long/name", b"n", qos=0)
    local.wait_messages(3)
    assert {(m.topic, m.payload) for m in local.messages} == {("predefined/five", b"p"), ("ab", b"s"), ("long/name", b"n")}
    assert dev.subscribe(5, kind=sn.PREDEFINED) == 5
    dev.subscribe(short("xy"), kind=sn.SHORT)
    dev.subscribe("full/name")
    for topic in ("predefined/five", "xy", "full/name"):
        local.publish(topic, topic.encode())
    dev.wait_messages(3)
    assert [(m.kind, m.payload) for m in dev.messages] == [
        (sn.PREDEFINED, b"predefined/five"), (sn.SHORT, b"xy"), (sn.NORMAL, b"full/name")]


def test_unknown_ids_are_refused(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    for qos in (0, 1, 2):
        for kind in (sn.NORMAL, sn.PREDEFINED):
            msg_id = dev.send_publish(999, b"x", qos=qos, kind=kind, msg_id=7)
            assert dev.expect(sn.PUBACK, msg_id=msg_id, at=2) == b"\x03\xe7\x00\x07\x02"


def test_wildcards_and_register_by_the_gateway(site):
    """6.10"""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    assert dev.subscribe("w/+/x", qos=2) == 0
    local = site.mqtt(gateway, "local")
    for n in range(30):
        local.publish("w/%d/x" % n, b"%d" % n, qos=n % 3)
    dev.wait_messages(30)
    assert dev.received() == [("w/%d/x" % n, b"%d" % n) for n in range(30)], dev.received()


def test_register_is_retransmitted(site):
    gateway = site.gateway(mqttsn={"retry_interval": "200ms", "retry_count": 5}).start()
    dev = sn.SnClient(gateway).connect()
    dev.subscribe("w/#", qos=1)
    local = site.mqtt(gateway, "local")
    local.publish("w/x", b"1")
    first = dev.recv(5)
    assert first[0] == sn.REGISTER
    assert dev.recv(5) == first
    dev.take(*first)
    dev.acknowledge = False
    while not dev.messages:
        dev.take(*dev.recv(5))
    assert not dev.messages[0].dup
    got = dev.recv(5)
    assert got[0] == sn.PUBLISH and sn.Message(got[1]).dup
    assert sn.Message(got[1]).msg_id == dev.messages[0].msg_id


def test_silent_device_is_lost_after_retries(site):
    gateway = site.gateway(mqttsn={"retry_interval": "100ms", "retry_count": 2}).start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("will", 1)
    dev = sn.SnClient(gateway).connect(will=("will", b"lost", 1, False))
    dev.subscribe("ab", qos=1)
    dev.acknowledge = False
    watcher.publish("ab", b"x")
    watcher.wait_messages(1)
    kinds = []
    while True:
        got = dev.recv(3)
        assert got
        kinds.append(got[0])
        if got[0] == sn.DISCONNECT:
            break
    assert kinds.count(sn.PUBLISH) == 3, kinds


def test_unsubscribe(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    dev.subscribe("u/x")
    dev.send(sn.UNSUBSCRIBE, b"\x00\x00\x55u/x")
    assert dev.expect(sn.UNSUBACK) == b"\x00\x55"
    site.mqtt(gateway, "local").publish("u/x", b"x")
    dev.quiet()


def test_ping_disconnect_and_strangers(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    dev.send(sn.PINGREQ)
    dev.expect(sn.PINGRESP)
    for _ in range(2):  # 6.12, also when repeated
        dev.send(sn.DISCONNECT)
        dev.expect(sn.DISCONNECT)
    dev.send(sn.PINGREQ)
    dev.expect(sn.DISCONNECT)
    stranger = sn.SnClient(gateway, "stranger")
    stranger.send_publish(1, b"x", qos=1)
    stranger.expect(sn.DISCONNECT)


def test_qos2_repetitions_are_absorbed(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("ab", 2)
    dev = sn.SnClient(gateway).connect()
    for n in range(4):
        dev.send_publish(short("ab"), b"x", qos=2, kind=sn.SHORT, msg_id=9, dup=n > 0)
        dev.expect(sn.PUBREC, msg_id=9)
    for _ in range(2):
        dev.send(sn.PUBREL, b"\x00\x09")
        dev.expect(sn.PUBCOMP, msg_id=9)
    dev.send_publish(short("ab"), b"x", qos=2, kind=sn.SHORT, msg_id=9, dup=True)  # a late copy
    dev.expect(sn.PUBREC, msg_id=9)
    local.publish("ab", b"end")
    until(lambda: b"end" in local.payloads(), "the end")
    assert local.payloads() == [b"x", b"end"]


def test_long_messages(site):
    """5.2.1: lengths of three octets."""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway).connect()
    dev.subscribe("ab", qos=1)
    for size in (0, 1, 247, 248, 249, 250, 251, 1400, 60000):
        dev.publish("ab", b"x" * size, qos=1)
    dev.wait_messages(9)
    assert [len(m.payload) for m in dev.messages] == [0, 1, 247, 248, 249, 250, 251, 1400, 60000]


def test_sleeper_collects_its_mail(site):
    """6.14"""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "sleepy").connect()
    dev.subscribe("mail/#", qos=1)
    dev.send(sn.DISCONNECT, b"\x00\x3c")
    dev.expect(sn.DISCONNECT)
    local = site.mqtt(gateway, "local")
    for n in range(10):
        local.publish("mail/%d" % n, b"%d" % n, qos=n % 2)
    dev.quiet()
    dev.send(sn.PINGREQ, b"sleepy")
    dev.expect(sn.PINGRESP)
    assert [m.payload for m in dev.messages] == [b"%d" % n for n in range(10)]
    local.publish("mail/0", b"later")
    dev.quiet()
    dev.send(sn.PINGREQ, b"sleepy")
    dev.expect(sn.PINGRESP)
    assert dev.messages[-1].payload == b"later"


def test_sleeper_that_oversleeps_is_lost(site):
    gateway = site.gateway().start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("will", 1)
    dev = sn.SnClient(gateway, "sleepy").connect(will=("will", b"overslept", 1, False))
    dev.send(sn.DISCONNECT, b"\x00\x01")
    dev.expect(sn.DISCONNECT)
    began = time.monotonic()
    watcher.wait_messages(1)
    assert 1.0 < time.monotonic() - began < 5


def test_will_update(site):
    """6.4"""
    gateway = site.gateway().start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("w/#", 1)
    dev = sn.SnClient(gateway).connect(duration=2, will=("w/old", b"old", 1, False))
    dev.send(sn.WILLTOPICUPD, bytes([sn.flags(qos=1)]) + b"w/new")
    assert dev.expect(sn.WILLTOPICRESP) == b"\x00"
    dev.send(sn.WILLMSGUPD, b"new")
    assert dev.expect(sn.WILLMSGRESP) == b"\x00"
    watcher.wait_messages(1)
    assert (watcher.messages[0].topic, watcher.messages[0].payload) == ("w/new", b"new")


def test_foreign_address_takes_nothing_over(site):
    """The same address may; the default policy is same-ip, and 127.0.0.2 is another address."""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "mine").connect(clean=False)
    dev.subscribe("ab")
    thief = sn.SnClient(gateway, "mine")
    thief.sock.close()
    thief.sock = sn.socket.socket(sn.socket.AF_INET, sn.socket.SOCK_DGRAM)
    thief.sock.bind(("127.0.0.2", 0))
    thief.send(sn.CONNECT, b"\x04\x01\x00\x3cmine")
    assert thief.expect(sn.CONNACK)[0] != 0
    site.mqtt(gateway, "local").publish("ab", b"still mine")
    assert dev.wait_messages(1)[0].payload == b"still mine"
    moved = sn.SnClient(gateway, "mine").connect(clean=False)  # a new port of the same address
    site.mqtt(gateway, "local2").publish("ab", b"moved")
    assert moved.wait_messages(1)[0].payload == b"moved"


def test_qos_minus_one_is_off_for_unknown_names(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 0)
    stranger = sn.SnClient(gateway)
    stranger.send(sn.PUBLISH, bytes([sn.flags(qos=3)]) + b"\x00\x01\x00\x00" + b"x")
    stranger.send(sn.PUBLISH, bytes([sn.flags(qos=3, kind=sn.SHORT)]) + b"ab\x00\x00" + b"x")
    stranger.quiet()
    assert not local.messages
    everyone = site.gateway("open", mqttsn={"qos_minus_one": "all"}).start()
    local = site.mqtt(everyone, "local")
    local.subscribe("#", 0)
    stranger = sn.SnClient(everyone)
    stranger.send(sn.PUBLISH, bytes([sn.flags(qos=3, kind=sn.SHORT)]) + b"ab\x00\x00" + b"x")
    assert local.wait_messages(1)[0].topic == "ab"


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
