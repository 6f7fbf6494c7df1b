"""What every functional test needs: the real daemon, real peers, free ports, events instead of sleeps.

A test file holds functions and ends with `harness.run(function, ...)`. Each function gets a Site: a scratch
directory in which gateways and brokers are started; all of them are stopped, by their PID, when it returns."""

import concurrent.futures
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import paho.mqtt.client as mqtt

BUILD = os.environ.get("TIDEGATE_BUILD", os.path.join(os.path.dirname(__file__), "../../build/release"))
TIDEGATE = os.path.join(BUILD, "tidegate")
SIM = os.path.join(BUILD, "tidegate-sim")
WAIT_S = float(os.environ.get("TIDEGATE_TEST_WAIT", "20"))

SHOWN_LINES = int(os.environ.get("TIDEGATE_TEST_LINES", "200"))  # of each process, when a test has failed

PORTS = range(10000, 32000)


def free_port(kind=socket.SOCK_STREAM):
    """A port nobody listens on, below those that the kernel hands out to clients: it stays free while a server
    restarts."""
    while True:
        port = random.choice(PORTS)
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def until(condition, what="the condition", timeout=WAIT_S):
    """Waits for condition() to be true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s did not come true in %g s" % (what, timeout))
        time.sleep(0.01)


class Process:
    """A program whose output is gathered; stopped by its own PID."""

    def __init__(self, args, name, env=None, cwd=None):
        self.name = name
        self.lines = []
        self.popen = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      stdin=subprocess.DEVNULL, env=env, cwd=cwd)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        return "\n".join(self.lines)

    def wait_line(self, pattern, timeout=WAIT_S, after=0):
        def look():
            if any(re.search(pattern, line) for line in self.lines[after:]):
                return True
            if self.popen.poll() is not None:
                self.reader.join(2)
                if any(re.search(pattern, line) for line in self.lines[after:]):
                    return True
                raise AssertionError("%s ended (%s) without /%s/:\n%s"
                                     % (self.name, self.popen.returncode, pattern, self.output()))
            return False
        until(look, "%s saying /%s/" % (self.name, pattern), timeout)

    def wait_exit(self, timeout=WAIT_S):
        status = self.popen.wait(timeout)
        self.reader.join(2)
        return status

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait()
        self.reader.join(2)

    def terminate(self, timeout=WAIT_S):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s did not end in %g s" % (self.name, timeout)) from None
        self.reader.join(2)
        return self.popen.returncode


class Gateway:
    """The daemon on free loopback ports. `sections` maps a section to a dict of keys; a value of None leaves
    a key out, a section of None leaves the section out."""

    def __init__(self, site, name="gw", **sections):
        self.site = site
        self.name = name
        self.dir = os.path.join(site.dir, name)
        os.makedirs(self.dir, exist_ok=True)
        self.sn_port = free_port(socket.SOCK_DGRAM)
        self.coap_port = free_port(socket.SOCK_DGRAM)
        self.mqtt_port = free_port()
        self.conf = os.path.join(self.dir, "tidegate.conf")
        self.process = None
        self.sections = {
            "gateway": {"id": name},
            "mqttsn": {"listen": "udp://127.0.0.1:%d" % self.sn_port},
            "coap": {"listen": "coap://127.0.0.1:%d" % self.coap_port},
            "mqtt": {"listen": "mqtt://127.0.0.1:%d" % self.mqtt_port},
            "store": {"dir": os.path.join(self.dir, "state")},
            "log": {"level": "debug"},
        }
        for section, keys in sections.items():
            if keys is None:
                self.sections.pop(section, None)
            else:
                self.sections.setdefault(section, {}).update(keys)
        self.write_conf()

    def write_conf(self):
        with open(self.conf, "w", encoding="utf-8") as f:
            for section, keys in self.sections.items():
                f.write("[%s]\n" % section)
                for key, value in keys.items():
                    if value is not None:
                        f.write("%s = %s\n" % (key, value))

    def start(self, wait=True, env=None):
        """`env` is added to the environment."""
        self.process = Process([TIDEGATE, "-c", self.conf], self.name, env=dict(os.environ, **(env or {})))
        self.site.processes.append(self.process)
        if wait:
            self.process.wait_line(r"is up$")
        return self

    def stop(self, timeout=10):
        status = self.process.terminate(timeout)
        if status != 0:
            raise AssertionError("the gateway ended with %s" % status)

    def kill(self):
        self.process.kill()

    def restart_killed(self):
        self.kill()
        return self.start()

    def log(self):
        return self.process.output()

    def mark(self):
        """A place in the log, for wait_log(after=...)."""
        return len(self.process.lines)

    def wait_log(self, pattern, timeout=WAIT_S, after=0):
        self.process.wait_line(pattern, timeout, after)

    def wait_upstream(self, timeout=WAIT_S, after=0):
        self.wait_log(r"upstream.*connected", timeout, after)

    def dump_state(self):
        """Makes it write its state into its log, and returns where that begins."""
        mark = self.mark()
        self.process.signal(signal.SIGUSR1)
        self.wait_log(r"gateway \S+ sessions=", after=mark)
        # The dump ends with the counters; one more dump marks their end.
        again = self.mark()
        self.process.signal(signal.SIGUSR1)
        self.wait_log(r"gateway \S+ sessions=", after=again)
        return mark

    def counters(self):
        """Asks for a state dump and returns its counters."""
        mark = self.dump_state()
        found = {}
        for line in self.process.lines[mark:]:
            m = re.search(r"count (\S+) (\d+)$", line)
            if m:
                found[m.group(1)] = int(m.group(2))
        return found


class Broker:
    """mosquitto as the upstream."""

    def __init__(self, site, extra="", port=None, name="broker", persistent=False):
        self.site = site
        self.name = name
        self.port = port or free_port()
        self.dir = os.path.join(site.dir, name)
        os.makedirs(self.dir, exist_ok=True)
        self.conf = os.path.join(self.dir, "mosquitto.conf")
        text = ("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 100\n"
                "log_dest stderr\nlog_type all\nuser root\n" % self.port)
        if persistent:
            text += "persistence true\npersistence_location %s/\nautosave_interval 1\n" % self.dir
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(text + extra)
        self.process = None

    def start(self):
        self.process = Process(["/usr/sbin/mosquitto", "-c", self.conf], self.name)
        self.site.processes.append(self.process)
        until(self.listening, "mosquitto listening on %d" % self.port)
        return self

    def listening(self):
        if self.process.popen.poll() is not None:
            raise AssertionError("mosquitto ended:\n" + self.process.output())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        """With persistent=True a later start() goes on with sessions and retained messages."""
        self.process.terminate()

    def pause(self):
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    @property
    def uri(self):
        return "mqtt://127.0.0.1:%d" % self.port


def durable_collector(site, broker):
    """A client of a broker(persistent=True) that has subscribed to everything and gets it also when the broker
    restarts: what arrives before the client has come back is kept for it."""
    collector = MqttClient(site, broker.port, "collector", clean=False)
    collector.subscribe("#", 2)
    return collector


class MqttClient:
    """paho-mqtt with its messages in a list; connects again by itself."""

    def __init__(self, site, port, client_id="", clean=True, protocol=mqtt.MQTTv311, will=None):
        self.messages = []
        self.acknowledged = set()
        self.subscribed = {}
        self.connected = threading.Event()
        self.present = None
        if protocol == mqtt.MQTTv5:
            self.client = mqtt.Client(client_id, protocol=protocol)
        else:
            self.client = mqtt.Client(client_id, clean_session=clean, protocol=protocol)
        if will:
            self.client.will_set(*will)
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda c, u, m: self.messages.append(m)
        self.client.on_publish = lambda c, u, mid: self.acknowledged.add(mid)
        self.client.on_subscribe = self._on_subscribe
        self.client.max_inflight_messages_set(100)
        self.client.reconnect_delay_set(0.02, 0.1)
        self.client.connect("127.0.0.1", port, 60)
        self.client.loop_start()
        site.clients.append(self)
        if not self.connected.wait(WAIT_S):
            raise AssertionError("no CONNACK from port %d" % port)

    def _on_connect(self, client, user, flags, rc, properties=None):
        self.present = flags.get("session present")
        self.connected.set()

    def _on_subscribe(self, client, user, mid, granted, properties=None):
        self.subscribed[mid] = granted

    def subscribe(self, topic, qos=1):
        _, mid = self.client.subscribe(topic, qos)
        until(lambda: mid in self.subscribed, "SUBACK for " + topic)
        return self.subscribed[mid]

    def publish(self, topic, payload=b"", qos=1, retain=False, wait=True):
        info = self.client.publish(topic, payload, qos, retain)
        if wait and qos > 0:
            until(lambda: info.mid in self.acknowledged, "the acknowledgement of " + topic)
        return info

    def wait_messages(self, n, timeout=WAIT_S):
        until(lambda: len(self.messages) >= n, "%d messages (have %d)" % (n, len(self.messages)), timeout)
        return self.messages

    def payloads(self, topic=None):
        return [m.payload for m in self.messages if topic is None or m.topic == topic]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def interrupt(self):
        """The connection ends without DISCONNECT and is taken up again, with what the client remembers."""
        self.connected.clear()
        self.client.socket().shutdown(socket.SHUT_RDWR)
        if not self.connected.wait(WAIT_S):
            raise AssertionError("did not connect again")

    def cut(self):
        """The connection ends without DISCONNECT."""
        sock = self.client.socket()
        self.client.loop_stop()
        if sock:
            sock.close()


class Site:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tidegate-test-")
        self.processes = []
        self.clients = []

    def gateway(self, name="gw", **sections):
        return Gateway(self, name, **sections)

    def broker(self, **arguments):
        return Broker(self, **arguments)

    def mqtt(self, where, client_id="", **arguments):
        port = where.mqtt_port if isinstance(where, Gateway) else where.port
        return MqttClient(self, port, client_id, **arguments)

    def close(self, show):
        for client in self.clients:
            try:
                client.close()
            except OSError:
                pass
        for process in self.processes:
            status = process.popen.poll()
            if show or status not in (None, 0, -signal.SIGKILL):
                tail = process.lines[-SHOWN_LINES:]
                print("--- %s (%s)\n%s" % (process.name, status, "\n".join(tail)))
            process.kill()
            for line in process.lines:
                if "AddressSanitizer" in line or "runtime error:" in line or "ThreadSanitizer" in line:
                    raise AssertionError("sanitizer finding in %s: %s" % (process.name, line))
        shutil.rmtree(self.dir, ignore_errors=True)


def each(*values):
    """A case of run_cases() that is run once for every value, its second argument. A value is a
    tuple whose first element names it, or its own name."""
    def mark(function):
        function.each = values
        return function
    return mark


def _expand(functions):
    for function in functions:
        for value in getattr(function, "each", [None]):
            if value is None:
                yield function.__name__, function, ()
            else:
                name = value[0] if isinstance(value, tuple) else value
                yield "%s[%s]" % (function.__name__, name), function, (value,)


def run_cases(prepare, functions, at_once=1):
    """For files of many small cases: all share one Site and what prepare(site) makes of it, and get
    a part of it for themselves: prepare(site).case(). Cases that spend their time waiting can be run
    several at once. Arguments of the program select cases by the beginning of their names."""
    wanted = sys.argv[1:]
    cases = [c for c in _expand(functions) if not wanted or any(c[0].startswith(w) for w in wanted)]
    site = Site()
    results = []
    try:
        shared = prepare(site)
    except Exception:
        site.close(show=True)
        raise

    def run_one(name, function, arguments):
        began = time.monotonic()
        good = True
        try:
            with shared.case() as case:
                function(case, *arguments)
        except Exception:
            good = False
            traceback.print_exc()
        print("%s %s (%.1f s)" % ("ok  " if good else "FAIL", name, time.monotonic() - began), flush=True)
        results.append(good)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for c in cases:
            pool.submit(run_one, *c)
    try:
        site.close(show=not all(results))
    except Exception:
        traceback.print_exc()
        results.append(False)
    failed = results.count(False)
    print("%d passed, %d failed" % (len(results) - failed, failed))
    sys.exit(1 if failed or not results else 0)


def run(*functions):
    """Runs the functions, each on a fresh Site; ends the program with 0 or 1."""
    passed = failed = 0
    wanted = sys.argv[1:]
    for function in functions:
        if wanted and function.__name__ not in wanted:
            continue
        site = Site()
        began = time.monotonic()
        good = True
        try:
            function(site)
        except Exception:
            good = False
            traceback.print_exc()
        try:
            site.close(show=not good)
        except Exception:
            good = False
            traceback.print_exc()
        print("%s %s (%.1f s)" % ("ok  " if good else "FAIL", function.__name__, time.monotonic() - began))
        sys.stdout.flush()
        passed += good
        failed += not good
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed or not passed else 0)
