"""One short life of a gateway between devices of all three protocols and an upstream, told step by step, so that
it can be ended at any point. Everybody notes what he was told; afterwards the story goes on with a new process, and
check() says what does not fit together."""

import collections
import re
import struct
import time

import coap
import mq
import sn

STEP_S = 15.0
LINKED = re.compile(r"upstream.*connected")


class Dead(Exception):
    """The gateway has ended, as it was asked to."""


class Publication:
    def __init__(self, who, topic, payload, qos, retain):
        self.who, self.topic, self.payload, self.qos, self.retain = who, topic, payload, qos, retain
        self.told = False


class Device(sn.SnClient):
    """An MQTT-SN device that stops waiting when the gateway has ended, and repeats when it is back."""

    def __init__(self, story, client_id):
        super().__init__(story.gateway, client_id)
        self.story = story
        self.connected = self.asleep = False
        self.known = {}       # name -> topic id, as REGACK and SUBACK have told
        self.open = None      # (publication, msg id, state) that has not been acknowledged to its end
        self.taken = []       # (topic, payload, qos) in order of arrival

    def recv(self, timeout=sn.WAIT_S):
        return self.story.wait(lambda s: super(Device, self).recv(s), self.client_id)

    def start(self, clean=False):
        self.connect(clean, 60)
        self.connected = True

    def learn(self, name):
        self.known[name] = self.register(name)

    def follow(self, name, qos):
        topic_id = self.subscribe(name, qos)
        if topic_id:
            self.known[name] = topic_id

    def sleep(self):
        self.send(sn.DISCONNECT, struct.pack(">H", 60))
        self.expect(sn.DISCONNECT)
        self.asleep = True

    def collect(self):
        self.send(sn.PINGREQ, self.client_id.encode())
        self.expect(sn.PINGRESP)

    def tell(self, name, payload, qos, retain=False):
        self.open = (self.story.publication(self, name, payload, qos, retain), self.next_id(), sn.PUBLISH)
        self.finish(first=True)

    def finish(self, first=False):
        """Goes on with the publication that is open, as a device does: with DUP and the same message id."""
        if not self.open:
            return
        p, msg_id, state = self.open
        if state == sn.PUBLISH:
            self.send_publish(self.known[p.topic], p.payload, p.qos, retain=p.retain, msg_id=msg_id, dup=not first)
            if p.qos == 1:
                code = self.expect(sn.PUBACK, msg_id=msg_id, at=2)[4]
                assert code == 0, "%s: PUBACK 0x%02x" % (self.client_id, code)
                p.told, self.open = True, None
                return
            self.expect(sn.PUBREC, msg_id=msg_id)
            p.told = True
            self.open = (p, msg_id, sn.PUBREL)
        self.send(sn.PUBREL, struct.pack(">H", msg_id))
        self.expect(sn.PUBCOMP, msg_id=msg_id)
        self.open = None

    def take(self, kind, body):
        before = len(self.messages)
        took = super().take(kind, body)
        self.taken += [(m.topic(self.names), m.payload, m.qos) for m in self.messages[before:]]
        return took


class Link(mq.MqClient):
    """A connection whose end is the gateway's."""

    def __init__(self, story, client_id, clean=False):
        self.story = story
        self.what = client_id
        try:
            super().__init__(story.gateway.mqtt_port, client_id, clean)
        except OSError as error:
            story.must_be_dead(error)

    def recv(self, timeout):
        try:
            return self.story.wait(lambda s: super(Link, self).recv(s), self.what)
        except OSError as error:
            self.story.must_be_dead(error)

    def send(self, data):
        try:
            super().send(data)
        except OSError as error:
            self.story.must_be_dead(error)

    def expect(self, kind, packet_id):
        while True:
            got = self.recv(STEP_S)
            if got[0] == kind and struct.unpack(">H", got[2][:2])[0] == packet_id:
                return


class Publisher:
    """Publishes by MQTT with a persistent session, one message at a time."""

    def __init__(self, story, client_id):
        self.story, self.client_id = story, client_id
        self.known = False    # was told CONNACK
        self.open = None
        self.packet_id = 0
        self.link = None

    def connect(self):
        self.link = Link(self.story, self.client_id)
        assert self.link.present or not self.known, "%s: the session is gone" % self.client_id
        self.known = True

    def tell(self, topic, payload, qos, retain=False):
        self.packet_id += 1
        self.open = (self.story.publication(self, topic, payload, qos, retain), self.packet_id, mq.PUBLISH)
        self.finish(first=True)

    def finish(self, first=False):
        if not self.open:
            return
        p, packet_id, state = self.open
        if state == mq.PUBLISH:
            self.link.send(mq.publish(p.topic, p.payload, p.qos, packet_id, not first, p.retain))
            self.link.expect(mq.PUBACK if p.qos == 1 else mq.PUBREC, packet_id)
            p.told = True
            self.open = (p, packet_id, mq.PUBREL) if p.qos == 2 else None
        if p.qos == 2:
            self.link.send(mq.packet(mq.PUBREL, struct.pack(">H", packet_id), 2))
            self.link.expect(mq.PUBCOMP, packet_id)
        self.open = None


