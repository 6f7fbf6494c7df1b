"""A gateway whose storage can be made to fail, whose clock can be set, and who tells how it is."""

import os
import re
import socket
import threading

import harness
from harness import until

SHIMS = {name: os.path.join(harness.BUILD, "tests", "lib%s_shim.so" % name) for name in ("crash", "clock")}
NOW, UNTIL_WELL = 0, 0


def preload(*names):
    assert all(os.path.exists(SHIMS[n]) for n in names), "not built: %s" % SHIMS
    return {"LD_PRELOAD": ":".join(SHIMS[n] for n in names),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def put(path, text):
    """All at once: it is read at any moment."""
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(text)
    os.replace(path + ".new", path)


class Faults:
    """What fails of what the gateway does below its state directory (tests/crash/faults.c)."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.control = os.path.join(gateway.dir, "faults")
        self.log = os.path.join(gateway.dir, "operations")

    def env(self):
        return dict(preload("crash"), TIDEGATE_CRASH_DIR=self.gateway.sections["store"]["dir"],
                    TIDEGATE_CRASH_LOG=self.log, TIDEGATE_CRASH_FAULTS=self.control)

    def set(self, error, operations="any", first=NOW, count=UNTIL_WELL, delay_ms=0):
        put(self.control, "%d %d %s %s %d" % (first, count, error, operations, delay_ms))

    def clear(self):
        put(self.control, "")

    def operations(self):
        with open(self.log, encoding="ascii") as f:
            return int(f.read())


class Notices:
    """Stands in for the service manager: gathers what the gateway says of its state."""

    def __init__(self, site, name="notify"):
        self.path = os.path.join(site.dir, name)
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self._read, daemon=True).start()

    def env(self):
        return {"NOTIFY_SOCKET": self.path}

    def _read(self):
        while True:
            self.lines += self.socket.recv(4096).decode().split("\n")

    def status(self):
        lines = [line for line in self.lines if line.startswith("STATUS=")]
        return lines[-1] if lines else ""

    def wait(self, pattern):
        until(lambda: re.search(pattern, self.status()), "the status %r, not %r" % (pattern, self.status()))
