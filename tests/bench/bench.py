"""Benchmarks: prints a table, asserts nothing. `bench.py BUILD_DIR [name ...]` runs all of them or those named.

CPU is that of the server (gateway or mosquitto) alone, all its threads, from the scheduler's accounting, divided by
the messages published; `user` is the part of it outside the kernel. The load generators are separate processes on the
same machine, so compare rows of one run, not of two. A publisher of QoS 0 over UDP asks for a PINGRESP after every
1000 messages of all devices together: without that it would only measure how fast a socket overflows."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../functional"))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release")
os.environ["TIDEGATE_BUILD"] = BUILD

import harness  # noqa: E402  (needs TIDEGATE_BUILD)

ECHO = os.path.join(BUILD, "tests", "udp_echo")
PAHO = os.path.join(BUILD, "tests", "paho_null")
REPLAY = os.path.join(BUILD, "tests", "journal_replay")
SIZE = 64
TICK_NS = 1e9 / os.sysconf("SC_CLK_TCK")


class Cpu:
    """What a process has used since then: all of it, and the part outside the kernel."""

    def __init__(self, pid):
        self.pid = pid
        self.began = self._now()

    def _now(self):
        total = 0
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/schedstat" % (self.pid, task), encoding="ascii") as f:
                total += int(f.read().split()[0])
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as f:
            user, kernel = map(int, f.read().rsplit(")", 1)[1].split()[11:13])
        return total, user, user + kernel

    def used_us(self):
        now = self._now()
        total, user, ticks = (b - a for a, b in zip(self.began, now))
        return total / 1000, (total / 1000 * user / ticks if ticks else 0)


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def figures_of(line):
    return {k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", line)}


def run_sim(*args, timeout=120):
    done = subprocess.run([harness.SIM, "--quiet", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout, check=False)
    stats = figures_of(done.stdout.decode().strip().split("\n")[-1])
    if done.returncode:
        stats["error"] = (done.stderr.decode().strip().split("\n") or ["?"])[0]
    return stats


def start_sim(site, *args):
    process = harness.Process([harness.SIM, "--quiet", *map(str, args)], "sim")
    site.processes.append(process)
    return process


class Subscriber:
    """Counts what arrives over plain MQTT."""

    def __init__(self, site, port, topic="b/#", qos=0, clients=1):
        self.process = start_sim(site, "-P", "mqtt", "-p", port, "-i", "counter", "-t", topic, "-q", qos, "-n",
                                 clients, "--check", "subscribe")
        self.process.wait_line(r"^ready")

    def result(self):
        """How many came in, and how many of them per second; what is still under way gets a second to arrive."""
        time.sleep(1.0)
        self.process.terminate()
        figures = figures_of(self.process.lines[-1])
        return int(figures["distinct"]), figures["rate"]


RESULTS = {}  # of the rows that a bar looks at


def row(name, **figures):
    print("%-52s %s" % (name, "  ".join("%s=%s" % (k, v) for k, v in figures.items())))
    sys.stdout.flush()


def measure(name, pid, subscriber, *args, copies=1):
    """One load on the server `pid`; `copies`: subscribers that get each message."""
    cpu = Cpu(pid)
    stats = run_sim(*args, "-s", SIZE, "publish")
    got, rate = subscriber.result()
    total, user = cpu.used_us()
    sent = max(int(stats.get("sent", 0)), 1)
    figures = {"rate": "%.0f/s" % rate, "cpu": "%.2fus" % (total / sent / copies),
               "user": "%.2fus" % (user / sent / copies), "lost": "%d of %d" % (sent * copies - got, sent * copies)}
    if stats.get("retried"):
        figures["retried"] = "%d" % stats["retried"]
    if "error" in stats:
        figures["error"] = stats["error"]
    row(name, **figures)
    RESULTS[name] = {"rate": rate, "cpu": total / sent / copies, "user": user / sent / copies,
                     "lost": sent * copies - got}
    return rate


def start_gateway(site, name, **sections):
    """A quiet hub in memory, with room for a subscriber that the scheduler keeps waiting."""
    settings = {"log": {"level": "notice"}, "store": None,
                "limits": {"sessions": 20000, "queue_messages": 1000000, "queue_bytes": "64MB"},
                "mqtt": {"max_connections": 5000}}
    settings.update(sections)
    gateway = site.gateway(name, **settings).start()
    if "upstream" in sections:
        gateway.wait_upstream()
    return gateway


def start_broker(site):
    """mosquitto, without the log that the tests read."""
    broker = site.broker()
    with open(broker.conf, encoding="utf-8") as f:
        text = f.read().replace("log_type all", "log_type error")
    with open(broker.conf, "w", encoding="utf-8") as f:
        f.write(text)
    return broker.start()


def null_udp(site):
    for sockets in (1, 100, 1000):
        done = subprocess.run([ECHO, str(sockets), "2"], stdout=subprocess.PIPE, check=True)
        stats = figures_of(done.stdout.decode())
        RESULTS["echo", sockets] = stats["cpu_us"]
        row("null: bare UDP echo, %d sockets" % sockets, rate="%.0f/s" % stats["rate"],
            cpu="%.2fus" % stats["cpu_us"])


def hub(site):
    """Devices to the hub, with one local MQTT subscriber that gets everything."""
    for qos, total in ((0, 300000), (1, 200000)):
        for devices in (1, 100, 1000):
            gateway = start_gateway(site, "hub%d-%d" % (qos, devices))
            counter = Subscriber(site, gateway.mqtt_port)
            measure("MQTT-SN QoS %d to the hub, %d devices" % (qos, devices), gateway.process.pid, counter, "-p",
                    gateway.sn_port, "-n", devices, "-t", "b/%c", "-q", qos, "--window", 1000, "-c",
                    (total if qos == 0 or devices > 1 else 60000) // devices)
            gateway.stop()


def hub_alone(site):
    """The same without a subscriber: against the echo, which has no third party either."""
    for devices in (1, 100, 1000):
        gateway = start_gateway(site, "alone%d" % devices)
        cpu = Cpu(gateway.process.pid)
        stats = run_sim("-p", gateway.sn_port, "-n", devices, "-t", "b/%c", "-s", SIZE, "-q", 1, "-c",
                        (200000 if devices > 1 else 60000) // devices, "publish")
        total, user = cpu.used_us()
        row("MQTT-SN QoS 1, no subscriber, %d devices" % devices, rate="%.0f/s" % stats["rate"],
            cpu="%.2fus" % (total / stats["sent"]), user="%.2fus" % (user / stats["sent"]),
            refused="%d" % stats["refused"])
        RESULTS["alone", devices] = total / stats["sent"]
        gateway.stop()


def hub_paced(site):
    """QoS 0 at a fixed rate, whether or not the gateway follows: what is lost."""
    for rate in (50000, 100000, 150000):
        gateway = start_gateway(site, "paced%d" % rate)
        counter = Subscriber(site, gateway.mqtt_port)
        measure("MQTT-SN QoS 0 at %d/s, 100 devices" % rate, gateway.process.pid, counter, "-p", gateway.sn_port, "-n",
                100, "-t", "b/%c", "-q", 0, "-c", rate * 2 // 100, "--rate", rate)
        gateway.stop()


def both_brokers(site):
    gateway = start_gateway(site, "plain")
    broker = start_broker(site)
    return ("the hub", gateway.mqtt_port, gateway.process.pid), ("mosquitto", broker.port, broker.process.pid)


def plain_mqtt(site):
    """The same load over plain MQTT, to the hub and to mosquitto; then one to one, and one to a thousand."""
    servers = both_brokers(site)
    for publishers, subscribers, totals in ((100, 1, (200000, 60000, 40000)), (1, 1, (200000, 60000, 40000)),
                                            (1, 1000, (200, 100, 60))):
        for qos, total in enumerate(totals):
            for name, port, pid in servers:
                counter = Subscriber(site, port, "b/#", qos, subscribers)
                measure("MQTT QoS %d, %d to %d, %s" % (qos, publishers, subscribers, name), pid, counter, "-P", "mqtt",
                        "-p", port, "-n", publishers, "-t", "b/%c", "-q", qos, "-c", total // publishers, "--window",
                        20, copies=subscribers)


def paho_alone(site, broker, qos, total):
    counter = Subscriber(site, broker.port, "b/#", qos)
    counted = subprocess.run([PAHO, str(broker.port), str(qos), str(total), "64", str(SIZE)], stdout=subprocess.PIPE,
                             check=True)
    stats = figures_of(counted.stdout.decode())
    got, rate = counter.result()
    row("null: Paho alone QoS %d to mosquitto" % qos, rate="%.0f/s" % rate, cpu="%.2fus" % stats["cpu_us"],
        lost="%d of %d" % (total - got, total))
    return rate


def through_gateway(site, broker, protocol, qos, total):
    name = "%s QoS %d to the upstream, 100 devices" % (protocol, qos)
    gateway = start_gateway(site, "up%d" % len(site.processes), upstream={"uri": broker.uri},
                            store={"dir": os.path.join(site.dir, "state%d" % len(site.processes))})
    port = gateway.sn_port if protocol == "mqttsn" else gateway.mqtt_port
    counter = Subscriber(site, broker.port, "b/#", qos)
    rate = measure(name, gateway.process.pid, counter, "-P", protocol, "-p", port, "-n", 100, "-t", "b/%c", "-q", qos,
                   "-c", total // 100, *(["--rate", 15000] if qos == 0 else []))
    gateway.stop()
    return rate


def upstream(site):
    """Through the gateway to mosquitto: Paho alone, MQTT-SN devices, MQTT clients of the hub. QoS 0 at a fixed rate:
    what the upstream does not take in time would be dropped by design."""
    broker = start_broker(site)
    for qos, total in ((0, 60000), (2, 20000)):
        paho_alone(site, broker, qos, total)
        for protocol in ("mqttsn", "mqtt"):
            through_gateway(site, broker, protocol, qos, total)
    ratios = []
    for _ in range(5):
        null = paho_alone(site, broker, 1, 40000)
        ratios.append(through_gateway(site, broker, "mqttsn", 1, 40000) / null)
    through_gateway(site, broker, "mqtt", 1, 40000)
    RESULTS["upstream"] = sorted(ratios)[len(ratios) // 2]
    row("MQTT-SN QoS 1 to the upstream against Paho alone", median="%.2f" % RESULTS["upstream"],
        of=" ".join("%.2f" % r for r in ratios))


def connect_rate(site):
    RESULTS["connect"] = connect_all(site, "connect", "")
    connect_all(site, "connect-stored", ", stored", store={})


def connect_all(site, name, how, **sections):
    clients = 10000
    gateway = start_gateway(site, name, **sections)
    base = rss_kib(gateway.process.pid)
    cpu = Cpu(gateway.process.pid)
    devices = start_sim(site, "-p", gateway.sn_port, "-n", clients, "--duration", 60, "connect")
    devices.wait_line(r"^ready", 60)
    took = figures_of(devices.lines[0])["seconds"]
    total, user = cpu.used_us()
    row("MQTT-SN connect, %d clients%s" % (clients, how), rate="%.0f/s" % (clients / max(took, 0.001)),
        cpu="%.2fus" % (total / clients), user="%.2fus" % (user / clients),
        possible="%.0f/s" % (clients / (total / 1e6)))
    grown = rss_kib(gateway.process.pid) - base
    row("RSS of connected clients" + how, at_start="%d KiB" % base, per_1000_clients="%.0f KiB" % (grown * 1000 / clients))
    devices.terminate()
    gateway.stop()
    return clients / max(took, 0.001)


def mail(site, gateway, clients):
    """One message for each of them."""
    local = harness.MqttClient(site, gateway.mqtt_port, "postman")
    for n in range(clients):
        local.client.publish("mail/%d" % n, b"%d" % n, 1)
    harness.until(lambda: len(local.acknowledged) == clients, "the mail accepted", 60)
    local.close()


def put_to_sleep(site, name, clients, *args):
    """Returns the gateway, the devices, and what one of them costs in octets."""
    gateway = start_gateway(site, name)
    base = rss_kib(gateway.process.pid)
    devices = start_sim(site, "-p", gateway.sn_port, "-n", clients, "--persistent", "--sleep", 3600, *args)
    devices.wait_line(r"^asleep", 60)
    return gateway, devices, (rss_kib(gateway.process.pid) - base) * 1024 / clients


def sleepers(site):
    clients = 10000
    for what, args in (("no subscription", ("--duration", 600, "connect")),
                       ("one subscription, the same for all", ("-t", "all/commands", "subscribe")),
                       ("one subscription, to a topic of its own", ("-t", "mail/%n", "subscribe"))):
        gateway, devices, each = put_to_sleep(site, "sleepers%d" % len(site.processes), clients, *args)
        row("RSS of a sleeper: %s" % what, each="%.0f B" % each, all_="%.0f KiB" % (each * clients / 1024))
        RESULTS["sleeper"] = max(each, RESULTS.get("sleeper", 0))
        if what.endswith("of its own"):
            collect(site, gateway, devices, clients)
        devices.terminate()
        gateway.stop()


def collect(site, gateway, devices, clients):
    for what in ("no mail", "a message each"):
        if what != "no mail":
            mail(site, gateway, clients)
        cpu = Cpu(gateway.process.pid)
        mark = len(devices.lines)
        devices.signal(signal.SIGUSR1)
        devices.wait_line(r"^woken", 60, after=mark)
        total, _ = cpu.used_us()
        took = figures_of(devices.lines[-1])["seconds"]
        row("wake, collect, sleep: %s, %d clients" % (what, clients), rate="%.0f/s" % (clients / took),
            cpu="%.2fus" % (total / clients))


class RawClient:
    """MQTT 3.1.1 on a socket, without anything that would cost time or memory per client."""

    def __init__(self, port, name, clean=True):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = b"\x00\x04MQTT\x04%c\x00\x00\x00%c" % (2 if clean else 0, len(name)) + name
        self.ask(b"\x10%c" % len(body) + body, 4)

    def ask(self, packets, answer_bytes):
        self.sock.sendall(packets)
        self.read(answer_bytes)

    def read(self, n):
        while n > 0:
            got = self.sock.recv(n)
            assert got, "the server has closed the connection"
            n -= len(got)

    def subscribe(self, topic):
        self.ask(b"\x82%c\x00\x01\x00%c" % (5 + len(topic), len(topic)) + topic + b"\x01", 5)

    def publish_qos1(self, topic, total):
        packet = b"\x32%c\x00%c" % (4 + len(topic) + SIZE, len(topic)) + topic + b"\x00\x01" + b"." * SIZE
        for _ in range(total):
            self.ask(packet, 4)

    def close(self):
        self.sock.sendall(b"\xe0\x00")
        self.sock.close()


def pour_retained(port, total):
    """Retained messages of QoS 0 with topics of 31 octets, down one connection; back when all have been read."""
    pourer = RawClient(port, b"pourer")
    out = []
    for n in range(total):
        topic = b"some/buildings/room%06d/value" % n
        out.append(b"\x31%c\x00%c" % (2 + len(topic) + SIZE, len(topic)) + topic + b"." * SIZE)
    out.append(b"\xc0\x00")
    pourer.ask(b"".join(out), 2)
    pourer.close()


def retained(site):
    total = 50000
    for name, port, pid in both_brokers(site):
        base = rss_kib(pid)
        pour_retained(port, total)
        each = (rss_kib(pid) - base) * 1024 / total
        RESULTS["retained", name] = each
        row("retained messages of 64 B, %s" % name, each="%.0f B" % each)


def connections(site):
    """Plain connections that say nothing, then the same with a filter of their own, of which two levels are nobody
    else's. The first hundred are not counted."""
    warm, total = 100, 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for name, port, pid in both_brokers(site):
        clients = [RawClient(port, b"early%06d" % n) for n in range(warm)]
        base = rss_kib(pid)
        clients += [RawClient(port, b"client%06d" % n) for n in range(total)]
        idle = rss_kib(pid)
        for n, client in enumerate(clients[warm:]):
            client.subscribe(b"some/device%06d/command" % n)
        subscribed = rss_kib(pid)
        RESULTS["idle", name] = (idle - base) * 1024 / total
        RESULTS["filter", name] = (subscribed - idle) * 1024 / total
        row("idle connections, %s" % name, each="%.0f B" % RESULTS["idle", name])
        row("a filter of its own for each, %s" % name, each="%.0f B" % RESULTS["filter", name])
        for client in clients:
            client.close()


