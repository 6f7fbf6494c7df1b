"""The gateway ends and comes back: an active device goes on with its topic ids and its subscriptions, from its
address, and is told nothing."""

import restart
import sn
import suite
from harness import until


def goes_on(site, end, clean):
    gw = restart.gateway(site)
    dev = restart.device(gw, clean=clean)
    up, down = dev.register("up"), dev.subscribe("down", 1)
    dev.subscribe("many/+", 1)
    first = site.mqtt(gw, "first")
    said = first.publish("many/1", b"by wildcard", wait=False)
    dev.wait_messages(1)
    until(lambda: said.mid in first.acknowledged, "the acknowledgement")
    end(gw)
    dev.quiet()
    local = site.mqtt(gw, "second")
    local.subscribe("up", 1)
    restart.acked(dev, up, b"old id")
    until(lambda: local.payloads() == [b"old id"], "the publication")
    dev.say_register("up")
    assert dev.next(sn.REGACK) == restart.u16(up, 1) + b"\x00"
    new = dev.register("new")
    assert new not in (up, down, dev.ids["many/1"]), "an id that was another name's"
    local.publish("down", b"to subscription", wait=False)
    m = dev.next_message()
    assert (m.topic_id, m.payload) == (down, b"to subscription")
    dev.puback(m)
    local.publish("many/1", b"again", wait=False)
    if end is restart.killed:  # what the device said of our REGISTER is not written at once: it is told again
        again = dev.next(sn.REGISTER)
        assert again[:2] == restart.u16(dev.ids["many/1"])
        dev.regack(again)
    m = dev.next_message()
    assert (m.topic_id, m.payload) == (dev.ids["many/1"], b"again")
    dev.puback(m)
    dev.ping()


def goes_on_with_a_session_that_stays(site, end):
    goes_on(site, end, clean=False)


def goes_on_with_a_clean_session(site, end):
    goes_on(site, end, clean=True)


def is_lost_when_it_stays_silent(site, end):
    """The keep alive is a second."""
    gw = restart.gateway(site)
    dev = restart.device(gw, duration=1)
    end(gw)
    dev.next(sn.DISCONNECT)


def ids_of_the_gateway_are_never_given_again(site, end):
    """The device took an id out of our REGISTER, and its REGACK was lost."""
    gw = restart.gateway(site)
    dev = restart.device(gw)
    dev.subscribe("many/+", 1)
    site.mqtt(gw, "first").publish("many/1", b"x", wait=False)
    given = dev.next(sn.REGISTER)[:2]
    end(gw)
    dev.say_register("other")
    until(lambda: not dev.expect(sn.REGACK).startswith(given), "another id")



if __name__ == "__main__":
    restart.both(goes_on_with_a_session_that_stays, goes_on_with_a_clean_session, is_lost_when_it_stays_silent,
                 ids_of_the_gateway_are_never_given_again)
