"""The gateway ends and comes back: CoAP observations end with it (RFC 7641, 3.3.1: a client whose value is not fresh
any more registers again), and registering again is all it takes."""

import coap
import harness


def observe_value(packet):
    return packet.number(coap.OBSERVE)


def notify(gw, text):
    coap.CoapClient(gw).put("/ps/t", text)


def stopped(gw):
    gw.stop()
    gw.start()


def killed(gw):
    gw.restart_killed()


def registers_again(site, end):
    gw = site.gateway().start()
    watcher = coap.CoapClient(gw)
    answer, token = watcher.observe("/ps/t")
    last = observe_value(answer)
    for n in range(30):  # faster than the clock that the values are taken from
        notify(gw, b"%d" % n)
        last = observe_value(watcher.wait_notifications(n + 1)[-1])
    end(gw)
    notify(gw, b"missed")
    again = watcher.get("/ps/t", token=token, options=[(coap.OBSERVE, b"")])
    assert again.payload == b"missed"
    assert (observe_value(again) - last) % (1 << 24) < 1 << 23, "older than what was shown before the restart"
    notify(gw, b"after")
    new = watcher.wait_notifications(31)[-1]
    assert (new.payload, new.token) == (b"after", token)


def old_exchange_does_no_harm(site, end):
    """A confirmable notification was on its way; its acknowledgement or its reset comes to another process."""
    gw = site.gateway().start()
    for kind in (coap.ACK, coap.RST):
        watcher = coap.CoapClient(gw)
        watcher.acknowledge = False
        watcher.observe("/ps/t")
        notify(gw, b"before")
        old = watcher.wait_notifications(1)[0]
        end(gw)
        watcher.send(coap.Packet(kind, 0, old.mid))
        watcher.acknowledge = True
        watcher.observe("/ps/t")
        seen = len(watcher.notifications)
        notify(gw, b"after")
        assert watcher.wait_notifications(seen + 1)[-1].payload == b"after"
        watcher.close()


def cases(*functions):
    for function in functions:
        for end in (stopped, killed):
            def case(site, function=function, end=end):
                function(site, end)
            case.__name__ = "%s_%s" % (function.__name__, end.__name__)
            yield case


if __name__ == "__main__":
    harness.run(*cases(registers_again, old_exchange_does_no_harm))