class Reader:
    """A persistent subscriber that is away most of the time."""

    def __init__(self, story, client_id):
        self.story, self.client_id = story, client_id
        self.known = self.subscribed = False
        self.received = []      # (topic, payload, qos), repetitions of an open QoS 2 packet id left out
        self.finished = set()   # payloads acknowledged to the end
        self.half = {}          # packet id -> payload: PUBREC sent

    def connect(self):
        link = Link(self.story, self.client_id)
        assert link.present or not self.known, "%s: the session is gone" % self.client_id
        self.known = True
        return link

    def subscribe(self, link, topic_filter):
        link.send(mq.packet(mq.SUBSCRIBE, struct.pack(">H", 1) + mq.text(topic_filter) + b"\x02", 2))
        link.expect(mq.SUBACK, 1)
        self.subscribed = True

    def read(self, link, enough):
        """Takes and acknowledges until enough(topic, payload)."""
        while True:
            kind, flags, body = link.recv(STEP_S)
            done = None
            if kind == mq.PUBREL:
                done = self.half.pop(struct.unpack(">H", body[:2])[0], None)
                link.send(mq.packet(mq.PUBCOMP, body[:2]))
            elif kind == mq.PUBLISH:
                done = self._publish(link, flags, body)
            if done:
                self.finished.add(done[1])
                if enough(*done):
                    return

    def _publish(self, link, flags, body):
        topic, packet_id, payload = mq.parse_publish(flags, body)
        qos = flags >> 1 & 3
        if qos < 2 or packet_id not in self.half:
            self.received.append((topic, payload, qos))
        if qos == 2:
            self.half[packet_id] = (topic, payload)
            link.send(mq.packet(mq.PUBREC, struct.pack(">H", packet_id)))
            return None
        if qos == 1:
            link.send(mq.packet(mq.PUBACK, struct.pack(">H", packet_id)))
        return topic, payload


