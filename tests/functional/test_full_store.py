"""A full journal, a full disk: refusals are visible, nothing acknowledged is lost, the rest goes on, and all is well
when there is room again."""

import os
import socket
import struct
import subprocess
import time

import coap
import harness
import ledger
import mq
import sn
from harness import until


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
        self.told = []
        self.n = 0

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
                assert rc == sn_congestion, "refused with 0x%02x" % rc
                return n
        raise AssertionError("%d messages and never full" % limit)

    def check_refusals(self):
        assert self.sn_publish(1) == sn_congestion
        assert self.sn_publish(2) == sn_congestion
        answer = self.coap_put()
        assert answer.code == 0xa3 and answer.number(coap.MAX_AGE), coap.code_text(answer.code)
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
        assert not self.mqtt_answers(self.sent, 10), "PUBACKs still withheld: %d" % len(self.sent)


sn_congestion = 0x01


def check_arrived(upstream, crowd):
    def missing():
        have = set(upstream.arrived)
        return [m for m in crowd.told if m not in have]
    until(lambda: not missing(), "the arrival of what was acknowledged", 60)
    for name in ("sn", "coap", "mqtt"):
        told = [p for t, p in crowd.told if t == "full/" + name]
        wanted = set(told)
        got = list(dict.fromkeys(p for t, p in upstream.arrived if t == "full/" + name and p in wanted))
        assert got == told, "%s: order" % name


def full_journal(site, **rows):
    upstream = ledger.Upstream(site)
    store = {"commit_interval": "0"}
    link = {"uri": upstream.uri}
    (link if "backlog_bytes" in rows else store).update(rows)
    gateway = site.gateway(upstream=link, store=store, log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    print("full after", crowd.fill())
    crowd.check_refusals()
    upstream.start()
    gateway.wait_upstream()
    crowd.check_recovered()
    check_arrived(upstream, crowd)
    gateway.stop()
    return gateway, crowd, upstream


def test_backlog_bytes(site):
    full_journal(site, backlog_bytes="200KB")


def test_max_bytes(site):
    full_journal(site, max_bytes="2MB")


def test_full_and_killed(site):
    """Full is still full after a restart, and every acknowledged message comes back."""
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri}, store={"commit_interval": "0", "max_bytes": "2MB"},
                           log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    crowd.fill()
    for _ in range(3):
        gateway.restart_killed()
        crowd.sn.connect()
        crowd.topic_id = crowd.sn.register("full/sn")
        crowd.fill()
    gateway.restart_killed()
    upstream.start()
    gateway.wait_upstream()
    check_arrived(upstream, crowd)


def mounted(site, size):
    """A small file system, or None without the right to mount one."""
    path = os.path.join(site.dir, "small")
    os.mkdir(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "tmpfs", path], check=False,
                          stderr=subprocess.DEVNULL)
    return path if done.returncode == 0 else None


def test_full_disk(site):
    path = mounted(site, "2500k")
    if not path:
        print("skipped: cannot mount a tmpfs")
        return
    try:
        full_disk(site, path)
    finally:
        for process in site.processes:
            process.kill()
        subprocess.run(["umount", path], check=True)


def full_disk(site, path):
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri},
                           store={"dir": os.path.join(path, "state"), "commit_interval": "0"},
                           log={"level": "info"}).start()
    crowd = Crowd(site, gateway)
    ballast = os.path.join(path, "ballast")
    with open(ballast, "wb") as f:
        f.write(b"b" * (1 << 20))
    # Whom the failing commit takes by surprise waits for an answer for some seconds; at QoS 2 until there is room.
    print("full after", crowd.fill(qos=(1,)))
    crowd.check_refusals()
    os.unlink(ballast)
    crowd.check_recovered()
    print("full again after", crowd.fill(qos=(1,)))
    gateway.restart_killed()
    crowd.local = site.mqtt(gateway, "local2")
    crowd.local.subscribe("#", 1)
    crowd.sn.connect()
    crowd.topic_id = crowd.sn.register("full/sn")
    crowd.check_local()
    upstream.start()
    gateway.wait_upstream()
    until(lambda: crowd.sn_publish(1) == 0, "the device being accepted again", 30)
    check_arrived(upstream, crowd)
    gateway.stop()


if __name__ == "__main__":
    harness.run(test_backlog_bytes, test_max_bytes, test_full_and_killed, test_full_disk)
