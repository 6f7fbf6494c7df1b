"""Sessions of MQTT clients over a restart of the gateway, most of them after SIGKILL."""

import os
import random
import struct
import threading
import time

import harness
import mq
import mq5
from harness import until
from mq5 import PUBLISH, SESSION_EXPIRY, SUBSCRIPTION_ID, UNSUBACK, UNSUBSCRIBE, WILL_DELAY

ROUNDS = int(os.environ.get("TIDEGATE_SESSION_ROUNDS", "12"))
SEED = os.environ.get("TIDEGATE_SESSION_SEED") or "%08x" % random.getrandbits(32)


def gateway(site, **store):
    return site.gateway(mqttsn=None, coap=None, store=dict({"commit_interval": "20ms"}, **store)).start()


def publish(gw, topic, payload=b"x"):
    client = mq.MqClient(gw.mqtt_port, "publisher")
    client.send(mq.publish(topic, payload, 1, 1))
    assert client.recv(5)[0] == mq.PUBACK
    client.close()


def persistent(gw, name, expiry=1000, **arguments):
    return mq5.Mq5Client(gw, name, clean=False, pairs=[(SESSION_EXPIRY, expiry)], **arguments)


def unsubscribe(client, topic):
    client.send(mq5.packet(UNSUBSCRIBE, struct.pack(">H", client.new_id()) + mq5.props() + mq5.text(topic), 2))
    return client.expect(UNSUBACK).codes[0]


def test_a_client_of_3_1_1_resumes(site):
    gw = gateway(site)
    client = mq.MqClient(gw.mqtt_port, "dev", clean=False)
    assert not client.present
    client.subscribe("a/+", 1)
    client.subscribe("$share/g/b", 0)
    client.subscribe("$exclusive/c", 2)
    gw.restart_killed()
    client.close()
    client = mq.MqClient(gw.mqtt_port, "dev", clean=False)
    assert client.present, "the session is gone"
    for topic in ("a/1", "b", "c"):
        publish(gw, topic)
        kind, _, body = client.recv(5)
        assert kind == PUBLISH and mq5.Reader(body).text() == topic.encode(), (topic, kind, body)
    assert mq.MqClient(gw.mqtt_port, "other", clean=False).present is False


def test_options_of_5_0_survive(site):
    gw = gateway(site)
    client = persistent(gw, "dev")
    client.subscribe("own", 0x05, (SUBSCRIPTION_ID, 77))       # no local, QoS 1
    client.subscribe("kept", 0x09, (SUBSCRIPTION_ID, 200000))  # retain as published
    gw.restart_killed()
    client = persistent(gw, "dev")
    assert client.connack.present == 1
    client.publish("own", b"mine")
    other = mq.MqClient(gw.mqtt_port, "publisher")
    other.send(mq.publish("kept", b"x", 0, 0, retain=True))
    came = client.expect(PUBLISH)
    assert came.topic == "kept" and came.retain and came.get(SUBSCRIPTION_ID) == 200000, came


def test_expiry_goes_on(site):
    gw = gateway(site)
    for name, seconds in (("short", 2), ("long", 1000)):
        client = persistent(gw, name, seconds)
        client.subscribe("t", 1)
        client.disconnect()
    gw.stop()
    time.sleep(2.2)
    gw.start()
    for name, there in (("long", 1), ("short", 0)):
        client = persistent(gw, name)
        assert client.connack.present == there, name


def test_what_ended_does_not_come_back(site):
    """Killed in the moment in which the answer has come."""
    gw = gateway(site)
    for name in ("unsubscriber", "starter", "leaver"):
        client = persistent(gw, name)
        client.subscribe("t", 1)
    client = persistent(gw, "leaver")
    client.disconnect(0, (SESSION_EXPIRY, 0))
    client = persistent(gw, "unsubscriber")
    assert unsubscribe(client, "t") == 0
    mq5.Mq5Client(gw, "starter", clean=True)
    gw.restart_killed()
    assert mq5.Mq5Client(gw, "starter", clean=False).connack.present == 0
    assert mq5.Mq5Client(gw, "leaver", clean=False).connack.present == 0
    client = persistent(gw, "unsubscriber")
    assert client.connack.present == 1
    assert unsubscribe(client, "t") == 0x11, "the subscription is back"


def test_will_of_a_client_that_does_not_come_back(site):
    gw = gateway(site)
    gone, back, said = [persistent(gw, name, keepalive=2, will=("will/" + name, b"lost", 1, 0))
                        for name in ("gone", "back", "said")]
    said.disconnect()
    gw.restart_killed()
    began = time.monotonic()
    watcher = site.mqtt(gw, "watcher")
    watcher.subscribe("will/#")
    back = persistent(gw, "back", will=("will/back", b"lost", 1, 0))
    watcher.wait_messages(1)
    assert watcher.messages[0].topic == "will/gone" and watcher.messages[0].payload == b"lost"
    assert 2 <= time.monotonic() - began < 6, "one and a half times the keep alive"
    assert gone and back
    gw.stop()
    gw.start()
    watcher = site.mqtt(gw, "watcher2")
    watcher.subscribe("will/#")
    time.sleep(0.5)
    assert not watcher.messages, "a will came twice"


def test_the_delay_of_a_will_goes_on(site):
    gw = gateway(site)
    client = persistent(gw, "dev", will=("will", b"late", 1, 0, (WILL_DELAY, 4)))
    client.close()
    time.sleep(0.3)  # noticed, and on the disk
    began = time.monotonic()
    gw.restart_killed()
    watcher = site.mqtt(gw, "watcher")
    watcher.subscribe("will")
    watcher.wait_messages(1)
    assert 2 <= time.monotonic() - began < 5, time.monotonic() - began


