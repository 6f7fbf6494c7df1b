"""A small raw CoAP client (RFC 7252, 7641): what it sends is what the test says."""

import os
import socket
import struct
import subprocess
import time

from harness import WAIT_S

CON, NON, ACK, RST = 0, 1, 2, 3
GET, POST, PUT, DELETE = 1, 2, 3, 4
CREATED, DELETED, VALID, CHANGED, CONTENT = 0x41, 0x42, 0x43, 0x44, 0x45
ETAG, OBSERVE, LOCATION_PATH, URI_PATH, CONTENT_FORMAT, MAX_AGE, URI_QUERY, BLOCK2, BLOCK1, ECHO = (
    4, 6, 8, 11, 12, 14, 15, 23, 27, 252)


def code_text(code):
    return "%d.%02d" % (code >> 5, code & 31)


def uint(value):
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class Packet:
    def __init__(self, kind, code, mid, token=b"", options=(), payload=b""):
        self.kind, self.code, self.mid, self.token = kind, code, mid, token
        self.options, self.payload = sorted(options, key=lambda o: o[0]), payload

    def encode(self):
        out = struct.pack(">BBH", 0x40 | self.kind << 4 | len(self.token), self.code, self.mid) + self.token
        last = 0
        for number, value in self.options:
            out += self._option(number - last, value)
            last = number
        return out + (b"\xff" + self.payload if self.payload else b"")

    @staticmethod
    def _nibble(n):
        if n < 13:
            return n, b""
        return (13, bytes([n - 13])) if n < 269 else (14, struct.pack(">H", n - 269))

    def _option(self, delta, value):
        d, d_more = self._nibble(delta)
        n, n_more = self._nibble(len(value))
        return bytes([d << 4 | n]) + d_more + n_more + value

    def get(self, number):
        return [value for n, value in self.options if n == number]

    def first(self, number):
        found = self.get(number)
        return found[0] if found else None

    def number(self, number):
        value = self.first(number)
        return None if value is None else int.from_bytes(value, "big")


def decode(data):
    first, code, mid = struct.unpack(">BBH", data[:4])
    n = first & 15
    packet = Packet(first >> 4 & 3, code, mid, data[4:4 + n])
    at, number = 4 + n, 0

    def extended(nibble, at):
        if nibble == 13:
            return data[at] + 13, at + 1
        if nibble == 14:
            return struct.unpack(">H", data[at:at + 2])[0] + 269, at + 2
        return nibble, at

    while at < len(data) and data[at] != 0xFF:
        octet = data[at]
        delta, at = extended(octet >> 4, at + 1)
        length, at = extended(octet & 15, at)
        number += delta
        packet.options.append((number, data[at:at + length]))
        at += length
    packet.payload = data[at + 1:]
    return packet


class CoapClient:
    """One device. Notifications that arrive meanwhile are acknowledged and kept in `notifications`."""

    def __init__(self, gateway):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", gateway.coap_port))
        self.mid = int.from_bytes(os.urandom(2), "big")
        self.token_counter = 0
        self.notifications = []
        self.observed = set()
        self.acknowledge = True

    def next_mid(self):
        self.mid = (self.mid + 1) & 0xFFFF
        return self.mid

    def next_token(self):
        self.token_counter += 1
        return struct.pack(">I", self.token_counter)

    def send(self, packet):
        self.sock.send(packet.encode())

    def recv(self, timeout):
        self.sock.settimeout(max(timeout, 0.001))
        try:
            return decode(self.sock.recv(65536))
        except socket.timeout:
            return None

    def take_notification(self, p):
        if p.token not in self.observed or p.code == 0:
            return False
        self.notifications.append(p)
        if p.kind == CON and self.acknowledge:
            self.send(Packet(ACK, 0, p.mid))
        return True

    def request(self, code, path, payload=b"", kind=CON, query=(), options=(), token=None, timeout=WAIT_S,
                mid=None, retransmit=None):
        """Sends and waits for the response, piggybacked or separate; retransmits as RFC 7252, 4.2 says."""
        token = self.next_token() if token is None else token
        segments = path.strip("/").split("/") if isinstance(path, str) else path
        opts = [(URI_PATH, s.encode()) for s in segments] + [(URI_QUERY, q.encode()) for q in query]
        packet = Packet(kind, code, self.next_mid() if mid is None else mid, token, opts + list(options), payload)
        self.send(packet)
        end = time.monotonic() + timeout
        interval = retransmit or 2.0
        again = time.monotonic() + interval
        acked = kind != CON
        while time.monotonic() < end:
            wait = end if acked else min(end, again)
            p = self.recv(wait - time.monotonic())
            if p is None:
                if not acked and time.monotonic() >= again:
                    self.send(packet)
                    interval *= 2
                    again = time.monotonic() + interval
                continue
            if p.mid == packet.mid and p.kind == RST:
                raise AssertionError("RST to %s" % path)
            if p.mid == packet.mid and p.kind == ACK:
                acked = True
                if p.code == 0:
                    continue
            if p.token == token and p.code:
                if p.kind == CON:
                    self.send(Packet(ACK, 0, p.mid))
                return p
            self.take_notification(p)
        raise AssertionError("no response for %s in %g s" % (path, timeout))

    def put(self, path, payload, **arguments):
        return self.request(PUT, path, payload, **arguments)

    def get(self, path, **arguments):
        return self.request(GET, path, **arguments)

    def observe(self, path, **arguments):
        token = self.next_token()
        answer = self.request(GET, path, token=token, options=[(OBSERVE, b"")], **arguments)
        self.observed.add(token)
        return answer, token

    def wait_notifications(self, n, timeout=WAIT_S):
        end = time.monotonic() + timeout
        while len(self.notifications) < n:
            p = self.recv(end - time.monotonic())
            assert p, "%d of %d notifications" % (len(self.notifications), n)
            self.take_notification(p)
        return self.notifications

    def close(self):
        self.sock.close()


def coap_client(gateway, method, path, payload=None, extra=(), timeout=10):
    """libcoap's own coap-client; returns its standard output."""
    args = ["/usr/bin/coap-client-openssl", "-m", method, "-B", str(timeout)] + list(extra)
    if payload is not None:
        args += ["-e", payload]
    args.append("coap://127.0.0.1:%d/%s" % (gateway.coap_port, path))
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout + 10, check=False)
    return done.stdout
