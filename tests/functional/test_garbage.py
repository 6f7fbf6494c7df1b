"""100 000 random and truncated datagrams to each UDP port: still serving."""

import os
import random
import socket

import coap
import harness
import sn

N = 100000


def valid_sn():
    connect = sn.packet(sn.CONNECT, b"\x04\x01\x00\x3cdev")
    return [
        connect,
        sn.packet(sn.CONNECT, b"\x0c\x01\x00\x3cwilly"),
        sn.packet(sn.WILLTOPIC, b"\x20will/topic"),
        sn.packet(sn.WILLMSG, b"gone"),
        sn.packet(sn.REGISTER, b"\x00\x00\x00\x01a/b/c"),
        sn.packet(sn.REGACK, b"\x00\x01\x00\x01\x00"),
        sn.packet(sn.PUBLISH, b"\x22ab\x00\x01payload"),
        sn.packet(sn.PUBLISH, b"\x62\x00\x01\x00\x01payload"),
        sn.packet(sn.PUBLISH, b"\x42ab\x00\x02" + b"x" * 300),
        sn.packet(sn.PUBREL, b"\x00\x02"),
        sn.packet(sn.PUBACK, b"\x00\x01\x00\x01\x00"),
        sn.packet(sn.SUBSCRIBE, b"\x20\x00\x03a/#"),
        sn.packet(sn.UNSUBSCRIBE, b"\x00\x00\x04a/#"),
        sn.packet(sn.PINGREQ, b"dev"),
        sn.packet(sn.DISCONNECT, b"\x00\x0a"),
        sn.packet(sn.DISCONNECT),
        sn.packet(sn.SEARCHGW, b"\x01"),
        sn.packet(0xFE, b"\x00node" + connect),
    ]


def valid_coap():
    def p(kind, code, options=(), payload=b"", token=b"tk"):
        return coap.Packet(kind, code, random.randrange(65536), token, options, payload).encode()
    path = [(coap.URI_PATH, b"ps"), (coap.URI_PATH, b"a"), (coap.URI_PATH, b"b")]
    return [
        p(coap.CON, coap.PUT, path, b"value"),
        p(coap.NON, coap.POST, path + [(coap.URI_QUERY, b"qos=1"), (coap.URI_QUERY, b"retain=true")], b"v"),
        p(coap.CON, coap.GET, path),
        p(coap.CON, coap.GET, path + [(coap.OBSERVE, b"")]),
        p(coap.CON, coap.GET, path[:1] + [(coap.URI_PATH, b"#"), (coap.OBSERVE, b"")]),
        p(coap.CON, coap.DELETE, path),
        p(coap.CON, coap.PUT, path + [(coap.BLOCK1, b"\x08")], b"x" * 16),
        p(coap.CON, coap.PUT, path + [(coap.BLOCK1, b"\x10")], b""),
        p(coap.CON, coap.GET, [(coap.URI_PATH, b".well-known"), (coap.URI_PATH, b"core")]),
        p(coap.RST, 0, token=b""),
        p(coap.ACK, 0, token=b""),
        p(coap.CON, 0, token=b""),
    ]


def mangle(rng, seeds):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(0, 64))
    data = bytearray(rng.choice(seeds))
    if kind == 1:
        return bytes(data[:rng.randrange(len(data) + 1)])
    if kind == 2:
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return bytes(data) + rng.randbytes(rng.randrange(0, 16))


def storm(port, seeds, alive):
    rng = random.Random(int(os.environ.get("TIDEGATE_SEED", "1")))
    socks = []
    for _ in range(50):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("127.0.0.1", port))
        s.setblocking(False)
        socks.append(s)
    for n in range(N):
        s = socks[n % len(socks)]
        try:
            s.send(mangle(rng, seeds))
        except (BlockingIOError, ConnectionRefusedError):
            pass
        if n % 200 == 199:
            alive()  # also keeps the receive queue from overflowing unseen
            for s in socks:
                try:
                    while True:
                        s.recv(2048)
                except (BlockingIOError, ConnectionRefusedError):
                    pass
    for s in socks:
        s.close()


def test_mqttsn_port(site):
    gateway = site.gateway().start()
    dev = sn.SnClient(gateway, "witness").connect(duration=600)

    def alive():
        dev.send(sn.PINGREQ)
        dev.expect(sn.PINGRESP)

    storm(gateway.sn_port, valid_sn(), alive)
    local = site.mqtt(gateway, "local")
    local.subscribe("still/here", 1)
    dev.publish("still/here", b"yes", qos=1)
    local.wait_messages(1)
    gateway.stop()


def test_coap_port(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)

    def alive():
        assert device.get("ps/nothing/here").code >> 5 in (2, 4)

    storm(gateway.coap_port, valid_coap(), alive)
    assert device.put("ps/still/here", b"yes").code in (coap.CREATED, coap.CHANGED)
    assert device.get("ps/still/here").payload == b"yes"
    gateway.stop()


harness.run(test_mqttsn_port, test_coap_port)