class Story:
    """`upstream` is a ledger.Upstream; all topics begin with a prefix of the story's own."""

    def __init__(self, site, upstream, name):
        self.upstream, self.name = upstream, name
        self.gateway = site.gateway(
            name, upstream={"uri": upstream.uri, "ack_hold": "200ms"}, log={"level": "info"},
            store={"commit_interval": "0"}, mqttsn={"retry_interval": "1s"})
        self.published = []
        self.facts = collections.defaultdict(bool)  # what was told besides acknowledgements of publishes
        self.found = {}     # retained topic -> payload, in the end
        self.retained = {}  # topic -> payloads that may be retained, after the last that was told
        self.meter, self.sleeper = Device(self, "meter"), Device(self, "sleeper")
        self.lamp = Publisher(self, "lamp")
        self.reader, self.guest = Reader(self, "reader"), Reader(self, "guest")
        self.coap = None

    # ---- Waiting ----

    def must_be_dead(self, error):
        end = time.monotonic() + 2
        while self.gateway.process.popen.poll() is None:
            if time.monotonic() > end:
                raise error
            time.sleep(0.005)
        raise Dead from None

    def wait(self, look, what):
        end = time.monotonic() + STEP_S
        while True:
            value = look(0.02)
            if value:
                return value
            if self.gateway.process.popen.poll() is not None:
                raise Dead
            if time.monotonic() > end:
                raise AssertionError("%s: no answer in %g s" % (what, STEP_S))

    # ---- Notes ----

    def topic(self, rest):
        return "%s/%s" % (self.name, rest)

    def publication(self, who, topic, payload, qos, retain=False):
        p = Publication(who, topic, payload, qos, retain)
        self.published.append(p)
        return p

    def retain(self, rest, payload):
        """By the lamp, at QoS 1; an empty payload clears."""
        topic = self.topic(rest)
        self.retained.setdefault(topic, [b""]).append(payload)
        self.lamp.tell(topic, payload, 1, retain=True)
        self.retained[topic] = [payload]

    def put(self, rest, payload):
        p = self.publication("coap", self.topic(rest), payload, 1)
        client = coap.CoapClient(self.gateway)
        receive = client.recv
        client.recv = lambda timeout: self.wait(lambda s: self._try(receive, s), "coap")
        try:
            code = client.put("/ps/" + self.topic(rest), payload, query=["qos=1"]).code
        finally:
            client.close()
        assert code >> 5 == 2, "PUT: %s" % coap.code_text(code)
        p.told = True

    @staticmethod
    def _try(receive, timeout):
        try:
            return receive(timeout)
        except ConnectionRefusedError:
            return None

    # ---- The story ----

    def tell(self):
        try:
            for step in (self.arrive, self.online, self.outage, self.mail, self.change, self.back):
                step()
        except Dead:
            return

    def arrive(self):
        link = self.reader.connect()
        self.reader.subscribe(link, self.topic("m/#"))
        link.send(mq.packet(mq.DISCONNECT))
        link.close()
        self.lamp.connect()
        self.meter.start()
        for name in ("a/1", "a/2"):
            self.meter.learn(self.topic(name))
        self.sleeper.start()
        self.sleeper.follow(self.topic("m/b"), 1)
        self.sleeper.sleep()

    def linked(self, after=0):
        lines = self.gateway.process.lines
        self.wait(lambda s: any(LINKED.search(line) for line in lines[after:]) or time.sleep(s), "the upstream")

    def online(self):
        self.linked()
        self.from_the_cloud()
        self.meter.tell(self.topic("a/1"), b"m1", 1)
        self.meter.tell(self.topic("a/2"), b"m2", 2)
        self.lamp.tell(self.topic("m/1"), b"l1", 1)
        self.lamp.tell(self.topic("m/1"), b"l2", 2)
        self.retain("r/1", b"one")
        self.put("m/c", b"c1")

    def from_the_cloud(self):
        """The reader is away; the broker keeps what it has not been told to be taken."""
        link = Link(self, "probe", clean=True)
        link.send(mq.packet(mq.SUBSCRIBE, struct.pack(">H", 1) + mq.text(self.topic("m/probe")) + b"\x00", 2))
        cloud = mq.MqClient(self.upstream.broker.port, self.name + "-cloud")
        while not self.wait(lambda s: self._probe(cloud, link), "the first message from the broker"):
            pass
        link.close()
        self.facts["subscribed upstream"] = True
        for i, qos in enumerate((1, 2, 1, 2)):
            self._tell_from(cloud, b"d%d" % i, qos, i + 1)
        cloud.close()

    def _tell_from(self, cloud, payload, qos, packet_id):
        p = self.publication("cloud", self.topic("m/d"), payload, qos)
        cloud.send(mq.publish(p.topic, p.payload, qos, packet_id))
        while cloud.recv(STEP_S)[0] != (mq.PUBACK if qos == 1 else mq.PUBREC):
            pass
        p.told = True
        if qos == 2:
            cloud.send(mq.packet(mq.PUBREL, struct.pack(">H", packet_id), 2))
            while cloud.recv(STEP_S)[0] != mq.PUBCOMP:
                pass

    def _probe(self, cloud, link):
        cloud.send(mq.publish(self.topic("m/probe"), b"?"))
        try:
            got = mq.MqClient.recv(link, 0.02)
        except OSError as error:
            self.must_be_dead(error)
        return got and got[0] == mq.PUBLISH

    def outage(self):
        self.upstream.wire.shut()
        for i in range(3):
            self.meter.tell(self.topic("a/1"), b"o%d" % i, 1)
            self.lamp.tell(self.topic("m/1"), b"p%d" % i, 1 + i % 2)
        self.meter.tell(self.topic("a/2"), b"o3", 2)
        self.put("m/c", b"c2")
        self.lamp.tell(self.topic("m/b"), b"b1", 1)
        self.retain("r/1", b"two")
        self.retain("r/2", b"three")

    def mail(self):
        link = self.reader.connect()
        self.reader.read(link, lambda topic, payload: len(self.reader.finished) >= 3)
        link.close()
        self.sleeper.collect()

    def change(self):
        self.retain("r/2", b"")
        link = self.guest.connect()
        self.guest.subscribe(link, self.topic("g"))
        link.close()
        self.lamp.tell(self.topic("g"), b"g1", 1)
        link = Link(self, self.guest.client_id, clean=True)
        self.facts["guest gone"] = True
        link.close()
        self.lamp.tell(self.topic("m/b"), b"b2", 1)

    def back(self):
        after = len(self.gateway.process.lines)
        self.upstream.wire.open()
        self.linked(after)
        for i in range(2):
            self.lamp.tell(self.topic("m/1"), b"q%d" % i, 2)
            self.meter.tell(self.topic("a/2"), b"n%d" % i, 2)
            self.meter.tell(self.topic("a/1"), b"k%d" % i, 1)

    # ---- Afterwards ----

    def next_life(self):
        """Killed, if it has not ended yet, and started again: what does not fit then."""
        self.gateway.kill()
        self.gateway.start()
        self.go_on()
        bad = self.check()
        self.gateway.kill()
        return bad

    def go_on(self):
        """The gateway is back, and the upstream."""
        if not self.upstream.wire.listener:
            self.upstream.wire.open()
        self.lamp.connect()
        self.lamp.finish()
        self._meter_goes_on()
        self._sleeper_goes_on()
        self._reader_goes_on()
        self._guest_is_gone()
        self._look_at_retained()
        self.lamp.tell(self.topic("end/lamp"), b"end", 1)
        self.wait(lambda s: self._arrived_end() or time.sleep(s), "the end at the upstream")

    def _meter_goes_on(self):
        """With its old topic ids and without another CONNECT; what it was not told, it does again."""
        if not self.meter.connected:
            self.meter.start()
        for name in ("a/1", "a/2"):
            if self.topic(name) not in self.meter.known:
                self.meter.learn(self.topic(name))
        self.meter.finish()
        self.meter.tell(self.topic("a/1"), b"end", 1)
        self.meter.tell(self.topic("a/2"), b"end", 2)

    def _sleeper_goes_on(self):
        name = self.topic("m/b")
        if name in self.sleeper.known:
            self.lamp.tell(name, b"end", 1)
            self.sleeper.collect()
            self.sleeper_read = True

    def _reader_goes_on(self):
        if not self.reader.subscribed:
            return
        link = self.reader.connect()
        self.lamp.tell(self.topic("m/1"), b"end", 2)
        ends = {(self.topic("m/1"), b"end")}
        if self.facts["subscribed upstream"]:
            cloud = mq.MqClient(self.upstream.broker.port, self.name + "-cloud")
            self._tell_from(cloud, b"end", 2, 1)
            cloud.close()
            ends.add((self.topic("m/d"), b"end"))
        self.reader.read(link, lambda *message: ends.discard(message) or not ends)
        link.close()

    def _guest_is_gone(self):
        if self.facts["guest gone"]:
            link = Link(self, self.guest.client_id)
            assert not link.present, "guest: a session that was ended is back"
            link.close()

    def _look_at_retained(self):
        """What the upstream acknowledged need not be stored here at once: the broker has it, and sends it when somebody
        here subscribes."""
        link = Link(self, "looker", clean=True)
        link.send(mq.packet(mq.SUBSCRIBE, struct.pack(">H", 1) + mq.text(self.topic("r/#")) + b"\x00", 2))
        self.lamp.tell(self.topic("r/end"), b"end", 1, retain=True)
        missing = {t for t, allowed in self.retained.items() if b"" not in allowed} | {self.topic("r/end")}
        while missing:
            kind, flags, body = link.recv(STEP_S)
            if kind == mq.PUBLISH:
                topic, _, payload = mq.parse_publish(flags, body)
                self.found[topic] = payload
                if payload in self.retained.get(topic, [payload]):
                    missing.discard(topic)
        link.close()

    def _arrived(self):
        return [(t, p) for t, p in list(self.upstream.arrived) if t.startswith(self.name + "/")]

    def _arrived_end(self):
        got = set(self._arrived())
        return {(p.topic, p.payload) for p in self.published if p.told and p.payload == b"end"} <= got

    def check(self):
        """What does not fit with what everybody was told; empty: all is well."""
        bad = list(self._check_got("upstream", self._arrived(), self.published, exact_from=2))
        if self.reader.subscribed:
            mail = [p for p in self.published if p.topic.startswith(self.topic("m/"))]
            bad += self._check_got("reader", [m[:2] for m in self.reader.received], mail, exact_from=2)
        if self.topic("m/b") in self.sleeper.known:
            mail = [p for p in self.published if p.topic == self.topic("m/b")]
            bad += self._check_got("sleeper", [m[:2] for m in self.sleeper.taken], mail, exact_from=2)
        for topic, allowed in self.retained.items():
            if self.found.get(topic, b"") not in allowed:
                bad.append("retained %s is %r, not %r" % (topic, self.found.get(topic), allowed))
        return bad

    def _check_got(self, who, got, published, exact_from):
        counts = collections.Counter(got)
        for p in published:
            n = counts[(p.topic, p.payload)]
            if p.told and n == 0:
                yield "%s: %s %r was acknowledged at QoS %d and is lost" % (who, p.topic, p.payload, p.qos)
            if p.qos >= exact_from and n > 1:
                yield "%s: %s %r came %d times at QoS 2" % (who, p.topic, p.payload, n)
        order = [p for p in published if counts[(p.topic, p.payload)]]
        firsts = {key: i for i, key in reversed(list(enumerate(got)))}
        last = {}
        for p in order:
            key = (p.who, p.topic)
            at = firsts[(p.topic, p.payload)]
            if at < last.get(key, -1):
                yield "%s: %s %r out of order" % (who, p.topic, p.payload)
            last[key] = at
