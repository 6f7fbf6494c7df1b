"""Several upstream servers, some dead, deaf or without an address; devices never wait for any of that."""

import os
import socket
import subprocess
import threading
import time

import harness
import ledger
import sn
from harness import until


class Probe(threading.Thread):
    """A device that pings and publishes all the time and remembers the longest wait for an answer."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.device = sn.SnClient(gateway, "probe").connect()
        self.topic_id = self.device.register("pr/obe")
        self.stopping, self.worst, self.told, self.error = False, 0.0, 0, None
        self.start()

    def run(self):
        try:
            while not self.stopping:
                began = time.monotonic()
                self.device.send(sn.PINGREQ)
                self.device.expect(sn.PINGRESP)
                self.device.publish_id(self.topic_id, b"%d" % self.told, 1)
                self.told += 1
                self.worst = max(self.worst, time.monotonic() - began)
                time.sleep(0.01)
        except Exception as e:  # shown by the test
            self.error = e

    def finish(self):
        self.stopping = True
        self.join(harness.WAIT_S + 5)
        if self.error:
            raise self.error
        return self.worst


def deaf_server(site):
    """Takes connections and never says a word."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(64)
    return s, "mqtt://127.0.0.1:%d" % s.getsockname()[1]


def test_first_is_dead(site):
    good = site.broker().start()
    uri = "mqtt://127.0.0.1:%d, %s" % (harness.free_port(), good.uri)
    began = time.monotonic()
    gateway = site.gateway(upstream={"uri": uri}).start()
    gateway.wait_upstream()
    assert time.monotonic() - began < 3
    gateway.stop()


def test_first_is_deaf(site):
    """It accepts TCP connections and answers no CONNECT."""
    server, uri = deaf_server(site)
    good = site.broker().start()
    gateway = site.gateway(upstream={"uri": uri + ", " + good.uri, "connect_timeout": "1s", "ack_hold": "100ms"},
                           store={"commit_interval": "0"}).start()
    probe = Probe(gateway)
    gateway.wait_upstream(timeout=30)
    time.sleep(0.5)
    worst = probe.finish()
    print("longest wait %.0f ms" % (worst * 1000))
    assert worst < 0.5, worst
    cloud = site.mqtt(good, "cloud")
    cloud.subscribe("#", 1)
    gateway.stop()
    server.close()


def test_broker_comes_and_goes(site):
    """Connections that end before CONNACK, again and again: when the broker is well, the gateway is there soon."""
    server, uri = deaf_server(site)
    gateway = site.gateway(upstream={"uri": uri}).start()
    until_time = time.monotonic() + 9
    server.settimeout(0.1)
    while time.monotonic() < until_time:
        try:
            server.accept()[0].close()
        except socket.timeout:
            pass
    server.close()
    site.broker(port=int(uri.rsplit(":", 1)[1])).start()
    began = time.monotonic()
    gateway.wait_upstream()
    took = time.monotonic() - began
    print("connected after %.1f s" % took)
    assert took < 3.5, took
    gateway.stop()


def test_servers_take_turns(site):
    """One of two ends, then the other: whoever is there gets what the other did not, in order."""
    first, second = ledger.Upstream(site), ledger.Upstream(site, name="second")
    first.start()
    gateway = site.gateway(upstream={"uri": first.uri + ", " + second.uri, "ack_hold": "200ms"},
                           store={"commit_interval": "20ms"}, log={"level": "info"}).start()
    gateway.wait_upstream()
    publishers = [ledger.SnPublisher(gateway, "s1", 1), ledger.CoapPublisher(gateway, "c1", 1),
                  ledger.MqttPublisher(gateway, "m1", 1)]
    for p in publishers:
        p.pause_s = 0.01
        p.start()
    for ends, comes in ((first, second), (second, first), (first, second)):
        time.sleep(1)
        ends.down(kill=True)
        mark = gateway.mark()
        comes.start()
        gateway.wait_upstream(after=mark)
    for p in publishers:
        p.finish()

    class Both:
        @property
        def arrived(self):
            return first.arrived + second.arrived
    books = ledger.Ledger(publishers, Both())
    books.wait_all()
    print(books.summary())
    for upstream in (first, second):
        ledger.Ledger(publishers, upstream).check_content()
    assert len(first.arrived) > 50 and len(second.arrived) > 50, (len(first.arrived), len(second.arrived))
    gateway.stop()


def test_name_without_address(site):
    """A name that does not exist, and then a good server."""
    good = site.broker().start()
    uri = "mqtt://no-such-host.invalid:1883, " + good.uri
    gateway = site.gateway(upstream={"uri": uri, "connect_timeout": "2s", "ack_hold": "100ms"},
                           store={"commit_interval": "0"}).start()
    probe = Probe(gateway)
    gateway.wait_upstream(timeout=30)
    worst = probe.finish()
    print("longest wait %.0f ms" % (worst * 1000))
    assert worst < 0.5, worst
    gateway.stop()


def private_resolver(site, text):
    """A command prefix that gives a process its own /etc/resolv.conf; None without the right to."""
    path = os.path.join(site.dir, "resolv.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    prefix = ["unshare", "-m", "sh", "-c", "mount --bind %s /etc/resolv.conf && exec \"$@\"" % path, "sh"]
    done = subprocess.run(prefix + ["true"], stderr=subprocess.DEVNULL, check=False)
    return prefix if done.returncode == 0 else None


def test_resolver_hangs(site):
    """A name server that never answers: devices are, within 200 ms; and the next server in the list is reached."""
    hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        hole.bind(("127.77.53.1", 53))
    except OSError:
        print("skipped: may not bind port 53")
        return
    prefix = private_resolver(site, "nameserver 127.77.53.1\n")
    if not prefix:
        print("skipped: no mount namespace")
        return
    good = site.broker().start()
    gateway = site.gateway(upstream={"uri": "mqtt://somewhere.example:1883, " + good.uri, "connect_timeout": "3s",
                                     "ack_hold": "100ms"}, store={"commit_interval": "0"})
    gateway.process = harness.Process(prefix + [harness.TIDEGATE, "-c", gateway.conf], "gw")
    site.processes.append(gateway.process)
    gateway.wait_log(r"is up$")
    hole.settimeout(5)
    assert hole.recv(512), "the resolver was not asked"
    probe = Probe(gateway)
    time.sleep(2)
    gateway.wait_upstream(timeout=30)
    worst = probe.finish()
    print("longest wait %.0f ms, %d answers" % (worst * 1000, probe.told))
    assert worst < 0.2 and probe.told > 50, worst
    mark = gateway.mark()
    good.stop()  # it goes round again, with the dead name first
    gateway.wait_log(r"can't be resolved|timed? ?out", after=mark)
    gateway.process.signal(harness.signal.SIGTERM)
    assert gateway.process.wait_exit(10) == 0, "stopped while the resolver hangs"
    hole.close()


if __name__ == "__main__":
    harness.run(test_first_is_dead, test_first_is_deaf, test_broker_comes_and_goes, test_servers_take_turns, test_name_without_address,
                test_resolver_hangs)