def growth(pid, publisher, topic, total):
    """What `total` messages for sessions that are away cost each, in octets."""
    publisher.publish_qos1(topic, 50)
    base = rss_kib(pid)
    publisher.publish_qos1(topic, total)
    return (rss_kib(pid) - base) * 1024 / total


def queue_references(site):
    """One message that waits for 201 sessions against one that waits for a single one: what a further one costs."""
    total, further = 500, 200
    for name, port, pid in both_brokers(site):
        for n in range(further + 2):
            away = RawClient(port, b"away%06d" % n, clean=False)
            away.subscribe(b"one" if n == 0 else b"all")
            away.close()
        publisher = RawClient(port, b"publisher")
        one, every = (growth(pid, publisher, topic, total) for topic in (b"one", b"all"))
        publisher.close()
        RESULTS["reference", name] = (every - one) / further
        row("a message of 64 B queued, %s" % name, for_one="%.0f B" % one,
            for_a_further="%.1f B" % RESULTS["reference", name])


def replay(site):
    printed = subprocess.check_output([REPLAY, os.path.join(site.dir, "journal")], timeout=120).decode()
    for figures in map(figures_of, printed.splitlines()):
        RESULTS["replay"] = figures["seconds"]
        row("journal of %d records, %.0f MB, replayed" % (figures["records"], figures["bytes"] / 1e6),
            seconds="%.3f" % figures["seconds"], cpu="%.3f" % figures["cpu"])


