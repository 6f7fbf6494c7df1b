"""Clients that do not read: what is for them waits within the limits, what is beyond is counted, and nobody else notices."""

import socket
import threading

import harness
import mq5
import suite311
from harness import until
from mq5 import PUBACK, PUBLISH

LIMITS = {"queue_messages": "300", "queue_bytes": "1MB", "retained_messages": "1000"}
PAYLOAD = b"x" * 1000
STORED = "$SYS/broker/store/messages/bytes"


def text(n):
    return b"%06d" % n + PAYLOAD


class Flood:
    """A publisher at full speed, and one who reads it all."""

    def __init__(self, gateway, qos, n):
        self.n, self.got, self.most_stored = n, [], 0
        self.reader = suite311.Client(gateway, "reader")
        self.reader.subscribe("flood", 0)
        self.reader.subscribe(STORED, 0)
        self.pub = suite311.Client(gateway, "writer")
        threads = [threading.Thread(target=t, args=(qos,), daemon=True) for t in (self.publish, self.read)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
            assert not t.is_alive()
        assert self.got == list(range(n)), "the others are served as ever"

    def publish(self, qos):
        for at in range(0, self.n, 100):
            batch = range(at, min(at + 100, self.n))
            self.pub.send(b"".join(suite311.mq.publish("flood", text(n), qos, n % 65535 + 1) for n in batch))
            for n in batch if qos else ():
                assert self.pub.expect(PUBACK).id == n % 65535 + 1
        self.pub.expect_nothing()

    def read(self, _):
        while len(self.got) < self.n:
            m = self.reader.recv()
            if m.topic == STORED:
                self.most_stored = max(self.most_stored, int(m.payload))
            else:
                self.got.append(int(m.payload[:6]))


def lazy(gateway, qos, session_name):
    """It subscribes and reads no more; with a small window in TCP, so that little is on its way."""
    client = suite311.Client(gateway)
    client.sock.close()
    client.sock = socket.socket()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sock.settimeout(10)
    client.sock.connect(("127.0.0.1", gateway.mqtt_port))
    client.send(suite311.connect(session_name))
    client.expect(mq5.CONNACK, 0)
    client.subscribe("flood", qos)
    return client


def waits(site, qos, n):
    gateway = site.gateway(limits=LIMITS, gateway={"sys_interval": "100ms"}).start()
    slow = lazy(gateway, qos, "slow")
    flood = Flood(gateway, qos, n)
    assert flood.most_stored < 2 << 20, "%d bytes are kept" % flood.most_stored
    assert gateway.counters().get("mqtt.closed_for_error", 0) == 0

    numbers = []
    flood.pub.send(suite311.mq.publish("flood", text(n), 0))
    while not numbers or numbers[-1] < n:
        m = slow.recv(3)
        if m is None:  # the last one found the queue full as well; there is room now
            flood.pub.send(suite311.mq.publish("flood", text(n), 0))
            continue
        numbers.append(int(m.payload[:6]))
        if m.qos:
            slow.ack(PUBACK, m.id)
    until(lambda: gateway.counters()["drop.queue_full"] > 0, "what was dropped being counted")
    assert numbers == sorted(numbers)
    got = len([x for x in numbers if x < n])
    assert got >= 300 and numbers[:300] == list(range(300)), numbers[:300]
    dropped = gateway.counters()["drop.queue_full"]
    assert 0 <= got + dropped - n <= 2, (got, dropped)  # the last one may have been dropped, too


def test_qos_0_that_nobody_reads(site):
    waits(site, 0, 8000)


def test_qos_1_that_nobody_reads(site):
    waits(site, 1, 3000)


def test_little_by_little(site):
    """Slower than what comes, but within the limits: it gets all."""
    gateway = site.gateway(limits={"queue_messages": "5000", "queue_bytes": "8MB"}).start()
    slow = lazy(gateway, 0, "slow")
    Flood(gateway, 0, 2000)
    for n in range(2000):
        m = slow.expect(PUBLISH)
        assert int(m.payload[:6]) == n
    assert "drop.queue_full" not in gateway.counters()


def test_answers_that_nobody_reads(site):
    """Who does not take its acknowledgements is not read, until it does."""
    gateway = site.gateway().start()
    client = lazy(gateway, 0, "deaf")
    batch, sent = b"".join(suite311.mq.publish("other", b"", 1, n + 1) for n in range(1000)), 0
    client.sock.settimeout(1)
    try:
        while sent < 100 << 20:
            sent += client.sock.send(batch[sent % len(batch):])
    except socket.timeout:
        pass
    assert sent < 100 << 20, "it is never told to wait"
    assert gateway.counters().get("mqtt.closed_for_error", 0) == 0
    client.sock.settimeout(10)
    rest = batch[sent % len(batch):]
    threading.Thread(target=client.send, args=(rest,), daemon=True).start()
    left = (sent + len(rest)) // len(batch) * 1000 * 4
    while left:
        answers = client.sock.recv(1 << 16)
        assert answers, "closed"
        left -= len(answers)
    assert left == 0
    other = suite311.Client(gateway, "other")
    other.expect_nothing()


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
