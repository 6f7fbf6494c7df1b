"""What the kernel had no room for is counted: a gateway that could not read for a while says so."""

import re
import signal

import harness
import sn
from harness import until


def receive_buffer(gateway):
    """Octets, from the state dump."""
    mark = gateway.mark()
    gateway.process.signal(signal.SIGUSR1)
    gateway.wait_log(r"receive buffer \d+ octets", after=mark)
    line = next(x for x in gateway.process.lines[mark:] if "receive buffer" in x)
    return int(re.search(r"receive buffer (\d+) octets, (\d+) datagrams lost", line).group(1))


def test_drops_are_counted(site):
    gateway = site.gateway(log={"level": "info"}).start()
    dev = sn.SnClient(gateway)
    flood = receive_buffer(gateway) // 256 + 1000  # the smallest datagram costs the kernel more than that
    gateway.process.signal(signal.SIGSTOP)
    for _ in range(flood):
        dev.send_raw(b"\x03\x02\x00")  # not for a gateway: read and dropped
    gateway.process.signal(signal.SIGCONT)

    def counted():
        dev.send_raw(b"\x03\x02\x00")  # the kernel tells with the next datagram
        return gateway.counters().get("mqttsn.kernel_drops", 0)

    drops = until(counted, "drops counted")
    assert drops + gateway.counters()["mqttsn.packets_received"] >= flood
    assert any(re.search(r"%s \[mqttsn\].* [1-9]\d* datagrams lost" % re.escape("127.0.0.1:%d" % gateway.sn_port), x)
               for x in gateway.process.lines)
    sn.SnClient(gateway).connect()


def test_receive_buffer(site):
    """As much as the system grants: 4 MiB where it may be forced, else what it allows everybody."""
    with open("/proc/sys/net/core/rmem_max", encoding="utf-8") as f:
        allowed = int(f.read())
    assert receive_buffer(site.gateway().start()) >= min(allowed, 4 << 20)


harness.run(test_drops_are_counted, test_receive_buffer)
