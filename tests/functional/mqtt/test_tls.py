"""MQTT over TLS: certificates of both sides, pre-shared keys, versions, reload, bulk."""

import signal
import socket
import ssl
import subprocess
import time

import certificates
import harness
from harness import until


class Secured:
    """A gateway with a TLS listener, its authority and its certificate."""

    def __init__(self, site, cert=True, scheme="mqtts", **rows):
        self.site = site
        self.ca = certificates.make_ca(site.dir)
        self.port = harness.free_port()
        mqtt = {"listen": "%s://127.0.0.1:%d" % (scheme, self.port)}
        if cert:
            key, pem = certificates.make_server(site.dir, self.ca)
            mqtt.update(cert_file=pem, key_file=key)
        mqtt.update(rows)
        self.gateway = site.gateway(mqtt=mqtt)
        # Both: the plain one is where tests look at what arrived.
        self.gateway.sections["mqtt"]["listen"] += ", mqtt://127.0.0.1:%d" % self.gateway.mqtt_port

    def start(self):
        self.gateway.write_conf()
        self.gateway.start()
        return self

    def pub(self, *args, trust=True, **kwargs):
        """The exit status of mosquitto_pub, with the CA's certificate unless it trusts another way."""
        ca = ["--cafile", self.ca[1]] if trust else []
        done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(self.port), *ca, "-t", "tls/x", "-q", "1", *args],
                              timeout=30, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
        return done.returncode

    def context(self, **certificate):
        context = ssl.create_default_context(cafile=self.ca[1])
        if certificate:
            context.load_cert_chain(**certificate)
        return context

    def connect(self, context=None):
        raw = socket.create_connection(("127.0.0.1", self.port), 10)
        return (context or self.context()).wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)


CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01"


def test_publish_and_subscribe(site):
    s = Secured(site).start()
    sub = harness.Process(["stdbuf", "-oL", "mosquitto_sub", "-h", "localhost", "-p", str(s.port), "--cafile", s.ca[1], "-t", "tls/#",
                           "-q", "2", "-C", "3", "-W", "20", "-d"], "mosquitto_sub")
    site.processes.append(sub)
    sub.wait_line("Subscribed")
    for text in ("one", "two", "three"):
        assert s.pub("-m", text) == 0
    assert sub.wait_exit() == 0, sub.output()
    assert [line for line in sub.lines if line in ("one", "two", "three")] == ["one", "two", "three"], sub.lines


def test_a_client_with_another_authority_refuses_us(site):
    s = Secured(site).start()
    other = certificates.make_ca(site.dir, "other")
    assert s.pub("-m", "x", "--cafile", other[1], trust=False) != 0
    s.gateway.wait_log(r"mqtt: .*unknown ca")
    assert s.pub("-m", "x") == 0


def test_client_certificate_required(site):
    s = Secured(site, require_certificate="yes")
    s.gateway.sections["mqtt"]["ca_file"] = s.ca[1]
    s.start()
    key, pem = certificates.make_cert(site.dir, s.ca, "device")
    assert s.pub("-m", "x") != 0
    s.gateway.wait_log(r"mqtt: .*peer did not return a certificate")
    assert s.pub("-m", "x", "--cert", pem, "--key", key) == 0
    stranger = certificates.make_cert(site.dir, certificates.make_ca(site.dir, "other"), "stranger")
    assert s.pub("-m", "x", "--cert", stranger[1], "--key", stranger[0]) != 0
    s.gateway.wait_log(r"mqtt: .*certificate verify failed")


def test_client_certificate_optional(site):
    s = Secured(site, require_certificate="optional")
    s.gateway.sections["mqtt"]["ca_file"] = s.ca[1]
    s.start()
    key, pem = certificates.make_cert(site.dir, s.ca, "device")
    assert s.pub("-m", "x") == 0
    assert s.pub("-m", "x", "--cert", pem, "--key", key) == 0
    stranger = certificates.make_cert(site.dir, certificates.make_ca(site.dir, "other"), "stranger")
    assert s.pub("-m", "x", "--cert", stranger[1], "--key", stranger[0]) != 0


