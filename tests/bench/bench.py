"""Benchmarks: prints a table, asserts nothing. `bench.py BUILD_DIR [name ...]` runs all of them or those named.

CPU is the gateway's (or mosquitto's) own, all threads, from the scheduler's accounting; the load generators are
separate processes on the same machine, so compare rows of one run, not of two."""

import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../functional"))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release")
os.environ["TIDEGATE_BUILD"] = BUILD

import harness  # noqa: E402  (needs TIDEGATE_BUILD)

ECHO = os.path.join(BUILD, "tests", "udp_echo")


def cpu_ns(pid):
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def sim(*args, timeout=120):
    done = subprocess.run([harness.SIM, "--quiet", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout, check=False)
    lines = done.stdout.decode().strip().split("\n")
    stats = {k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", lines[-1])}
    if done.returncode:
        stats["error"] = done.stderr.decode().strip().split("\n")[0]
    return stats


class Subscriber:
    """Counts what arrives over plain MQTT at QoS 0."""

    def __init__(self, site, port, topic, qos=0):
        self.process = harness.Process([harness.SIM, "-P", "mqtt", "-p", str(port), "-i", "counter", "-t", topic, "-q",
                                        str(qos), "--quiet", "subscribe"], "counter")
        site.processes.append(self.process)
        time.sleep(0.3)

    def received(self):
        """How many came in; what is still under way gets a second to arrive."""
        time.sleep(1.0)
        self.process.terminate()
        return int(re.search(r"received=(\d+)", self.process.output()).group(1))


def row(name, **figures):
    print("%-44s %s" % (name, "  ".join("%s=%s" % (k, v) for k, v in figures.items())))
    sys.stdout.flush()


def null_udp(site):
    for sockets in (1, 100, 1000):
        done = subprocess.run([ECHO, str(sockets), "2"], stdout=subprocess.PIPE, check=True)
        stats = dict(re.findall(r"(\w+)=([\d.]+)", done.stdout.decode()))
        row("null: bare UDP echo, %d sockets" % sockets, rate=stats["rate"] + "/s", cpu=stats["cpu_us"] + "us")


def measure(name, pid, subscriber, *args):
    before = cpu_ns(pid)
    stats = sim(*args)
    time.sleep(0.2)
    used = cpu_ns(pid) - before
    sent = max(stats.get("sent", 0), 1)
    figures = {"rate": "%.0f/s" % stats.get("rate", 0), "cpu": "%.2fus" % (used / 1000 / sent)}
    if subscriber:
        got = subscriber.received()
        figures["lost"] = "%d of %d" % (sent - got, sent)
    if stats.get("retried"):
        figures["retried"] = "%d" % stats["retried"]
    if "error" in stats:
        figures["error"] = stats["error"]
    row(name, **figures)


def hub(site):
    """Devices to the hub, with one local MQTT subscriber that gets everything."""
    for qos, total in ((0, 200000), (1, 60000)):
        for devices in (1, 100, 1000):
            gateway = site.gateway("hub%d-%d" % (qos, devices), log={"level": "warn"}, store=None)
            gateway.start(wait=False)
            wait_serving(gateway)
            counter = Subscriber(site, gateway.mqtt_port, "b/#")
            measure("MQTT-SN QoS %d to the hub, %d devices" % (qos, devices), gateway.process.pid, counter,
                    "-p", gateway.sn_port, "-n", devices, "-t", "b/%c", "-s", 64, "-q", qos, "-c",
                    total // devices, "publish")
            gateway.stop()


def wait_serving(gateway):
    harness.until(lambda: sim("-p", gateway.sn_port, "-i", "probe", "connect").get("failed") == 0, "the gateway serving")


def hub_paced(site):
    """QoS 0 at a fixed rate: what is lost."""
    for rate in (20000, 50000, 100000):
        gateway = site.gateway("paced%d" % rate, log={"level": "warn"}, store=None)
        gateway.start(wait=False)
        wait_serving(gateway)
        counter = Subscriber(site, gateway.mqtt_port, "b/#")
        measure("MQTT-SN QoS 0 at %d/s, 100 devices" % rate, gateway.process.pid, counter, "-p", gateway.sn_port,
                "-n", 100, "-t", "b/%c", "-s", 64, "-q", 0, "-c", rate * 3 // 100, "--rate", rate, "publish")
        gateway.stop()


def hub_mqtt(site):
    """The same load over plain MQTT, to the hub and to mosquitto."""
    gateway = site.gateway("plain", log={"level": "warn"}, store=None)
    gateway.start(wait=False)
    wait_serving(gateway)
    broker = site.broker(extra="log_type error\n").start()
    for name, port, pid in (("the hub", gateway.mqtt_port, gateway.process.pid),
                            ("mosquitto", broker.port, broker.process.pid)):
        for qos, total in ((0, 200000), (1, 60000)):
            counter = Subscriber(site, port, "b/#", qos)
            measure("MQTT QoS %d to %s, 100 clients" % (qos, name), pid, counter, "-P", "mqtt", "-p", port, "-n", 100,
                    "-t", "b/%c", "-s", 64, "-q", qos, "-c", total // 100, "publish")


def upstream(site):
    """Devices through the gateway to mosquitto; beside it MQTT clients of the hub on the same way."""
    broker = site.broker(extra="log_type error\n").start()
    gateway = site.gateway("up", upstream={"uri": broker.uri}, log={"level": "notice"})
    gateway.start()
    gateway.wait_upstream()
    for protocol, port in (("mqttsn", gateway.sn_port), ("mqtt", gateway.mqtt_port)):
        for qos, total in ((0, 60000), (1, 30000)):
            counter = Subscriber(site, broker.port, "b/#", qos)
            measure("%s QoS %d to the upstream, 100 devices" % (protocol, qos), gateway.process.pid, counter,
                    "-P", protocol, "-p", port, "-n", 100, "-t", "b/%c", "-s", 64, "-q", qos, "-c", total // 100,
                    *(["--rate", 20000] if qos == 0 else []), "publish")
    gateway.stop()


def connect_rate(site):
    gateway = site.gateway("connect", log={"level": "warn"}, store=None)
    gateway.start(wait=False)
    wait_serving(gateway)
    base = rss_kib(gateway.process.pid)
    before = cpu_ns(gateway.process.pid)
    clients = 10000
    process = harness.Process([harness.SIM, "--quiet", "-p", str(gateway.sn_port), "-n", str(clients), "--duration", "6",
                               "--persistent", "connect"], "sim")
    site.processes.append(process)
    time.sleep(4.5)
    grown = rss_kib(gateway.process.pid) - base
    cpu = (cpu_ns(gateway.process.pid) - before) / 1000 / clients
    process.wait_exit(60)
    stats = {k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", process.lines[-1])}
    row("MQTT-SN connect, %d clients" % clients, rate="%.0f/s" % (clients / max(stats["connect_s"], 0.001)),
        cpu="%.2fus" % cpu)
    row("RSS", at_start="%d KiB" % base, per_1000_clients="%.0f KiB" % (grown * 1000 / clients))
    gateway.stop()


def main():
    wanted = sys.argv[2:]
    for bench in (null_udp, hub, hub_paced, hub_mqtt, upstream, connect_rate):
        if wanted and bench.__name__ not in wanted:
            continue
        site = harness.Site()
        try:
            bench(site)
        finally:
            site.close(show=False)


main()
