"""Mountpoints: a prefix before every topic of a listener's clients, who see nothing outside of it."""

import socket
import struct

import paho.mqtt.client as mqtt

import coap
import harness
import mq5
import sn
from harness import MqttClient, free_port, until

ROOM = "site/%c/"


class Room:
    """A gateway with a group of listeners behind a mountpoint beside the plain ones."""

    def __init__(self, site, mountpoint=ROOM, **sections):
        self.site = site
        self.port = free_port()
        group = {"listen": "mqtt://127.0.0.1:%d" % self.port, "mountpoint": mountpoint}
        self.gateway = site.gateway(**{"mqtt.room": group, **sections}).start()
        self.outside = site.mqtt(self.gateway, "outside")

    def client(self, name, **arguments):
        return MqttClient(self.site, self.port, name, **arguments)


def seen(client):
    return [(m.topic, m.payload) for m in client.messages]


def test_both_ways(site):
    room = Room(site)
    room.outside.subscribe("#", 1)
    inside = room.client("inside")
    inside.subscribe("#", 1)
    inside.subscribe("$SYS/#", 1)
    inside.publish("a/b", b"1")
    room.outside.publish("elsewhere", b"2")
    room.outside.publish("site/inside/c", b"3")
    room.outside.publish("site/other/c", b"4")
    inside.publish("end", b"5")
    inside.wait_messages(3)
    assert seen(inside) == [("a/b", b"1"), ("c", b"3"), ("end", b"5")]
    room.outside.wait_messages(5)
    assert seen(room.outside)[0] == ("site/inside/a/b", b"1")


def test_unsubscribe_retained_and_will(site):
    room = Room(site, "site/")
    room.outside.publish("site/kept", b"kept", 1, True)
    room.outside.publish("kept", b"hidden", 1, True)
    inside = room.client("inside")
    inside.subscribe("+", 1)
    inside.wait_messages(1)
    inside.client.unsubscribe("+")
    inside.subscribe("gone", 1)
    lost = room.client("lost", will=("gone", b"bye", 1, False))
    inside.publish("x", b"not any more")
    lost.cut()
    inside.wait_messages(2)
    assert seen(inside) == [("kept", b"kept"), ("gone", b"bye")]


def test_inner_part_of_prefixes(site):
    room = Room(site, "site/")
    inside = room.client("inside")
    for topic in ("$share/g/s", "$exclusive/e", "d"):
        inside.subscribe(topic, 1)
    assert list(room.outside.subscribe("$exclusive/site/e", 1)) == [0x80]
    assert list(room.outside.subscribe("$exclusive/e", 1)) == [1]
    room.outside.publish("site/s", b"s")
    room.outside.publish("site/e", b"e")
    inside.publish("$delayed/1/d", b"d")
    inside.wait_messages(3)
    assert [m.topic for m in inside.messages] == ["s", "e", "d"]


def test_mqtt5_aliases_and_refusals(site):
    room = Room(site)
    where = type("Where", (), {"mqtt_port": room.port})
    inside = mq5.Mq5Client(where, "inside", pairs=[(0x22, 4)])
    inside.subscribe("topic/#", 0)
    for i in range(2):
        room.outside.publish("site/inside/topic/x", b"%d" % i)
    first, second = inside.expect(mq5.PUBLISH), inside.expect(mq5.PUBLISH)
    assert (first.topic, second.topic) == ("topic/x", ""), (first, second)
    assert inside.publish("$SYS/x", b"", 1) == 0x90
    assert inside.publish("t" * 1020, b"", 1) == 0x90


def test_a_name_cannot_leave(site):
    room = Room(site)
    for name in ("+", "#", "a/b"):
        client = mqtt.Client(name)
        codes = []
        client.on_connect = lambda c, u, f, rc: codes.append(rc)
        client.connect("127.0.0.1", room.port)
        until(lambda: client.loop(0.1) is not None and codes, "CONNACK for " + name)
        assert codes == [5], codes


def test_another_listener_sees_what_it_may(site):
    room = Room(site)
    session = room.client("both", clean=False)
    session.subscribe("x", 1)
    session.close()
    plain = site.mqtt(room.gateway, "both", clean=False)
    plain.subscribe("y", 1)
    room.outside.publish("site/both/x", b"1")
    plain.wait_messages(1)
    assert seen(plain) == [("site/both/x", b"1")]
    plain.close()
    back = room.client("both", clean=False)
    room.outside.publish("y", b"hidden")
    room.outside.publish("site/both/x", b"2")
    back.wait_messages(1)
    assert seen(back) == [("x", b"2")]


def test_rules_and_automatic_subscriptions_stay_inside(site):
    room = Room(site, **{
        "rewrite.r": {"topic": "up/#", "regex": "^up/(.+)$", "destination": "%c/$1"},
        "autosubscribe.a": {"topic": "auto/%c"},
    })
    inside = room.client("inside")
    room.outside.subscribe("site/#", 1)
    inside.publish("up/x", b"1")
    room.outside.wait_messages(1)
    assert seen(room.outside) == [("site/inside/inside/x", b"1")]
    room.outside.publish("auto/inside", b"hidden")
    room.outside.publish("site/inside/auto/inside", b"2")
    inside.wait_messages(1)
    assert seen(inside) == [("auto/inside", b"2")]