def test_acknowledged_subscriptions_survive(site):
    """Clients subscribe one topic after the other; the gateway is killed meanwhile, again and again."""
    print("seed %s" % SEED)
    rng = random.Random(SEED)
    gw = gateway(site, commit_interval="%dms" % rng.choice((0, 5, 50)))
    acknowledged = {"dev%d" % i: set() for i in range(6)}

    def work(name, round_no):
        try:
            client = persistent(gw, name)
            assert client.connack.present == (round_no > 0), name
            for i in range(1000):
                topic = "s/%s/%d/%d" % (name, round_no, i)
                if i % 3 == 2 and acknowledged[name]:
                    topic = sorted(acknowledged[name])[0]
                    acknowledged[name].discard(topic)  # either way from here on
                    unsubscribe(client, topic)
                    gone.add((name, topic))
                elif len(acknowledged[name]) < 150:
                    assert client.subscribe(topic, 1) == 1
                    acknowledged[name].add(topic)
        except OSError:
            pass
        except AssertionError as e:
            if "no " not in str(e):
                wrong.append(e)

    wrong, gone = [], set()
    for round_no in range(ROUNDS):
        threads = [threading.Thread(target=work, args=(name, round_no)) for name in acknowledged]
        for t in threads:
            t.start()
        time.sleep(0.1 + rng.random() * 0.3)
        gw.restart_killed()
        for t in threads:
            t.join()
        assert not wrong, wrong
    for name, topics in acknowledged.items():
        client = persistent(gw, name)
        for topic in sorted(topics):
            assert unsubscribe(client, topic) == 0, "%s has lost %s" % (name, topic)
        for owner, topic in gone:
            if owner == name:
                assert unsubscribe(client, topic) == 0x11, "%s is back at %s" % (topic, name)
    print("%d subscriptions, %d ended ones" % (sum(len(t) for t in acknowledged.values()), len(gone)))


def test_clean_sessions_do_not_wait(site):
    """Nothing of them is stored, so no disk is waited for; persistent ones wait for their commit."""
    gw = gateway(site, commit_interval="2s")

    def seconds(name, clean):
        began = time.monotonic()
        mq.MqClient(gw.mqtt_port, name, clean=clean).subscribe("t")
        return time.monotonic() - began

    until(lambda: seconds("dev%d" % random.getrandbits(32), False) > 1, "an answer that waits for its commit", 60)
    assert seconds("clean", True) < 1


def test_memory_only_is_as_before(site):
    gw = site.gateway(mqttsn=None, coap=None, store=None).start()
    client = mq.MqClient(gw.mqtt_port, "dev", clean=False)
    client.subscribe("t", 1)
    client.close()
    assert mq.MqClient(gw.mqtt_port, "dev", clean=False).present
    gw.stop()
    gw.start()
    assert not mq.MqClient(gw.mqtt_port, "dev", clean=False).present


def test_clients_are_told_of_a_graceful_end(site):
    gw = gateway(site)
    client = persistent(gw, "dev", will=("will", b"x", 1, 0))
    client.subscribe("t", 1)
    gw.stop()
    client.expect_bye(0x8b)
    gw.start()
    client = persistent(gw, "dev")
    assert client.connack.present == 1
    publish(gw, "t")
    assert client.expect(PUBLISH).topic == "t"


def test_mail_waits_for_a_restart(site):
    gw = gateway(site)
    client = mq.MqClient(gw.mqtt_port, "dev", clean=False)
    client.subscribe("t", 1)
    client.close()
    until(lambda: gw.counters() is not None, "a turn")
    for i in range(5):
        publish(gw, "t", b"%d" % i)
    gw.restart_killed()
    client = mq.MqClient(gw.mqtt_port, "dev", clean=False)
    assert client.present
    for i in range(5):
        kind, _, body = client.recv(5)
        assert kind == PUBLISH and body.endswith(b"%d" % i), (i, kind, body)


def test_ten_thousand_sessions(site):
    """Serving again at once, in a machine that does other things as well."""
    gw = site.gateway(mqttsn=None, coap=None, limits={"sessions": "20000"},
                      mqtt={"max_connections": "20000"}, store={"commit_interval": "20ms"}).start()
    n = 10000
    for first in range(0, n, 500):
        fill(gw, range(first, first + 500))
    gw.kill()
    began = time.monotonic()
    gw.start()
    client = mq.MqClient(gw.mqtt_port, "dev9999", clean=False)
    took = time.monotonic() - began
    print("%d sessions: serving again after %.2f s" % (n, took))
    assert client.present
    assert took < 5


def fill(gw, numbers):
    """One session each, with a subscription; all at once."""
    clients = []
    for i in numbers:
        sock = harness.socket.create_connection(("127.0.0.1", gw.mqtt_port), 10)
        name = mq.text("dev%d" % i)
        sock.sendall(mq.packet(mq.CONNECT, mq.text("MQTT") + b"\x04\x00\x00\x3c" + name)
                     + mq.packet(mq.SUBSCRIBE, b"\x00\x01" + mq.text("s/%d/+" % i) + b"\x01", 2))
        clients.append(sock)
    for sock in clients:
        answer = b""
        while len(answer) < 9:
            data = sock.recv(100)
            assert data, "closed"
            answer += data
        sock.close()


harness.run(test_a_client_of_3_1_1_resumes, test_options_of_5_0_survive, test_expiry_goes_on,
            test_what_ended_does_not_come_back, test_will_of_a_client_that_does_not_come_back,
            test_the_delay_of_a_will_goes_on, test_acknowledged_subscriptions_survive, test_clean_sessions_do_not_wait,
            test_memory_only_is_as_before, test_clients_are_told_of_a_graceful_end, test_mail_waits_for_a_restart,
            test_ten_thousand_sessions)
