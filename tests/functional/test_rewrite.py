"""Sections [rewrite.NAME]: topics that clients publish or subscribe to are replaced, over all protocols."""

import signal

import paho.mqtt.client as mqtt

import coap
import harness
import sn
from harness import MqttClient, until

RULES = {
    "rewrite.old": {"topic": "old/#", "regex": "^old/(.+)$", "destination": "new/$1"},
    "rewrite.who": {"topic": "me/+", "direction": "publish", "regex": "^me/([^/]+)$", "destination": "devices/%c/$1"},
    "rewrite.in": {"topic": "in", "direction": "subscribe", "regex": "^in$", "destination": "devices/%c/in"},
    "rewrite.bad": {"topic": "bad/#", "regex": "^bad/(.*)$", "destination": "$1"},
}


def counted(gateway, name):
    return gateway.counters().get(name, 0)


def seen(client):
    return [(m.topic, m.payload) for m in client.messages]


def test_publish_and_subscribe(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    for topic in ("old/a/#", "in", "end", "devices/local/x"):
        local.subscribe(topic, 1)
    other = site.mqtt(gateway, "other")
    other.publish("old/a/b", b"1")
    other.publish("new/a/c", b"2")
    other.publish("devices/local/in", b"3")
    local.publish("me/x", b"4")
    local.publish("in", b"5")  # the rule is for filters
    other.publish("end", b"6")
    local.wait_messages(5)
    assert seen(local) == [("new/a/b", b"1"), ("new/a/c", b"2"), ("devices/local/in", b"3"),
                           ("devices/local/x", b"4"), ("end", b"6")]


def test_unsubscribe_is_rewritten_too(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("old/a", 1)
    local.client.unsubscribe("old/a")
    local.subscribe("end", 1)
    other = site.mqtt(gateway, "other")
    other.publish("new/a", b"1")
    other.publish("end", b"2")
    local.wait_messages(1)
    assert local.payloads() == [b"2"]


def test_only_the_inner_part(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    for topic in ("$share/old/old/s", "$exclusive/old/e", "old/d"):
        local.subscribe(topic, 1)
    rival = site.mqtt(gateway, "rival")
    assert list(rival.subscribe("$exclusive/new/e", 1)) == [0x80]
    for topic in ("new/s", "old/e", "$delayed/1/old/d"):
        rival.publish(topic, b"x", 0)
    local.wait_messages(3)
    assert [m.topic for m in local.messages] == ["new/s", "new/e", "new/d"]


def test_retained_and_will(site):
    gateway = site.gateway(**RULES).start()
    lost = MqttClient(site, gateway.mqtt_port, "lost", will=("me/gone", b"bye", 1, True))
    lost.publish("old/kept", b"kept", 1, True)
    lost.cut()
    local = site.mqtt(gateway, "local")
    local.subscribe("old/+", 1)
    local.subscribe("devices/lost/gone", 1)
    local.wait_messages(2)
    assert sorted(seen(local)) == [("devices/lost/gone", b"bye"), ("new/kept", b"kept")]


def test_a_result_that_is_no_topic(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    assert list(local.subscribe("bad/", 1)) == [0x80]
    local.publish("bad/", b"1")  # acknowledged, and gone
    v5 = MqttClient(site, gateway.mqtt_port, "v5", protocol=mqtt.MQTTv5)
    assert v5.subscribe("bad/", 1)[0].value == 0x8F
    assert counted(gateway, "scope.refused") == 3
    device = coap.CoapClient(gateway)
    assert device.put(["ps", "bad", ""], b"1").code == 0x80
    assert counted(gateway, "scope.refused") == 4


def test_mqttsn(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("old/a", b"1")
    dev.publish("me/x", b"2")
    local.wait_messages(2)
    assert seen(local) == [("new/a", b"1"), ("devices/dev/x", b"2")]
    # The id of SUBACK is what messages come by: the device notices nothing.
    known = dev.subscribe("old/b", 1)
    local.publish("new/b", b"3")
    message = dev.wait_messages(1)[0]
    assert (message.topic_id, message.payload) == (known, b"3")


def test_mqttsn_will(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    dev = sn.SnClient(gateway, "dev").connect(duration=1, will=("old/will", b"bye", 1, False))
    local.wait_messages(1, 30)
    assert seen(local) == [("new/will", b"bye")]
    dev.close()


def test_coap(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    device = coap.CoapClient(gateway)
    device.put("ps/old/a", b"1")
    local.wait_messages(1)
    assert seen(local) == [("new/a", b"1")]
    assert device.get("ps/old/a").payload == b"1"
    assert device.get("ps/new/a").payload == b"1"
    answer, _ = device.observe("ps/old/a")
    assert answer.payload == b"1"
    local.publish("new/a", b"2")
    assert device.wait_notifications(1)[0].payload == b"2"


def test_the_last_rule_counts_and_reload(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    local.publish("old/1", b"1")
    gateway.sections["rewrite.later"] = {"topic": "old/+", "regex": "^old/([0-9])$", "destination": "digit/$1"}
    gateway.write_conf()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    local.publish("old/1", b"2")
    local.publish("old/x", b"3")  # selected by the last rule, whose expression is not found
    local.publish("old/x/y", b"4")
    local.wait_messages(4)
    assert [m.topic for m in local.messages] == ["new/1", "digit/1", "old/x", "new/x/y"]


def test_resumed_subscriptions_are_not_rewritten_again(site):
    rules = {"rewrite.deeper": {"topic": "a/#", "regex": "^a/(.*)$", "destination": "a/a/$1"}}
    gateway = site.gateway(**rules).start()
    local = site.mqtt(gateway, "local", clean=False)
    local.subscribe("a/x", 1)
    local.close()
    again = site.mqtt(gateway, "local", clean=False)
    other = site.mqtt(gateway, "other")
    other.publish("a/x", b"1")
    again.wait_messages(1)
    assert seen(again) == [("a/a/x", b"1")]


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