def leave_sessions(port, numbers):
    """A session with a subscription each, all at once: their CONNACKs wait for the same commits."""
    clients = []
    for n in numbers:
        name, topic = b"client%06d" % n, b"some/device%06d/+" % n
        body = b"\x00\x04MQTT\x04\x00\x00\x00\x00%c" % len(name) + name
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"\x10%c" % len(body) + body
                       + b"\x82%c\x00\x01\x00%c" % (5 + len(topic), len(topic)) + topic + b"\x01")
        clients.append(client)
    for client in clients:
        assert len(client.recv(9, socket.MSG_WAITALL)) == 9
        client.close()


def serving_again(site):
    """From the start after a kill to the CONNACK of a client that finds its session."""
    total = 10000
    gateway = start_gateway(site, "again", store={"dir": os.path.join(site.dir, "again-state")})
    for first in range(0, total, 500):
        leave_sessions(gateway.mqtt_port, range(first, first + 500))
    gateway.kill()
    began = time.monotonic()
    gateway.start()
    client = socket.create_connection(("127.0.0.1", gateway.mqtt_port))
    client.sendall(b"\x10\x18\x00\x04MQTT\x04\x00\x00\x00\x00\x0cclient009999")
    assert client.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x01\x00"
    RESULTS["again"] = time.monotonic() - began
    client.close()
    row("%d sessions, killed and started again" % total, seconds="%.2f" % RESULTS["again"],
        each="%.0f B" % (rss_kib(gateway.process.pid) * 1024 / total))