def sn_gateway(site, mountpoint, **more):
    """[mqttsn] as it is, and a group behind the mountpoint."""
    port = free_port(socket.SOCK_DGRAM)
    group = {"listen": "udp://127.0.0.1:%d" % port, "mountpoint": mountpoint, **more.pop("group", {})}
    gateway = site.gateway(**{"mqttsn.room": group, **more}).start()
    return gateway, type("Where", (), {"sn_port": port})


def test_mqttsn(site):
    gateway, where = sn_gateway(site, "field/%c/")
    outside = site.mqtt(gateway, "outside")
    outside.subscribe("#", 1)
    dev = sn.SnClient(where, "dev").connect(will=("gone", b"bye", 1, False))
    dev.publish("a/b", b"1")
    dev.publish("ab", b"2")
    known = dev.subscribe("c", 1)
    dev.subscribe("wild/+", 1)
    outside.publish("field/dev/c", b"3")
    outside.publish("field/dev/wild/x", b"4")
    outside.publish("wild/x", b"hidden")
    outside.publish("field/dev/c", b"5")
    assert dev.wait_messages(3)[0].topic_id == known
    assert dev.received() == [("c", b"3"), ("wild/x", b"4"), ("c", b"5")]
    plain = sn.SnClient(gateway, "plain").connect()
    plain.publish("a/b", b"6")
    until(lambda: ("a/b", b"6") in seen(outside), "the plain device's message")
    assert seen(outside)[:2] == [("field/dev/a/b", b"1"), ("field/dev/ab", b"2")]


def test_mqttsn_will_and_its_update(site):
    gateway, where = sn_gateway(site, "field/")
    outside = site.mqtt(gateway, "outside")
    outside.subscribe("field/#", 1)
    dev = sn.SnClient(where, "dev").connect(duration=1, will=("gone", b"first", 1, False))
    dev.send(sn.WILLMSGUPD, b"second")
    dev.expect(sn.WILLMSGRESP)
    outside.wait_messages(1, 30)
    assert seen(outside) == [("field/gone", b"second")]


def test_mqttsn_predefined_and_minus_one(site):
    path = site.dir + "/topics.conf"
    with open(path, "w", encoding="utf-8") as f:
        f.write("[*]\n7 = meter/power\n")
    gateway, where = sn_gateway(site, "field/", mqttsn={"predefined_file": path})
    outside = site.mqtt(gateway, "outside")
    outside.subscribe("field/#", 1)
    dev = sn.SnClient(where, "dev").connect()
    dev.subscribe(7, 1, sn.PREDEFINED)
    stranger = sn.SnClient(where, "stranger")
    stranger.send_publish(7, b"1", 3, sn.PREDEFINED)
    outside.wait_messages(1)
    assert seen(outside) == [("field/meter/power", b"1")]
    message = dev.wait_messages(1)[0]
    assert (message.kind, message.topic_id, message.payload) == (sn.PREDEFINED, 7, b"1")


def test_mqttsn_refusals(site):
    gateway, where = sn_gateway(site, "field/%c/")
    stranger = sn.SnClient(where, "a/b")
    stranger.send(sn.CONNECT, bytes([sn.flags(clean=True), 1]) + struct.pack(">H", 60) + b"a/b")
    assert stranger.expect(sn.CONNACK)[0] == 3
    stranger.send_publish(struct.unpack(">H", b"ab")[0], b"1", 3, sn.SHORT)
    until(lambda: gateway.counters().get("mqttsn.qos_minus_one_refused") == 1, "the refusal")


def test_coap(site):
    gateway = site.gateway(coap={"mountpoint": "coap/"}).start()
    outside = site.mqtt(gateway, "outside")
    outside.subscribe("#", 1)
    device = coap.CoapClient(gateway)
    assert coap.code_text(device.put("ps/a/b", b"1").code) == "2.01"
    outside.wait_messages(1)
    assert seen(outside) == [("coap/a/b", b"1")]
    outside.publish("hidden", b"x", 1, True)
    assert device.get("ps/a/b").payload == b"1"
    assert coap.code_text(device.get("ps/hidden").code) == "4.04"
    assert coap.code_text(device.get("ps/$SYS/broker/version").code) == "4.04"
    for listing in (device.get("ps").payload, device.get("ps/#").payload):
        assert b"</ps/a/b>" in listing and b"hidden" not in listing and b"coap" not in listing, listing
    device.observe("ps/+/b")
    device.wait_notifications(1)
    outside.publish("coap/c/b", b"2")
    note = device.wait_notifications(2)[1]
    assert note.get(8) == [b"ps", b"c", b"b"], note.options
    assert coap.code_text(device.request(coap.DELETE, "ps/a/b").code) == "2.02"
    until(lambda: ("coap/a/b", b"") in seen(outside), "the value's end")


def test_coap_asks_for_the_name(site):
    gateway = site.gateway(coap={"mountpoint": "coap/%c/"}).start()
    outside = site.mqtt(gateway, "outside")
    outside.subscribe("#", 1)
    assert coap.code_text(coap.CoapClient(gateway).put("ps/a", b"1").code) == "4.03"
    assert coap.code_text(coap.CoapClient(gateway).put("ps/a", b"1", query=["c=x/y"]).code) == "4.03"
    coap.CoapClient(gateway).put("ps/a", b"1", query=["c=dev"])
    outside.wait_messages(1)
    assert seen(outside) == [("coap/dev/a", b"1")]


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
