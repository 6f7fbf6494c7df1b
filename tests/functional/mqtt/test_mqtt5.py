"""MQTT 5.0 with real clients, with the other protocols and through the upstream."""

import subprocess
import threading
import time

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import coap
import harness
import mq5
import sn
from harness import until
from mq5 import (CONTENT_TYPE, CORRELATION, MESSAGE_EXPIRY, PUBACK, PUBLISH, RESPONSE_TOPIC, SESSION_EXPIRY,
                 SUBSCRIPTION_ID, USER)


class Paho:
    """paho-mqtt as an MQTT 5 client, what it was told in lists."""

    def __init__(self, site, gateway, name, expiry=0, will=None):
        self.messages, self.published, self.subscribed, self.closed = [], [], [], []
        self.connack = None
        self.ready = threading.Event()
        self.client = Client(name, protocol=MQTTv5)
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda c, u, m: self.messages.append(m)
        self.client.on_publish = lambda c, u, mid: self.published.append(mid)
        self.client.on_subscribe = lambda c, u, mid, codes, p: self.subscribed.append(codes)
        self.client.on_disconnect = lambda c, u, rc, p=None: self.closed.append(rc)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        properties.ReceiveMaximum = 5
        properties.TopicAliasMaximum = 4
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", gateway.mqtt_port, 60, clean_start=expiry == 0, properties=properties)
        self.client.loop_start()
        site.clients.append(self)
        assert self.ready.wait(harness.WAIT_S)

    def _on_connect(self, client, user, flags, reason, properties):
        self.connack = flags, reason, properties
        self.ready.set()

    def subscribe(self, topic, number=None, **options):
        properties = Properties(PacketTypes.SUBSCRIBE)
        if number:
            properties.SubscriptionIdentifier = number
        before = len(self.subscribed)
        self.client.subscribe(topic, options=SubscribeOptions(**options), properties=properties)
        until(lambda: len(self.subscribed) > before, "SUBACK")
        return self.subscribed[-1][0].value

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_paho(site):
    gateway = site.gateway().start()
    sub, pub = Paho(site, gateway, "sub"), Paho(site, gateway, "")
    assert sub.connack[1].value == 0
    assert getattr(sub.connack[2], "SharedSubscriptionAvailable", 1) == 1
    assert pub.connack[2].AssignedClientIdentifier.startswith("auto-")
    assert sub.subscribe("p/#", 5, qos=2, noLocal=True, retainAsPublished=True) == 2
    assert sub.subscribe("$share/g/elsewhere/#", qos=1) == 1
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "reply"
    properties.CorrelationData = b"\0\1"
    properties.MessageExpiryInterval = 60
    properties.UserProperty = [("k", "1"), ("k", "2")]
    for n in range(60):
        pub.client.publish("p/%d" % (n % 3), b"%d" % n, n % 3, retain=n == 0, properties=properties)
    sub.client.publish("p/own", b"", 1)
    until(lambda: len(sub.messages) == 60 and len(pub.published) == 60, "all of them")
    assert sorted(int(m.payload) for m in sub.messages) == list(range(60))
    for m in sub.messages:
        assert m.retain == (m.payload == b"0")
        assert (m.properties.ContentType, m.properties.ResponseTopic, m.properties.CorrelationData) == (
            "text/plain", "reply", b"\0\1")
        assert m.properties.UserProperty == [("k", "1"), ("k", "2")] and m.properties.SubscriptionIdentifier == [5]
        assert 0 < m.properties.MessageExpiryInterval <= 60


def test_paho_is_told_why(site):
    gateway = site.gateway().start()
    first = Paho(site, gateway, "twin")
    first.client.on_connect = None
    first.client.reconnect_delay_set(60, 60)
    Paho(site, gateway, "twin")
    until(lambda: first.closed, "the end of the first")
    assert first.closed[0].value == 0x8e, first.closed
    first.client.loop_stop()


def test_paho_keeps_its_session(site):
    gateway = site.gateway().start()
    sub = Paho(site, gateway, "keeper", expiry=60)
    sub.subscribe("kept/#", qos=2)
    sub.client.disconnect()
    until(lambda: sub.closed, "the end")
    pub = Paho(site, gateway, "pub")
    for n in range(30):
        pub.client.publish("kept/x", b"%d" % n, 2)
    until(lambda: len(pub.published) == 30, "the answers")
    sub = Paho(site, gateway, "keeper", expiry=60)
    assert sub.connack[0]["session present"] == 1
    until(lambda: len(sub.messages) == 30, "what came meanwhile")
    assert [int(m.payload) for m in sub.messages] == list(range(30))


