"""tidegate-sim, the simulated device."""

import subprocess

import harness
from harness import until


def sim(*args, check=True):
    done = subprocess.run([harness.SIM, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          check=False)
    if check and done.returncode != 0:
        raise AssertionError((done.stdout, done.stderr))
    return done


def subscriber(site, *args):
    p = harness.Process([harness.SIM, *map(str, args), "subscribe"], "sim")
    site.processes.append(p)
    return p


def test_publish_with_each_protocol(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 2)
    for protocol, port in (("mqttsn", gateway.sn_port), ("coap", gateway.coap_port), ("mqtt", gateway.mqtt_port)):
        out = sim("-P", protocol, "-p", port, "-t", "sim/" + protocol, "-m", "%c %n", "-c", 3, "publish")
        assert b"sent=3 acked=3" in out.stdout, out.stdout
        until(lambda: len(local.payloads("sim/" + protocol)) == 3, protocol)
        assert local.payloads("sim/" + protocol) == [b"sim 0", b"sim 1", b"sim 2"]


def test_subscribe_with_each_protocol(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    watchers = []
    for protocol, port in (("mqttsn", gateway.sn_port), ("coap", gateway.coap_port), ("mqtt", gateway.mqtt_port)):
        watchers.append(subscriber(site, "-P", protocol, "-p", port, "-i", "w-" + protocol, "-t", "s/#", "-c", 2))
    local.publish("s/probe", b"here", qos=1, retain=True)
    for w in watchers:
        w.wait_line(r"s/probe  here")
    local.publish("s/x", b"second", qos=1)
    for w in watchers:
        assert w.wait_exit() == 0, w.output()
        assert any("s/x  second" in line for line in w.lines), w.lines


def test_many_clients(site):
    gateway = site.gateway().start()
    out = sim("-p", gateway.sn_port, "-n", 200, "-t", "many/%c", "-q", 2, "-c", 5, "--quiet", "publish")
    assert b"clients=200" in out.stdout and b"sent=1000 acked=1000" in out.stdout, out.stdout


def test_sleep_cycles(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    sleeper = subscriber(site, "-p", gateway.sn_port, "-t", "z/#", "--sleep", 1, "-c", 3)
    sleeper.wait_line(r"^asleep clients=1 ")
    for n in range(3):
        local.publish("z/x", b"%d" % n)
    assert sleeper.wait_exit() == 0, sleeper.output()


def test_roaming(site):
    """Devices that change their port under way lose and double nothing."""
    gateway = site.gateway(mqttsn={"retry_interval": "200ms", "retry_count": 20},
                           store={"commit_interval": "5ms"}).start()
    ports = ("-p", gateway.sn_port, "-n", 5, "-q", 2, "--persistent", "--roam", 1, "--quiet")
    below = subscriber(site, *ports, "-i", "below", "-t", "roam/%n", "--check", "-c", 300)
    below.wait_line(r"^ready")
    out = sim(*ports, "-i", "up", "-t", "roam/%n", "-c", 300, "--rate", 500, "publish")
    assert b"sent=1500 acked=1500" in out.stdout and b"roams=0" not in out.stdout, out.stdout
    assert below.wait_exit() == 0, below.output()
    assert "distinct=1500 missing=0 doubled=0 disordered=0" in below.lines[-1], below.output()


def test_forwarder(site):
    """Devices behind a forwarder's one socket, on a bad network, some moving to another forwarder."""
    gateway = site.gateway(mqttsn={"retry_interval": "100ms", "retry_count": 50}).start()
    nodes = ("-p", gateway.sn_port, "-n", 20, "-q", 2, "--persistent", "--forwarder", "--quiet", "--loss", 10, "--dup",
             10, "--reorder", 10, "--retry-ms", 100, "--retries", 50, "--roam", 1)
    below = subscriber(site, *nodes, "-i", "below", "-t", "nodes/%n", "--check", "-c", 20)
    below.wait_line(r"^ready")
    out = sim(*nodes, "-i", "up", "-t", "nodes/%n", "-c", 20, "--seed", 2, "publish")
    assert b"sent=400 acked=400" in out.stdout, out.stdout
    assert below.wait_exit() == 0, below.output()
    assert "distinct=400 missing=0 doubled=0 disordered=0" in below.lines[-1], below.output()


def test_wills(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("will/#", 1)
    will = ("-p", gateway.sn_port, "--will-topic", "will/a", "--will-message", "gone", "--keepalive", 1, "--vanish")
    sim(*will, "-i", "one", "connect")
    sim(*will, "-i", "two", "--new-will-topic", "will/b", "--new-will-message", "later", "connect")
    until(lambda: len(local.messages) == 2, "both wills")
    assert sorted((m.topic, m.payload) for m in local.messages) == [("will/a", b"gone"), ("will/b", b"later")]


def test_seed_decides_what_is_lost(site):
    gateway = site.gateway(mqttsn={"qos_minus_one": "all"}).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    arrived = []
    for number, seed in enumerate((1, 1, 2)):
        sim("-p", gateway.sn_port, "-t", "xy", "-q", -1, "-c", 200, "--rate", 2000, "--loss", 50, "--seed", seed,
            "publish")
        local.publish("end/%d" % number)
        until(lambda: "end/%d" % number in [m.topic for m in local.messages], "the end of round %d" % number)
        arrived.append([m.payload for m in local.messages if m.topic == "xy"])
        local.messages.clear()
    assert arrived[0] == arrived[1] and arrived[0] != arrived[2] and 50 < len(arrived[0]) < 150, arrived


def test_check(site):
    """What the numbers that payloads start with tell."""
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    watcher = subscriber(site, "-p", gateway.sn_port, "-t", "check/+", "-c", 6, "--check", "--quiet")
    watcher.wait_line(r"^ready")
    for payload in (b"0", b"1 rest", b"3", b"2", b"2", b"none", b"6"):
        local.publish("check/a", payload)
    local.publish("check/b", b"0")
    assert watcher.wait_exit() == 0, watcher.output()
    assert " distinct=6 missing=2 doubled=1 disordered=1 unnumbered=1 " in watcher.lines[-1], watcher.output()


def test_wrong_use(site):
    assert sim("-q", 3, "-t", "x", "publish", check=False).returncode == 64
    assert sim("dance", check=False).returncode == 64
    assert sim("publish", check=False).returncode == 64


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
