"""Shared subscriptions: $share/{group}/{filter}, each message to one member, over all protocols."""

import signal

import paho.mqtt.client as mqtt

import coap
import harness
import sn
from harness import MqttClient, until


def test_round_robin_of_mqtt_clients(site):
    gateway = site.gateway().start()
    workers = [site.mqtt(gateway, "worker-%d" % i) for i in range(3)]
    for worker in workers:
        assert list(worker.subscribe("$share/g/jobs/#", 1)) == [1]
    publisher = site.mqtt(gateway, "publisher")
    for i in range(30):
        publisher.publish("jobs/%d" % i, b"%d" % i, 1)
    until(lambda: sum(len(w.messages) for w in workers) == 30, "30 messages in all")
    assert [len(w.messages) for w in workers] == [10, 10, 10]
    assert len({m.payload for w in workers for m in w.messages}) == 30


def test_one_group_of_all_protocols(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("$share/g/x", 1)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.subscribe("$share/g/x", qos=1)
    device = coap.CoapClient(gateway)
    device.observe("ps/$share/g/x")
    before = len(device.notifications)
    publisher = site.mqtt(gateway, "publisher")
    for i in range(9):
        publisher.publish("x", b"%d" % i, 1)
    until(lambda: len(local.messages) == 3, "the MQTT client having three")
    to_device = dev.wait_messages(3)
    assert len(to_device) == 3
    assert len(device.wait_notifications(before + 3)) == before + 3
    seen = local.payloads() + [m.payload for m in to_device] + [
        p.payload for p in device.notifications[before:]]
    assert sorted(seen) == [b"%d" % i for i in range(9)], seen


def test_away_is_passed_over_and_takes_when_alone(site):
    gateway = site.gateway().start()
    away = site.mqtt(gateway, "away", clean=False)
    away.subscribe("$share/g/x", 1)
    here = site.mqtt(gateway, "here")
    here.subscribe("$share/g/x", 1)
    away.close()
    gateway.wait_log("away")
    publisher = site.mqtt(gateway, "publisher")
    for i in range(6):
        publisher.publish("x", b"%d" % i, 1)
    here.wait_messages(6)
    here.close()
    publisher.publish("x", b"alone", 1)
    again = site.mqtt(gateway, "away", clean=False)
    assert [m.payload for m in again.wait_messages(1)] == [b"alone"]


def test_no_retained_and_an_own_subscription_beside(site):
    gateway = site.gateway().start()
    publisher = site.mqtt(gateway, "publisher")
    publisher.publish("x", b"retained", 1, True)
    both = site.mqtt(gateway, "both")
    both.subscribe("$share/g/x", 1)
    publisher.publish("x", b"1", 1)
    both.wait_messages(1)
    both.subscribe("x", 1)
    both.wait_messages(2)
    publisher.publish("x", b"2", 1)
    both.wait_messages(4)
    assert both.payloads() == [b"1", b"retained", b"2", b"2"]


def test_bad_names_are_refused(site):
    gateway = site.gateway().start()
    v3 = site.mqtt(gateway, "v3")
    v5 = MqttClient(site, gateway.mqtt_port, "v5", protocol=mqtt.MQTTv5)
    for bad in ("$share//x", "$share/g", "$share/g/", "$share/g/$share/h/x"):
        assert v5.subscribe(bad, 1)[0].value == 0x8F, bad
    assert list(v3.subscribe("$share/g/", 1)) == [0x80]


def test_strategy_of_the_configuration(site):
    gateway = site.gateway(gateway={"shared_strategy": "hash_topic"}).start()
    workers = [site.mqtt(gateway, "worker-%d" % i) for i in range(3)]
    for worker in workers:
        worker.subscribe("$share/g/#", 1)
    publisher = site.mqtt(gateway, "publisher")
    for i in range(20):
        for topic in range(10):
            publisher.publish("t/%d" % topic, b"%d" % i, 1, wait=i == 19)
    until(lambda: sum(len(w.messages) for w in workers) == 200, "200 messages in all")
    for topic in range(10):
        counts = [len(w.payloads("t/%d" % topic)) for w in workers]
        assert sorted(counts) == [0, 0, 20], counts


def test_each_strategy(site):
    """What one of three workers gets of 30 messages, of two publishers and to five topics, and who decides it."""
    by = {"round_robin": None, "random": None, "sticky": lambda topic, who: 0, "hash_clientid": lambda topic, who: who,
          "hash_topic": lambda topic, who: topic}
    gateway = site.gateway(gateway={"shared_strategy": "round_robin"}).start()
    workers = [site.mqtt(gateway, "worker-%d" % i) for i in range(3)]
    for worker in workers:
        worker.subscribe("$share/g/#", 1)
    publishers = [site.mqtt(gateway, "publisher-%d" % i) for i in range(2)]
    for strategy, decides in by.items():
        gateway.sections["gateway"]["shared_strategy"] = strategy
        gateway.write_conf()
        mark = gateway.mark()
        gateway.process.signal(signal.SIGHUP)
        gateway.wait_log("reload", after=mark)
        for i in range(30):
            publishers[i % 2].publish("%s/%d" % (strategy, i % 5), b"%d" % (i % 2), 1)
        until(lambda s=strategy: sum(m.topic.startswith(s) for w in workers for m in w.messages) == 30, strategy)
        shares = [[m for m in w.messages if m.topic.startswith(strategy + "/")] for w in workers]
        if strategy == "round_robin":
            assert [len(s) for s in shares] == [10, 10, 10]
        elif strategy == "random":
            assert sum(map(bool, shares)) > 1  # fails once in 10^14 runs
        else:
            keys = [{decides(m.topic, m.payload) for m in s} for s in shares]
            assert sum(map(len, keys)) == len(set().union(*keys)), (strategy, keys)


def test_interest_sees_the_inner_filter(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    workers = [site.mqtt(gateway, "worker-%d" % i) for i in range(2)]
    for worker in workers:
        worker.subscribe("$share/g/cloud/x", 1)
    cloud = MqttClient(site, broker.port, "cloud")
    until(lambda: "cloud/x (QoS" in broker.process.output(), "the subscription at the broker")
    for i in range(4):
        cloud.publish("cloud/x", b"%d" % i, 1)
    until(lambda: sum(len(w.messages) for w in workers) == 4, "4 messages in all")
    assert [len(w.messages) for w in workers] == [2, 2]


harness.run(test_round_robin_of_mqtt_clients, test_one_group_of_all_protocols,
            test_away_is_passed_over_and_takes_when_alone, test_no_retained_and_an_own_subscription_beside,
            test_bad_names_are_refused, test_strategy_of_the_configuration, test_each_strategy,
            test_interest_sees_the_inner_filter)
