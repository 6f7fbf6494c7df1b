"""When the journal is written and when it is not; the gateway without one."""

import os
import re
import signal
import subprocess

import coap
import harness
import sn
from harness import until


def written(gateway):
    mark = gateway.mark()
    gateway.process.signal(signal.SIGUSR1)
    gateway.wait_log(r"store live=", after=mark)
    line = next(line for line in gateway.process.lines[mark:] if "store live=" in line)
    return int(re.search(r"written=(\d+)", line).group(1)), int(re.search(r"live=(\d+)", line).group(1))


def test_nothing_is_written_while_the_upstream_answers(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    dev = sn.SnClient(gateway, "dev").connect()
    dev.register("a/b")  # its session is stored
    before = written(gateway)
    device = coap.CoapClient(gateway)
    for n in range(100):
        dev.publish("a/b", b"%d" % n, qos=n % 2)
        device.put("ps/a/c", b"%d" % n)
    assert written(gateway) == before


def test_forgotten_when_the_upstream_has_it(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri}).start()
    gateway.wait_upstream()
    dev = sn.SnClient(gateway, "dev").connect()
    dev.register("a/b")
    session = written(gateway)[1]
    for n in range(10):
        dev.publish("a/b", b"%d" % n, qos=2)
    until(lambda: written(gateway)[1] == session, "no live record but those of the session")
    gateway.stop()  # a kill within the second in which forgets are gathered would replay them once
    gateway.start().wait_upstream()
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 1)
    site.mqtt(gateway, "local").publish("end", b"")
    cloud.wait_messages(1)
    assert cloud.messages[0].topic == "end", cloud.messages[0].topic


def test_private_files(site):
    gateway = site.gateway(upstream={"uri": "mqtt://127.0.0.1:1"}).start()
    sn.SnClient(gateway, "dev").connect().publish("a/b", b"x", qos=1)
    state = gateway.sections["store"]["dir"]
    assert os.stat(state).st_mode & 0o777 == 0o700
    for name in os.listdir(state):
        mode = os.stat(os.path.join(state, name)).st_mode & 0o777
        assert mode in (0o600, 0o700), (name, oct(mode))


def test_memory_only_is_said_loudly(site):
    broker = site.broker(persistent=True).start()
    cloud = harness.durable_collector(site, broker)
    broker.stop()
    gateway = site.gateway(store=None, upstream={"uri": broker.uri}).start()
    gateway.wait_log(r"warn.*store.*memory only")
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(50):
        dev.publish("a/b", b"%d" % n, qos=1)
    broker.start()
    cloud.wait_messages(50)
    assert [int(p) for p in cloud.payloads("a/b")] == list(range(50))


def test_unusable_directory(site):
    for directory, status in ((site.dir + "/gw/tidegate.conf", 1), ("/proc/tidegate", 1)):
        gateway = site.gateway(store={"dir": directory})
        done = subprocess.run([harness.TIDEGATE, "-c", gateway.conf], stderr=subprocess.PIPE, timeout=20, check=False)
        assert done.returncode == status, (directory, done.returncode, done.stderr)
        assert directory.encode() in done.stderr, done.stderr


def refused(config, status, line):
    done = subprocess.run([harness.TIDEGATE, "-c", config], stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert re.search(line, done.stderr), done.stderr


def test_one_gateway_for_one_directory(site):
    first = site.gateway().start()
    second = site.gateway("second", store={"dir": first.sections["store"]["dir"]})
    refused(second.conf, 69, rb"error: journal .*: held by another gateway, pid %d" % first.process.popen.pid)
    sn.SnClient(first, "dev").connect()


def test_a_directory_of_somebody_else(site):
    if os.geteuid() != 0:
        return
    gateway = site.gateway()
    state = gateway.sections["store"]["dir"]
    os.mkdir(state)
    os.chown(state, 12345, 12345)
    refused(gateway.conf, 77, rb"error: journal .*: belongs to user id 12345, the gateway runs as 0")
    assert os.listdir(state) == []


def test_a_lowered_bound(site):
    broker = site.broker(persistent=True).start()
    cloud = harness.durable_collector(site, broker)
    broker.stop()
    gateway = site.gateway(upstream={"uri": broker.uri}, store={"max_bytes": "16MB", "commit_interval": "0s"})
    gateway.start()
    dev = sn.SnClient(gateway, "dev").connect()
    for n in range(1000):
        dev.publish("a/b", b"%06d" % n + bytes(3000), qos=1)
    gateway.stop()
    gateway.sections["store"]["max_bytes"] = "1MB"
    gateway.write_conf()
    gateway.start()
    gateway.wait_log(r"warn.*journal.*more than max_bytes")
    late = sn.SnClient(gateway, "late").connect()
    msg_id = late.send_publish(late.register("a/c"), b"x", qos=1)
    assert late.expect(sn.PUBACK, msg_id=msg_id, at=2)[4] == 1, "taken although there is more than allowed"
    broker.start()
    cloud.wait_messages(1000)
    assert [int(p[:6]) for p in cloud.payloads("a/b")] == list(range(1000))
    late.publish("a/c", b"x", qos=1)
    state = gateway.sections["store"]["dir"]
    until(lambda: sum(f.stat().st_size for f in os.scandir(state)) <= 1 << 20)


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
