"""What the files on MQTT 5.0 share: one gateway for a file; every case gets topics and client ids of its own."""

import contextlib
import itertools

import harness
from mq5 import Mq5Client


class Case:
    def __init__(self, site, gateway, number):
        self.site, self.gateway, self.number = site, gateway, number
        self.clients = []

    def topic(self, rest="t"):
        return "case%d/%s" % (self.number, rest)

    def name(self, rest="c"):
        return "case%d-%s" % (self.number, rest)

    def client(self, rest="c", **arguments):
        """Connected as name(rest)."""
        client = Mq5Client(self.gateway, self.name(rest), **arguments)
        self.clients.append(client)
        return client

    def raw(self, rest=None):
        """A socket without a CONNECT."""
        client = Mq5Client(self.gateway, None)
        self.clients.append(client)
        return client


class Bench:
    case_type = Case

    def __init__(self, site, **sections):
        self.site = site
        self.gateway = site.gateway(**sections).start()
        self.numbers = itertools.count(1)

    @contextlib.contextmanager
    def case(self):
        case = self.case_type(self.site, self.gateway, next(self.numbers))
        try:
            yield case
        finally:
            for client in case.clients:
                client.close()


def run(functions, bench=Bench, at_once=1, **sections):
    """The functions of a module whose names begin with test_, in their order."""
    tests = [f for name, f in functions.items() if name.startswith("test_")]
    harness.run_cases(lambda site: bench(site, **sections), tests, at_once)
