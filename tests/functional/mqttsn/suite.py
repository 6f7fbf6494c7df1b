"""The conformance suite of MQTT-SN 1.2: what its files share.

A file starts one gateway (Bench); every case gets topics, client ids and sockets of its own (Case), so that
cases do not see each other. Nothing waits for time: where nothing may come, something that is answered in any
state is asked, and its answer must be the next datagram."""

import contextlib
import itertools
import os
import socket
import string
import struct
import threading

import harness
import sn
from harness import WAIT_S, until

FOREIGN = "127.0.0.2"  # another host, as far as the gateway can tell


def u16(*numbers):
    return struct.pack(">%dH" % len(numbers), *numbers)


def as_id(two):
    """A short topic name in place of a topic id."""
    return struct.unpack(">H", two.encode())[0]


class Device(sn.SnClient):
    """A device that notices everything it has not asked for."""

    def __init__(self, gateway, client_id, ip="127.0.0.1"):
        super().__init__(gateway, client_id)
        if ip != "127.0.0.1":
            self.sock.close()
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.bind((ip, 0))

    def next(self, kind, timeout=WAIT_S):
        """The next datagram is of this type; its body."""
        got = self.recv(timeout)
        assert got, "%s: no %s" % (self.client_id, sn.NAMES[kind])
        assert got[0] == kind, "%s: %s %s instead of %s" % (
            self.client_id, sn.NAMES.get(got[0]), got[1].hex(), sn.NAMES[kind])
        return got[1]

    def next_message(self, timeout=WAIT_S):
        return sn.Message(self.next(sn.PUBLISH, timeout))

    def ask(self, kind, body, answer):
        self.send(kind, body)
        return self.next(answer)

    def silent(self):
        """The gateway has said nothing: discovery (6.1) is answered in any state."""
        self.ask(sn.SEARCHGW, b"\x00", sn.GWINFO)

    def connect_body(self, flags=0x04, protocol=1, duration=60, client_id=None):
        name = self.client_id if client_id is None else client_id
        return bytes([flags, protocol]) + u16(duration) + (name if isinstance(name, bytes) else name.encode())

    def say_connect(self, **fields):
        self.send(sn.CONNECT, self.connect_body(**fields))

    def say_register(self, name, msg_id=1, topic_id=0):
        self.send(sn.REGISTER, u16(topic_id, msg_id) + (name if isinstance(name, bytes) else name.encode()))

    def say_subscribe(self, topic, msg_id=1, **flags):
        name = topic if isinstance(topic, bytes) else u16(topic) if isinstance(topic, int) else topic.encode()
        self.send(sn.SUBSCRIBE, bytes([sn.flags(**flags)]) + u16(msg_id) + name)

    def subscribe_short(self, two, qos=1):
        self.subscribe(as_id(two), qos, sn.SHORT)

    def unsubscribe(self, topic, msg_id=1, **flags):
        name = topic if isinstance(topic, bytes) else u16(topic) if isinstance(topic, int) else topic.encode()
        body = bytes([sn.flags(**flags)]) + u16(msg_id) + name
        assert self.ask(sn.UNSUBSCRIBE, body, sn.UNSUBACK) == u16(msg_id)

    def refused_publish(self, topic_id, code, qos=1, kind=sn.NORMAL, msg_id=7, payload=b"x"):
        """The PUBLISH is answered with PUBACK and that return code, topic id and message id echoed."""
        self.send_publish(topic_id, payload, qos, kind, msg_id=msg_id)
        assert self.next(sn.PUBACK) == u16(topic_id, msg_id) + bytes([code])

    def puback(self, message, code=0):
        self.send(sn.PUBACK, u16(message.topic_id, message.msg_id) + bytes([code]))

    def regack(self, body, code=0):
        """Answers a REGISTER; returns the name in it."""
        self.send(sn.REGACK, body[:4] + bytes([code]))
        if code == 0:
            self.names[(sn.NORMAL, struct.unpack(">H", body[:2])[0])] = body[4:].decode()
        return body[4:].decode()

    def disconnect(self, duration=None):
        self.ask(sn.DISCONNECT, b"" if duration is None else u16(duration), sn.DISCONNECT)

    def ping(self):
        self.ask(sn.PINGREQ, b"", sn.PINGRESP)

    def collect(self, timeout=WAIT_S):
        """A sleeper asks for its mail (6.14); the payloads that came before PINGRESP."""
        before = len(self.messages)
        self.send(sn.PINGREQ, self.client_id.encode())
        self.expect(sn.PINGRESP, timeout)
        return [m.payload for m in self.messages[before:]]

    def is_connected(self):
        """An active client gets PINGRESP, a stranger DISCONNECT."""
        self.send(sn.PINGREQ)
        got = self.recv()
        return got is not None and got[0] == sn.PINGRESP


