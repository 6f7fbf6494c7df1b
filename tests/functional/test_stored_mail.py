"""What a kill of the gateway leaves to clients whose sessions outlive their connection: their queues, in order and with all
that belongs to a message; QoS 2 exchanges in both directions; retained messages. And what is written for nobody."""

import re
import signal

import harness
import mq
import mq5
from harness import MqttClient
from mq5 import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL

KEEP = ((mq5.SESSION_EXPIRY, 3600),)


def quick(site):
    """Publishers here wait for one answer before they send the next message."""
    return site.gateway(store={"commit_interval": "2ms"}).start()


def written(gateway):
    """Octets that the journal has written."""
    mark = gateway.mark()
    gateway.process.signal(signal.SIGUSR1)
    gateway.wait_log(r"store live=", after=mark)
    line = next(line for line in gateway.process.lines[mark:] if "store live=" in line)
    return int(re.search(r" written=(\d+)", line).group(1))


def connect5(gateway, name, clean=False, **arguments):
    return mq5.Mq5Client(gateway, name, clean=clean, pairs=KEEP, **arguments)


def test_a_queue_in_order(site):
    gateway = quick(site)
    away = mq.MqClient(gateway.mqtt_port, "away", clean=False)
    away.subscribe("t/#", 2)
    away.close()
    publisher = site.mqtt(gateway, "publisher")
    for n in range(60):
        publisher.publish("t/%d" % (n % 3), b"%d" % n, 1 + n % 2)
    for _ in range(2):
        gateway.restart_killed()
    back = MqttClient(site, gateway.mqtt_port, "away", clean=False)
    assert back.present
    back.wait_messages(60)
    for qos in 1, 2:  # the library gives out those of QoS 2 at PUBREL
        got = [int(m.payload) for m in back.messages if m.qos == qos]
        assert got == list(range(qos - 1, 60, 2)), got
    publisher.publish("t/end", b"60", 2)  # nothing came twice in between
    back.wait_messages(61)
    assert back.payloads()[60:] == [b"60"]


def test_all_that_belongs_to_a_message(site):
    gateway = quick(site)
    away = connect5(gateway, "away")
    away.subscribe("t/#", 1 | 8, (mq5.SUBSCRIPTION_ID, 7))  # retain as published
    away.subscribe("t/+", 2, (mq5.SUBSCRIPTION_ID, 300))
    away.disconnect()
    pairs = ((mq5.PAYLOAD_FORMAT, 1), (mq5.MESSAGE_EXPIRY, 1000), (mq5.CONTENT_TYPE, b"text"), (mq5.RESPONSE_TOPIC, b"re"),
             (mq5.CORRELATION, b"\0\1"), (mq5.USER, ("a", "1")), (mq5.USER, ("a", "2")))
    publisher = mq5.Mq5Client(gateway, "publisher")
    assert publisher.publish("t/x", b"all", 2, *pairs, retain=True) == 0
    gateway.restart_killed()
    back = connect5(gateway, "away")
    assert back.connack.present
    m = back.expect(PUBLISH)
    assert (m.topic, m.payload, m.qos) == ("t/x", b"all", 2), m
    assert sorted(m.all(mq5.SUBSCRIPTION_ID)) == [7, 300], m
    assert 990 < m.get(mq5.MESSAGE_EXPIRY) <= 1000, m
    assert [p for p in m.props if p[0] not in (mq5.SUBSCRIPTION_ID, mq5.MESSAGE_EXPIRY)] == [
        p for p in pairs if p[0] != mq5.MESSAGE_EXPIRY], m


def test_qos_2_to_a_client(site):
    gateway = quick(site)
    client = connect5(gateway, "client")
    client.subscribe("t/#", 2)
    publisher = mq5.Mq5Client(gateway, "publisher")
    assert publisher.publish("t/1", b"1", 2) == 0
    first = client.expect(PUBLISH)
    gateway.restart_killed()  # PUBREC was not sent
    client = connect5(gateway, "client")
    again = client.expect(PUBLISH)
    assert (again.id, again.payload, again.dup) == (first.id, b"1", 1), again
    client.ack(PUBREC, again.id)
    assert client.expect(PUBREL, 0).id == first.id
    gateway.restart_killed()  # nor PUBCOMP
    client = connect5(gateway, "client")
    assert client.expect(PUBREL, 0).id == first.id
    client.ack(PUBCOMP, first.id)
    client.expect_nothing()
    publisher = mq5.Mq5Client(gateway, "publisher")
    assert publisher.publish("t/2", b"2", 2) == 0
    assert client.expect(PUBLISH).payload == b"2"


