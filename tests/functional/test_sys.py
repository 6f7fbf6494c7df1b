"""$SYS: values, loads, the upstream's state, who comes and goes."""

import json
import time

import coap
import harness
import mq5
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
    assert value(watcher, "store/state") == "ok"
    assert int(value(watcher, "store/sessions")) >= 0
    assert int(value(watcher, "journal/written_today")) <= int(value(watcher, "journal/written"))
    assert value(watcher, "uptime").endswith(" seconds")


class Tap:
    """Counts what passes a client's socket."""

    def __init__(self, sock):
        self.sock, self.sent, self.received, self.datagrams_in, self.datagrams_out = sock, 0, 0, 0, 0

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def _sent(self, data):
        self.sent += len(data)
        self.datagrams_out += 1

    def send(self, data):
        self._sent(data)
        return self.sock.send(data)

    def sendall(self, data):
        self._sent(data)
        return self.sock.sendall(data)

    def sendto(self, data, address):
        self._sent(data)
        return self.sock.sendto(data, address)

    def recvfrom(self, n):
        return self.recv(n), None

    def recv(self, n):
        data = self.sock.recv(n)
        self.received += len(data)
        self.datagrams_in += 1
        return data


def expect_counted(gateway, adapter, wanted):
    names = ("packets_received", "packets_sent", "bytes_received", "bytes_sent", "publish_received", "publish_sent",
             "payload_received", "payload_sent")
    found = gateway.counters()
    counted = tuple(found.get(adapter + "." + name, 0) for name in names)
    assert counted == wanted, (adapter, counted, wanted)


def test_traffic_is_what_went_over_the_wire(site):
    gateway = site.gateway(gateway={"sys_interval": "0"}).start()
    dev = sn.SnClient(gateway, "dev")
    tap = dev.sock = Tap(dev.sock)
    dev.connect()
    dev.subscribe("to/dev", 1)
    dev.publish("from/dev", b"12345", qos=2)
    dev.publish("to/dev", b"123", qos=1)
    dev.wait_messages(1)
    dev.send(sn.PINGREQ)
    dev.expect(sn.PINGRESP)
    expect_counted(gateway, "mqttsn", (tap.datagrams_out, tap.datagrams_in, tap.sent, tap.received, 2, 1, 8, 3))

    thing = coap.CoapClient(gateway)
    tap = thing.sock = Tap(thing.sock)
    thing.put("ps/of/thing", b"12345")
    thing.observe("ps/of/+")
    thing.put("ps/of/thing", b"1234567")
    thing.wait_notifications(2)
    thing.get("ps/of/nothing")
    expect_counted(gateway, "coap", (tap.datagrams_out, tap.datagrams_in, tap.sent, tap.received, 2, 2, 12, 12))

    client = mq5.Mq5Client(gateway, None)
    tap = client.sock = Tap(client.sock)
    client.send(mq5.connect("client"))
    client.expect(mq5.CONNACK)
    client.subscribe("for/client", 1, (mq5.SUBSCRIPTION_ID, 9))
    client.send(mq5.publish("for/client", b"1234", 1, 7, (mq5.USER, ("k", "v"))))
    assert {client.recv().kind, client.recv().kind} == {mq5.PUBACK, mq5.PUBLISH}
    client.expect_nothing()
    expect_counted(gateway, "mqtt", (4, 5, tap.sent, tap.received, 1, 1, 4, 4))


def test_its_values_use_up_no_limit_of_others(site):
    gateway = site.gateway(limits={"retained_messages": "2"}).start()
    client = mq5.Mq5Client(gateway, "client")
    assert [client.publish("t/%d" % n, b"x", 1, retain=True) & 0x80 for n in range(3)] == [0, 0, 0x80]
    late = watch(site, gateway, "$SYS/#")
    until(lambda: value(late, "version"), "the version")
    until(lambda: value(late, "retained messages/count"), "the count")


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
