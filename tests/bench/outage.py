"""What is left of 50 000 acknowledged messages: the upstream is away, a client publishes them with QoS 1, and as soon as
the last is acknowledged the gateway is killed. It starts again, the upstream returns, and a subscriber there counts.
Beside it mosquitto with a bridge, as persistent as its configuration can make it. `outage.py BUILD_DIR [MESSAGES]`"""

import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../functional"))
os.environ["TIDEGATE_BUILD"] = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release")

import harness  # noqa: E402  (needs TIDEGATE_BUILD)
import ledger  # noqa: E402
import mq  # noqa: E402

MESSAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 50000
WINDOW = 500
TOPIC = "bench/outage"
SIZE = 64


def publish_all(port):
    """Returns the seconds it took until the last one was acknowledged."""
    link = mq.MqClient(port, "pump", timeout=30)
    began, sent, acknowledged = time.monotonic(), 0, 0
    while acknowledged < MESSAGES:
        batch = b""
        while sent < MESSAGES and sent - acknowledged < WINDOW:
            payload = b"%-*d" % (SIZE, sent)
            batch += mq.publish(TOPIC, payload, 1, sent % 65535 + 1)
            sent += 1
        if batch:
            link.send(batch)
        got = link.recv(30)
        if got is None:
            raise AssertionError("no acknowledgement after %d of %d" % (acknowledged, MESSAGES))
        acknowledged += got[0] == mq.PUBACK
    return time.monotonic() - began


def count(arrived):
    numbers = [int(payload) for topic, payload in arrived if topic == TOPIC]
    firsts = list(dict.fromkeys(numbers))
    return len(firsts), len(numbers) - len(firsts), sum(b < a for a, b in zip(firsts, firsts[1:]))


def report(name, upstream, seconds, drain_s):
    there, twice, unordered = count(list(upstream.arrived))
    print("%-34s acknowledged=%d in %.1fs  there=%d  lost=%d  twice=%d  out of order=%d  drained in %.1fs"
          % (name, MESSAGES, seconds, there, MESSAGES - there, twice, unordered, drain_s), flush=True)


def wait_end(upstream, patience=8):
    """Until all are there, or nothing has come for a while."""
    began = last = time.monotonic()
    n = 0
    while len(upstream.arrived) < MESSAGES and time.monotonic() - last < patience:
        if len(upstream.arrived) > n:
            n, last = len(upstream.arrived), time.monotonic()
        time.sleep(0.05)
    return last - began


def tidegate(site):
    upstream = ledger.Upstream(site).start()
    upstream.wire.shut()
    gateway = site.gateway("edge", upstream={"uri": upstream.uri, "drain_rate": "0"}, log={"level": "notice"}).start()
    seconds = publish_all(gateway.mqtt_port)
    gateway.kill()
    gateway.start()
    upstream.wire.open()
    report("tidegate, killed at once", upstream, seconds, wait_end(upstream))


def mosquitto_bridge(site, upstream):
    bridge = ("connection up\naddress 127.0.0.1:%d\ntopic # out 1\ncleansession false\nremote_clientid edge\n"
              "restart_timeout 1\nautosave_on_changes false\n" % upstream.wire.port)
    return site.broker(extra=bridge, name="edge", persistent=True).start()


def mosquitto(site):
    upstream = ledger.Upstream(site).start()
    edge = mosquitto_bridge(site, upstream)
    harness.until(lambda: "CONNACK" in edge.process.output(), "the bridge")
    upstream.wire.shut()
    seconds = publish_all(edge.port)
    edge.process.kill()
    edge.start()
    upstream.wire.open()
    report("mosquitto with a bridge, the same", upstream, seconds, wait_end(upstream))


def main():
    print("The upstream is away, %d messages of QoS 1 are acknowledged, kill -9, restart, the upstream is back:" % MESSAGES)
    for run in (tidegate, mosquitto):
        site = harness.Site()
        try:
            run(site)
        finally:
            site.close(show=False)


main()
