"""The gateway ends and comes back: a device that does not speak any more has its will published; one that does
goes on, and its will with it."""

import restart
import sn
import suite
from harness import until


def is_published_when_the_device_stays_away(site, end):
    gw = restart.gateway(site)
    local = site.mqtt(gw, "local", clean=False)
    local.subscribe("wills/#", 1)
    restart.device(gw, "silent", duration=2, will=("wills/silent", b"gone", 1, False)).close()
    alive = restart.device(gw, "alive", duration=2, will=("wills/alive", b"gone", 1, False))
    end(gw)

    def published():
        alive.ping()
        return local.payloads("wills/silent")
    assert until(published, "the will") == [b"gone"]
    alive.ping()
    assert local.payloads("wills/alive") == []


def can_be_changed_before(site, end):
    gw = restart.gateway(site)
    local = site.mqtt(gw, "local", clean=False)
    local.subscribe("wills/#", 1)
    dev = restart.device(gw, duration=2, will=("wills/first", b"first", 1, False))
    dev.ask(sn.WILLTOPICUPD, bytes([sn.flags(qos=1)]) + b"wills/second", sn.WILLTOPICRESP)
    dev.ask(sn.WILLMSGUPD, b"second", sn.WILLMSGRESP)
    end(gw)
    until(lambda: local.payloads(), "the will")
    assert [(m.topic, m.payload) for m in local.messages] == [("wills/second", b"second")]


def connack_of_the_dialogue_is_repeated(site, end):
    """It was lost with the gateway: the device repeats its WILLMSG."""
    gw = restart.gateway(site)
    dev = restart.device(gw, will=("wills/x", b"gone", 1, False))
    end(gw)
    dev.ask(sn.WILLMSG, b"gone", sn.CONNACK)


def is_not_published_for_a_goodbye(site, end):
    gw = restart.gateway(site)
    local = site.mqtt(gw, "local", clean=False)
    local.subscribe("#", 1)
    suite.Device(gw, "dev").connect(duration=1, clean=False, will=("wills/x", b"gone", 1, False)).disconnect()
    restart.fence(gw)
    end(gw)
    # Somebody else whose time is over later.
    restart.device(gw, "other", duration=2, will=("wills/other", b"other", 1, False))
    until(lambda: local.payloads(), "the other's will")
    assert local.payloads() == [b"other"]


if __name__ == "__main__":
    restart.both(is_published_when_the_device_stays_away, can_be_changed_before, connack_of_the_dialogue_is_repeated,
                 is_not_published_for_a_goodbye)
