"""What the configuration decides where MQTT-SN 1.2 leaves a choice: limits, take-over, other addresses."""

import contextlib
import signal
import socket
import time

import harness
import sn
import suite
from harness import each, until
from suite import FOREIGN


class Benches:
    """A gateway for every configuration, by name."""

    def __init__(self, site):
        dead = "mqtt://127.0.0.1:%d" % harness.free_port()
        port = harness.free_port(socket.SOCK_DGRAM)
        self.small = suite.Bench(site, name="small", limits={"sessions": 4})
        self.narrow = suite.Bench(site, name="narrow", mqttsn={"half_open": 3})
        self.refuse = suite.Bench(site, name="refuse", mqttsn={"takeover": "refuse"})
        self.allow = suite.Bench(site, name="allow", mqttsn={"takeover": "allow"})
        self.never = suite.Bench(site, name="never", mqttsn={"retry_interval": "300ms", "retry_count": 0})
        self.dead = suite.Bench(site, name="dead", upstream={"uri": dead, "ack_hold": "200ms"})
        self.both = suite.Bench(site, name="both", mqttsn={
            "listen": "udp://127.0.0.1:%d, udp://[::1]:%d" % (port, port)})
        self.both.gateway.sn_port = port
        self.topics = suite.Bench(site, "[*]\n1 = before\n2 = both\n", "topics")

    @contextlib.contextmanager
    def case(self):
        yield self


class Device6(suite.Device):
    """The same over IPv6."""

    def __init__(self, gateway, client_id):
        super().__init__(gateway, client_id)
        self.sock.close()
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.bind(("::1", 0))
        self.address = ("::1", gateway.sn_port)


def test_too_many_sessions(b):
    """6.2: CONNACK 0x01; those who are there stay, and may connect again; room again after DISCONNECT."""
    with b.small.case() as c:
        devs = [c.connected() for _ in range(3)]  # the fourth is the MQTT client of the bench
        late = c.device()
        assert late.ask(sn.CONNECT, late.connect_body(), sn.CONNACK) == b"\x01"
        assert not late.is_connected()
        assert devs[0].connect().is_connected()
        devs[0].disconnect()
        assert late.ask(sn.CONNECT, late.connect_body(), sn.CONNACK) == b"\x00"
        for dev in devs[1:] + [late]:
            dev.disconnect()


def test_too_many_sessions_with_will(b):
    """6.3: said at the end of the dialogue, when the session would begin."""
    with b.small.case() as c:
        devs = [c.connected() for _ in range(3)]
        late = c.device()
        late.ask(sn.CONNECT, late.connect_body(flags=0x0C), sn.WILLTOPICREQ)
        late.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
        assert late.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x01"
        assert not late.is_connected()
        for dev in devs:
            dev.disconnect()


def test_minus_one_needs_no_session(b):
    """6.8: a full table of sessions does not concern it."""
    with b.small.case() as c:
        devs = [c.connected() for _ in range(3)]
        dev = c.device()
        dev.send(sn.PUBLISH, b"\x62ab\x00\x00x")
        dev.silent()
        for dev in devs:
            dev.disconnect()


def test_half_open(b):
    """6.3: who never finishes the dialogue locks nobody out: the oldest gives way."""
    with b.narrow.case() as c:
        devs = [c.device() for _ in range(4)]
        for dev in devs:
            dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLTOPICREQ)
        devs[0].send(sn.WILLTOPIC, b"\x00t")
        devs[0].silent()
        for dev in devs[1:]:
            dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
            assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"
        assert c.connected().is_connected()


def test_half_open_is_not_for_the_connected(b):
    """6.3: a session that asks for a new will is no stranger."""
    with b.narrow.case() as c:
        dev = c.connected()
        dev.ask(sn.CONNECT, dev.connect_body(flags=0x0C), sn.WILLTOPICREQ)
        for _ in range(5):
            other = c.device()
            other.ask(sn.CONNECT, other.connect_body(flags=0x0C), sn.WILLTOPICREQ)
        dev.ask(sn.WILLTOPIC, b"\x00t", sn.WILLMSGREQ)
        assert dev.ask(sn.WILLMSG, b"m", sn.CONNACK) == b"\x00"


def test_takeover_refuse(b):
    """6.2: while it is connected nobody takes a client's place, its own host neither; later its host may."""
    with b.refuse.case() as c:
        dev = c.connected(clean=False)
        for ip in ("127.0.0.1", FOREIGN):
            other = c.device(dev.client_id, ip)
            assert other.ask(sn.CONNECT, other.connect_body(flags=0), sn.CONNACK) == b"\x03"
        assert dev.connect(clean=False).is_connected()
        dev.disconnect()
        assert other.ask(sn.CONNECT, other.connect_body(flags=0), sn.CONNACK) == b"\x03"
        again = c.device(dev.client_id)
        assert again.ask(sn.CONNECT, again.connect_body(flags=0), sn.CONNACK) == b"\x00"


def test_takeover_refuse_sleeper(b):
    """6.14: nor its mail from another port."""
    with b.refuse.case() as c:
        dev = c.connected()
        dev.subscribe_short(c.two())
        dev.disconnect(60)
        c.say(c.two_names[0], b"mail")
        c.device(dev.client_id).ask(sn.PINGREQ, dev.client_id.encode(), sn.DISCONNECT)
        assert dev.collect() == [b"mail"]


def test_takeover_allow(b):
    """6.2: from anywhere: the session moves, the old address is told."""
    with b.allow.case() as c:
        dev = c.connected(clean=False)
        dev.subscribe_short(c.two())
        other = c.device(dev.client_id, FOREIGN).connect(clean=False)
        dev.next(sn.DISCONNECT)
        c.say(c.two_names[0], b"x")
        assert other.next_message().payload == b"x"
        dev.silent()


