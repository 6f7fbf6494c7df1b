"""Sections [autosubscribe.NAME]: subscriptions that new sessions get without asking."""

import signal

import harness
import sn
from harness import until

RULES = {
    "autosubscribe": {"qos": 1},
    "autosubscribe.own": {"topic": "devices/%c/in"},
    "autosubscribe.sn": {"topic": "field", "qos": 0, "protocol": "mqttsn"},
}


def test_new_sessions_of_both_protocols(site):
    gateway = site.gateway(**RULES).start()
    local = site.mqtt(gateway, "local")
    dev = sn.SnClient(gateway, "dev").connect()
    publisher = site.mqtt(gateway, "publisher")
    publisher.publish("field", b"1", 1)
    publisher.publish("devices/dev/in", b"2", 1)
    publisher.publish("devices/local/in", b"3", 1)
    local.wait_messages(1)
    assert [(m.topic, m.payload, m.qos) for m in local.messages] == [("devices/local/in", b"3", 1)]
    assert [m.payload for m in dev.wait_messages(2)] == [b"1", b"2"]


def test_retained_follow_and_a_resumed_session_keeps_what_it_ended(site):
    gateway = site.gateway(**RULES).start()
    publisher = site.mqtt(gateway, "publisher")
    publisher.publish("devices/local/in", b"kept", 1, True)
    local = site.mqtt(gateway, "local", clean=False)
    local.wait_messages(1)
    assert local.messages[0].retain
    local.client.unsubscribe("devices/local/in")
    local.subscribe("end", 1)
    local.close()
    again = site.mqtt(gateway, "local", clean=False)
    publisher.publish("devices/local/in", b"lost", 1)
    publisher.publish("end", b"end", 1)
    again.wait_messages(1)
    assert again.payloads() == [b"end"]


def test_a_name_cannot_widen_a_rule(site):
    gateway = site.gateway(**RULES).start()
    spy = site.mqtt(gateway, "+")
    spy.subscribe("end", 1)
    publisher = site.mqtt(gateway, "publisher")
    publisher.publish("devices/local/in", b"secret", 1)
    publisher.publish("end", b"end", 1)
    spy.wait_messages(1)
    assert spy.payloads() == [b"end"]


def test_reload(site):
    gateway = site.gateway(**RULES).start()
    gateway.sections["autosubscribe.new"] = {"topic": "new"}
    gateway.write_conf()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    local = site.mqtt(gateway, "local")
    site.mqtt(gateway, "publisher").publish("new", b"1", 1)
    until(lambda: local.payloads() == [b"1"], "the message of the new rule")


harness.run(test_new_sessions_of_both_protocols, test_retained_follow_and_a_resumed_session_keeps_what_it_ended,
            test_a_name_cannot_widen_a_rule, test_reload)
