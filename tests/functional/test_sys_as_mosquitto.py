"""$SYS beside mosquitto's: the same names, and the same values after the same traffic."""

import struct

import harness
import mq
from harness import until

PREFIX = "$SYS/broker/"
OWN = ("counters/", "journal/", "store/sessions", "store/state")
MESSAGES, PAYLOAD = 60, b"x" * 100


def answers(client, *kinds):
    for kind in kinds:
        found = client.recv(5)
        assert found is not None and found[0] == kind, (kind, found)


def exchange(port):
    """Of every kind of packet some. Who subscribes stays connected, with a subscription of its own and a shared one."""
    sub = mq.MqClient(port, "sub", clean=False)
    sub.subscribe("load/#", 0)
    sub.send(mq.packet(mq.SUBSCRIBE, struct.pack(">H", 2) + mq.text("$share/group/other") + b"\0", 2))
    answers(sub, mq.SUBACK)
    pub = mq.MqClient(port, "pub")
    for n in range(MESSAGES):
        qos = n % 3
        pub.send(mq.publish("load/t", PAYLOAD, qos, n + 1))
        answers(pub, *{0: (), 1: (mq.PUBACK,), 2: (mq.PUBREC,)}[qos])
        if qos == 2:
            pub.send(mq.packet(mq.PUBREL, struct.pack(">H", n + 1), 2))
            answers(pub, mq.PUBCOMP)
        answers(sub, mq.PUBLISH)
    pub.send(mq.publish("kept", PAYLOAD, 0, retain=True))
    pub.send(mq.packet(mq.PINGREQ))
    answers(pub, mq.PINGRESP)
    pub.send(mq.packet(mq.DISCONNECT))
    pub.close()
    return sub


def look(site, where):
    """All values, as they are two intervals after the traffic."""
    clock = site.mqtt(where, "clock")
    clock.subscribe(PREFIX + "uptime", 0)
    clock.wait_messages(3)
    reader = site.mqtt(where, "reader")
    reader.subscribe(PREFIX + "#", 0)
    until(lambda: any(m.topic == PREFIX + "load/connections/15min" for m in reader.messages), "the values")
    until(lambda: any(m.topic == PREFIX + "bytes/sent" for m in reader.messages), "the totals")
    return {m.topic[len(PREFIX):]: m.payload.decode() for m in reversed(reader.messages)}  # the first of each


def both(site):
    gateway = site.gateway(gateway={"sys_interval": "1s"}).start()
    broker = site.broker(extra="sys_interval 1\n").start()
    found = []
    for where, port in ((broker, broker.port), (gateway, gateway.mqtt_port)):
        sub = exchange(port)
        found.append(look(site, where))
        sub.close()
    return found


def test_names_and_values(site):
    theirs, ours = both(site)
    heap = {name for name in theirs if name.startswith("heap/")}  # a sanitizer's heap tells nothing
    assert set(theirs) - set(ours) <= heap, sorted(set(theirs) - set(ours))
    more = {name for name in set(ours) - set(theirs) if not name.startswith(OWN)}
    assert not more, more

    def close(name, slack):
        a, b = float(theirs[name]), float(ours[name])
        assert a > 0 and abs(a - b) <= slack, (name, a, b)

    # Debian's mosquitto leaves out what is retained or has QoS 2.
    assert int(ours["publish/messages/received"]) == MESSAGES + 1
    close("publish/bytes/received", 0)
    close("shared_subscriptions/count", 0)
    for name in ("subscriptions/count", "clients/total", "clients/connected", "clients/maximum"):
        close(name, 1)  # the one who looks may be counted already
    # What the watchers themselves are sent is not the same in number.
    close("messages/received", 4)
    close("bytes/received", 100)
    close("publish/messages/sent", 200)
    close("load/sockets/1min", 1)
    close("load/connections/1min", 1)
    assert ours["messages/stored"] == ours["store/messages/count"]
    assert int(ours["store/messages/bytes"]) >= len(PAYLOAD)
    assert ours["publish/messages/dropped"] == theirs["publish/messages/dropped"] == "0"


harness.run(test_names_and_values)
