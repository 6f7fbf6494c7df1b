"""Ten thousand sleeping devices: they connect, subscribe, sleep, and collect their mail when they wake, all from one
process, in bounded time."""

import re
import signal

import harness

CLIENTS = 10000


def sleepers(site, gateway, *args):
    process = harness.Process([harness.SIM, "--quiet", "-p", str(gateway.sn_port), "-n", str(CLIENTS), "--persistent",
                               "--check", "-t", "mail/%n", *map(str, args), "subscribe"], "sleepers")
    site.processes.append(process)
    return process


def gateway_of(site):
    return site.gateway(log={"level": "notice"}, limits={"sessions": CLIENTS + 100}).start()


def mail(gateway, number):
    """One message for each of them, by one local client."""
    local = harness.MqttClient(gateway.site, gateway.mqtt_port, "postman%d" % number)
    infos = [local.client.publish("mail/%d" % n, b"%d" % number, 1) for n in range(CLIENTS)]
    harness.until(lambda: len(local.acknowledged) == len(infos), "the mail accepted", 30)
    local.close()


def summary(process):
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)\b(?!\.)", process.lines[-1])}


def test_sleep_wake_collect(site):
    gateway = gateway_of(site)
    devices = sleepers(site, gateway, "--sleep", 600)
    devices.wait_line(r"^ready clients=%d " % CLIENTS, 30)
    devices.wait_line(r"^asleep clients=%d " % CLIENTS, 30)
    for round_ in range(2):
        mail(gateway, round_)
        mark = len(devices.lines)
        devices.signal(signal.SIGUSR1)
        devices.wait_line(r"^woken clients=%d " % CLIENTS, 30, after=mark)
    devices.terminate()
    counted = summary(devices)
    assert counted["distinct"] == counted["received"] == 2 * CLIENTS, counted
    assert counted["missing"] == counted["disordered"] == counted["failed"] == 0, counted
    assert counted["wakes"] == 2 * CLIENTS, counted


def test_by_their_own_clocks(site):
    """Woken by their timers, spread by jitter, for some cycles."""
    gateway = gateway_of(site)
    devices = sleepers(site, gateway, "--sleep", 4, "--count", 1)
    devices.wait_line(r"^asleep clients=%d " % CLIENTS, 30)
    mail(gateway, 0)
    assert devices.wait_exit(30) == 0, devices.output()
    counted = summary(devices)
    assert counted["distinct"] == CLIENTS and counted["wakes"] >= CLIENTS / 2, counted


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