def test_qos_2_from_a_client(site):
    gateway = quick(site)
    watcher = connect5(gateway, "watcher")
    watcher.subscribe("t", 2)
    watcher.disconnect()
    client = connect5(gateway, "client")
    client.send(mq5.publish("t", b"1", 2, 9))
    assert client.expect(PUBREC, 0).id == 9
    gateway.restart_killed()
    client = connect5(gateway, "client")
    assert client.connack.present
    client.send(mq5.publish("t", b"1", 2, 9, dup=True))  # as if PUBREC had been lost
    assert client.expect(PUBREC).id == 9
    client.ack(PUBREL, 9)
    assert client.expect(PUBCOMP, 0).id == 9
    client.send(mq5.publish("t", b"2", 2, 10))
    assert client.expect(PUBREC, 0).id == 10
    gateway.restart_killed()
    client = connect5(gateway, "client")
    client.ack(PUBREL, 10)
    assert client.expect(PUBCOMP, 0).id == 10
    watcher = connect5(gateway, "watcher")
    got = [watcher.expect(PUBLISH) for _ in range(2)]
    assert [m.payload for m in got] == [b"1", b"2"]
    watcher.expect_nothing()


def test_what_was_acknowledged_does_not_come_back(site):
    gateway = quick(site)
    client = connect5(gateway, "client")
    client.subscribe("t", 1)
    client.disconnect()
    publisher = mq5.Mq5Client(gateway, "publisher")
    for n in range(4):
        publisher.publish("t", b"%d" % n, 1)
    client = connect5(gateway, "client")
    got = [client.expect(PUBLISH) for _ in range(4)]
    for m in got[:3]:
        client.ack(PUBACK, m.id)
    client.expect_nothing()
    publisher.publish("x", b"", 2)  # and written, with something else at the latest
    client.publish("y", b"", 2)
    gateway.restart_killed()
    client = connect5(gateway, "client")
    assert client.expect(PUBLISH).payload == b"3"
    client.expect_nothing()


def test_the_end_of_a_session_is_the_end_of_its_mail(site):
    gateway = quick(site)
    client = connect5(gateway, "client")
    client.subscribe("t", 1)
    client.disconnect()
    mq5.Mq5Client(gateway, "publisher").publish("t", b"1", 1)
    client = connect5(gateway, "client", clean=True)
    assert not client.connack.present
    gateway.restart_killed()
    client = connect5(gateway, "client")
    assert client.connack.present
    client.expect_nothing()


def test_retained_messages(site):
    gateway = quick(site)
    client = mq5.Mq5Client(gateway, "client")
    for n in range(20):
        assert client.publish("r/%d" % n, b"old", 1 + n % 2, retain=True) in (0, 0x10)
    for n in range(10):
        assert client.publish("r/%d" % n, b"new", 1, retain=True) in (0, 0x10)
    for n in range(5):
        assert client.publish("r/%d" % n, b"", 1, retain=True) in (0, 0x10)
    for _ in range(2):
        gateway.restart_killed()
        client = mq5.Mq5Client(gateway, "client")
        client.subscribe("r/#", 0)
        got = [client.expect(PUBLISH) for _ in range(15)]
        client.expect_nothing()
        assert {m.topic: m.payload for m in got} == {
            "r/%d" % n: b"new" if n < 10 else b"old" for n in range(5, 20)}
        assert all(m.retain for m in got)


def test_retained_at_qos_0_over_a_stop(site):
    gateway = quick(site)
    client = mq5.Mq5Client(gateway, "client")
    client.publish("r/0", b"kept", 0, retain=True)
    client.expect_nothing()
    gateway.stop()
    gateway.start()
    client = mq5.Mq5Client(gateway, "client")
    client.subscribe("r/#", 0)
    assert client.expect(PUBLISH).payload == b"kept"


def test_nothing_is_written_for_clean_clients(site):
    gateway = quick(site)
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("t/#", 1)
    publisher = site.mqtt(gateway, "publisher")
    before = written(gateway)
    for n in range(100):
        publisher.publish("t/%d" % n, b"%d" % n, n % 2)
    watcher.wait_messages(100)
    assert written(gateway) == before


def test_nothing_is_written_for_one_that_acknowledges(site):
    gateway = quick(site)
    watcher = MqttClient(site, gateway.mqtt_port, "watcher", clean=False)
    watcher.subscribe("t/#", 1)
    publisher = site.mqtt(gateway, "publisher")
    publisher.publish("t/first", b"", 1)
    watcher.wait_messages(1)
    before = written(gateway)
    for n in range(100):
        publisher.publish("t/%d" % n, b"%d" % n, 1)
    watcher.wait_messages(101)
    assert written(gateway) == before


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
