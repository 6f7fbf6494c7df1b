"""Nothing disappears without a trace: what is not delivered was refused to its sender or is in a counter."""

import sn
import suite
from harness import each
from suite import FOREIGN, as_id


def prepare(site):
    limits = {"queue_messages": 10, "memory": "256KB", "retained_messages": 300, "retained_bytes": "64KB",
              "message_bytes": "70KB"}
    return suite.Bench(site, "[*]\n5 = p/five\n", limits=limits, mqttsn={"topics_per_client": 3})


class Counted:
    """How much a counter grows."""

    def __init__(self, c, name, by):
        self.c, self.name, self.by = c, name, by

    def value(self):
        return self.c.gateway.counters().get(self.name, 0)

    def __enter__(self):
        self.before = self.value()

    def __exit__(self, kind, error, trace):
        if kind is None:
            grown = self.value() - self.before
            assert grown == self.by, "%s: %d more, not %d" % (self.name, grown, self.by)


def test_rejected_name(c):
    """6.10: messages of a topic whose REGISTER the device rejected."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    with Counted(c, "drop.refused", 3):
        c.say(c.topic("a"), b"1")
        dev.regack(dev.next(sn.REGISTER), 3)
        c.say(c.topic("a"), b"2")
        c.say(c.topic("a"), b"3", qos=0)
        dev.silent()
    dev.disconnect()


def test_refused_message(c):
    """5.3.10: PUBACK 0x03."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    with Counted(c, "drop.refused", 1):
        c.say(c.two_names[0], b"x")
        dev.puback(dev.next_message(), 3)
        dev.silent()
    dev.disconnect()


def test_too_large(c):
    """5.2.1: more than a datagram holds."""
    dev = c.connected()
    dev.subscribe_short(c.two())
    with Counted(c, "drop.too_large", 2):
        c.say(c.two_names[0], b"x" * 65499)
        c.say(c.two_names[0], b"x" * 65499, qos=0)
        dev.silent()
    dev.disconnect()


def test_no_topic_id(c):
    """6.5: names beyond those the device may have."""
    dev = c.connected()
    dev.subscribe(c.topic("+"))
    with Counted(c, "mqttsn.no_topic_id", 2):
        for n in range(5):
            c.say(c.topic("%d" % n), b"x")
        dev.wait_messages(3)
        dev.silent()
    dev.disconnect()


def test_queue_of_an_absent_client(c):
    """6.3: past queue_messages; those that were kept come in order."""
    dev = c.connected(clean=False)
    dev.subscribe_short(c.two())
    dev.disconnect()
    with Counted(c, "drop.queue_full", 7):
        for n in range(17):
            c.say(c.two_names[0], b"%d" % n)
    dev.connect(clean=False)
    dev.wait_messages(10)
    got = [int(m.payload) for m in dev.messages]
    assert got == sorted(got) and len(got) == 10
    dev.silent()
    dev.connect(clean=True).disconnect()


def test_qos0_of_an_absent_client(c):
    """6.3: is not kept."""
    dev = c.connected(clean=False)
    dev.subscribe_short(c.two())
    dev.disconnect()
    with Counted(c, "drop.offline", 2):
        c.say(c.two_names[0], b"1", qos=0)
        c.say(c.two_names[0], b"2", qos=0)
    dev.connect(clean=True).disconnect()


def test_mail_of_a_session_that_ends(c):
    """6.3: CleanSession."""
    dev = c.connected(clean=False)
    dev.subscribe_short(c.two())
    dev.disconnect()
    for n in range(4):
        c.say(c.two_names[0], b"%d" % n)
    with Counted(c, "drop.session_end", 4):
        dev.connect(clean=True)
    dev.disconnect()


@each(("1", 1), ("2", 2))
def test_no_room_for_a_message(c, value):
    """5.3.10: memory full: PUBACK 0x01; when there is room again it is taken."""
    keeper = c.connected(clean=False)
    keeper.subscribe_short(c.two())
    keeper.disconnect()
    for _ in range(5):
        c.say(c.two_names[0], b"x" * 50000)
    dev = c.connected()
    dev.refused_publish(as_id(c.two()), 1, qos=value[1], kind=sn.SHORT, payload=b"y" * 20000)
    keeper.connect(clean=True).disconnect()
    dev.publish(c.two_names[1], b"y" * 20000, qos=value[1])
    assert (c.two_names[1], b"y" * 20000) in c.wait_heard(6)
    dev.disconnect()


def retain(dev, two, payload=b"x"):
    """The return code."""
    dev.send_publish(as_id(two), payload, 1, sn.SHORT, retain=True, msg_id=9)
    return dev.next(sn.PUBACK)[4]


def test_no_room_for_a_retained_message(c):
    """5.3.10: a new topic is refused with 0x01; what is retained may still be changed and deleted."""
    dev = c.connected()
    kept = []
    while True:  # $SYS has some as well
        two = c.two()
        code = retain(dev, two)
        if code:
            break
        kept.append(two)
    assert code == 1 and 100 < len(kept) <= 300
    assert retain(dev, kept[0], b"changed") == 0
    assert c.retained(kept[0]) == b"changed"
    assert retain(dev, kept[1], b"") == 0
    assert retain(dev, two) == 0
    assert retain(dev, kept[1]) == 1
    for name in kept + [two]:
        assert retain(dev, name, b"") == 0
    dev.disconnect()


def test_minus_one(c):
    """6.8: nobody is answered; both outcomes are counted."""
    dev = c.device()
    with Counted(c, "mqttsn.qos_minus_one", 1):
        dev.send(sn.PUBLISH, b"\x61\x00\x05\x00\x00x")
        dev.silent()
    with Counted(c, "mqttsn.qos_minus_one_refused", 2):
        dev.send(sn.PUBLISH, b"\x61\x00\x77\x00\x00x")
        dev.send(sn.PUBLISH, b"\x62ab\x00\x00x")
        dev.silent()


def test_strangers(c):
    """6.3: also those past the rate of answers."""
    dev = c.device()
    with Counted(c, "mqttsn.strangers", 20):
        for _ in range(20):
            dev.send(sn.PUBREL, b"\x00\x01")
        while dev.recv(0.2):
            pass


def test_unexpected(c):
    """5.2.2: what only gateways send."""
    dev = c.connected()
    with Counted(c, "mqttsn.unexpected", 2):
        dev.send(sn.PINGRESP)
        dev.send(sn.CONNACK, b"\x00")
        dev.silent()
    dev.disconnect()


def test_takeover_refused(c):
    """6.2: another host asks for the id."""
    dev = c.connected()
    with Counted(c, "mqttsn.takeover_refused", 1):
        thief = c.device(dev.client_id, FOREIGN)
        thief.ask(sn.CONNECT, thief.connect_body(), sn.CONNACK)
    dev.disconnect()


def test_lost(c):
    """6.11"""
    with Counted(c, "mqttsn.lost", 1):
        c.connected(duration=1).expect(sn.DISCONNECT)


def test_nothing_is_counted_that_was_delivered(c):
    """All of it."""
    dev = c.connected()
    dev.subscribe_short(c.two(), 2)
    before = {k: v for k, v in c.gateway.counters().items() if k.startswith("drop.")}
    for n in range(9):
        c.say(c.two_names[0], b"%d" % n, qos=n % 3)
        dev.wait_messages(n + 1)
    assert {k: v for k, v in c.gateway.counters().items() if k.startswith("drop.")} == before
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)


suite.run(prepare, globals())
