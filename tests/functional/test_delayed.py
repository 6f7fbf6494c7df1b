"""Delayed publish: $delayed/{seconds}/{topic} from every protocol."""

import time

import paho.mqtt.client as mqtt

import coap
import harness
import sn
from harness import MqttClient, until


def test_from_every_protocol(site):
    gateway = site.gateway().start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("#", 2)
    start = time.monotonic()
    site.mqtt(gateway, "local").publish("$delayed/1/t/mqtt", b"1", 2)
    sn.SnClient(gateway, "dev").connect().publish("$delayed/1/t/sn", b"2", qos=1)
    coap.CoapClient(gateway).put("ps/$delayed/1/t/coap", b"3")
    assert time.monotonic() - start > 0.9 or not watcher.messages
    watcher.wait_messages(3)
    assert time.monotonic() - start >= 0.99
    assert sorted((m.topic, m.payload) for m in watcher.messages) == [
        ("t/coap", b"3"), ("t/mqtt", b"1"), ("t/sn", b"2")]


def test_bad_ones(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "dev").connect()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("#", 1)
    msg_id = dev.send_publish(dev.register("$delayed/soon/t"), b"1", qos=1)
    assert dev.expect(sn.PUBACK, msg_id=msg_id, at=2)[4] != 0
    device = coap.CoapClient(gateway)
    assert device.put("ps/$delayed/4294968/t", b"1").code >> 5 == 4
    device.put("ps/t", b"end")
    watcher.wait_messages(1)
    assert watcher.payloads() == [b"end"]


def test_without_storage_nothing_acknowledged_that_is_bound_upstream(site):
    broker = site.broker().start()
    gateway = site.gateway(store=None, upstream={"uri": broker.uri, "export": "up/#"}).start()
    gateway.wait_upstream()
    cloud = MqttClient(site, broker.port, "cloud")
    cloud.subscribe("up/#", 1)
    v5 = MqttClient(site, gateway.mqtt_port, "v5", protocol=mqtt.MQTTv5)
    v5.publish("$delayed/0/up/x", b"refused", 1)
    v5.publish("$delayed/0/up/x", b"passed", 0)
    cloud.wait_messages(1)
    assert cloud.payloads() == [b"passed"]
    v3 = site.mqtt(gateway, "v3")  # has no answer but the end of the connection
    v3.connected.clear()
    v3.publish("$delayed/0/up/x", b"refused", 1, wait=False)
    until(v3.connected.is_set, "the client having to connect again")


def test_a_restart_on_the_way_upstream(site):
    """With storage they are promised, and come after a crash too."""
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri, "export": "up/#"}).start()
    gateway.wait_upstream()
    cloud = MqttClient(site, broker.port, "cloud")
    cloud.subscribe("up/#", 1)
    v5 = MqttClient(site, gateway.mqtt_port, "v5", protocol=mqtt.MQTTv5)
    v5.publish("$delayed/0/up/x", b"now", 1)
    cloud.wait_messages(1)
    v5.publish("$delayed/2/up/x", b"later", 1)
    gateway.restart_killed()
    cloud.wait_messages(2)
    assert cloud.payloads() == [b"now", b"later"]


def test_over_a_kill(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri, "export": "up/#"}).start()
    gateway.wait_upstream()
    dev = site.mqtt(gateway, "dev")
    for qos in 1, 2:
        dev.publish("$delayed/3/up/x", b"%d" % qos, qos)
    dev.publish("$delayed/60/up/x", b"later", 1)
    gateway.kill()
    cloud = MqttClient(site, broker.port, "cloud")
    cloud.subscribe("up/#", 2)
    gateway.start().wait_upstream()
    cloud.wait_messages(2)
    assert sorted(cloud.payloads()) == [b"1", b"2"]
    site.mqtt(gateway, "end").publish("up/end", b"1", 2)
    cloud.wait_messages(3)
    gateway.kill()  # neither comes again, the third has time
    gateway.start().wait_upstream()
    site.mqtt(gateway, "end").publish("up/end", b"2", 2)
    cloud.wait_messages(4)
    assert cloud.payloads("up/x") == [b"1", b"2"], cloud.payloads()


harness.run(test_from_every_protocol, test_bad_ones,
            test_without_storage_nothing_acknowledged_that_is_bound_upstream, test_a_restart_on_the_way_upstream,
            test_over_a_kill)
