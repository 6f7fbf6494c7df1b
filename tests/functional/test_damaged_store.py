"""The journal's files are damaged between two runs: the gateway starts every time, what is intact arrives, in order,
and what is not is set aside and reported. TIDEGATE_DAMAGE_ROUNDS and TIDEGATE_DAMAGE_SEED as in the names."""

import os
import random
import re

import harness
import ledger
import sn
from harness import until

ROUNDS = int(os.environ.get("TIDEGATE_DAMAGE_ROUNDS", "12"))
SEED = os.environ.get("TIDEGATE_DAMAGE_SEED") or "%x" % random.SystemRandom().getrandbits(32)
EACH = 60


def flip(data, at, rnd):
    data[at] ^= 1 << rnd.randrange(8)
    return data


def zero(data, at, rnd):
    n = min(rnd.choice((1, 16, 512, 4096)), len(data) - at)
    data[at:at + n] = bytes(n)
    return data


def noise(data, at, rnd):
    n = min(rnd.choice((4, 100, 3000)), len(data) - at)
    data[at:at + n] = rnd.randbytes(n)
    return data


def cut(data, at, rnd):
    return data[:at]


def grow(data, at, rnd):
    return data + rnd.randbytes(rnd.choice((1, 30, 5000)))


def header(data, at, rnd):
    return flip(data, rnd.randrange(min(32, len(data))), rnd)


def double(data, at, rnd):
    """A part of the file stands in it twice."""
    n = min(500, len(data) - at)
    return data[:at + n] + data[at:at + n] + data[at + n:]


DAMAGES = (flip, flip, zero, noise, cut, grow, header, double)


def segments(state):
    return sorted(os.path.join(state, name) for name in os.listdir(state) if name.endswith(".seg"))


def used(path):
    """Length without the zeros that were preallocated."""
    with open(path, "rb") as f:
        return len(f.read().rstrip(b"\0"))


def damage(state, rnd):
    """One to three wounds. Returns what they were."""
    done = []
    for _ in range(rnd.randint(1, 3)):
        files = [path for path in segments(state) if used(path) > 40]
        if not files:
            break
        path = rnd.choice(files)
        how = rnd.choice(DAMAGES)
        at = rnd.randrange(used(path))
        with open(path, "rb") as f:
            data = bytearray(f.read())
        with open(path, "wb") as f:
            f.write(how(data, at, rnd))
        done.append("%s %s at %d" % (how.__name__, os.path.basename(path), at))
    return done


def publish(gateway, round_number, told):
    device = sn.SnClient(gateway, "dev").connect()
    for n in range(EACH):
        payload = b"%d/%d" % (round_number, n)
        device.publish("dam/aged", payload + b"x" * (n % 9 * 50), qos=1 + n % 2)
        told.append(payload)
    device.close()


def journal_report(gateway):
    """(messages that are back, damaged places) of the last start."""
    back = re.search(r"keeper: (\d+) messages are back", gateway.log())
    found = re.search(r"(\d+) damaged places", gateway.log())
    assert found, gateway.log()
    return int(back.group(1)) if back else 0, int(found.group(1))


def check_arrived(upstream, gateway, told):
    """What came is whole, in order, once; returns how many."""
    upstream.start()
    device = sn.SnClient(gateway, "last").connect()
    device.publish("dam/end", b"end", qos=2)
    until(lambda: ("dam/end", b"end") in upstream.arrived, "the message after the backlog", 60)
    got = [re.match(rb"\d+/\d+", p).group() for t, p in upstream.arrived if t == "dam/aged"]
    assert len(got) == len(set(got)), "doubled"
    assert got == [p for p in told if p in set(got)], "order"
    return len(got)


def start(site):
    upstream = ledger.Upstream(site)
    gateway = site.gateway(upstream={"uri": upstream.uri},
                           store={"commit_interval": "0", "max_bytes": "1MB"}, log={"level": "info"}).start()
    return upstream, gateway, gateway.sections["store"]["dir"]


def test_starts_whatever_the_files_say(site):
    print("seed", SEED)
    rnd = random.Random(SEED)
    upstream, gateway, state = start(site)
    told, wounds, reported = [], [], 0
    for n in range(ROUNDS):
        publish(gateway, n, told)
        gateway.kill()
        wounds += damage(state, rnd)
        gateway.start()  # within the usual time, or the test ends here
        reported += journal_report(gateway)[1]
    live = journal_report(gateway)[0]
    got = check_arrived(upstream, gateway, told)
    print("%d of %d arrived after %d wounds; %d damaged places reported, %d files in quarantine"
          % (got, len(told), len(wounds), reported, quarantined(state)))
    assert got == live, "%d were found intact" % live
    assert reported > 0 and quarantined(state) > 0, wounds
    gateway.stop()


def test_one_bit_costs_one_message(site):
    print("seed", SEED)
    rnd = random.Random(SEED)
    upstream, gateway, state = start(site)
    told, rounds = [], 8
    for n in range(rounds):
        publish(gateway, n, told)
        gateway.kill()
        path = max(segments(state), key=used)
        with open(path, "rb") as f:
            data = flip(bytearray(f.read()), rnd.randrange(32, used(path)), rnd)
        with open(path, "wb") as f:
            f.write(data)
        gateway.start()
    got = check_arrived(upstream, gateway, told)
    print("%d of %d arrived" % (got, len(told)))
    assert got >= len(told) - rounds
    gateway.stop()


def quarantined(state):
    path = os.path.join(state, "quarantine")
    return len(os.listdir(path)) if os.path.isdir(path) else 0


def test_nothing_left_of_a_file(site):
    """Empty files, foreign files, a directory with a segment's name: left alone, and no reason to stop."""
    gateway = site.gateway(upstream={"uri": "mqtt://127.0.0.1:1"}, store={"commit_interval": "0"}).start()
    state = gateway.sections["store"]["dir"]
    told = []
    publish(gateway, 0, told)
    gateway.kill()
    open(os.path.join(state, "00000900-00000001.seg"), "wb").close()
    os.mkdir(os.path.join(state, "00000901-00000001.seg"))
    os.symlink("/etc/passwd", os.path.join(state, "00000902-00000001.seg"))
    with open(os.path.join(state, "notes.txt"), "w", encoding="ascii") as f:
        f.write("not ours")
    gateway.start()
    assert journal_report(gateway)[0] == EACH
    assert os.path.exists(os.path.join(state, "notes.txt"))
    publish(gateway, 1, told)
    gateway.restart_killed()
    assert journal_report(gateway)[0] == 2 * EACH
    gateway.stop()


if __name__ == "__main__":
    harness.run(test_starts_whatever_the_files_say, test_one_bit_costs_one_message, test_nothing_left_of_a_file)
