"""`version = auto` talks MQTT 5 where the broker can, and falls back to 3.1.1 where it cannot."""

import select
import socket
import threading

import harness
import sn


class OldBroker:
    """A relay in front of mosquitto that refuses CONNECT of protocol level 5 as a 3.1.1 broker does."""

    def __init__(self, broker):
        self.broker_port = broker.port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.levels = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        first = peer.recv(65536)
        at = first.find(b"MQTT")
        if at < 0:
            peer.close()
            return
        level = first[at + 4]
        self.levels.append(level)
        if level != 4:
            peer.sendall(b"\x20\x02\x00\x01")  # CONNACK: unacceptable protocol version
            peer.close()
            return
        with socket.create_connection(("127.0.0.1", self.broker_port)) as back:
            back.sendall(first)
            while True:
                for s in select.select([peer, back], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        peer.close()
                        return
                    (back if s is peer else peer).sendall(data)


def test_falls_back_to_311(site):
    broker = site.broker().start()
    old = OldBroker(broker)
    gateway = site.gateway(upstream={"uri": "mqtt://127.0.0.1:%d" % old.port, "version": "auto"}).start()
    gateway.wait_upstream()
    cloud = site.mqtt(broker, "cloud")
    cloud.subscribe("#", 1)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("a/b", b"x", qos=1)
    cloud.wait_messages(1)
    assert old.levels[0] == 5 and old.levels[-1] == 4, old.levels


def test_prefers_5(site):
    broker = site.broker().start()
    gateway = site.gateway(upstream={"uri": broker.uri, "version": "auto"}).start()
    gateway.wait_upstream()
    broker.process.wait_line(r"New client connected from .* as tidegate-gw \(p5")


harness.run(test_falls_back_to_311, test_prefers_5)
