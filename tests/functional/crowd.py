"""One client of each protocol that publishes to a gateway whose storage is full or failing, and what it was told."""

import socket
import struct
import time

import coap
import mq
import mq5
import sn
from harness import until

CONGESTION = 0x01
QUOTA = 0x97


class Crowd:
    """One client of each protocol that publishes until it is refused; `told` is what was acknowledged."""

    def __init__(self, site, gateway):
        self.gateway = gateway
        self.local = site.mqtt(gateway, "local")
        self.local.subscribe("#", 1)
        self.sn = sn.SnClient(gateway, "dev").connect()
        self.topic_id = self.sn.register("full/sn")
        self.coap = coap.CoapClient(gateway)
        self.mqtt = mq.MqClient(gateway.mqtt_port, "stream")
        self.mqtt5 = mq5.Mq5Client(gateway, "five")
        self.told = []
        self.n = 0

    def come_back(self, site):
        """The gateway has ended and is back."""
        self.local = site.mqtt(self.gateway, "local-again")
        self.local.subscribe("#", 1)
        self.sn.connect()
        self.topic_id = self.sn.register("full/sn")
        self.mqtt5.close()
        self.mqtt5 = mq5.Mq5Client(self.gateway, "five")

    def payload(self, size=200):
        self.n += 1
        return b"%d:" % self.n + b"x" * size

    def sn_publish(self, qos=1):
        """The return code."""
        payload = self.payload()
        msg_id = self.sn.send_publish(self.topic_id, payload, qos)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            got = self.sn.recv(end - time.monotonic())
            if got and got[0] == sn.PUBREC:
                self.sn.send(sn.PUBREL, struct.pack(">H", msg_id))
                self.sn.expect(sn.PUBCOMP, msg_id=msg_id)
            if got and got[0] in (sn.PUBACK, sn.PUBREC):
                rc = got[1][4] if got[0] == sn.PUBACK else 0
                if rc == 0:
                    self.told.append(("full/sn", payload))
                return rc
        raise AssertionError("the device is left without an answer")

    def coap_put(self):
        payload = self.payload()
        answer = self.coap.request(coap.PUT, "ps/full/coap", payload, query=("retain=0",))
        if answer.code >> 5 == 2:
            self.told.append(("full/coap", payload))
        return answer

    def mqtt5_publish(self, qos=1, size=200):
        """The reason code."""
        payload = self.payload(size)
        code = self.mqtt5.publish("full/mqtt5", payload, qos)
        if code < 0x80:
            self.told.append(("full/mqtt5", payload))
        return code

    def mqtt_publish(self, count):
        """Packet ids and payloads of what was sent; the answers are another matter."""
        sent = {}
        for packet_id in range(1, count + 1):
            sent[packet_id] = self.payload()
            self.mqtt.send(mq.publish("full/mqtt", sent[packet_id], 1, packet_id))
        return sent

    def mqtt_answers(self, sent, timeout):
        """Takes PUBACKs until `sent` is empty or nothing comes for so long."""
        while sent:
            got = self.mqtt.recv(timeout)
            if got is None:
                return sent
            assert got[0] == mq.PUBACK, got
            self.told.append(("full/mqtt", sent.pop(struct.unpack(">H", got[2][:2])[0])))
        return sent

    def fill(self, qos=(1, 2), limit=20000):
        for n in range(limit):
            rc = self.sn_publish(qos[n % len(qos)])
            if rc:
                assert rc == CONGESTION, "refused with 0x%02x" % rc
                return n
        raise AssertionError("%d messages and never full" % limit)

    def check_refusals(self):
        assert self.sn_publish(1) == CONGESTION
        assert self.sn_publish(2) == CONGESTION
        answer = self.coap_put()
        assert answer.code == 0xa3 and answer.number(coap.MAX_AGE), coap.code_text(answer.code)
        assert self.mqtt5_publish(1) == QUOTA
        assert self.mqtt5_publish(2) == QUOTA
        self.check_unread()
        self.check_local()

    def check_unread(self):
        """MQTT 3.1.1 has no refusal: no PUBACK, and the socket is not read."""
        self.sent = self.mqtt_publish(5)
        assert len(self.mqtt_answers(self.sent, 1)) == 5, "acknowledged while full"
        self.mqtt.sock.settimeout(0.5)
        pushed, self.rest = 0, b""
        big = mq.publish("full/zero", b"z" * 60000, 0)
        try:
            while pushed < 64 << 20:
                n = self.mqtt.sock.send(big)
                pushed, self.rest = pushed + n, big[n:]
        except socket.timeout:
            pass
        assert pushed < 64 << 20, "the socket of a client that is not acknowledged is read on"

    def check_local(self):
        """QoS 0 and the devices' own business go on."""
        mark = len(self.local.messages)
        self.sn.send_publish(self.topic_id, b"zero", 0)
        until(lambda: b"zero" in [m.payload for m in self.local.messages[mark:]], "QoS 0 between local clients")
        self.sn.send(sn.PINGREQ)
        self.sn.expect(sn.PINGRESP, 1)

    def check_recovered(self):
        until(lambda: self.sn_publish(1) == 0, "the device being accepted again", 30)
        until(lambda: self.coap_put().code >> 5 == 2, "CoAP being accepted again", 30)
        until(lambda: self.mqtt5_publish(1) < 0x80, "MQTT 5 being accepted again", 30)
        assert not self.mqtt_answers(self.sent, 10), "PUBACKs still withheld: %d" % len(self.sent)


def check_arrived(upstream, crowd):
    def missing():
        have = set(upstream.arrived)
        return [m for m in crowd.told if m not in have]
    until(lambda: not missing(), "the arrival of what was acknowledged", 60)
    for name in ("sn", "coap", "mqtt", "mqtt5"):
        told = [p for t, p in crowd.told if t == "full/" + name]
        wanted = set(told)
        got = list(dict.fromkeys(p for t, p in upstream.arrived if t == "full/" + name and p in wanted))
        assert got == told, "%s: order" % name
