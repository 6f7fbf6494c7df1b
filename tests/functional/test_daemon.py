"""Flags, signals, service notification, sample file and manual."""

import os
import re
import signal
import socket
import subprocess

import harness
import sn

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def tidegate(*args, **kwargs):
    return subprocess.run([harness.TIDEGATE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20,
                          check=False, **kwargs)


def test_version_and_help(site):
    done = tidegate("-V")
    assert done.returncode == 0 and re.match(rb"tidegate \d+\.\d+\.\d+\n", done.stdout), done.stdout
    done = tidegate("-h")
    for flag in (b"-c", b"-t", b"-T", b"-d", b"-v", b"-q", b"-V"):
        assert flag in done.stdout, flag


def test_test_and_print(site):
    gateway = site.gateway()
    done = tidegate("-t", "-c", gateway.conf)
    assert done.returncode == 0 and b"ok" in done.stdout, (done.stdout, done.stderr)
    first = tidegate("-T", "-c", gateway.conf)
    assert first.returncode == 0, first.stderr
    again = os.path.join(site.dir, "again.conf")
    with open(again, "wb") as f:
        f.write(first.stdout)
    second = tidegate("-T", "-c", again)
    assert second.stdout == first.stdout, "print-config does not read back as itself"


def test_sample_is_generated_and_good(site):
    done = tidegate("--sample-config")
    with open(os.path.join(SOURCE, "config/tidegate.conf"), "rb") as f:
        assert f.read() == done.stdout, "config/tidegate.conf is not what --sample-config prints"
    assert tidegate("-t", "-c", os.path.join(SOURCE, "config/tidegate.conf")).returncode == 0


def test_manual_names_every_key(site):
    manual = tidegate("--manual").stdout.decode()
    sample = tidegate("--sample-config").stdout.decode()
    keys = set(re.findall(r"^[#;]?\s*([a-z][a-z0-9_]*) =", sample, re.M))
    assert len(keys) > 30, keys
    for key in keys:
        assert key in manual.replace("\\", ""), key
    with open(os.path.join(SOURCE, "docs/man/tidegate.8"), encoding="utf-8") as f:
        page = f.read().replace("\\", "")
    for flag in re.findall(r"--[a-z-]+", tidegate("-h").stdout.decode()):
        assert flag in page, flag
    path = os.path.join(site.dir, "tidegate.conf.5")
    with open(path, "w", encoding="utf-8") as f:
        f.write(manual)
    for name in (path, os.path.join(SOURCE, "docs/man/tidegate.8"), os.path.join(SOURCE, "docs/man/tidegate-sim.1")):
        done = subprocess.run(["man", "--warnings", "-l", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, MANWIDTH="80", LC_ALL="C.UTF-8"), check=False)
        assert done.returncode == 0 and not done.stderr, (name, done.stderr.decode())


def test_reload(site):
    gateway = site.gateway(log={"level": "info"}).start()
    dev = sn.SnClient(gateway, "dev").connect()
    gateway.sections["log"]["level"] = "debug"
    gateway.write_conf()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")

    mark = gateway.mark()
    gateway.sections["mqttsn"]["retry_interval"] = "soon"
    gateway.write_conf()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log(r"retry_interval", after=mark)
    gateway.wait_log("the old one stays", after=mark)

    mark = gateway.mark()
    gateway.sections["mqttsn"]["retry_interval"] = None
    gateway.sections["mqttsn"]["listen"] = "udp://127.0.0.1:%d" % harness.free_port(socket.SOCK_DGRAM)
    gateway.write_conf()
    gateway.process.signal(signal.SIGHUP)
    gateway.wait_log(r"\[mqttsn\] listen has changed and needs a restart", after=mark)
    dev.send(sn.PINGREQ)
    dev.expect(sn.PINGRESP)


def test_state_dump(site):
    gateway = site.gateway().start()
    sn.SnClient(gateway, "dumped").connect()
    gateway.process.signal(signal.SIGUSR1)
    gateway.wait_log(r"gateway \S+ sessions=1 attached=1")
    gateway.wait_log(r"dumped")


def test_service_notification(site):
    path = os.path.join(site.dir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        gateway = site.gateway()
        env = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000", JOURNAL_STREAM="1:1")
        process = harness.Process([harness.TIDEGATE, "-c", gateway.conf], "gw", env=env)
        site.processes.append(process)

        def wait(word):
            while True:
                if word in s.recv(4096):
                    return
        wait(b"READY=1")
        wait(b"STATUS=0 clients")
        wait(b"WATCHDOG=1")
        wait(b"WATCHDOG=1")
        process.signal(signal.SIGHUP)
        wait(b"RELOADING=1")
        wait(b"READY=1")
        process.signal(signal.SIGTERM)
        wait(b"STOPPING=1")
        assert process.wait_exit() == 0
        assert not any(re.match(r"<[0-7]>", line) for line in process.lines), "1:1 is not our standard error"


def test_priorities_for_the_journal(site):
    reader, writer = os.pipe()
    stat = os.fstat(writer)
    env = dict(os.environ, JOURNAL_STREAM="%d:%d" % (stat.st_dev, stat.st_ino))
    gateway = site.gateway()
    with subprocess.Popen([harness.TIDEGATE, "-c", gateway.conf], stderr=writer, env=env) as daemon:
        os.close(writer)
        with os.fdopen(reader) as log:
            lines = []
            while not lines or "is up" not in lines[-1]:
                lines.append(log.readline())
                assert lines[-1], lines
            daemon.terminate()
            lines += log.readlines()
    assert all(re.match(r"<[0-7]>", line) for line in lines), lines


def test_background(site):
    gateway = site.gateway()
    log = os.path.join(site.dir, "log")
    with open(log, "wb") as f:
        done = subprocess.run([harness.TIDEGATE, "-d", "-c", gateway.conf], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=f, timeout=20, check=False)
    assert done.returncode == 0
    with open(os.path.join(gateway.sections["store"]["dir"], "lock"), encoding="ascii") as f:
        pid = int(f.read().split()[0])
    try:
        sn.SnClient(gateway, "dev").connect()  # the parent returned when it was serving
    finally:
        os.kill(pid, signal.SIGTERM)
    harness.until(lambda: not os.path.exists("/proc/%d" % pid) or
                  open("/proc/%d/stat" % pid, encoding="ascii").read().split()[2] == "Z", "the end of the daemon")
    busy = site.gateway("busy", mqttsn={"listen": "udp://127.0.0.1:1,udp://127.0.0.1:1"})
    done = subprocess.run([harness.TIDEGATE, "-d", "-c", busy.conf], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=20, check=False)
    assert done.returncode == 69, done.returncode


harness.run(*[f for name, f in sorted(globals().items()) if name.startswith("test_")])