class Bench:
    """A gateway, and somebody at its MQTT side who hears everything."""

    def __init__(self, site, predefined="", name="gw", **sections):
        mqttsn = {"retry_interval": "5s", "gateway_id": 7}
        if predefined:
            mqttsn["predefined_file"] = os.path.join(site.dir, name + "-topics.conf")
            with open(mqttsn["predefined_file"], "w", encoding="utf-8") as f:
                f.write(predefined)
        mqttsn.update(sections.pop("mqttsn", {}))
        sections.setdefault("store", None)
        self.site = site
        self.gateway = site.gateway(name, mqttsn=mqttsn, **sections).start()
        self.local = site.mqtt(self.gateway, "local")
        self.local.subscribe("#", 2)
        self.numbers = itertools.count(1)
        letters = string.ascii_letters
        self.twos = (a + b for a in letters for b in letters)
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def case(self):
        case = Case(self)
        try:
            yield case
            assert self.gateway.process.popen.poll() is None, "the gateway ended"
        finally:
            case.close()


class Case:
    """What one case works with."""

    def __init__(self, bench):
        self.bench = bench
        self.gateway = bench.gateway
        self.local = bench.local
        self.number = next(bench.numbers)
        self.fence_topic = "fence/%d" % self.number
        self.ids = itertools.count(1)
        self.devices = []
        self.two_names = []
        self.since = len(bench.local.messages)

    def device(self, client_id=None, ip="127.0.0.1"):
        """A device that has not connected."""
        dev = Device(self.gateway, client_id or self.client_id(), ip)
        self.devices.append(dev)
        return dev

    def client_id(self):
        return "dev-%d-%d" % (self.number, next(self.ids))

    def connected(self, **arguments):
        return self.device().connect(**arguments)

    def topic(self, name="t"):
        return "c%d/%s" % (self.number, name)

    def two(self):
        """A short topic name nobody else uses."""
        with self.bench.lock:
            self.two_names.append(next(self.bench.twos))
        return self.two_names[-1]

    def say(self, topic, payload, qos=1, retain=False):
        """Published by somebody else. On return the gateway has handed it on."""
        self.local.publish(topic, payload, qos, retain)
        if qos == 0:
            self.fence()

    def fence(self):
        """Everything published before has arrived at the MQTT side."""
        mark = b"%d" % next(self.ids)
        self.local.publish(self.fence_topic, mark, 2)
        until(lambda: mark in self.local.payloads(self.fence_topic), "the fence")

    def mine(self):
        own = "c%d/" % self.number
        return [m for m in self.local.messages[self.since:]
                if m.topic.startswith(own) or m.topic in self.two_names]

    def heard(self):
        """(topic, payload) of what has been published to the topics of this case."""
        self.fence()
        return [(m.topic, m.payload) for m in self.mine()]

    def wait_heard(self, n, timeout=WAIT_S):
        until(lambda: len(self.mine()) >= n, "%d publications" % n, timeout)
        return [(m.topic, m.payload) for m in self.mine()]

    def retained(self, topic):
        """The payload of the retained message, None: there is none."""
        late = self.bench.site.mqtt(self.gateway, self.client_id())
        late.subscribe(topic, 1)
        late.subscribe(self.fence_topic, 1)
        late.publish(self.fence_topic, b"end", 1)
        until(lambda: b"end" in late.payloads(self.fence_topic), "the fence")
        kept = [m.payload for m in late.messages if m.topic == topic and m.retain]
        late.close()
        return kept[0] if kept else None

    def close(self):
        for dev in self.devices:
            dev.close()


def run(prepare, scope, at_once=1):
    """Runs everything in `scope` that is called test_..., in the order of the file."""
    cases = [f for name, f in scope.items() if name.startswith("test_")]
    harness.run_cases(prepare, cases, at_once)
