"""Without [upstream] everything local works between the three protocols."""

import coap
import harness
import sn
from harness import until


def test_switch_and_lamp(site):
    gateway = site.gateway().start()
    lamp = coap.CoapClient(gateway)
    lamp.observe("ps/home/lamp")
    switch = sn.SnClient(gateway, "switch").connect()
    for qos in (0, 1, 2):
        switch.publish("home/lamp", b"%d" % qos, qos=qos)
    lamp.wait_notifications(3)
    assert [p.payload for p in lamp.notifications] == [b"0", b"1", b"2"]


def test_every_protocol_to_every_other(site):
    gateway = site.gateway().start()
    local = site.mqtt(gateway, "local")
    local.subscribe("x/#", 2)
    dev = sn.SnClient(gateway, "dev").connect()
    dev.subscribe("x/#", qos=2)
    device = coap.CoapClient(gateway)
    device.observe("ps/x/#")
    local.publish("x/mqtt", b"1", qos=2)
    device.put("ps/x/coap", b"2")
    dev.publish("x/sn", b"3", qos=2)
    expected = [b"1", b"2", b"3"]
    until(lambda: sorted(local.payloads()) == expected, "the MQTT client having all")
    assert sorted(m.payload for m in dev.wait_messages(3)) == expected
    assert sorted(p.payload for p in device.wait_notifications(3)) == expected
    topics = {p.payload: b"/".join(p.get(coap.LOCATION_PATH)) for p in device.notifications}
    assert topics == {b"1": b"ps/x/mqtt", b"2": b"ps/x/coap", b"3": b"ps/x/sn"}, topics


def test_retained_across_protocols(site):
    gateway = site.gateway().start()
    device = coap.CoapClient(gateway)
    device.put("ps/r/coap", b"c")
    dev = sn.SnClient(gateway, "dev").connect()
    dev.publish("r/sn", b"s", retain=True)
    late = site.mqtt(gateway, "late")
    late.subscribe("r/+", 1)
    late.wait_messages(2)
    assert sorted((m.topic, m.payload, m.retain) for m in late.messages) == [("r/coap", b"c", 1), ("r/sn", b"s", 1)]
    assert device.get("ps/r/sn").payload == b"s"
    reader = sn.SnClient(gateway, "reader").connect()
    reader.subscribe("r/coap")
    m = reader.wait_messages(1)[0]
    assert m.payload == b"c" and m.retain
    assert device.request(coap.DELETE, "ps/r/coap").code == coap.DELETED
    assert coap.code_text(device.get("ps/r/coap").code) == "4.04"


def test_wills_of_lost_clients(site):
    gateway = site.gateway().start()
    watcher = site.mqtt(gateway, "watcher")
    watcher.subscribe("will/#", 1)
    doomed = site.mqtt(gateway, "doomed", will=("will/mqtt", b"gone", 1, False))
    doomed.cut()
    dev = sn.SnClient(gateway, "sn-doomed").connect(duration=1, will=("will/sn", b"gone too", 1, False))
    polite = site.mqtt(gateway, "polite", will=("will/polite", b"never", 1, False))
    polite.close()
    until(lambda: sorted(watcher.payloads()) == [b"gone", b"gone too"], "both wills")
    dev.expect(sn.DISCONNECT)


harness.run(test_switch_and_lamp, test_every_protocol_to_every_other, test_retained_across_protocols,
            test_wills_of_lost_clients)
