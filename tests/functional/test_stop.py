"""TERM under load ends within 5 s and loses nothing that was acknowledged."""

import signal
import struct
import threading
import time

import harness
import sn
from harness import until


def term_under_load(site, upstream_away):
    broker = site.broker(persistent=True).start()
    collector = harness.durable_collector(site, broker)
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    if upstream_away:
        broker.stop()
        gateway.wait_log(r"upstream.*(lost|down|disconnected)")
    devices = [sn.SnClient(gateway, "dev%d" % i).connect() for i in range(10)]
    for d in devices:
        d.register("load/" + d.client_id)
    acknowledged = {d.client_id: [] for d in devices}
    stop = threading.Event()

    def load(d):
        n = 0
        while not stop.is_set():
            msg_id = d.send_publish(d.ids["load/" + d.client_id], b"%d" % n, qos=1)
            end = time.monotonic() + 6
            while not stop.is_set() and time.monotonic() < end:
                got = d.recv(0.2)
                if got and got[0] == sn.PUBACK and struct.unpack(">H", got[1][2:4])[0] == msg_id:
                    if got[1][4] == 0:
                        acknowledged[d.client_id].append(n)
                    break
                if got and got[0] == sn.DISCONNECT:
                    return
            n += 1

    threads = [threading.Thread(target=load, args=(d,), daemon=True) for d in devices]
    for t in threads:
        t.start()
    until(lambda: sum(map(len, acknowledged.values())) > 200, "the load running")
    began = time.monotonic()
    gateway.process.signal(signal.SIGTERM)
    status = gateway.process.wait_exit(10)
    took = time.monotonic() - began
    stop.set()
    for t in threads:
        t.join()
    assert status == 0, status
    assert took < 5, "the end took %.1f s" % took
    total = sum(map(len, acknowledged.values()))

    if upstream_away:
        broker.start()
    gateway.start()

    def complete():
        have = {d.client_id: set(map(int, collector.payloads("load/" + d.client_id))) for d in devices}
        return all(set(acknowledged[name]) <= have[name] for name in have)
    until(complete, "all %d acknowledged messages upstream" % total, 30)
    print("%d acknowledged, end after %.2f s" % (total, took))


def test_upstream_there(site):
    term_under_load(site, False)


def test_upstream_away(site):
    term_under_load(site, True)


harness.run(test_upstream_there, test_upstream_away)