def write_psk(site, text="lamp:0123456789abcdef\n# a comment\nswitch:ABCDEF\n"):
    path = site.dir + "/psk"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def test_pre_shared_key(site):
    for version in ("tlsv1.2", "tlsv1.3"):
        s = Secured(site, cert=False, psk_file=write_psk(site), psk_hint="cellar").start()
        psk = ["--tls-version", version, "-m", "x"]
        assert s.pub(*psk, "--psk-identity", "lamp", "--psk", "0123456789abcdef", trust=False) == 0, version
        assert s.pub(*psk, "--psk-identity", "switch", "--psk", "abcdef", trust=False) == 0, version
        assert s.pub(*psk, "--psk-identity", "lamp", "--psk", "0123456789abcdee", trust=False) != 0, version
        assert s.pub(*psk, "--psk-identity", "nobody", "--psk", "0123456789abcdef", trust=False) != 0, version
        s.gateway.stop()


def test_pre_shared_key_beside_a_certificate(site):
    s = Secured(site, psk_file=write_psk(site)).start()
    assert s.pub("-m", "x") == 0
    assert s.pub("-m", "x", "--psk-identity", "lamp", "--psk", "0123456789abcdef", trust=False) == 0


def handshake(s, *args):
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.port, "-CAfile", s.ca[1], *args], timeout=20,
                          check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode("utf-8", "replace")


def test_versions(site):
    s = Secured(site).start()
    old = handshake(s, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "Cipher is (NONE)" in old, old
    new = handshake(s, "-tls1_2")
    assert "Verify return code: 0 (ok)" in new and "Compression: NONE" in new, new
    assert "Cipher is ECDHE" in new, new
    assert "Cipher is (NONE)" in handshake(s, "-tls1_2", "-cipher", "AES128-SHA"), "no forward secrecy"
    assert "TLSv1.3" in handshake(s, "-tls1_3")
    s.gateway.stop()
    s.gateway.sections["mqtt"]["tls_min_version"] = "1.3"
    s.start()
    assert "Cipher is (NONE)" in handshake(s, "-tls1_2")
    assert "TLSv1.3" in handshake(s, "-tls1_3")


def test_no_renegotiation(site):
    s = Secured(site).start()
    p = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.port, "-tls1_2", "-CAfile", s.ca[1]],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.3)
    out = p.communicate(b"R\n", timeout=20)[0].decode("utf-8", "replace")
    assert "no renegotiation" in out, out


def peer_serial(s):
    with s.connect() as c:
        return c.getpeercert()["serialNumber"]


def test_a_renewed_certificate(site):
    s = Secured(site).start()
    before = s.connect()
    before.sendall(CONNECT + b"a")
    assert before.recv(4) == b"\x20\x02\x00\x00"
    old = peer_serial(s)
    certificates.make_server(site.dir, s.ca)
    mark = s.gateway.mark()
    s.gateway.process.signal(signal.SIGHUP)
    s.gateway.wait_log("configuration reloaded", after=mark)
    assert peer_serial(s) != old
    before.sendall(b"\xc0\x00")
    assert before.recv(2) == b"\xd0\x00", "who is connected stays"

    # A certificate that does not fit its key changes nothing.
    now = peer_serial(s)
    other = certificates.make_server(site.dir, s.ca, "spare")
    with open(other[1], encoding="utf-8") as f, open(s.gateway.sections["mqtt"]["cert_file"], "w", encoding="utf-8") as g:
        g.write(f.read())
    mark = s.gateway.mark()
    s.gateway.process.signal(signal.SIGHUP)
    s.gateway.wait_log("not reloaded", after=mark)
    assert peer_serial(s) == now