def test_mosquitto_clients(site):
    gateway = site.gateway().start()
    sub = harness.Process(["stdbuf", "-oL", "mosquitto_sub", "-V", "5", "-p", str(gateway.mqtt_port), "-t", "m/#", "-q", "2",
                           "-C", "2", "-W", "20", "-d", "--retain-as-published", "-D", "SUBSCRIBE",
                           "subscription-identifier", "9", "-D", "CONNECT", "receive-maximum", "1",
                           "-F", "%q %r %t %p %C %R %E %P %A"], "mosquitto_sub")
    site.processes.append(sub)
    sub.wait_line("Subscribed")
    base = ["mosquitto_pub", "-V", "5", "-p", str(gateway.mqtt_port), "-t", "m/x", "-q", "2"]
    more = ["-D", "PUBLISH", "content-type", "text/x", "-D", "PUBLISH", "response-topic", "r", "-D", "PUBLISH",
            "user-property", "k", "v", "-D", "PUBLISH", "message-expiry-interval", "60", "-D", "PUBLISH", "topic-alias", "1",
            "-D", "CONNECT", "session-expiry-interval", "5", "-D", "CONNECT", "topic-alias-maximum", "3"]
    subprocess.run(base + ["-m", "one", "-r"] + more, check=True, timeout=30)
    subprocess.run(base + ["-m", "two"], check=True, timeout=30)
    assert sub.wait_exit() == 0, sub.output()
    assert [line.split() for line in sub.lines if line.startswith("2 ")] == [
        ["2", "1", "m/x", "one", "text/x", "r", "60", "k:v"], ["2", "0", "m/x", "two"]], sub.lines
    refused = subprocess.run(["mosquitto_pub", "-V", "5", "-p", str(gateway.mqtt_port), "-t", "$SYS/x", "-m", "x", "-q", "1",
                              "-d"], timeout=30, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert b"Topic name invalid" in refused.stdout or b"RC:144" in refused.stdout, refused.stdout


def test_other_protocols(site):
    gateway = site.gateway().start()
    five = mq5.Mq5Client(gateway, "five")
    five.subscribe("x/#", 2, (SUBSCRIPTION_ID, 3))
    three = site.mqtt(gateway, "three")
    three.subscribe("y/#", 2)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.subscribe("y/#", qos=2)
    device = coap.CoapClient(gateway)
    device.observe("ps/y/#")
    three.publish("x/three", b"3", qos=1)
    dev.publish("x/sn", b"s", qos=1)
    device.put("ps/x/coap", b"c", options=((coap.CONTENT_FORMAT, b"\x32"),))
    got = {}
    for _ in range(3):
        m = five.expect(PUBLISH)
        got[m.topic] = m
        if m.qos:
            five.ack(PUBACK, m.id)
    assert sorted((t, m.payload, m.all(SUBSCRIPTION_ID)) for t, m in got.items()) == [
        ("x/coap", b"c", [3]), ("x/sn", b"s", [3]), ("x/three", b"3", [3])]
    assert got["x/coap"].get(CONTENT_TYPE) == b"application/json"
    five.publish("y/a", b"{}", 1, (CONTENT_TYPE, "application/json"), (USER, ("k", "v")), (MESSAGE_EXPIRY, 50))
    three.wait_messages(1)
    assert three.messages[0].payload == b"{}"
    assert dev.wait_messages(1)[0].payload == b"{}"
    n = device.wait_notifications(1)[0]
    assert n.payload == b"{}" and n.number(coap.CONTENT_FORMAT) == 50


def test_through_the_upstream_and_back(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    properties = [(CONTENT_TYPE, b"text/x"), (RESPONSE_TOPIC, b"r/t"), (CORRELATION, b"\0\1"), (USER, ("k", "1")),
                  (USER, ("k", "2"))]
    cloud = mq5.Mq5Client(type("Broker", (), {"mqtt_port": broker.port}), "cloud")
    cloud.subscribe("up/#", 1)
    local = mq5.Mq5Client(gateway, "local")
    local.subscribe("down/#", 1, (SUBSCRIPTION_ID, 4))
    assert local.publish("up/a", b"x", 1, (MESSAGE_EXPIRY, 100), *properties) == 0
    m = cloud.expect(PUBLISH)
    cloud.ack(PUBACK, m.id)
    assert m.payload == b"x" and 98 <= m.get(MESSAGE_EXPIRY) <= 100
    assert sorted(p for p in m.props if p[0] != MESSAGE_EXPIRY) == sorted(properties), m
    broker.process.wait_line(r"Sending SUBACK to tidegate-gw")

    def arrives():
        cloud.publish("down/a", b"y", 1, (MESSAGE_EXPIRY, 100), *properties)
        return local.recv(1)

    m = until(arrives, "a message from above")
    assert m.payload == b"y" and 98 <= m.get(MESSAGE_EXPIRY) <= 100 and m.get(SUBSCRIPTION_ID) == 4
    assert sorted(p for p in m.props if p[0] not in (MESSAGE_EXPIRY, SUBSCRIPTION_ID)) == sorted(properties), m


def test_stopping_is_told(site):
    gateway = site.gateway().start()
    client = mq5.Mq5Client(gateway, "c", clean=False, pairs=((SESSION_EXPIRY, 60),))
    gateway.process.signal(15)
    client.expect_bye(0x8b)
    gateway.process.wait_exit()


def test_the_keep_alive_is_capped(site):
    gateway = site.gateway(mqtt={"max_keepalive": "1s"}).start()
    asked = {}
    for keepalive in (0, 1, 60):
        asked[keepalive] = mq5.Mq5Client(gateway, "k%d" % keepalive, keepalive=keepalive)
    assert [c.connack.get(mq5.SERVER_KEEP_ALIVE) for c in asked.values()] == [1, None, 1]
    began = time.monotonic()
    for client in asked.values():
        client.expect_bye(0x8d)
    assert 1 < time.monotonic() - began < 5
    old = site.mqtt(gateway, "old")  # of MQTT 3.1.1: nobody told it
    old.publish("x", b"", qos=1)


def test_a_full_gateway_refuses(site):
    gateway = site.gateway(limits={"memory": "1MB", "retained_bytes": "64KB"}).start()
    client = mq5.Mq5Client(gateway, "c")
    codes = [client.publish("r/%d" % n, bytes(8000), 1 + n % 2, retain=True) for n in range(20)]
    assert codes[0] in (0, 0x10) and codes[-2:] == [0x97, 0x97], codes
    client.disconnect()


harness.run(test_paho, test_paho_is_told_why, test_paho_keeps_its_session, test_mosquitto_clients, test_other_protocols,
            test_through_the_upstream_and_back, test_stopping_is_told, test_the_keep_alive_is_capped,
            test_a_full_gateway_refuses)
