"""MQTT-SN over a network that loses 30 % of the datagrams in each direction, doubles some and delays some (so that
they overtake each other): 50 devices, both ways at once. What was acknowledged arrives, in order, QoS 2 once."""

import re

import harness

DEVICES = 50
NETWORK = ("--loss", 30, "--dup", 20, "--reorder", 20, "--retry-ms", 100, "--retries", 100)


def sim(site, *args):
    process = harness.Process([harness.SIM, "--quiet", *map(str, args)], "sim " + str(args[-1]))
    site.processes.append(process)
    return process


def summary(process):
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)\b(?!\.)", process.lines[-1])}


def lossy_gateway(site):
    return site.gateway(mqttsn={"retry_interval": "100ms", "retry_count": 100}, log={"level": "info"},
                        limits={"queue_messages": 10000}).start()


def expect_all(counted, sent, qos):
    assert counted["distinct"] == sent, counted
    assert counted["missing"] == 0 and counted["disordered"] == 0 and counted["unnumbered"] == 0, counted
    if qos == 2:
        assert counted["doubled"] == 0 and counted["received"] == sent, counted


def both_ways(site, qos, count, seed):
    gateway = lossy_gateway(site)
    sent = DEVICES * count
    above = sim(site, "-P", "mqtt", "-p", gateway.mqtt_port, "-i", "above", "-t", "up/#", "-q", 2, "--check", "--count",
                sent, "--linger", 1, "subscribe")
    below = sim(site, "-p", gateway.sn_port, "-i", "below", "-n", DEVICES, "-t", "down/%n", "-q", qos, "--check",
                "--count", count, "--linger", 1, "--persistent", "--seed", seed, *NETWORK, "subscribe")
    above.wait_line(r"^ready")
    below.wait_line(r"^ready")
    down = sim(site, "-P", "mqtt", "-p", gateway.mqtt_port, "-i", "down", "-n", DEVICES, "-t", "down/%n", "-q", qos,
               "--count", count, "publish")
    up = sim(site, "-p", gateway.sn_port, "-i", "up", "-n", DEVICES, "-t", "up/%n", "-q", qos, "--count", count,
             "--persistent", "--seed", seed + 1, *NETWORK, "publish")
    for process in (down, up):
        assert process.wait_exit(40) == 0, process.output()
        assert summary(process)["acked"] == sent, process.output()
    assert summary(up)["retried"] > sent / 4 and summary(up)["lost"] > sent / 4, up.output()
    for process in (above, below):
        process.wait_exit(40)
        expect_all(summary(process), sent, qos)
    assert gateway.process.popen.poll() is None


def test_qos1(site):
    both_ways(site, 1, 30, seed=100)


def test_qos2(site):
    both_ways(site, 2, 20, seed=200)


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
