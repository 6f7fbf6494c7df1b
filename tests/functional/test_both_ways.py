"""Devices and a local client reach the upstream broker, and the upstream reaches them."""

import subprocess

import coap
import harness
import sn
from harness import until

TOPICS_CONF = "[*]\n7 = pre/seven\n"


def start(site, **sections):
    broker = site.broker().start()
    predefined = site.dir + "/topics.conf"
    with open(predefined, "w", encoding="utf-8") as f:
        f.write(TOPICS_CONF)
    gateway = site.gateway(upstream={"uri": broker.uri}, mqttsn={"predefined_file": predefined}, **sections)
    gateway.start().wait_upstream()
    return broker, gateway


def mosquitto_sub(site, broker, n):
    p = harness.Process(["stdbuf", "-oL", "mosquitto_sub", "-p", str(broker.port), "-t", "#", "-q", "2", "-C", str(n), "-W", "30",
                         "-F", "%q %r %t %x"], "mosquitto_sub")
    site.processes.append(p)
    broker.process.wait_line(r"Sending SUBACK to (?!gw|tidegate)")
    return p


def test_devices_reach_mosquitto_sub(site):
    broker, gateway = start(site)
    sub = mosquitto_sub(site, broker, 6)
    dev = sn.SnClient(gateway, "sensor").connect()
    dev.publish("a/zero", b"0", qos=0)
    dev.publish("a/one", b"1", qos=1)
    dev.publish("a/two", b"2", qos=2)
    stranger = sn.SnClient(gateway, "nobody")
    stranger.send(sn.PUBLISH, bytes([sn.flags(qos=3, kind=sn.PREDEFINED)]) + b"\x00\x07\x00\x00" + b"minus one")
    device = coap.CoapClient(gateway)
    assert device.put("ps/c/put", b"value").code in (coap.CREATED, coap.CHANGED)
    assert device.request(coap.POST, "ps/c/post", b"event").code == coap.CHANGED
    assert sub.wait_exit() == 0, sub.output()
    # CoAP: PUT is a value, so retained; a new subscriber's copy of a live message shows no retain flag.
    expected = {"0 0 a/zero 30", "1 0 a/one 31", "2 0 a/two 32", "0 0 pre/seven " + b"minus one".hex(),
                "1 0 c/put " + b"value".hex(), "1 0 c/post " + b"event".hex()}
    assert set(sub.lines) == expected, sub.lines
    value = subprocess.run(["mosquitto_sub", "-p", str(broker.port), "-t", "c/#", "-W", "5", "-C", "1", "-F", "%r %t %p"],
                           stdout=subprocess.PIPE, check=True)
    assert value.stdout == b"1 c/put value\n", value.stdout


def test_upstream_reaches_devices(site):
    broker, gateway = start(site)
    dev = sn.SnClient(gateway, "lamp").connect()
    dev.subscribe("cmd/lamp", qos=1)
    dev.subscribe("cmd/+/all", qos=2)
    device = coap.CoapClient(gateway)
    answer, _ = device.observe("ps/cmd/coap")
    assert answer.code == coap.CONTENT and answer.payload == b""
    local = site.mqtt(gateway, "local")
    local.subscribe("cmd/#", 2)
    broker.process.wait_line(r"cmd/#")
    cloud = site.mqtt(broker, "cloud")
    cloud.publish("cmd/lamp", b"on", qos=1)
    cloud.publish("cmd/x/all", b"off", qos=2)
    cloud.publish("cmd/coap", b"go", qos=1)
    dev.wait_messages(2)
    assert dev.received() == [("cmd/lamp", b"on"), ("cmd/x/all", b"off")], dev.received()
    assert [m.qos for m in dev.messages] == [1, 2]
    assert [p.payload for p in device.wait_notifications(1)] == [b"go"]
    local.wait_messages(3)
    assert sorted(m.payload for m in local.messages) == [b"go", b"off", b"on"]


def test_local_client_sees_and_is_seen(site):
    broker, gateway = start(site)
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 2)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.subscribe("to/dev", qos=1)
    device = coap.CoapClient(gateway)
    device.observe("ps/to/coap")
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 2)
    dev.publish("from/dev", b"a")
    device.put("ps/from/coap", b"b")
    until(lambda: sorted(local.payloads()) == [b"a", b"b"], "the local client seeing both")
    local.publish("to/dev", b"c")
    local.publish("to/coap", b"d")
    assert dev.wait_messages(1)[0].payload == b"c"
    assert device.wait_notifications(1)[0].payload == b"d"
    until(lambda: sorted(cloud.payloads()) == [b"a", b"b", b"c", b"d"], "the cloud seeing all four")


def test_payloads_and_topics_unchanged(site):
    broker, gateway = start(site)
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 1)
    dev = sn.SnClient(gateway, "dev").connect()
    device = coap.CoapClient(gateway)
    binary = bytes(range(256)) * 4
    largest_sn = bytes(i & 255 for i in range(65507 - 9))  # a whole UDP datagram with its header
    largest_coap = bytes(i % 251 for i in range(1200))
    sent = [("t/binary", binary), ("t/empty", b""), ("t/größe/температура/温度", "grün".encode()), ("t/large", largest_sn)]
    for topic, payload in sent:
        dev.publish(topic, payload)
    device.put("ps/c/binary", binary)
    device.put("ps/c/größe/温度", b"x")
    device.put("ps/c/large", largest_coap)
    sent += [("c/binary", binary), ("c/größe/温度", b"x"), ("c/large", largest_coap)]
    largest_block_wise = "".join("%07d\n" % n for n in range(8192))
    coap.coap_client(gateway, "put", "ps/c/blocks", largest_block_wise, extra=["-b", "1024"])
    sent.append(("c/blocks", largest_block_wise.encode()))
    local = site.mqtt(gateway, "local")
    largest_mqtt = binary * 1024
    local.publish("m/large", largest_mqtt)
    sent.append(("m/large", largest_mqtt))
    until(lambda: len(cloud.messages) == len(sent), "all of them upstream")
    assert [(m.topic, m.payload) for m in cloud.messages] == sent
    dev.subscribe("down/#")
    cloud.publish("down/a", binary)
    cloud.publish("down/b", b"")
    cloud.publish("down/c", largest_sn)
    dev.wait_messages(3)
    assert [m.payload for m in dev.messages] == [binary, b"", largest_sn]


harness.run(test_devices_reach_mosquitto_sub, test_upstream_reaches_devices, test_local_client_sees_and_is_seen,
            test_payloads_and_topics_unchanged)
