"""Exclusive subscriptions: $exclusive/{filter} has one holder at a time."""

import paho.mqtt.client as mqtt

import coap
import harness
import sn
from harness import MqttClient, until


def test_one_holder(site):
    gateway = site.gateway().start()
    holder = site.mqtt(gateway, "holder")
    assert list(holder.subscribe("$exclusive/x", 1)) == [1]
    other = site.mqtt(gateway, "other")
    assert list(other.subscribe("$exclusive/x", 1)) == [0x80]
    v5 = MqttClient(site, gateway.mqtt_port, "v5", protocol=mqtt.MQTTv5)
    assert v5.subscribe("$exclusive/x", 1)[0].value == 0x97
    assert list(other.subscribe("x", 1)) == [1]  # without the prefix as ever
    other.publish("x", b"1", 1)
    holder.wait_messages(1)
    other.wait_messages(1)
    assert [m.topic for m in holder.messages] == ["x"]
    holder.client.unsubscribe("$exclusive/x")
    until(lambda: v5.subscribe("$exclusive/x", 1)[0].value == 1, "the filter being free")


def test_free_when_the_session_ends(site):
    gateway = site.gateway().start()
    site.mqtt(gateway, "holder").subscribe("$exclusive/x", 1)
    other = site.mqtt(gateway, "other")
    assert list(other.subscribe("$exclusive/x", 1)) == [0x80]
    site.clients[0].close()
    until(lambda: list(other.subscribe("$exclusive/x", 1)) == [1], "the filter being free")


def test_across_protocols(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "dev").connect()
    dev.subscribe("$exclusive/x", qos=1)
    assert list(site.mqtt(gateway, "local").subscribe("$exclusive/x", 1)) == [0x80]
    device = coap.CoapClient(gateway)
    answer = device.get("ps/$exclusive/x", options=((coap.OBSERVE, b""),))
    assert answer.code >> 5 in (4, 5), coap.code_text(answer.code)
    dev.close()


harness.run(test_one_holder, test_free_when_the_session_ends, test_across_protocols)
