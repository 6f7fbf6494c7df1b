"""The upstream is away: everything local goes on, what was acknowledged survives SIGKILL and arrives in order."""

import time

import coap
import harness
import ledger
import mq
import sn
from harness import until

DEVICES, EACH, PUTS = 20, 100, 200


def publish_all(gateway):
    """2 000 QoS 1 messages, one in flight per device, all devices at once; every one acknowledged."""
    devices = [sn.SnClient(gateway, "dev%02d" % i).connect() for i in range(DEVICES)]
    topics = [d.register("dev/%s" % d.client_id) for d in devices]
    for n in range(EACH):
        ids = [d.send_publish(topics[i], b"%d" % n, qos=1) for i, d in enumerate(devices)]
        for d, msg_id in zip(devices, ids):
            answer = d.expect(sn.PUBACK, msg_id=msg_id, at=2)
            assert answer[4] == 0, "PUBACK 0x%02x" % answer[4]
    return devices


def test_outage_kill_restart_drain(site):
    broker = site.broker(persistent=True).start()
    collector = harness.durable_collector(site, broker)
    gateway = site.gateway(upstream={"uri": broker.uri}, store={"commit_interval": "20ms"}).start()
    gateway.wait_upstream()
    local = site.mqtt(gateway, "local")
    local.subscribe("dev/#", 1)
    broker.stop()
    gateway.wait_log(r"upstream.*(lost|down|disconnected)")

    devices = publish_all(gateway)
    device = coap.CoapClient(gateway)
    for n in range(PUTS):
        assert device.put("ps/coap/%d" % (n % 10), b"%d" % n).code in (coap.CREATED, coap.CHANGED)
    until(lambda: len(local.messages) == DEVICES * EACH, "local delivery during the outage")
    devices[0].send(sn.PINGREQ)
    devices[0].expect(sn.PINGRESP)

    gateway.kill()
    gateway.start()
    broker.start()
    back = time.monotonic()
    until(lambda: collector.messages, "the first message after the return", 10)
    first_s = time.monotonic() - back
    until(lambda: len(collector.messages) >= DEVICES * EACH + PUTS, "everything upstream", 60)
    time.sleep(0.5)  # a duplicate would come now
    for d in devices:
        got = [int(p) for p in collector.payloads("dev/%s" % d.client_id)]
        assert got == list(range(EACH)), (d.client_id, got[:20])
    got = sorted(int(m.payload) for m in collector.messages if m.topic.startswith("coap/"))
    assert got == list(range(PUTS)), got[:20]
    for n in range(10):
        got = [int(p) for p in collector.payloads("coap/%d" % n)]
        assert got == sorted(got), got
    print("first message %.2f s after the broker's return" % first_s)
    assert first_s < 2.0, "first message after %.2f s" % first_s
    gateway.stop()


def test_reconnects_without_restart(site):
    broker = site.broker(persistent=True).start()
    collector = harness.durable_collector(site, broker)
    gateway = site.gateway(upstream={"uri": broker.uri}, store={"commit_interval": "20ms"}).start()
    gateway.wait_upstream()
    dev = sn.SnClient(gateway, "dev").connect()
    broker.stop()
    gateway.wait_log(r"upstream.*(lost|down|disconnected)")
    for n in range(50):
        dev.publish("q/1", b"%d" % n, qos=1)
        dev.publish("q/2", b"%d" % n, qos=2)
        dev.publish("q/0", b"%d" % n, qos=0)
    broker.start()
    until(lambda: len(collector.messages) >= 150, "the backlog", 30)
    for qos in (0, 1, 2):
        assert [int(p) for p in collector.payloads("q/%d" % qos)] == list(range(50))


def lose_session(site, version, qos):
    """The connection is full when the broker ends, so that the library has begun to send only some; the one that
    comes back has no sessions."""
    n = 30
    upstream = ledger.Upstream(site, name="broker" + version).start()
    gateway = site.gateway("gw" + version, upstream={"uri": upstream.uri, "version": version}).start()
    gateway.wait_upstream()
    upstream.broker.pause()
    client = mq.MqClient(gateway.mqtt_port, "pub")
    for i in range(1, n + 1):
        client.send(mq.publish("l/x", b"%d:" % i + b"x" * 450000, qos, i, False))
    for _ in range(n):
        assert client.recv(harness.WAIT_S)[0] == (mq.PUBACK if qos == 1 else mq.PUBREC)
    upstream.down(kill=True)
    upstream.arrived.clear()
    upstream.start()

    def arrived():
        return list(dict.fromkeys(int(p.split(b":")[0]) for topic, p in upstream.arrived if topic == "l/x"))

    until(lambda: len(arrived()) == n, "all of them")
    assert arrived() == list(range(1, n + 1)), arrived()
    client.close()
    gateway.stop()


def test_order_when_the_session_is_lost(site):
    lose_session(site, "5", 1)
    lose_session(site, "3.1.1", 2)


harness.run(test_outage_kill_restart_drain, test_reconnects_without_restart, test_order_when_the_session_is_lost)
