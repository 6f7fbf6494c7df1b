"""Publishers that note what they were told, an upstream that notes what it got, and a wire between them that
can be cut. For tests in which everything ends and comes back at random."""

import collections
import random
import socket
import struct
import threading
import time

import coap
import mq
import sn
from harness import free_port


class Wire:
    """A TCP relay in front of the broker: nobody listens until open(), so that nobody meets a broker whose
    collector has not subscribed yet; cut() ends the connections that are there."""

    def __init__(self, target_port):
        self.target = target_port
        self.port = free_port()
        self.listener = None
        self.pairs = []
        self.lock = threading.Lock()

    @property
    def uri(self):
        return "mqtt://127.0.0.1:%d" % self.port

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 2)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near), daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        try:
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def open(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(16)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def shut(self):
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        self.listener = None
        self.cut()

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for near, far in pairs:
            for s in (near, far):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()


class Upstream:
    """mosquitto behind a Wire, and a subscriber that writes down all that the broker passes on, in order."""

    def __init__(self, site, **arguments):
        self.broker = site.broker(**arguments)
        self.wire = Wire(self.broker.port)
        self.arrived = []  # (topic, payload)
        self.running = False
        self.listening = threading.Event()

    @property
    def uri(self):
        return self.wire.uri

    def start(self):
        self.broker.start()
        self.listening.clear()
        threading.Thread(target=self._collect, daemon=True).start()
        if not self.listening.wait(10):
            raise AssertionError("the collector got no SUBACK")
        self.running = True
        self.wire.open()
        return self

    def _collect(self):
        # QoS 0: passed on at once, before the broker acknowledges; nothing waits in it when it is killed.
        client = mq.MqClient(self.broker.port, "collector", keepalive=0)
        client.subscribe("#", 0)
        self.listening.set()
        try:
            while True:
                got = client.recv(3600)
                if got and got[0] == mq.PUBLISH:
                    topic, _, payload = mq.parse_publish(got[1], got[2])
                    self.arrived.append((topic, payload))
        except OSError:
            client.close()

    def down(self, kill=False):
        self.running = False
        if kill:
            self.broker.process.kill()
        else:
            self.broker.stop()
        self.wire.shut()


class Publisher(threading.Thread):
    """One client that publishes numbered messages and keeps the ledger. Messages are `name:number`."""

    def __init__(self, gateway, name, seed, qos=(1, 2)):
        super().__init__(daemon=True)
        self.gateway, self.name, self.qos = gateway, name, qos
        self.random = random.Random("%s/%s" % (seed, name))
        self.sent = {}    # number -> (topic, qos)
        self.told = {}    # number -> (topic, qos): acknowledged
        self.refused = 0  # told that it was not taken
        self.noticed = []  # of a restart: answers that say that its session is not what it was
        self.n = 0
        self.stopping = False
        self.error = None
        self.pause_s = 0.0
        self.began = time.monotonic()
        self.trail = collections.deque(maxlen=40)  # what was sent and received last

    def next(self):
        n, self.n = self.n, self.n + 1
        k = self.random.randrange(2)
        # A topic keeps its QoS, but not always: a change makes the gateway wait for the upstream.
        qos = self.qos[k % len(self.qos)] if self.random.random() < 0.97 else self.random.choice(self.qos)
        self.sent[n] = ("l/%s/%d" % (self.name, k), qos)
        return n

    def payload(self, n):
        return b"%s:%d:" % (self.name.encode(), n) + b"x" * (n % 7 * 20)

    def run(self):
        try:
            self.work()
        except Exception as e:  # shown by the test
            self.error = e

    def finish(self, timeout=60):
        self.stopping = True
        self.join(timeout)
        if self.error:
            raise self.error
        if self.is_alive():
            raise AssertionError("%s is stuck: %s" % (self.name, self.where()))

    def note(self, way, kind, names, body):
        self.trail.append("%.2f %s %s %s" % (time.monotonic() - self.began, way, names.get(kind, kind), body[:16].hex()))

    def where(self):
        """What it waits for, and its last datagrams or packets."""
        open_ones = {n: sent for n, sent in self.sent.items() if n not in self.told}
        return "%d of %d answered, not %r\n  %s" % (len(self.told), self.n, open_ones, "\n  ".join(self.trail))


class SnPublisher(Publisher):
    """One message in flight, repeated with DUP until it is answered; sometimes it loses an answer or sends twice."""

    RETRY_S = 0.4

    def work(self):
        self.device = sn.SnClient(self.gateway, self.name)
        self.connect()
        while not self.stopping:
            n = self.next()
            self.publish_until_told(n)
            time.sleep(self.pause_s)
        self.device.close()

    def ask(self, send, wanted, attempts):
        """Sends until one of `wanted` (type -> predicate of the body) comes. None: DISCONNECT or silence."""
        for attempt in range(attempts):
            send(attempt > 0)
            if self.random.random() < 0.03:
                send(True)
            end = time.monotonic() + self.RETRY_S
            while True:
                got = self.device.recv(end - time.monotonic()) if end > time.monotonic() else None
                if got is None:
                    break
                self.note("<", got[0], sn.NAMES, got[1])
                if got[0] in wanted and wanted[got[0]](got[1]):
                    if self.random.random() < 0.03:
                        self.trail.append("  lost")
                        continue  # on its way
                    return got
                if got[0] == sn.DISCONNECT:
                    self.noticed.append("DISCONNECT")
                    self.connected = False
                    return None
        return None

    def go_on(self):
        """After silence as if nothing were, after DISCONNECT with CONNECT."""
        if not self.connected:
            self.connect()

    def send(self, kind, body):
        self.note(">", kind, sn.NAMES, body)
        self.device.send(kind, body)

    def connect(self):
        body = bytes([sn.flags(clean=False), 1]) + struct.pack(">H", 600) + self.name.encode()
        while True:
            got = self.ask(lambda dup: self.send(sn.CONNECT, body), {sn.CONNACK: lambda b: True}, 3)
            if got and got[1][0] == 0:
                break
            time.sleep(0.05)
        self.connected = True
        self.device.ids.clear()

    def topic_id(self, topic):
        while topic not in self.device.ids:
            msg_id = self.device.next_id()
            body = struct.pack(">HH", 0, msg_id) + topic.encode()
            got = self.ask(lambda dup: self.send(sn.REGISTER, body),
                           {sn.REGACK: lambda b: struct.unpack(">H", b[2:4])[0] == msg_id}, 3)
            if got and got[1][4] == 0:
                self.device.ids[topic] = struct.unpack(">H", got[1][:2])[0]
            elif not got:
                self.go_on()
        return self.device.ids[topic]

    def publish_until_told(self, n):
        topic, qos = self.sent[n]
        msg_id = self.device.next_id()

        def mine(at):
            return lambda b: struct.unpack(">H", b[at:at + 2])[0] == msg_id

        wanted = {sn.PUBACK: mine(2), sn.PUBREC: mine(0)}
        dup = False
        while True:
            topic_id = self.topic_id(topic)
            got = self.ask(lambda again: self.send(sn.PUBLISH, struct.pack(
                ">BHH", sn.flags(again or dup, qos), topic_id, msg_id) + self.payload(n)), wanted, 4)
            if got is None:
                dup = True
                self.go_on()
            elif got[0] == sn.PUBACK and got[1][4] == 2:
                self.noticed.append("PUBACK 0x02")
                self.device.ids.clear()
            elif got[0] == sn.PUBACK and got[1][4] != 0:
                assert got[1][4] == 1, "PUBACK 0x%02x" % got[1][4]
                self.refused += 1
                time.sleep(0.05)
            else:
                break
        self.told[n] = self.sent[n]
        while qos == 2 and not self.ask(lambda again: self.send(sn.PUBREL, struct.pack(">H", msg_id)),
                                        {sn.PUBCOMP: mine(0)}, 4):
            self.go_on()


class CoapPublisher(Publisher):
    """PUT or POST, confirmable; repeated with the same message id, and after a while with a new one."""

    def __init__(self, gateway, name, seed):
        super().__init__(gateway, name, seed, qos=(1,))

    def work(self):
        self.device = coap.CoapClient(self.gateway)
        while not self.stopping:
            n = self.next()
            while not self.attempt(n):
                time.sleep(0.05)
            self.told[n] = self.sent[n]
            time.sleep(self.pause_s)
        self.device.close()

    def attempt(self, n):
        method = coap.PUT if n % 2 else coap.POST
        try:
            answer = self.device.request(method, "ps/" + self.sent[n][0], self.payload(n), timeout=3, retransmit=0.5)
        except (AssertionError, OSError):
            return False  # nobody answered
        if answer.code == 0xa3:
            assert answer.number(coap.MAX_AGE) is not None, "5.03 without Max-Age"
            self.refused += 1
            return False
        assert answer.code >> 5 == 2, coap.code_text(answer.code)
        return True


MQ_NAMES = {getattr(mq, name): name for name in ("PUBLISH", "PUBACK", "PUBREC", "PUBCOMP")}


class MqttPublisher(Publisher):
    """A window of messages; after a reconnect what is open is sent again, in order, with DUP. Cuts its own
    connection now and then."""

    WINDOW = 10

    def work(self):
        self.open = {}      # packet id -> number, in the order of sending
        self.released = {}  # packet id -> number: PUBREC came
        self.last_id = 0
        self.known = False  # to the gateway
        while not (self.stopping and not self.open and not self.released):
            try:
                self.connection()
            except OSError:
                time.sleep(0.05)

    def connection(self):
        client = mq.MqClient(self.gateway.mqtt_port, self.name, clean=False)
        if self.known and not client.present:
            self.noticed.append("session present 0")
        self.known = True
        try:
            for packet_id in list(self.released):
                client.send(mq.packet(mq.PUBREL, struct.pack(">H", packet_id), 2))
            for packet_id, n in list(self.open.items()):
                self.send(client, packet_id, n, True)
            self.exchange(client)
        finally:
            client.close()

    def send(self, client, packet_id, n, dup):
        topic, qos = self.sent[n]
        self.note(">", mq.PUBLISH, MQ_NAMES, b"%d:%d:%d" % (packet_id, n, qos))
        client.send(mq.publish(topic, self.payload(n), qos, packet_id, dup))

    def exchange(self, client):
        heard = due = time.monotonic()
        while not self.stopping or self.open or self.released:
            now = time.monotonic()
            full = self.stopping or len(self.open) + len(self.released) >= self.WINDOW
            if not full and now >= due:
                due = max(due + self.pause_s, now - 0.1)
                self.last_id = self.last_id % 60000 + 1
                n = self.next()
                self.open[self.last_id] = n
                self.send(client, self.last_id, n, False)
                if self.random.random() < 0.002:
                    return
            got = client.recv(1 if full else max(due - now, 0.001))
            if got:
                self.take(client, got)
                heard = time.monotonic()
            elif time.monotonic() - heard > 15:
                raise AssertionError("%s: open messages and no answer for 15 s" % self.name)

    def take(self, client, got):
        kind, _, body = got
        self.note("<", kind, MQ_NAMES, body)
        packet_id = struct.unpack(">H", body[:2])[0]
        if kind in (mq.PUBACK, mq.PUBREC):
            n = self.open.pop(packet_id, None)
            if n is not None:
                self.told[n] = self.sent[n]
            if kind == mq.PUBREC:
                if n is not None:
                    self.released[packet_id] = n
                client.send(mq.packet(mq.PUBREL, struct.pack(">H", packet_id), 2))
        elif kind == mq.PUBCOMP:
            self.released.pop(packet_id, None)


class Ledger:
    """What was told against what arrived."""

    def __init__(self, publishers, upstream):
        self.publishers, self.upstream = publishers, upstream

    def counts(self):
        found = {}
        for topic, payload in list(self.upstream.arrived):
            if topic.startswith("l/"):
                name, n, _ = payload.split(b":", 2)
                key = (name.decode(), int(n))
                found[key] = found.get(key, 0) + 1
        return found

    def missing(self):
        found = self.counts()
        return [(p.name, n) for p in self.publishers for n in p.told if (p.name, n) not in found]

    def wait_all(self, patience=20):
        """Until all that was acknowledged has arrived, or nothing arrives for so many seconds."""
        progress, n = time.monotonic(), -1
        while True:
            missing = self.missing()
            if not missing:
                return
            if len(missing) != n:
                progress, n = time.monotonic(), len(missing)
            elif time.monotonic() - progress > patience:
                raise AssertionError("acknowledged and lost: %d, %s" % (n, missing[:20]))
            time.sleep(0.2)

    def check_order(self):
        seen, last = set(), {}
        for topic, payload in self.upstream.arrived:
            if not topic.startswith("l/"):
                continue
            name, n, _ = payload.split(b":", 2)
            key = (name, int(n))
            if key in seen:
                continue
            seen.add(key)
            before = last.get(topic, -1)
            if before > int(n):
                raise AssertionError("%s: %d arrived after %d; %s" % (topic, int(n), before, self.history(topic)))
            last[topic] = int(n)

    def history(self, topic):
        """What was sent on a topic with which QoS, and in which order it arrived."""
        sent = ["%d/%d" % (n, qos) for p in self.publishers for n, (t, qos) in p.sent.items() if t == topic]
        arrived = [payload.split(b":", 2)[1].decode() for t, payload in self.upstream.arrived if t == topic]
        return "sent/QoS %s; arrived %s" % (" ".join(sent), " ".join(arrived))

    def check_sessions(self):
        noticed = {p.name: p.noticed for p in self.publishers if p.noticed}
        assert not noticed, "a restart was noticed: %s" % noticed

    def check_content(self):
        known = {p.name: p for p in self.publishers}
        for topic, payload in self.upstream.arrived:
            if topic.startswith("l/"):
                name, n, _ = payload.split(b":", 2)
                p = known[name.decode()]
                assert p.sent[int(n)][0] == topic and p.payload(int(n)) == payload, (topic, payload)

    def doubled(self, qos):
        found = self.counts()
        return [(p.name, n) for p in self.publishers for n, (_, q) in p.sent.items()
                if q == qos and found.get((p.name, n), 0) > 1]

    def summary(self):
        return "%d sent, %d acknowledged, %d refusals, %d arrived; doubled: QoS 1 %d, QoS 2 %d" % (
            sum(len(p.sent) for p in self.publishers), sum(len(p.told) for p in self.publishers),
            sum(p.refused for p in self.publishers), len(self.upstream.arrived),
            len(self.doubled(1)), len(self.doubled(2)))
