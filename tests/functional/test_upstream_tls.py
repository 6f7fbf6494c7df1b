"""TLS, client certificates and user names towards the upstream."""

import os
import subprocess

import harness
import sn
from certificates import make_ca, make_cert
from harness import until


def tls_broker(site, ca, server, require=False, name="broker"):
    # mosquitto as root would drop to another user that cannot read the key; the harness keeps root.
    extra = "cafile %s\ncertfile %s\nkeyfile %s\n" % (ca[1], server[1], server[0])
    if require:
        extra += "require_certificate true\nuse_identity_as_username true\n"
    return site.broker(extra=extra, name=name).start()


def publish_through(gateway, broker_messages):
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("tls/x", b"secret", qos=1)
    broker_messages()


def test_ca_and_host_name(site):
    ca = make_ca(site.dir)
    broker = tls_broker(site, ca, make_cert(site.dir, ca, "localhost", "DNS:localhost"))
    gateway = site.gateway(upstream={"uri": "mqtts://localhost:%d" % broker.port, "ca_file": ca[1]}).start()
    gateway.wait_upstream()
    publish_through(gateway, lambda: broker.process.wait_line(r"Received PUBLISH from tidegate-gw .*tls/x"))


def test_client_certificate(site):
    ca = make_ca(site.dir)
    broker = tls_broker(site, ca, make_cert(site.dir, ca, "localhost", "DNS:localhost"), require=True)
    key, cert = make_cert(site.dir, ca, "cellar")
    gateway = site.gateway(upstream={"uri": "mqtts://localhost:%d" % broker.port, "ca_file": ca[1], "cert_file": cert,
                                     "key_file": key}).start()
    gateway.wait_upstream()
    publish_through(gateway, lambda: broker.process.wait_line(r"Received PUBLISH from tidegate-gw .*tls/x"))


def refused(site, gateway, broker):
    dev = sn.SnClient(gateway, "dev").connect()
    gateway.wait_log(r"(warn|error|info|notice).*upstream.*(fail|refused|cannot|certificate|TLS|SSL)")
    dev.publish("tls/x", b"kept", qos=1)  # acknowledged from the journal all the same
    assert "tls/x" not in broker.process.output()


def test_wrong_ca(site):
    ca, other = make_ca(site.dir), make_ca(site.dir, "other")
    broker = tls_broker(site, ca, make_cert(site.dir, ca, "localhost", "DNS:localhost"))
    gateway = site.gateway(upstream={"uri": "mqtts://localhost:%d" % broker.port, "ca_file": other[1]}).start()
    refused(site, gateway, broker)


def test_wrong_host_name(site):
    ca = make_ca(site.dir)
    broker = tls_broker(site, ca, make_cert(site.dir, ca, "elsewhere", "DNS:elsewhere.example"))
    gateway = site.gateway(upstream={"uri": "mqtts://localhost:%d" % broker.port, "ca_file": ca[1]}).start()
    refused(site, gateway, broker)


def password_broker(site):
    passwords = os.path.join(site.dir, "passwords")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "edge", "s3cret"], check=True)
    os.chmod(passwords, 0o600)
    return site.broker(extra="allow_anonymous false\npassword_file %s\n" % passwords).start()


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def test_user_and_password_file(site):
    broker = password_broker(site)
    secret = write(site.dir + "/secret", "s3cret\n")
    gateway = site.gateway(upstream={"uri": broker.uri, "username": "edge", "password_file": secret}).start()
    gateway.wait_upstream()
    assert "s3cret" not in gateway.log()


def test_wrong_password_does_not_stop_the_hub(site):
    broker = password_broker(site)
    secret = write(site.dir + "/secret", "wrong-one\n")
    gateway = site.gateway(upstream={"uri": broker.uri, "username": "edge", "password_file": secret}).start()
    local = site.mqtt(gateway, "local")
    local.subscribe("a/b", 1)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("a/b", b"local first", qos=1)
    until(lambda: local.payloads() == [b"local first"], "local delivery")
    gateway.wait_log(r"upstream.*(refused|authori[sz]ed|credentials|password)")
    assert "wrong-one" not in gateway.log()


harness.run(test_ca_and_host_name, test_client_certificate, test_wrong_ca, test_wrong_host_name,
            test_user_and_password_file, test_wrong_password_does_not_stop_the_hub)