def test_takeover_allow_sleeper(b):
    """6.14"""
    with b.allow.case() as c:
        dev = c.connected()
        dev.subscribe_short(c.two())
        dev.disconnect(60)
        c.say(c.two_names[0], b"mail")
        assert c.device(dev.client_id, FOREIGN).collect() == [b"mail"]
        dev.silent()


def test_no_repetitions(b):
    """6.13: N_retry 0: lost after the first T_retry."""
    with b.never.case() as c:
        dev = c.connected(duration=0)
        dev.subscribe_short(c.two())
        c.say(c.two_names[0], b"x")
        dev.next_message()
        dev.next(sn.DISCONNECT)


def test_connack_does_not_wait_for_the_upstream(b):
    """6.2: answered from memory, though the broker is away."""
    with b.dead.case() as c:
        began = time.monotonic()
        dev = c.connected()
        dev.register(c.topic())
        dev.subscribe(c.topic())
        dev.ping()
        dev.disconnect()
        assert time.monotonic() - began < 2


def test_local_traffic_without_the_upstream(b):
    """6.6: from device to device."""
    with b.dead.case() as c:
        two = c.two()
        sink, source = c.connected(), c.connected()
        sink.subscribe_short(two)
        source.publish(two, b"0", qos=0)
        source.publish(two, b"1", qos=1)
        assert [m.payload for m in sink.wait_messages(2)] == [b"0", b"1"]


def test_minus_one_without_the_upstream(b):
    """6.8: never answered, also where the message cannot go on."""
    with b.dead.case() as c:
        dev = c.device()
        for _ in range(100):
            dev.send(sn.PUBLISH, b"\x62ab\x00\x00x")
        dev.silent()


def test_ipv6(b):
    """The standard is not tied to a network: the same over IPv6."""
    with b.both.case() as c:
        dev = Device6(b.both.gateway, c.client_id()).connect(will=(c.topic("will"), b"gone", 1, False))
        c.devices.append(dev)
        dev.subscribe(c.topic("a"))
        dev.publish(c.topic("a"), b"x", qos=2)
        assert dev.wait_messages(1)[0].payload == b"x"
        dev.disconnect(60)
        c.say(c.topic("a"), b"mail")
        assert dev.collect() == [b"mail"]


def test_ipv6_and_ipv4_are_two_addresses(b):
    """6.2: a client of one is not there for the other."""
    with b.both.case() as c:
        dev = Device6(b.both.gateway, c.client_id()).connect(clean=False)
        c.devices.append(dev)
        other = c.device(dev.client_id)
        assert other.ask(sn.CONNECT, other.connect_body(flags=0), sn.CONNACK) == b"\x03"
        assert dev.is_connected()


def test_predefined_topics_are_reloaded(b):
    """3: HUP; ids that have gone are unknown, new ones known; sessions go on."""
    bench = b.topics
    with bench.case() as c:
        dev = c.connected()
        dev.subscribe(2, kind=sn.PREDEFINED)
        dev.publish_id(1, b"x", kind=sn.PREDEFINED)
        with open(bench.gateway.sections["mqttsn"]["predefined_file"], "w", encoding="utf-8") as f:
            f.write("[*]\n2 = both\n3 = after\n")
        bench.gateway.process.signal(signal.SIGHUP)

        def known():
            dev.send_publish(3, b"y", 1, sn.PREDEFINED, msg_id=9)
            return dev.next(sn.PUBACK)[4] == 0
        until(known, "the new topic")
        dev.refused_publish(1, 2, kind=sn.PREDEFINED)
        c.say("both", b"z")
        m = dev.next_message()
        assert (m.kind, m.topic_id, m.payload) == (sn.PREDEFINED, 2, b"z")
        c.fence()
        assert c.local.payloads("after")[-1] == b"y"


def test_predefined_id_that_means_something_else_now(b):
    """3: whoever subscribed by id gets the old name by a normal id, never under the wrong one."""
    bench = b.topics
    with bench.case() as c:
        dev = c.connected()
        path = bench.gateway.sections["mqttsn"]["predefined_file"]
        with open(path, "w", encoding="utf-8") as f:
            f.write("[*]\n2 = both\n3 = after\n4 = probe\n")
        bench.gateway.process.signal(signal.SIGHUP)

        def known(topic_id):
            dev.send_publish(topic_id, b"y", 1, sn.PREDEFINED, msg_id=9)
            return dev.next(sn.PUBACK)[4] == 0
        until(lambda: known(4), "the topic")
        dev.subscribe(4, kind=sn.PREDEFINED)
        with open(path, "w", encoding="utf-8") as f:
            f.write("[*]\n4 = other\n5 = probe-two\n")
        bench.gateway.process.signal(signal.SIGHUP)
        until(lambda: known(5), "the changed file")
        c.say("other", b"not asked for")
        dev.silent()
        c.say("probe", b"asked for")
        body = dev.next(sn.REGISTER)
        assert body[4:] == b"probe"
        dev.regack(body)
        assert dev.next_message().payload == b"asked for"


@each(("DISCONNECT", sn.DISCONNECT), ("PINGREQ", sn.PINGREQ))
def test_after_a_stop(b, value):
    """6.12: a gateway that keeps nothing on disk tells its clients when it stops; the next one knows none of them."""
    with b.never.case() as c:
        gateway = b.never.gateway
        dev = c.connected(duration=60)
        gateway.process.signal(signal.SIGTERM)
        dev.expect(sn.DISCONNECT)
        gateway.process.wait_exit()
        gateway.start()
        dev.ask(value[1], b"", sn.DISCONNECT)
        assert dev.connect().is_connected()
        dev.disconnect()


suite.run(Benches, globals())
