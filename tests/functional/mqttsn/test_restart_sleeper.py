"""The gateway ends and comes back: a sleeper sleeps on, and what waited for it and what comes then is collected
with PINGREQ."""

import restart
import suite
from harness import until


def mail(site, gw, *payloads, topic="down", qos=1):
    local = site.mqtt(gw, "local-%s" % payloads[0].decode())
    for payload in payloads:
        local.publish(topic, payload, qos)


def collects_its_mail(site, end):
    gw = restart.gateway(site)
    dev = restart.device(gw, clean=False)
    dev.subscribe("down", 2)
    restart.asleep(dev)
    mail(site, gw, b"1", b"2")
    mail(site, gw, b"3", qos=2)
    end(gw)
    dev.quiet()
    mail(site, gw, b"4")
    assert dev.collect() == [b"1", b"2", b"3", b"4"]
    assert dev.collect() == []


def collects_its_mail_twice_interrupted(site, end):
    """In the middle of the flush; what was not acknowledged comes again, with DUP and the same id."""
    gw = restart.gateway(site)
    dev = restart.device(gw, clean=True)
    dev.subscribe("down", 1)
    restart.asleep(dev)
    mail(site, gw, b"1", b"2")
    dev.send(restart.sn.PINGREQ, b"dev")
    first = dev.next_message()
    end(gw)
    dev.quiet()
    dev.send(restart.sn.PINGREQ, b"dev")
    again = dev.next_message()
    assert (again.payload, again.msg_id, again.dup) == (b"1", first.msg_id, True)
    dev.puback(again)
    assert dev.collect() == [b"2"]


def comes_back_from_another_port(site, end):
    """It moved before the restart; where it was then somebody else connects."""
    gw = restart.gateway(site)
    dev = restart.device(gw, clean=False)
    dev.subscribe("down", 1)
    restart.asleep(dev)
    old, dev.sock = dev.sock, suite.Device(gw, "dev").sock
    assert dev.collect() == []
    other = suite.Device(gw, "other")
    other.sock = old
    other.connect()
    topic_id = other.register("up")
    mail(site, gw, b"1")
    end(gw)
    mail(site, gw, b"2")
    other.ping()
    restart.acked(other, topic_id, b"x")
    assert dev.collect() == [b"1", b"2"]


def awakes_and_is_active(site, end):
    """CONNECT ends its sleep; that, too, is known afterwards."""
    gw = restart.gateway(site)
    dev = restart.device(gw, clean=False)
    topic_id = dev.subscribe("down", 1)
    restart.asleep(dev, 60).connect(clean=False, duration=60)
    end(gw)
    site.mqtt(gw, "local").publish("down", b"1", wait=False)
    dev.regack(dev.next(restart.sn.REGISTER))  # with its CONNECT it may have forgotten the id
    m = dev.next_message()
    assert m.payload == b"1" and m.topic_id == topic_id


def is_lost_when_it_oversleeps(site, end):
    gw = restart.gateway(site)
    dev = restart.device(gw, duration=60)
    restart.asleep(dev, 1)
    restart.fence(gw)
    end(gw)
    local = site.mqtt(gw, "local")
    until(lambda: "lost, silent for too long" in gw.log(), "the end of its patience")
    local.publish("x", b"")
    dev.next(restart.sn.DISCONNECT)


if __name__ == "__main__":
    restart.both(collects_its_mail, collects_its_mail_twice_interrupted, comes_back_from_another_port,
                 awakes_and_is_active, is_lost_when_it_oversleeps)
