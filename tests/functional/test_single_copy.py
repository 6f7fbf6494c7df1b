"""A local subscriber whose filter is also subscribed upstream gets one copy, with MQTT 5 and with 3.1.1."""

import time

import coap
import harness
import sn
from harness import until


def one_copy(site, **upstream):
    broker = site.broker().start()
    gateway = site.gateway(upstream=dict({"uri": broker.uri}, **upstream)).start()
    gateway.wait_upstream()
    local = site.mqtt(gateway, "local")
    local.subscribe("t/#", 1)
    reader = sn.SnClient(gateway, "reader").connect()
    reader.subscribe("t/+")
    broker.process.wait_line(r"t/#")
    until(lambda: "Sending SUBACK to tidegate-gw" in broker.process.output(), "the upstream subscription")
    dev = sn.SnClient(gateway, "dev").connect()
    device = coap.CoapClient(gateway)
    for n in range(20):
        dev.publish("t/sn", b"%d" % n, qos=n % 3)
        device.put("ps/t/coap", b"%d" % n)
    cloud = site.mqtt(broker, "cloud")
    cloud.publish("t/cloud", b"0", qos=1)
    until(lambda: len(local.messages) >= 41, "41 messages (have %d)" % len(local.messages))
    reader.wait_messages(41)
    time.sleep(3)  # longer than an echo's time-out: a second copy would have come
    assert [int(p) for p in local.payloads("t/sn")] == list(range(20)), local.payloads("t/sn")
    assert [int(p) for p in local.payloads("t/coap")] == list(range(20)), local.payloads("t/coap")
    assert local.payloads("t/cloud") == [b"0"]
    got = reader.recv(0.2)
    while got and reader.take(*got):
        got = reader.recv(0.2)
    received = reader.received()
    assert [int(p) for t, p in received if t == "t/sn"] == list(range(20)), received
    assert [int(p) for t, p in received if t == "t/coap"] == list(range(20)), received
    return broker, gateway, local


def test_mqtt_5(site):
    one_copy(site, version="5")


def test_mqtt_311(site):
    one_copy(site, version="3.1.1")


def test_mqtt_311_local_echo(site):
    one_copy(site, version="3.1.1", echo="local")


def test_backlog_is_not_delivered_again(site):
    """What local subscribers got during an outage does not come back to them when it drains."""
    for version in ("5", "3.1.1"):
        broker = site.broker(name="broker" + version, persistent=True).start()
        collector = harness.durable_collector(site, broker)
        gateway = site.gateway("gw" + version.replace(".", ""), upstream={"uri": broker.uri, "version": version},
                               store={"commit_interval": "20ms"}).start()
        gateway.wait_upstream()
        local = site.mqtt(gateway, "local")
        local.subscribe("t/#", 1)
        broker.process.wait_line(r"t/#")
        broker.stop()
        gateway.wait_log(r"upstream.*(lost|down|disconnected)")
        dev = sn.SnClient(gateway, "dev").connect()
        for n in range(50):
            dev.publish("t/x", b"%d" % n, qos=1)
        until(lambda: len(local.messages) >= 50, "local delivery")
        broker.start()
        until(lambda: len(collector.messages) >= 50, "the backlog", 30)
        time.sleep(3)
        assert [int(p) for p in local.payloads()] == list(range(50)), local.payloads()
        broker.stop()


def test_retained_replay_is_no_second_copy(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    device = coap.CoapClient(gateway)
    device.put("ps/r/x", b"value")
    local = site.mqtt(gateway, "local")
    local.subscribe("r/x", 1)
    broker.process.wait_line(r"Sending SUBACK to tidegate-gw")
    time.sleep(1)
    assert local.payloads() == [b"value"], local.payloads()


harness.run(test_mqtt_5, test_mqtt_311, test_mqtt_311_local_echo, test_backlog_is_not_delivered_again,
            test_retained_replay_is_no_second_copy)
