"""mosquitto_pub and mosquitto_sub work unchanged."""

import subprocess

import harness


def pub(gateway, *args, **kwargs):
    subprocess.run(["mosquitto_pub", "-p", str(gateway.mqtt_port), *args], check=True, timeout=30, **kwargs)


def sub(site, gateway, *args):
    p = harness.Process(["stdbuf", "-oL", "mosquitto_sub", "-p", str(gateway.mqtt_port), "-W", "20", *args], "mosquitto_sub")
    site.processes.append(p)
    return p


def test_publish_and_subscribe(site):
    gateway = site.gateway().start()
    s = sub(site, gateway, "-i", "watcher", "-t", "a/#", "-q", "2", "-C", "3", "-F", "%q %r %t %p", "-d")
    s.wait_line("Subscribed")
    for qos in "012":
        pub(gateway, "-t", "a/" + qos, "-m", "hello", "-q", qos)
    assert s.wait_exit() == 0, s.output()
    assert [line for line in s.lines if line.endswith("hello")] == ["%s 0 a/%s hello" % (q, q) for q in "012"], s.lines


def test_retained(site):
    gateway = site.gateway().start()
    pub(gateway, "-t", "r/1", "-m", "kept", "-q", "1", "-r")
    s = sub(site, gateway, "-t", "r/+", "-C", "1", "-F", "%r %t %p")
    assert s.wait_exit() == 0 and s.lines == ["1 r/1 kept"], s.lines
    pub(gateway, "-t", "r/1", "-n", "-q", "1", "-r")
    s = sub(site, gateway, "-t", "r/+", "-E", "-d")
    s.wait_exit()
    assert not [line for line in s.lines if "PUBLISH" in line], s.lines


def test_many_lines(site):
    gateway = site.gateway(limits={"queue_messages": 10000, "queue_bytes": "4MB"}).start()
    s = sub(site, gateway, "-t", "lines", "-q", "2", "-C", "5000", "-d")
    s.wait_line("Subscribed")
    text = "".join("%d\n" % n for n in range(5000)).encode()
    pub(gateway, "-t", "lines", "-l", "-q", "2", input=text)
    assert s.wait_exit() == 0
    got = [int(line) for line in s.lines if line.isdigit()]
    assert got == list(range(5000)), (len(got), got[:10])


def test_persistent_session(site):
    gateway = site.gateway().start()
    s = sub(site, gateway, "-i", "keeper", "-c", "-t", "p/#", "-q", "1", "-E", "-d")
    assert s.wait_exit() == 0
    for n in range(20):
        pub(gateway, "-t", "p/x", "-m", str(n), "-q", "1")
    s = sub(site, gateway, "-i", "keeper", "-c", "-t", "p/#", "-q", "1", "-C", "20")
    assert s.wait_exit() == 0
    assert s.lines == [str(n) for n in range(20)], s.lines


def test_will(site):
    gateway = site.gateway().start()
    s = sub(site, gateway, "-t", "will/#", "-q", "1", "-C", "1", "-F", "%t %p", "-d")
    s.wait_line("Subscribed")
    doomed = harness.Process(["stdbuf", "-oL", "mosquitto_sub", "-p", str(gateway.mqtt_port), "-t", "x", "--will-topic", "will/a",
                              "--will-payload", "gone", "--will-qos", "1", "-d"], "doomed")
    site.processes.append(doomed)
    doomed.wait_line("Subscribed")
    doomed.kill()
    assert s.wait_exit() == 0 and "will/a gone" in s.lines, s.lines


harness.run(test_publish_and_subscribe, test_retained, test_many_lines, test_persistent_session, test_will)
