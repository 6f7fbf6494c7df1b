"""The gateway ends and comes back in the middle of QoS 2: the exchange goes on, nothing is doubled, nothing lost."""

import restart
import sn
from harness import until


def listener(site, gw):
    local = site.mqtt(gw, "listener", clean=False)
    local.subscribe("#", 2)
    return local


def pubrel_after_the_restart(site, end):
    gw = restart.gateway(site)
    local = listener(site, gw)
    dev = restart.device(gw)
    topic_id = dev.register("up")
    msg_id = restart.acked(dev, topic_id, b"once", qos=2)
    until(lambda: local.payloads() == [b"once"], "the publication")
    end(gw)
    assert dev.ask(sn.PUBREL, restart.u16(msg_id), sn.PUBCOMP) == restart.u16(msg_id)
    restart.acked(dev, topic_id, b"next")
    until(lambda: len(local.payloads()) >= 2, "both")
    restart.acked(dev, topic_id, b"last")
    until(lambda: b"last" in local.payloads(), "the last one")
    assert sorted(local.payloads()) == [b"last", b"next", b"once"], local.payloads()


def publish_again_after_the_restart(site, end):
    """PUBREC was lost: the device repeats its PUBLISH."""
    gw = restart.gateway(site)
    local = listener(site, gw)
    dev = restart.device(gw)
    topic_id = dev.register("up")
    msg_id = restart.acked(dev, topic_id, b"once", qos=2)
    end(gw)
    restart.acked(dev, topic_id, b"once", msg_id, dup=True, qos=2)
    assert dev.ask(sn.PUBREL, restart.u16(msg_id), sn.PUBCOMP) == restart.u16(msg_id)
    restart.acked(dev, topic_id, b"next")
    until(lambda: len(local.payloads()) >= 2, "both")
    restart.acked(dev, topic_id, b"last")
    until(lambda: b"last" in local.payloads(), "the last one")
    assert sorted(local.payloads()) == [b"last", b"next", b"once"], local.payloads()


def towards_the_device(site, end):
    """PUBREC of the device came; PUBREL is repeated after the restart, the message is not."""
    gw = restart.gateway(site)
    dev = restart.device(gw)
    dev.subscribe("down", 2)
    site.mqtt(gw, "local").publish("down", b"once", 2, wait=False)
    m = dev.next_message()
    dev.send(sn.PUBREC, restart.u16(m.msg_id))
    assert dev.next(sn.PUBREL) == restart.u16(m.msg_id)
    end(gw)
    assert dev.next(sn.PUBREL) == restart.u16(m.msg_id)
    dev.send(sn.PUBCOMP, restart.u16(m.msg_id))
    dev.ping()


def delivery_in_flight(site, end):
    """Not acknowledged when the gateway ended: again, with DUP and the same message id."""
    gw = restart.gateway(site, retry_interval="10s")
    dev = restart.device(gw)
    dev.subscribe("down", 1)
    dev.subscribe("twice", 2)
    local = site.mqtt(gw, "local", clean=False)
    for topic, qos, answer in (("twice", 2, sn.PUBREC), ("down", 1, None)):
        local.publish(topic, topic.encode(), qos, wait=answer is None)
        m = dev.next_message()
        end(gw)
        again = dev.next_message()
        assert (again.payload, again.msg_id, again.dup) == (m.payload, m.msg_id, True), vars(again)
        if answer:
            assert dev.ask(answer, restart.u16(m.msg_id), sn.PUBREL) == restart.u16(m.msg_id)
            dev.send(sn.PUBCOMP, restart.u16(m.msg_id))
        else:
            dev.puback(again)
        dev.ping()


if __name__ == "__main__":
    restart.both(pubrel_after_the_restart, publish_again_after_the_restart, towards_the_device, delivery_in_flight)
