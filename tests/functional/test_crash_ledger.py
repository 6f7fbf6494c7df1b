"""What was acknowledged arrives upstream, in order, whatever ends at whatever moment: the gateway, the broker, the
connection between them. TIDEGATE_LEDGER_SECONDS makes it longer, TIDEGATE_LEDGER_SEED repeats one scenario (its
plan; the moments within it are the scheduler's)."""

import os
import random
import time

import harness
import ledger

SECONDS = float(os.environ.get("TIDEGATE_LEDGER_SECONDS", "8"))
SEED = os.environ.get("TIDEGATE_LEDGER_SEED") or "%x" % random.SystemRandom().getrandbits(32)


class Scenario:
    """The plan is drawn before anything starts. `persistent`: the broker keeps its sessions, and is not killed."""

    def __init__(self, site, seed, actions, persistent):
        self.random = random.Random(seed)
        self.upstream = ledger.Upstream(site, persistent=persistent)
        self.gateway = site.gateway(
            upstream={"uri": self.upstream.uri, "ack_hold": "200ms", "keepalive": "2s", "connect_timeout": "2s",
                      "version": self.random.choice(("auto", "5", "3.1.1")),
                      "inflight": self.random.choice((8, 64))},
            store={"commit_interval": self.random.choice(("0", "20ms", "100ms"))}, log={"level": "info"})
        make = [ledger.SnPublisher] * 5 + [ledger.CoapPublisher] * 2 + [ledger.MqttPublisher] * 3
        self.publishers = [kind(self.gateway, "p%d" % i, seed) for i, kind in enumerate(make)]
        for p in self.publishers:
            p.pause_s = self.random.choice((0.01, 0.03))
        self.plan = []
        total = 0.0
        while total < SECONDS:
            step = (self.random.uniform(0.05, 1.2), self.random.choice(actions))
            self.plan.append(step)
            total += step[0]
        self.ledger = ledger.Ledger(self.publishers, self.upstream)

    # The actions; each leaves the scene as it found it or goes the other way next time.
    def gateway_kill(self):
        self.gateway.kill()
        time.sleep(self.random.choice((0, 0, 0.3)))
        self.gateway.start()

    def gateway_term(self):
        self.gateway.stop()
        self.gateway.start()

    def gateway_kill_at_start(self):
        self.gateway.kill()
        self.gateway.start(wait=False)
        time.sleep(self.random.uniform(0, 0.1))
        self.gateway.kill()
        self.gateway.start()

    def broker_kill(self):
        self.toggle(True)

    def broker_term(self):
        self.toggle(False)

    def toggle(self, kill):
        if self.upstream.running:
            self.upstream.down(kill)
        else:
            self.upstream.start()

    def broker_stall(self):
        if self.upstream.running:
            self.upstream.broker.pause()
            time.sleep(self.random.choice((0.1, 0.5, 0.5, 6)) if SECONDS > 60 else self.random.choice((0.1, 0.6)))
            self.upstream.broker.resume()

    def cut(self):
        self.upstream.wire.cut()

    def run(self):
        self.upstream.start()
        self.gateway.start()
        for p in self.publishers:
            p.start()
        for wait_s, action in self.plan:
            time.sleep(wait_s)
            getattr(self, action)()
        for p in self.publishers:
            p.stopping = True
        if not self.upstream.running:
            self.upstream.start()
        try:
            for p in self.publishers:
                p.finish()
            self.ledger.wait_all()
        except AssertionError:
            self.gateway.dump_state()
            raise
        finally:
            print(self.ledger.summary())
        time.sleep(0.5)  # a duplicate would come now
        self.ledger.check_sessions()
        self.ledger.check_content()
        self.ledger.check_order()
        assert sum(len(p.told) for p in self.publishers) > 10 * SECONDS, "hardly anything was acknowledged"

    def check_exactly_once(self):
        doubled = self.ledger.doubled(2)
        assert not doubled, "doubled at QoS 2: %d, %s" % (len(doubled), doubled[:20])


def test_everything_ends_at_random(site):
    print("seed", SEED)
    scenario = Scenario(site, SEED, ("gateway_kill", "gateway_kill", "gateway_kill_at_start", "gateway_term",
                                     "broker_kill", "broker_kill", "broker_stall", "cut"), persistent=False)
    scenario.run()


def test_broker_keeps_its_sessions(site):
    """Then QoS 2 is exactly once, whatever becomes of the gateway."""
    print("seed", SEED)
    scenario = Scenario(site, SEED, ("gateway_kill", "gateway_kill", "gateway_kill_at_start", "gateway_term",
                                     "broker_term", "broker_stall", "cut"), persistent=True)
    scenario.run()
    scenario.check_exactly_once()


def test_gateway_is_never_killed(site):
    print("seed", SEED)
    scenario = Scenario(site, SEED, ("broker_term", "broker_term", "broker_stall", "cut", "cut"), persistent=True)
    scenario.run()
    scenario.check_exactly_once()


harness.run(test_everything_ends_at_random, test_broker_keeps_its_sessions, test_gateway_is_never_killed)