def worst_against_mosquitto():
    return max(of["cpu"] / RESULTS[name[:-len("the hub")] + "mosquitto"]["cpu"]
               for name, of in list(RESULTS.items()) if isinstance(name, str) and name.endswith(", the hub"))


# What the design asks for: a text, the limit, whether more is better, and where the figure is.
BARS = (
    ("device QoS 0 to a local subscriber, hub part of the CPU, us", 2.0, False,
     lambda: RESULTS["MQTT-SN QoS 0 to the hub, 100 devices"]["user"]),
    ("device QoS 1 to the hub, CPU against the bare echo", 3.0, False,
     lambda: RESULTS["alone", 100] / RESULTS["echo", 100]),
    ("messages lost of QoS 0 at 100 000/s", 0, False,
     lambda: RESULTS["MQTT-SN QoS 0 at 100000/s, 100 devices"]["lost"]),
    ("10 000 clients connect, per second", 50000, True, lambda: RESULTS["connect"]),
    ("device QoS 1 to the upstream against Paho alone", 0.85, True, lambda: RESULTS["upstream"]),
    ("memory of a sleeping client, the largest of them, B", 512, False, lambda: RESULTS["sleeper"]),
    ("retained message of 64 B, B", 350, False, lambda: RESULTS["retained", "the hub"]),
    ("journal of 10 000 sessions and 100 000 messages replayed, s", 1.0, False, lambda: RESULTS["replay"]),
    ("serving 10 000 sessions again after kill -9, s", 2.0, False, lambda: RESULTS["again"]),
    ("idle connection, B", 1024, False, lambda: RESULTS["idle", "the hub"]),
    ("filter of its own, B", 250, False, lambda: RESULTS["filter", "the hub"]),
    ("further queue reference, B", 32, False, lambda: round(RESULTS["reference", "the hub"], 1)),
    ("local MQTT, CPU against mosquitto, worst row", 1.0, False, worst_against_mosquitto),
)


def print_bars():
    print("\nBars")
    for text, limit, more, figure in BARS:
        try:
            value = figure()
        except (KeyError, ValueError):
            continue
        met = value >= limit if more else value <= limit
        print("%-62s %s %-9g %-9.3g %s" % (text, ">=" if more else "<=", limit, value, "met" if met else "NOT MET"))


def main():
    wanted = sys.argv[2:]
    began = time.monotonic()
    for bench in (null_udp, hub_alone, hub, hub_paced, plain_mqtt, upstream, connect_rate, sleepers, connections,
                  queue_references, retained, replay, serving_again):
        if wanted and bench.__name__ not in wanted:
            continue
        site = harness.Site()
        try:
            bench(site)
        finally:
            site.close(show=False)
    print_bars()
    print("%.0f seconds" % (time.monotonic() - began))


main()
