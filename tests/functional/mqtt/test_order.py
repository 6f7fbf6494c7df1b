"""Order from one to one at every QoS with connections that are cut in the flow, and in-flight windows under
many publishers (MQTT 3.1.1: 4.3, 4.4, 4.6; MQTT 5.0: 4.9)."""

import random
import struct
import threading

import harness
import mq
import mq5
import suite311
from mq5 import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RECEIVE_MAX, SESSION_EXPIRY

MESSAGES, CUTS = 1200, 4


class Reader(threading.Thread):
    """A subscriber that keeps its state: what it has taken and released, by packet id, as 4.3.3 says."""

    def __init__(self, gateway, qos, cuts):
        super().__init__(daemon=True)
        self.gateway, self.qos, self.cuts = gateway, qos, sorted(cuts)
        self.got, self.pending, self.wrong = [], set(), []
        self.ready = threading.Event()

    def open(self):
        client = suite311.Client(self.gateway, "reader", clean=False)
        if not self.ready.is_set():
            client.subscribe("order", max(self.qos, 1))
            self.ready.set()
        elif not client.connack.present:
            self.wrong.append("the session is gone")
        return client

    def take(self, client, m):
        if m.qos < 2:
            self.got.append(int(m.payload))
            if m.qos:
                client.ack(PUBACK, m.id)
        else:
            if m.id not in self.pending:
                self.pending.add(m.id)
                self.got.append(int(m.payload))
            elif not m.dup:
                self.wrong.append("packet id %d is in use" % m.id)
            client.ack(PUBREC, m.id)

    def run(self):
        client = self.open()
        while not self.got or self.got[-1] != MESSAGES - 1:
            m = client.recv()
            if m is None:
                return
            if m.kind == PUBLISH:
                self.take(client, m)
            else:
                self.pending.discard(m.id)
                client.ack(PUBCOMP, m.id)
            if self.cuts and len(self.got) >= self.cuts[0]:
                self.cuts.pop(0)
                client.close()
                client = self.open()
        client.close()


class Writer:
    """A publisher that keeps its state and sends again what was not acknowledged."""

    WINDOW = 15

    def __init__(self, gateway, qos, cuts):
        self.gateway, self.qos, self.cuts = gateway, qos, sorted(cuts)
        self.flight = {}  # packet id: number, or None when released; in the order of sending
        self.client = suite311.Client(gateway, "writer", clean=False)
        self.next = 0

    def send(self, number, packet_id, dup=False):
        self.client.send(mq.publish("order", b"%d" % number, self.qos, packet_id, dup=dup))

    def hear(self):
        answer = self.client.recv()
        if answer.kind == PUBREC:
            self.flight[answer.id] = None
            self.client.ack(PUBREL, answer.id)
        elif answer.kind in (PUBACK, PUBCOMP):
            self.flight.pop(answer.id, None)

    def cut(self):
        self.client.close()
        self.client = suite311.Client(self.gateway, "writer", clean=False)
        for packet_id, number in self.flight.items():
            if number is None:
                self.client.ack(PUBREL, packet_id)
            else:
                self.send(number, packet_id, dup=True)

    def run(self):
        end = MESSAGES - (self.qos == 0)
        while self.next < end or self.flight:
            while self.next < end and len(self.flight) < self.WINDOW:
                packet_id = self.next % 65535 + 1
                if self.qos:
                    self.flight[packet_id] = self.next
                self.send(self.next, packet_id if self.qos else 0)
                self.next += 1
            if self.cuts and self.next >= self.cuts[0]:
                self.cuts.pop(0)
                self.cut()
            elif self.flight:
                self.hear()
        if self.qos == 0:
            self.client.publish("order", b"%d" % (MESSAGES - 1), 1)  # by which the reader knows the end


def flow(site, qos):
    rng = random.Random(qos)
    # At QoS 0 what was sent into a connection that is cut is lost: only the reader's are cut there.
    gateway = site.gateway(limits={"queue_messages": 5000}).start()
    reader = Reader(gateway, qos, rng.sample(range(100, MESSAGES - 100), CUTS))
    reader.start()
    assert reader.ready.wait(10)
    Writer(gateway, qos, rng.sample(range(100, MESSAGES - 100), CUTS if qos else 0)).run()
    reader.join(60)
    assert not reader.is_alive() and not reader.wrong, reader.wrong
    return reader.got


