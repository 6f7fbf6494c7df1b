"""Wrong configuration: one clear line with file, line, key, what is wrong and what would be right; exit 78 (69 for
a port in use); nothing started."""

import os
import re
import socket
import subprocess

import harness


def outcome(site, text, flags=()):
    path = os.path.join(site.dir, "bad.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    done = subprocess.run([harness.TIDEGATE, "-c", path, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=20, check=False)
    lines = done.stdout.decode().strip().split("\n")
    return done.returncode, lines


def check(site, text, line, *words, status=78):
    for flags in ((), ("-t",)):
        got, lines = outcome(site, text, flags)
        assert got == status, (got, lines)
        assert len(lines) == 1, lines
        where = r"bad\.conf:%d: " % line if line else r"bad\.conf"
        assert re.search(where, lines[0]), lines[0]
        for word in words:
            assert word in lines[0], (word, lines[0])


def test_unknown_key(site):
    check(site, "[mqttsn]\nlisten = udp://127.0.0.1:1884\nretry_intervall = 10s\n", 3, "[mqttsn]", "retry_intervall",
          "did you mean", "retry_interval")


def test_unknown_section(site):
    check(site, "[gateway]\nid = x\n[mqtsn]\n", 3, "mqtsn", "mqttsn")


def test_bad_unit(site):
    check(site, "[mqttsn]\nretry_interval = 10\n", 2, "retry_interval", "unit", "10s")
    check(site, "[store]\nmax_bytes = 64 megs\n", 2, "max_bytes", "64")


def test_out_of_range(site):
    check(site, "[upstream]\nuri = mqtt://127.0.0.1:1\n\ninflight = 100000\n", 4, "inflight", "1000")


def test_bad_enum_and_bool(site):
    check(site, "[upstream]\nuri = mqtt://127.0.0.1:1\nversion = 4\n", 3, "version", "3.1.1")
    check(site, "[mqttsn]\nallow_plain = perhaps\n", 2, "allow_plain", "yes")


def test_unreadable_certificate(site):
    check(site, "[upstream]\nuri = mqtts://127.0.0.1:8883\nca_file = /nonexistent/ca.pem\n", 3, "ca_file",
          "/nonexistent/ca.pem", "No such file")


def test_bad_filter(site):
    check(site, "[upstream]\nuri = mqtt://127.0.0.1:1\nexport = a/#/b\n", 3, "export", "filter")


def test_rewrite_rules(site):
    rule = "[rewrite.a]\ntopic = a/#\nregex = %s\ndestination = %s\n"
    check(site, rule % ("^a/(.+$", "b/$1"), 3, "[rewrite.a] regex", "^x/y/(.+)$")
    check(site, rule % ("^(a+)+$", "b/$1"), 3, "[rewrite.a] regex", "repetition", "such as")
    check(site, rule % ("^a/(.)\\1", "b/$1"), 3, "[rewrite.a] regex", "back-references")
    check(site, rule % ("^a/(.+)$", "b/$2"), 4, "[rewrite.a] destination", "$2", "a group (...)")
    check(site, rule % ("^a/(.+)$", "b/#/$1"), 4, "[rewrite.a] destination", "z/y/$1")
    check(site, "[rewrite.a]\nregex = a\ndestination = b\n", 1, "[rewrite.a] topic", "missing")


def test_mountpoints(site):
    for section, uri in (("mqttsn", "udp://127.0.0.1:1"), ("coap", "coap://127.0.0.1:1"), ("mqtt", "mqtt://127.0.0.1:1")):
        for bad in ("site", "a/+/", "$SYS/"):
            check(site, "[%s]\nlisten = %s\nmountpoint = %s\n" % (section, uri, bad), 3, "mountpoint", "site/%c/")
    check(site, "[mqtt]\n[mqtt.room]\nmountpoint = room/\n", 2, "[mqtt.room] listen", "missing")


def test_missing_uri(site):
    got, lines = outcome(site, "[upstream]\nversion = 5\n")
    assert got == 78 and len(lines) == 1 and "uri" in lines[0], (got, lines)


def test_plain_listener_for_everybody(site):
    for section, uri in (("mqttsn", "udp://0.0.0.0:1884"), ("coap", "coap://0.0.0.0:5683"), ("mqtt", "mqtt://0.0.0.0:1883")):
        check(site, "[%s]\nlisten = %s\n" % (section, uri), 2, "allow_plain")


def test_no_section(site):
    check(site, "id = x\n", 1, "section")


def test_missing_file(site):
    done = subprocess.run([harness.TIDEGATE, "-c", site.dir + "/none.conf"], stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == 78 and b"none.conf" in done.stderr, (done.returncode, done.stderr)


def test_usage(site):
    done = subprocess.run([harness.TIDEGATE, "--nonsense"], stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == 64, done.returncode


def in_use(site, kind, section, uri):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            s.listen()
        port = s.getsockname()[1]
        got, lines = outcome(site, "[%s]\nlisten = %s\n" % (section, uri % port))
        assert got == 69, (got, lines)
        complaint = [line for line in lines if str(port) in line]
        assert len(complaint) == 1 and "in use" in complaint[0], lines


def test_port_in_use(site):
    in_use(site, socket.SOCK_DGRAM, "mqttsn", "udp://127.0.0.1:%d")
    in_use(site, socket.SOCK_DGRAM, "coap", "coap://127.0.0.1:%d")
    in_use(site, socket.SOCK_STREAM, "mqtt", "mqtt://127.0.0.1:%d")


def test_two_daemons_on_one_store(site):
    first = site.gateway().start()
    second = site.gateway("other", store={"dir": first.sections["store"]["dir"]})
    second.start(wait=False)
    assert second.process.wait_exit() == 69, second.log()
    assert str(first.process.pid) in second.log(), second.log()


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
