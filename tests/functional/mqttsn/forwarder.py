"""A forwarder (MQTT-SN 1.2, 5.5) and the nodes behind it."""

import socket

import harness
import sn

ENCAPSULATED = 0xFE


class Forwarder:
    """A socket that nodes talk through."""

    def __init__(self, gateway, ip="127.0.0.1"):
        self.address = ("127.0.0.1", gateway.sn_port)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((ip, 0))
        self.sock.settimeout(harness.WAIT_S)

    def send_raw(self, data):
        self.sock.sendto(data, self.address)

    def say(self, node, data, ctrl=0):
        self.send_raw(bytes([len(node) + 3, ENCAPSULATED, ctrl]) + node + data)

    def hear(self, timeout=harness.WAIT_S):
        """(node, ctrl, message), or None."""
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            return None
        assert data[1] == ENCAPSULATED, data.hex()
        return data[3:data[0]], data[2], data[data[0]:]

    def quiet(self, seconds=0.3):
        got = self.hear(seconds)
        assert got is None, got


class Node(sn.SnClient):
    """A device that has no address but a node id; the only one that its forwarder hears from meanwhile."""

    def __init__(self, forwarder, node, client_id, ctrl=0):
        self.forwarder, self.node, self.client_id, self.ctrl = forwarder, node, client_id, ctrl
        self.msg_id = 0
        self.names, self.ids, self.messages, self.open_qos2 = {}, {}, [], set()
        self.acknowledge = True

    def send(self, kind, body=b""):
        self.forwarder.say(self.node, sn.packet(kind, body), self.ctrl)

    def recv(self, timeout=harness.WAIT_S):
        got = self.forwarder.hear(max(timeout, 0.001))
        if got is None:
            return None
        assert got[:2] == (self.node, self.ctrl), got
        return sn.parse(got[2])