def refusal(site, **rows):
    gateway = site.gateway("bad", mqtt=dict({"listen": "mqtts://127.0.0.1:%d" % harness.free_port()}, **rows))
    done = subprocess.run([harness.TIDEGATE, "-t", "-c", gateway.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=20, check=False)
    text = done.stdout.decode().strip()
    assert done.returncode == 78 and len(text.split("\n")) == 1, (done.returncode, text)
    return text


def test_wrong_files_are_told(site):
    ca = certificates.make_ca(site.dir)
    key, pem = certificates.make_server(site.dir, ca)
    other = certificates.make_server(site.dir, ca, "other")[0]
    assert "cert_file" in refusal(site)
    assert "key_file: not set" in refusal(site, cert_file=pem)
    assert "cert_file: not set" in refusal(site, key_file=key, psk_file=write_psk(site))
    assert "does not belong" in refusal(site, cert_file=pem, key_file=other)
    assert "cert_file" in refusal(site, cert_file=key, key_file=key)
    assert "key_file" in refusal(site, cert_file=pem, key_file=pem)
    assert "No such file" in refusal(site, cert_file="/nonexistent.pem", key_file=key)
    assert "ca_file: not set" in refusal(site, cert_file=pem, key_file=key, require_certificate="yes")
    assert "ca_file" in refusal(site, cert_file=pem, key_file=key, ca_file=key, require_certificate="optional")
    locked = site.dir + "/locked.key"
    certificates.openssl("ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked)
    assert "pass phrase" in refusal(site, cert_file=pem, key_file=locked)
    assert "line 2" in refusal(site, psk_file=write_psk(site, "lamp:00\nswitch:0g\n"))
    assert "twice" in refusal(site, psk_file=write_psk(site, "lamp:00\nlamp:11\n"))
    assert "no line" in refusal(site, psk_file=write_psk(site, "\n"))


def test_a_large_message(site):
    s = Secured(site)
    s.gateway.sections["limits"] = {"queue_bytes": "4MB"}
    s.start()
    path = site.dir + "/payload"
    payload = bytes(n * 7 % 251 for n in range(1 << 20))
    with open(path, "wb") as f:
        f.write(payload)
    out = open(site.dir + "/got", "wb")
    sub = subprocess.Popen(["mosquitto_sub", "-h", "localhost", "-p", str(s.port), "--cafile", s.ca[1], "-t", "tls/x", "-q", "1",
                            "-C", "1", "-N", "-W", "20"], stdout=out)
    until(lambda: s.gateway.counters().get("mqtt.connects"), "the subscriber")
    time.sleep(0.3)
    assert s.pub("-f", path) == 0
    assert sub.wait(20) == 0
    out.close()
    with open(site.dir + "/got", "rb") as f:
        assert f.read() == payload


def test_a_slow_reader_gets_all(site):
    s = Secured(site)
    s.gateway.sections["limits"] = {"queue_bytes": "16MB", "queue_messages": "10000"}
    s.start()
    c = s.connect()
    c.sendall(CONNECT + b"s" + b"\x82\x08\x00\x01\x00\x03a/b\x01")
    client = site.mqtt(s.gateway, "writer")
    for n in range(2000):
        client.publish("a/b", b"%06d" % n + bytes(1500), qos=0, wait=False)
    client.publish("last", b"", qos=1)
    data = b""
    while data.count(b"a/b") < 2000:
        more = c.recv(4096)
        assert more, "closed after %d octets" % len(data)
        data += more
    at = [data.index(b"a/b%06d" % n) for n in range(2000)]
    assert at == sorted(at)


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            return True
    except OSError:
        return False


def test_both_families(site):
    if not have_ipv6():
        return
    s = Secured(site)
    s.gateway.sections["mqtt"]["listen"] = "mqtts://[::]:%d, mqtt://[::1]:%d" % (s.port, s.gateway.mqtt_port)
    s.start()
    for host in ("127.0.0.1", "::1"):
        with s.context().wrap_socket(socket.create_connection((host, s.port), 10), server_hostname="localhost") as c:
            c.sendall(CONNECT + b"a")
            assert c.recv(4) == b"\x20\x02\x00\x00", host


def test_the_gateway_stops(site):
    s = Secured(site).start()
    c = s.connect()
    c.sendall(CONNECT + b"a")
    assert c.recv(4) == b"\x20\x02\x00\x00"
    half = socket.create_connection(("127.0.0.1", s.port), 10)
    s.gateway.stop()
    assert c.recv(1) == b"", "the end is said, not a cut"
    assert half.recv(1) == b""


def test_silent_handshakes_end(site):
    s = Secured(site, connect_timeout="1s", max_handshakes=3).start()
    silent = [socket.create_connection(("127.0.0.1", s.port), 10) for _ in range(3)]
    turned_away = socket.create_connection(("127.0.0.1", s.port), 10)
    assert turned_away.recv(1) == b""
    assert s.gateway.counters()["mqtt.turned_away"] == 1
    for c in silent:
        assert c.recv(1) == b""
    assert s.pub("-m", "x") == 0


def test_garbage_in_place_of_a_handshake(site):
    s = Secured(site).start()
    for data in (CONNECT + b"a", b"GET / HTTP/1.1\r\n\r\n", bytes(200), b"\x16\x03\x01\xff\xff" + bytes(300)):
        c = socket.create_connection(("127.0.0.1", s.port), 10)
        c.sendall(data)
        try:
            while c.recv(100):
                pass
        except ConnectionResetError:
            pass
    assert s.pub("-m", "x") == 0


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
