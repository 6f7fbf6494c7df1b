"""libcoap's coap-client as a user's hand."""

import re
import time

import coap
import harness
from coap import coap_client
from harness import until


def test_put_get_delete(site):
    gateway = site.gateway().start()
    assert b"4.04" in coap_client(gateway, "get", "ps/a/b")
    coap_client(gateway, "put", "ps/a/b", "21.5")
    assert coap_client(gateway, "get", "ps/a/b").strip() == b"21.5"
    coap_client(gateway, "delete", "ps/a/b")
    assert b"4.04" in coap_client(gateway, "get", "ps/a/b")


def test_post_is_an_event(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    coap_client(gateway, "post", "ps/a/event", "now")
    local.wait_messages(1)
    assert (local.messages[0].topic, local.messages[0].payload) == ("a/event", b"now")
    assert b"4.04" in coap_client(gateway, "get", "ps/a/event")


def test_queries(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 2)
    coap_client(gateway, "put", "ps/q/0?qos=0&retain=false", "x")
    coap_client(gateway, "post", "ps/q/2?qos=2&retain=true", "y")
    local.wait_messages(2)
    assert sorted((m.topic, m.qos) for m in local.messages) == [("q/0", 0), ("q/2", 2)]
    assert b"4.04" in coap_client(gateway, "get", "ps/q/0")
    assert coap_client(gateway, "get", "ps/q/2").strip() == b"y"
    assert b"4.00" in coap_client(gateway, "put", "ps/q/x?qos=abc", "z")


def test_observe(site):
    gateway = site.gateway().start()
    watcher = harness.Process(["stdbuf", "-o0", "/usr/bin/coap-client-openssl", "-m", "get", "-s", "3", "-v", "6",
                               "coap://127.0.0.1:%d/ps/o/%%23" % gateway.coap_port], "coap-client")
    site.processes.append(watcher)
    watcher.wait_line(r"2\.05")
    device = coap.CoapClient(gateway)
    device.put("ps/o/x", b"one")
    device.put("ps/o/y", b"two")
    watcher.wait_exit()
    assert "one" in watcher.output() and "two" in watcher.output(), watcher.output()


def test_large_value_block_wise(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    text = "".join("%05d" % n for n in range(2000))
    coap_client(gateway, "put", "ps/big/up", text, extra=["-b", "512"])
    local.wait_messages(1)
    assert local.messages[0].payload == text.encode()
    assert coap_client(gateway, "get", "ps/big/up").strip() == text.encode()


def test_discovery(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)
    device.put("ps/a/b", b"1")
    device.put("ps/a/c", b"1")
    links = coap_client(gateway, "get", ".well-known/core").decode()
    assert "</ps>" in links, links
    listed = coap_client(gateway, "get", "ps/a/%2B").decode()
    assert set(re.findall(r"<([^>]+)>", listed)) == {"/ps/a/b", "/ps/a/c"}, listed


def test_observer_goes_when_it_cancels(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)
    _, token = device.observe("ps/c/x")
    other = coap.CoapClient(gateway)
    other.put("ps/c/x", b"1")
    device.wait_notifications(1)
    answer = device.request(coap.GET, "ps/c/x", token=token, options=[(coap.OBSERVE, b"\x01")])
    assert answer.code == coap.CONTENT and answer.first(coap.OBSERVE) is None
    device.observed.clear()
    other.put("ps/c/x", b"2")
    time.sleep(0.3)
    assert device.recv(0.1) is None


def test_reset_ends_an_observation(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)
    device.observe("ps/c/x", query=["qos=1"])
    device.acknowledge = False
    other = coap.CoapClient(gateway)
    other.put("ps/c/x", b"1")
    notification = device.wait_notifications(1)[0]
    assert notification.kind == coap.CON
    device.send(coap.Packet(coap.RST, 0, notification.mid))
    until(lambda: other.put("ps/c/x", b"2").code == coap.CHANGED, "the next value")
    time.sleep(0.3)
    assert device.recv(0.1) is None


def test_duplicate_is_answered_again_and_published_once(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("#", 1)
    device = coap.CoapClient(gateway)
    token = device.next_token()
    first = device.request(coap.POST, "ps/once", b"x", mid=4711, token=token)
    again = device.request(coap.POST, "ps/once", b"x", mid=4711, token=token)
    assert first.code == again.code == coap.CHANGED
    time.sleep(0.3)
    assert local.payloads() == [b"x"]


def test_etag_and_max_age(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)
    device.put("ps/e/x", b"1", query=["expiry=100"])
    first = device.get("ps/e/x")
    etag = first.first(coap.ETAG)
    assert etag and 90 <= first.number(coap.MAX_AGE) <= 100
    again = device.get("ps/e/x", options=[(coap.ETAG, etag)])
    assert again.code == coap.VALID and again.payload == b""
    device.put("ps/e/x", b"2")
    assert device.get("ps/e/x", options=[(coap.ETAG, etag)]).payload == b"2"


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
