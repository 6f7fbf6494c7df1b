"""Memory of sleeping MQTT-SN clients by what they have: RSS of the gateway per sleeper, all included.

usage: sleepers.py TIDEGATE [CLIENTS]

Once without storage, once with it.

Every client connects, registers four topics of its own, perhaps subscribes, and sleeps. The growth of RSS from the
1 000th client to the last is divided by their number."""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

CONNECT, CONNACK, REGISTER, REGACK, SUBSCRIBE, SUBACK, DISCONNECT = 4, 5, 10, 11, 18, 19, 24
WARM = 1000


def packet(kind, body):
    return bytes([len(body) + 2, kind]) + body


class Device:
    def __init__(self, number, port):
        self.id = b"dev-%05d" % number
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        # a client is an address: 127/8 has enough of them for one socket at a time
        self.sock.bind(("127.1.%d.%d" % (number // 250, number % 250 + 1), 0))
        self.sock.connect(("127.0.0.1", port))

    def ask(self, kind, body, answer):
        self.sock.send(packet(kind, body))
        got = self.sock.recv(2048)
        assert got[1] == answer and (answer == DISCONNECT or got[-1] == 0), got

    def sleep(self):
        self.ask(DISCONNECT, b"\xff\xff", DISCONNECT)
        self.sock.close()


def registered(dev):
    for n in range(4):
        dev.ask(REGISTER, struct.pack(">HH", 0, n + 1) + dev.id + b"/%d/temp" % n, REGACK)


def subscribed_shared(dev):
    registered(dev)
    dev.ask(SUBSCRIBE, b"\x20\x00\x09" + b"all/commands", SUBACK)


def subscribed_own(dev):
    registered(dev)
    dev.ask(SUBSCRIBE, b"\x20\x00\x09" + dev.id + b"/cmd", SUBACK)


def nothing(dev):
    pass


def rss(pid):
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    return 0


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def storage(scratch):
    """One device speaks at a time, and most answers wait for a commit: none waits for a disk or for others here."""
    return "[store]\ndir = %s/state\ncommit_interval = 0\n" % scratch


def measure(program, clients, what, stored):
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        port = free_port()
        conf = os.path.join(scratch, "tidegate.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write("[gateway]\nid = bench\n[mqttsn]\nlisten = udp://127.0.0.1:%d\n%s"
                    "[limits]\nsessions = 200000\n" % (port, storage(scratch) if stored else ""))
        gateway = subprocess.Popen([program, "-c", conf, "-q"], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            before = 0
            for number in range(clients + WARM):
                if number == WARM:
                    before = rss(gateway.pid)
                dev = Device(number, port)
                dev.ask(CONNECT, b"\x00\x01\x00\x3c" + dev.id, CONNACK)
                what(dev)
                dev.sleep()
            return (rss(gateway.pid) - before) / clients
        finally:
            gateway.terminate()
            gateway.wait()


def main():
    program, clients = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    for what in (nothing, registered, subscribed_shared, subscribed_own):
        in_memory, stored = [measure(program, clients, what, on) for on in (False, True)]
        print("RSS per sleeper, %-18s %5.0f octets, stored %5.0f" % (what.__name__, in_memory, stored))


main()
