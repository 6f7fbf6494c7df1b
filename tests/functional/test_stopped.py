"""The gateway is stopped for a while (SIGSTOP; a machine that sleeps, a debugger, swapping): what has come meanwhile
is read before anybody is declared lost, and nothing is lost."""

import re
import signal
import struct
import time

import harness
import ledger
import mq
import sn
from harness import until

KEEPALIVE_S = 4
STOPPED_S = 12  # more than anybody may be silent
DEVICES = 150
LINKS = 80


class Crowd:
    """Devices that go on speaking while the gateway is stopped."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.devices = [sn.SnClient(gateway, "dev%d" % i).connect(duration=KEEPALIVE_S) for i in range(DEVICES)]
        self.links = [mq.MqClient(gateway.mqtt_port, "link%d" % i, keepalive=KEEPALIVE_S) for i in range(LINKS)]
        self.keep()

    def keep(self):
        """Everybody speaks once."""
        for d in self.devices:
            d.send(sn.PINGREQ)
        for link in self.links:
            link.send(mq.packet(mq.PINGREQ))

    def hear(self, times):
        for d in self.devices:
            for _ in range(times):
                d.expect(sn.PINGRESP)
        for link in self.links:
            for _ in range(times):
                assert link.recv(harness.WAIT_S)[0] == mq.PINGRESP


def stop(gateway, crowd):
    """For STOPPED_S, in the middle of which everybody speaks."""
    gateway.process.signal(signal.SIGSTOP)
    time.sleep(STOPPED_S - 2)
    crowd.keep()


def go_on(gateway):
    time.sleep(2)
    gateway.process.signal(signal.SIGCONT)


def open_exchange(gateway):
    """A device that has its PUBREC."""
    device = sn.SnClient(gateway, "two").connect(duration=KEEPALIVE_S)
    topic_id = device.register("stop/two")
    msg_id = device.send_publish(topic_id, b"two", 2)
    device.expect(sn.PUBREC, msg_id=msg_id)
    return device, msg_id


def sleeper_of(gateway):
    device = sn.SnClient(gateway, "sleeper").connect(duration=KEEPALIVE_S)
    device.subscribe("stop/mail", 1)
    device.send(sn.DISCONNECT, struct.pack(">H", KEEPALIVE_S))
    device.expect(sn.DISCONNECT)
    return device


def test_stopped(site):
    upstream = ledger.Upstream(site).start()
    gateway = site.gateway(upstream={"uri": upstream.uri, "keepalive": "5s"}, store={"commit_interval": "0"},
                           log={"level": "info"}).start()
    gateway.wait_upstream()
    crowd = Crowd(gateway)
    crowd.hear(1)
    two, msg_id = open_exchange(gateway)
    sleeper = sleeper_of(gateway)
    crowd.devices[0].publish("stop/mail", b"before", 1)
    mark = gateway.mark()

    stop(gateway, crowd)
    two.send(sn.PUBREL, struct.pack(">H", msg_id))
    sleeper.send(sn.PINGREQ, b"sleeper")
    crowd.links[0].send(mq.publish("stop/link", b"meanwhile", 1, 7))
    go_on(gateway)

    crowd.hear(1)
    two.expect(sn.PUBCOMP, msg_id=msg_id)
    sleeper.expect(sn.PINGRESP)
    assert sleeper.received() == [("stop/mail", b"before")]
    assert crowd.links[0].recv(harness.WAIT_S)[0] == mq.PUBACK
    crowd.keep()
    crowd.hear(1)
    until(lambda: {("stop/two", b"two"), ("stop/mail", b"before"), ("stop/link", b"meanwhile")} <= set(upstream.arrived),
          "the arrival of all messages")
    gone = [line for line in gateway.process.lines[mark:] if re.search(r"mqtt(sn)?: .*(lost|silent|keep alive|closed)", line)]
    assert not gone, gone
    lost = [line for line in gateway.process.lines[mark:] if re.search(r"upstream: .*lost", line)]
    assert len(lost) <= 1, lost
    gateway.stop()


harness.run(test_stopped)
