"""crash_story.Story among devices that are refused now and then, while the storage fails for a time: who is refused
or not answered does it again, as devices do, until it is accepted."""

import collections
import struct
import time

import coap
import crash_story
import sn

REPEAT_S = 1.0
FAILS_S = 0.3  # how long it goes on to fail after the alarm


class Device(crash_story.Device):
    def answer(self, msg_id):
        """The PUBACK, PUBREC or PUBCOMP of that message; None: there is none in time."""
        end = time.monotonic() + REPEAT_S
        while time.monotonic() < end:
            got = self.story.look(lambda s: sn.SnClient.recv(self, s))
            if not got or self.take(*got):
                continue
            kind, body = got
            assert kind != sn.DISCONNECT, "%s: disconnected" % self.client_id
            at = {sn.PUBACK: 2, sn.PUBREC: 0, sn.PUBCOMP: 0}.get(kind)
            if at is not None and struct.unpack_from(">H", body, at)[0] == msg_id:
                return kind, body
        return None

    def finish(self, first=False):
        end = time.monotonic() + crash_story.STEP_S
        while self.open:
            assert time.monotonic() < end, "%s: never accepted" % self.client_id
            p, msg_id, state = self.open
            if state == sn.PUBLISH:
                self.send_publish(self.known[p.topic], p.payload, p.qos, retain=p.retain, msg_id=msg_id, dup=not first)
            else:
                self.send(sn.PUBREL, struct.pack(">H", msg_id))
            first = self.take_answer(p, msg_id, self.answer(msg_id))

    def take_answer(self, p, msg_id, answer):
        """True: the next one is a new attempt."""
        if not answer:
            return False
        kind, body = answer
        if kind == sn.PUBACK and body[4]:
            assert body[4] == 1, "%s: PUBACK 0x%02x" % (self.client_id, body[4])
            self.story.refused["mqttsn"] += 1
            time.sleep(0.05)
            return True
        if kind == sn.PUBREC:
            p.told = True
            self.open = (p, msg_id, sn.PUBREL)
        else:
            p.told, self.open = True, None
        return False


class Publisher(crash_story.Publisher):
    """MQTT 3.1.1: whose message could not be stored after it had been taken is closed, and comes back with it."""

    def finish(self, first=False):
        end = time.monotonic() + crash_story.STEP_S
        while True:
            try:
                return super().finish(first)
            except ConnectionError:
                assert time.monotonic() < end, "%s: never accepted" % self.client_id
            self.story.refused["mqtt"] += 1
            first = False
            self.link.close()
            self.connect()


class Story(crash_story.Story):
    def __init__(self, site, upstream, name, faults):
        super().__init__(site, upstream, name)
        self.faults = faults(self.gateway)
        self.meter, self.sleeper = Device(self, "meter"), Device(self, "sleeper")
        self.lamp = Publisher(self, "lamp")
        self.refused = collections.Counter()
        self.alarm_at = None

    def must_be_dead(self, error):
        raise ConnectionError(error)

    def look(self, look):
        """One look; what fails is well again a while after the alarm."""
        value = look(0.02)
        if self.alarm_at is None:
            if any("refusing what must be stored" in line for line in self.gateway.process.lines):
                self.alarm_at = time.monotonic()
        elif time.monotonic() - self.alarm_at > FAILS_S:
            self.faults.clear()
        assert self.gateway.process.popen.poll() is None, "the gateway has ended"
        return value

    def wait(self, look, what):
        end = time.monotonic() + crash_story.STEP_S
        while True:
            value = self.look(look)
            if value:
                return value
            assert time.monotonic() < end, "%s: no answer in %g s" % (what, crash_story.STEP_S)

    def put(self, rest, payload):
        p = self.publication("coap", self.topic(rest), payload, 1)
        client = coap.CoapClient(self.gateway)
        receive = client.recv
        client.recv = lambda timeout: self.look(lambda s: self._try(receive, s))
        end = time.monotonic() + crash_story.STEP_S
        while True:
            answer = client.put("/ps/" + self.topic(rest), payload, query=["qos=1"])
            if answer.code >> 5 == 2:
                break
            assert answer.code == 0xa3 and answer.number(coap.MAX_AGE), coap.code_text(answer.code)
            assert time.monotonic() < end, "CoAP: never accepted"
            self.refused["coap"] += 1
            time.sleep(0.05)
        client.close()
        p.told = True
