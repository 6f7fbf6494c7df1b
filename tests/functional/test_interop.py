"""From every protocol to every other, and to itself: MQTT-SN, CoAP, MQTT 3.1.1 and MQTT 5.0. QoS and retain stay, and what
MQTT 5.0 and CoAP have in common is carried over: content type, life, and properties of the user."""

import os
import sys

import coap
import harness
import mq5
import sn
from mq5 import CONTENT_TYPE, MESSAGE_EXPIRY, PUBLISH, USER

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "mqtt"))
import suite311  # pylint: disable=wrong-import-position

JSON = 50  # the Content-Format of application/json


class SnPeer:
    qos = (0, 1, 2)

    def __init__(self, gateway, name):
        self.client = sn.SnClient(gateway, name).connect()

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain)

    def subscribe(self, topic):
        self.client.subscribe(topic, 2)

    def take(self):
        m = self.client.wait_messages(1).pop(0)
        return m.payload, m.qos, bool(m.retain)


class CoapPeer:
    qos = (0, 1, 2)

    def __init__(self, gateway, _):
        self.client = coap.CoapClient(gateway)
        self.first = None

    def publish(self, topic, payload, qos, retain=False):
        answer = self.client.request(coap.PUT if retain else coap.POST, "ps/" + topic, payload, query=["qos=%d" % qos])
        assert answer.code in (coap.CREATED, coap.CHANGED)

    def subscribe(self, topic):
        answer, _ = self.client.observe("ps/" + topic)
        self.first = answer.payload or None

    def take(self):
        """QoS is CON or NON here; what was there already is the answer itself."""
        if self.first:
            payload, self.first = self.first, None
            return payload, None, True
        m = self.client.wait_notifications(1).pop(0)
        return m.payload, None, False


class MqttPeer:
    qos = (0, 1, 2)

    def __init__(self, gateway, name):
        self.client = self.connect(gateway, name)

    def connect(self, gateway, name):
        return suite311.Client(gateway, name)

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain=retain)

    def subscribe(self, topic):
        self.client.subscribe(topic, 2)

    def take(self):
        m = self.client.expect(PUBLISH)
        if m.qos:
            self.client.ack(mq5.PUBREC if m.qos == 2 else mq5.PUBACK, m.id)
        if m.qos == 2:
            self.client.expect(mq5.PUBREL)
            self.client.ack(mq5.PUBCOMP, m.id)
        return m.payload, m.qos, bool(m.retain)


class Mqtt5Peer(MqttPeer):
    def connect(self, gateway, name):
        return mq5.Mq5Client(gateway, name)


PEERS = {"sn": SnPeer, "coap": CoapPeer, "mqtt": MqttPeer, "mqtt5": Mqtt5Peer}


def test_live_messages_keep_their_qos(site):
    gateway = site.gateway().start()
    for source, Source in PEERS.items():
        for sink, Sink in PEERS.items():
            topic = "live/%s/%s" % (source, sink)
            reader, writer = Sink(gateway, "r-%s-%s" % (source, sink)), Source(gateway, "w-%s-%s" % (source, sink))
            reader.subscribe(topic)
            for qos in Source.qos:
                writer.publish(topic, b"%d" % qos, qos)
                payload, found, retain = reader.take()
                assert payload == b"%d" % qos and found in (None, qos) and not retain, (topic, payload, found)


def test_retained_messages_keep_their_qos(site):
    gateway = site.gateway().start()
    for source, Source in PEERS.items():
        for qos in Source.qos:
            topic = "kept/%s/%d" % (source, qos)
            Source(gateway, "w-%s-%d" % (source, qos)).publish(topic, b"value", qos, retain=True)
            for sink, Sink in PEERS.items():
                reader = Sink(gateway, "r-%s-%s-%d" % (source, sink, qos))
                reader.subscribe(topic)
                payload, found, retain = reader.take()
                assert payload == b"value" and found in (None, qos) and retain, (topic, sink, found, retain)


def test_content_type_and_life_from_mqtt5_to_coap(site):
    gateway = site.gateway().start()
    five, device = mq5.Mq5Client(gateway, "five"), coap.CoapClient(gateway)
    device.observe("ps/live")
    properties = ((CONTENT_TYPE, "application/json"), (MESSAGE_EXPIRY, 100), (USER, ("k", "v")))
    five.publish("live", b"{}", 1, *properties)
    five.publish("kept", b"{}", 1, *properties, retain=True)
    # An observer looks after its registration at least once a minute.
    for m, life in ((device.wait_notifications(1)[0], 60), (device.get("ps/kept"), 100)):
        assert m.payload == b"{}" and m.number(coap.CONTENT_FORMAT) == JSON
        assert life - 5 <= m.number(coap.MAX_AGE) <= life


def test_content_type_and_life_from_coap_to_mqtt5(site):
    gateway = site.gateway().start()
    five, device = mq5.Mq5Client(gateway, "five"), coap.CoapClient(gateway)
    five.subscribe("value", 1)
    device.put("ps/value", b"{}", query=["expiry=100"], options=[(coap.CONTENT_FORMAT, bytes([JSON]))])
    m = five.expect(PUBLISH)
    assert m.get(CONTENT_TYPE) == b"application/json" and 95 <= m.get(MESSAGE_EXPIRY) <= 100


def test_properties_of_the_user_pass(site):
    """Also through a session that is away, and by way of a retained message; others get the plain message."""
    gateway = site.gateway().start()
    keep = dict(clean=False, pairs=((mq5.SESSION_EXPIRY, 60),))
    pairs = [(USER, ("b", "1")), (USER, ("a", "2")), (USER, ("b", "3"))]
    reader = mq5.Mq5Client(gateway, "reader", **keep)
    reader.subscribe("u", 1)
    reader.close()
    mq5.Mq5Client(gateway, "writer").publish("u", b"x", 1, *pairs, retain=True)
    assert mq5.Mq5Client(gateway, "reader", **keep).expect(PUBLISH).props == pairs
    late = mq5.Mq5Client(gateway, "late")
    late.subscribe("u", 1)
    assert late.expect(PUBLISH).props == pairs
    for name in ("sn", "coap", "mqtt"):
        peer = PEERS[name](gateway, name)
        peer.subscribe("u")
        assert peer.take()[0] == b"x"


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
