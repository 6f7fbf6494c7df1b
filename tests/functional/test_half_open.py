"""The upstream stalls without closing: devices are answered from the journal, nothing is lost or doubled."""

import time

import harness
import sn
from harness import until


def test_stalled_upstream(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri, "ack_hold": "300ms", "keepalive": "5s"}).start()
    gateway.wait_upstream()
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 2)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("q/2", b"before", qos=2)
    until(lambda: cloud.messages, "the message before the stall")

    broker.pause()
    began = time.monotonic()
    dev.publish("q/1", b"0", qos=1)
    waited = time.monotonic() - began
    assert 0.2 < waited < 5, "answered after %.2f s" % waited
    for n in range(1, 20):
        dev.publish("q/1", b"%d" % n, qos=1)
    for n in range(20):
        dev.publish("q/2", b"%d" % n, qos=2)
    broker.resume()
    until(lambda: len(cloud.messages) >= 41, "everything after the stall", 60)
    time.sleep(1)  # a duplicate would come now
    assert [int(p) for p in cloud.payloads("q/2")[1:]] == list(range(20)), cloud.payloads("q/2")
    got = [int(p) for p in cloud.payloads("q/1")]
    assert sorted(set(got)) == list(range(20)), got


def test_stall_until_keepalive_gives_up(site):
    """Longer than keep alive: the gateway closes the connection itself and starts again."""
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri, "ack_hold": "200ms", "keepalive": "2s"}).start()
    gateway.wait_upstream()
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 2)
    dev = sn.SnClient(gateway, "dev").connect()
    broker.pause()
    for n in range(10):
        dev.publish("q/2", b"%d" % n, qos=2)
        dev.publish("q/1", b"%d" % n, qos=1)
    gateway.wait_log(r"upstream.*(lost|down|disconnected)", timeout=40)
    broker.resume()
    until(lambda: len(cloud.messages) >= 20, "everything after the stall", 60)
    time.sleep(1)
    assert [int(p) for p in cloud.payloads("q/2")] == list(range(10)), cloud.payloads("q/2")
    got = [int(p) for p in cloud.payloads("q/1")]
    assert sorted(set(got)) == list(range(10)), got


harness.run(test_stalled_upstream, test_stall_until_keepalive_gives_up)
