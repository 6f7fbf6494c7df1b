"""A wildcard brings names the device has no ids for: each is registered before its first message (MQTT-SN 1.2, 6.10)."""

import struct
import threading
import time

import harness
import sn
from harness import until

TOPICS = 1000
RATE = 500


class Taker(threading.Thread):
    """A device that answers everything at once, in a thread of its own."""

    def __init__(self, dev):
        super().__init__(daemon=True)
        self.dev = dev
        self.done = False
        self.start()

    def run(self):
        while not self.done:
            got = self.dev.recv(0.1)
            if got:
                self.dev.take(*got)


def publish_at_rate(client, topics, qos):
    """One message to each topic, RATE of them a second."""
    began = time.monotonic()
    for n, topic in enumerate(topics):
        ahead = began + n / RATE - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        client.publish(topic, b"%d" % n, qos=qos, wait=False)


def dance(site, qos):
    # every step of QoS 2 waits for a commit
    gateway = site.gateway(log={"level": "notice"}, store={"commit_interval": "5ms"}).start()
    dev = sn.SnClient(gateway, "dancer").connect()
    dev.subscribe("plant/#", qos=qos)
    taker = Taker(dev)
    topics = ["plant/line/%d/temperature" % n for n in range(TOPICS)]
    local = site.mqtt(gateway, "local")
    publish_at_rate(local, topics, qos)
    until(lambda: len(dev.messages) >= TOPICS, "all messages", 60)
    taker.done = True
    taker.join()
    assert dev.received() == [(t, b"%d" % n) for n, t in enumerate(topics)]
    assert len(dev.ids) == TOPICS and len(set(dev.ids.values())) == TOPICS
    # the second time they are known
    known = dict(dev.ids)
    local.publish(topics[7], b"again", qos=qos)
    dev.wait_messages(TOPICS + 1)
    assert dev.ids == known and dev.messages[-1].topic_id == known[topics[7]]


def test_qos0(site):
    dance(site, 0)


def test_qos1(site):
    dance(site, 1)


def test_qos2(site):
    dance(site, 2)


def ask_register(dev, name):
    msg_id = dev.next_id()
    dev.send(sn.REGISTER, struct.pack(">HH", 0, msg_id) + name.encode())
    topic_id, _, rc = struct.unpack(">HHB", dev.expect(sn.REGACK, msg_id=msg_id, at=2))
    return topic_id, rc


def test_full_table_refuses(site):
    """REGISTER and SUBSCRIBE past the limit: congestion (0x01); what is known goes on, ids stay what they are."""
    gateway = site.gateway(mqttsn={"topics_per_client": 5}).start()
    dev = sn.SnClient(gateway, "full").connect(clean=False)
    ids = [dev.register("t/%d" % n) for n in range(5)]
    assert sorted(set(ids)) == sorted(ids) and 0 not in ids and 0xFFFF not in ids
    assert ask_register(dev, "t/5") == (0, 1)
    dev.send(sn.SUBSCRIBE, b"\x20\x00\x63t/6")
    assert dev.expect(sn.SUBACK, msg_id=0x63, at=3)[5] == 1
    assert [ask_register(dev, "t/%d" % n) for n in range(5)] == [(i, 0) for i in ids]
    # unsubscribing frees no id for another name, nor does a new connection
    dev.subscribe("t/0")
    dev.send(sn.UNSUBSCRIBE, b"\x00\x00\x64t/0")
    dev.expect(sn.UNSUBACK)
    assert ask_register(dev, "t/5") == (0, 1)
    dev.send(sn.DISCONNECT)
    dev.expect(sn.DISCONNECT)
    dev.connect(clean=False)
    assert ask_register(dev, "t/5") == (0, 1)
    assert ask_register(dev, "t/3") == (ids[3], 0)
    dev.publish_id(ids[4], b"x", qos=1)
    # a clean session begins a new life
    dev.connect(clean=True)
    assert ask_register(dev, "t/5")[1] == 0


def test_wildcard_past_the_limit_is_counted(site):
    gateway = site.gateway(mqttsn={"topics_per_client": 3}).start()
    dev = sn.SnClient(gateway, "wild").connect()
    dev.subscribe("w/#", qos=1)
    local = site.mqtt(gateway, "local")
    for n in range(6):
        local.publish("w/%d" % n, b"%d" % n)
    local.publish("w/1", b"known")
    dev.wait_messages(4)
    assert dev.received() == [("w/0", b"0"), ("w/1", b"1"), ("w/2", b"2"), ("w/1", b"known")]
    assert gateway.counters()["mqttsn.no_topic_id"] == 3


def test_refused_name_is_not_asked_again(site):
    """6.10: REGACK other than accepted; the others go on."""
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "picky").connect()
    dev.subscribe("p/#", qos=1)
    local = site.mqtt(gateway, "local")
    local.publish("p/no", b"1")
    body = dev.expect(sn.REGISTER)
    assert body[4:] == b"p/no"
    dev.send(sn.REGACK, body[:4] + b"\x03")
    local.publish("p/no", b"2")
    local.publish("p/yes", b"3")
    dev.wait_messages(1)
    assert dev.received() == [("p/yes", b"3")]
    assert gateway.counters()["drop.refused"] == 2


def test_lost_regack(site):
    """REGISTER is retransmitted with the same MsgId, and nothing behind it is lost."""
    gateway = site.gateway(mqttsn={"retry_interval": "300ms"}).start()
    dev = sn.SnClient(gateway, "deaf").connect()
    dev.subscribe("r/#", qos=1)
    local = site.mqtt(gateway, "local")
    for n in range(3):
        local.publish("r/%d" % n, b"%d" % n, wait=False)
    first = dev.expect(sn.REGISTER)
    assert dev.expect(sn.REGISTER) == first
    dev.take(sn.REGISTER, first)
    dev.wait_messages(3)
    assert dev.received() == [("r/%d" % n, b"%d" % n) for n in range(3)]


harness.run(test_qos0, test_qos1, test_qos2, test_full_table_refuses, test_wildcard_past_the_limit_is_counted,
            test_refused_name_is_not_asked_again, test_lost_regack)
