"""An upgrade under load: 50 devices publish at QoS 1 and repeat after a second, 20 more sleep with mail. None is told
DISCONNECT or needs to register again; all that was published arrives, all mail is collected."""

import select
import struct
import threading
import time

import restart
import sn
import suite
from harness import WAIT_S, until

DEVICES, SLEEPERS = 50, 20


class Publisher:
    """One message at a time, said again every second until it is acknowledged."""

    def __init__(self, gw, number):
        self.dev = suite.Device(gw, "pub-%d" % number).connect()
        self.topic_id = self.dev.register("load/%d" % number)
        self.number, self.n, self.msg_id, self.due = number, 0, 0, 0
        self.said, self.strange = [], []

    def publish(self):
        self.n += 1
        self.msg_id = self.dev.next_id()
        self.said.append(b"%d/%d" % (self.number, self.n))
        self.say(dup=False)

    def say(self, dup):
        self.due = time.monotonic() + 1
        try:
            self.dev.send_publish(self.topic_id, self.said[-1], 1, msg_id=self.msg_id, dup=dup)
        except ConnectionRefusedError:
            pass

    def acknowledged(self):
        """The next datagram: it is the PUBACK that was awaited."""
        kind, body = sn.parse(self.dev.sock.recv(65536))
        if kind != sn.PUBACK or body[4]:
            self.strange.append((sn.NAMES.get(kind), body.hex()))
        return kind == sn.PUBACK and body[4] == 0 and struct.unpack_from(">H", body, 2)[0] == self.msg_id


class Load(threading.Thread):
    def __init__(self, gw):
        super().__init__(daemon=True)
        self.publishers = [Publisher(gw, i) for i in range(DEVICES)]
        self.by_socket = {p.dev.sock: p for p in self.publishers}
        self.stopping = False
        self.open = set(self.publishers)

    def turn(self):
        for sock in select.select(list(self.by_socket), [], [], 0.05)[0]:
            p = self.by_socket[sock]
            if not p.acknowledged():
                continue
            self.open.discard(p)
            if not self.stopping:
                self.open.add(p)
                p.publish()
        for p in self.open:
            if time.monotonic() >= p.due:
                p.say(dup=True)

    def run(self):
        for p in self.publishers:
            p.publish()
        end = None
        while self.open and (end is None or time.monotonic() < end):
            self.turn()
            if self.stopping and end is None:
                end = time.monotonic() + WAIT_S

    def finish(self):
        self.stopping = True
        self.join()
        assert not self.open, "%d messages were never acknowledged" % len(self.open)

    def said(self):
        return [payload for p in self.publishers for payload in p.said]


def goes_on_under_load(site, end):
    gw = restart.gateway(site)
    listener = site.mqtt(gw, "listener", clean=False)
    listener.subscribe("load/#", 1)
    sleepers = [restart.device(gw, "sleeper-%d" % i, clean=i % 2) for i in range(SLEEPERS)]
    for i, dev in enumerate(sleepers):
        dev.subscribe("mail/%d" % i, 1)
        restart.asleep(dev)
        listener.publish("mail/%d" % i, b"%d" % i, wait=i + 1 == SLEEPERS)
    load = Load(gw)
    load.start()
    until(lambda: len(load.said()) > 3 * DEVICES, "the load")
    end(gw)
    before = len(load.said())
    until(lambda: len(load.said()) > before + 3 * DEVICES, "the load after the restart")
    load.finish()
    assert not [p.strange for p in load.publishers if p.strange]
    until(lambda: set(listener.payloads()) >= set(load.said()), "all that was acknowledged")
    for i, dev in enumerate(sleepers):
        assert dev.collect() == [b"%d" % i]


if __name__ == "__main__":
    restart.both(goes_on_under_load)
