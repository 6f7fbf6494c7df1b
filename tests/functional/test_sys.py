"""$SYS: values, loads, the upstream's state, who comes and goes."""

import json
import time

import harness
import sn
from harness import until


def watch(site, gateway, *filters):
    watcher = site.mqtt(gateway, "watcher")
    for f in filters:
        watcher.subscribe(f, 0)
    return watcher


def value(watcher, topic):
    found = watcher.payloads("$SYS/broker/" + topic)
    return found[-1].decode() if found else None


def test_values(site):
    gateway = site.gateway(gateway={"sys_interval": "1s"}).start()
    watcher = watch(site, gateway, "$SYS/#")
    until(lambda: value(watcher, "version"), "the version")
    assert value(watcher, "version").startswith("tidegate version ")
    until(lambda: value(watcher, "clients/connected") == "1", "one client")
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(10):
        dev.publish("a/b", b"%d" % n, qos=1, retain=True)
    until(lambda: value(watcher, "clients/connected") == "2", "two clients")
    until(lambda: int(value(watcher, "publish/messages/received") or 0) >= 10, "the publishes counted")
    until(lambda: int(value(watcher, "counters/mqttsn/packets_received") or 0) >= 10, "the adapter's counter")
    until(lambda: float(value(watcher, "load/publish/received/1min") or 0) > 0, "a load average")
    assert int(value(watcher, "retained messages/count")) >= 1
    assert int(value(watcher, "subscriptions/count")) >= 1
    assert value(watcher, "journal/state") == "ok"
    assert value(watcher, "uptime").endswith(" seconds")


def test_retained_for_who_comes_later(site):
    gateway = site.gateway(gateway={"sys_interval": "1h"}).start()
    late = watch(site, gateway, "$SYS/broker/version")
    late.wait_messages(1)
    assert late.messages[0].retain


def test_who_comes_and_goes(site):
    gateway = site.gateway(gateway={"sys_interval": "0"}).start()
    watcher = watch(site, gateway, "$SYS/broker/clients/+/+")
    dev = sn.SnClient(gateway, 'a/"b+').connect()
    event = until(lambda: watcher.payloads("$SYS/broker/clients/a%2F\"b%2B/connected"), "the arrival")
    event = json.loads(event[0])
    assert event["clientid"] == 'a/"b+' and event["protocol"] == "mqttsn", event
    assert event["address"].startswith("127.0.0.1:") and abs(event["ts"] / 1000 - time.time()) < 60, event
    dev.send(sn.DISCONNECT)
    until(lambda: watcher.payloads("$SYS/broker/clients/a%2F\"b%2B/disconnected"), "the departure")
    assert not any(m.retain for m in watcher.messages)


def test_state_of_the_upstream(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 0)
    watcher = watch(site, gateway, "$SYS/broker/connection/gw/state")
    until(lambda: value(watcher, "connection/gw/state") == "1", "connected")
    broker.stop()
    until(lambda: value(watcher, "connection/gw/state") == "0", "not connected")
    broker.start()
    until(lambda: value(watcher, "connection/gw/state") == "1", "connected again")
    assert not [m.topic for m in cloud.messages if m.topic.startswith("$")]


def test_nobody_else_writes_there(site):
    gateway = site.gateway(gateway={"sys_interval": "0"}).start()
    watcher = watch(site, gateway, "$SYS/#")
    dev = sn.SnClient(gateway, "dev").connect()
    dev.send_publish(dev.register("$SYS/broker/version"), b"forged", qos=1)
    dev.expect(sn.PUBACK)
    site.mqtt(gateway, "other").publish("$SYS/broker/version", b"forged", qos=1)
    assert b"forged" not in watcher.payloads()


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
