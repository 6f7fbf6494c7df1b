"""Devices and a gateway that ends and comes back: what the files about it share."""

import struct

import harness
import sn
import suite


def u16(*numbers):
    return suite.u16(*numbers)


def stopped(gateway):
    """An upgrade."""
    gateway.stop()
    gateway.start()


def killed(gateway):
    gateway.restart_killed()


ENDS = (stopped, killed)


def gateway(site, name="gw", **mqttsn):
    keys = {"retry_interval": "1s"}
    keys.update(mqttsn)
    return site.gateway(name, mqttsn=keys, store={"commit_interval": "10ms"}).start()


def device(gw, client_id="dev", **arguments):
    """A device that is connected; whatever it did not ask for fails the test."""
    return suite.Device(gw, client_id).connect(**arguments)


def asleep(dev, duration=3600):
    dev.disconnect(duration)
    return dev


def fence(gw):
    """What happened before is on stable storage: so says the answer to somebody else."""
    device(gw, "fence").close()


def both(*functions):
    """Each function(site, end) once for every way to end."""
    cases = []
    for function in functions:
        for end in ENDS:
            def case(site, function=function, end=end):
                function(site, end)
            case.__name__ = "%s_%s" % (function.__name__, end.__name__)
            cases.append(case)
    harness.run(*cases)


def acked(dev, topic_id, payload, msg_id=None, dup=False, qos=1):
    """A device that repeats until it is acknowledged; returns the message id."""
    msg_id = msg_id or dev.next_id()
    dev.send_publish(topic_id, payload, qos, msg_id=msg_id, dup=dup)
    answer = dev.next(sn.PUBACK if qos == 1 else sn.PUBREC)
    if qos == 1:
        assert answer == struct.pack(">HHB", topic_id, msg_id, 0), answer.hex()
    else:
        assert answer == u16(msg_id), answer.hex()
    return msg_id