def test_qos_0(site):
    """In order, and never doubled."""
    got = flow(site, 0)
    assert got == sorted(set(got))


def test_qos_1(site):
    """None lost; the first of each in order; what is doubled is so for a cut."""
    got = flow(site, 1)
    assert list(dict.fromkeys(got)) == list(range(MESSAGES))
    assert len(got) < MESSAGES + 2 * CUTS * 40


def test_qos_2(site):
    """None lost, none doubled, none out of order."""
    assert flow(site, 2) == list(range(MESSAGES))


def publisher(gateway, n, each):
    """As fast as the gateway takes them; never more in flight than its Receive Maximum."""
    client = mq5.Mq5Client(gateway, "pub%d" % n, timeout=60)
    window = client.connack.get(RECEIVE_MAX)
    flight = sent = 0
    while sent < each or flight:
        while sent < each and flight < window:
            client.send(mq5.publish("many/%d" % n, b"%d" % sent, 1, sent + 1))
            sent, flight = sent + 1, flight + 1
        client.expect(PUBACK)
        flight -= 1
    client.close()


def windowed(site, receive_max, publishers=100, each=20, full=None):
    """A subscriber that acknowledges when nothing more comes, so that the window is seen full on the wire."""
    gateway = site.gateway(limits={"queue_messages": 5000, "queue_bytes": "8MB"}).start()
    sub = mq5.Mq5Client(gateway, "sub", clean=False, pairs=((RECEIVE_MAX, receive_max), (SESSION_EXPIRY, 60)))
    sub.subscribe("many/#", 2)
    threads = [threading.Thread(target=publisher, args=(gateway, n, each), daemon=True) for n in range(publishers)]
    for t in threads:
        t.start()
    numbers, outstanding, most = {}, [], 0
    left = publishers * each
    while left or outstanding:
        m = sub.recv(0.01 if outstanding else 30)
        if m is None:
            assert outstanding, "%d messages did not come" % left
            sub.send(b"".join(mq5.packet(PUBACK, struct.pack(">H", o)) for o in outstanding))
            outstanding = []
            continue
        assert m.kind == PUBLISH
        assert m.id not in outstanding, "packet id in use"
        outstanding.append(m.id)
        most = max(most, len(outstanding))
        numbers.setdefault(m.topic, []).append(int(m.payload))
        left -= 1
    for t in threads:
        t.join(30)
    assert most == (full or receive_max), most
    assert len(numbers) == publishers and all(found == list(range(each)) for found in numbers.values())


def test_a_window_of_1(site):
    windowed(site, 1, publishers=10, each=10)


def test_a_window_of_7(site):
    windowed(site, 7)


def test_a_window_larger_than_the_gateways(site):
    windowed(site, 500, full=20)


def test_the_window_holds_at_qos_2_under_load(site):
    """A message counts until PUBCOMP [MQTT-4.9.0-1]: with PUBREC sent and PUBREL unanswered nothing more comes."""
    gateway = site.gateway(limits={"queue_messages": 5000}).start()
    sub = mq5.Mq5Client(gateway, "sub", pairs=((RECEIVE_MAX, 5),))
    sub.subscribe("many/#", 2)
    pub = mq5.Mq5Client(gateway, "pub")
    for n in range(100):
        pub.publish("many/x", b"%d" % n, 2)
    got = []
    while len(got) < 100:
        batch = [sub.expect(PUBLISH) for _ in range(5)]
        sub.expect_nothing()
        for m in batch:
            sub.ack(PUBREC, m.id)
        for m in batch:
            assert sub.expect(PUBREL).id == m.id
        sub.expect_nothing()
        got += [int(m.payload) for m in batch]
        for m in batch:
            sub.ack(PUBCOMP, m.id)
    assert got == list(range(100))


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
