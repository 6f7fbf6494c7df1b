"""MQTT-SN 1.2, 6.1: how devices find the gateway, over real multicast on loopback."""

import os
import shutil
import socket
import struct
import subprocess
import sys

import harness
import sn

GROUP = "239.255.18.84"
EVERYBODY = "127.255.255.255"


def listener(port, group=None, ip="127.0.0.1"):
    """A device's socket at that port, which hears the group."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((group or ip, port))
    if group:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                     socket.inet_aton(group) + socket.inet_aton("127.0.0.1"))
    s.settimeout(harness.WAIT_S)
    return s


def asker():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    s.settimeout(harness.WAIT_S)
    return s


def search(s, port, data=b"\x03\x01\x00", group=GROUP):
    s.sendto(data, (group, port))


def assert_silent(s, seconds=0.4):
    s.settimeout(seconds)
    try:
        data, who = s.recvfrom(1000)
    except socket.timeout:
        s.settimeout(harness.WAIT_S)
        return
    raise AssertionError("%s from %s" % (data.hex(), who))


def test_advertise_by_multicast_and_unicast(site):
    """Every T_adv, which is its Duration; from the port where devices connect."""
    port, other = harness.free_port(socket.SOCK_DGRAM), harness.free_port(socket.SOCK_DGRAM)
    many, one = listener(port, GROUP), listener(other)
    gateway = site.gateway(mqttsn={"gateway_id": 9, "advertise_interval": "1s", "advertise":
                                   "%s:%d, 127.0.0.1:%d" % (GROUP, port, other)}).start()
    for s in (many, one):
        for _ in range(2):
            data, who = s.recvfrom(100)
            assert data == b"\x05\x00\x09\x00\x01", data.hex()
            assert who == ("127.0.0.1", gateway.sn_port)


def test_advertise_by_broadcast(site):
    port = harness.free_port(socket.SOCK_DGRAM)
    s = listener(port, ip="0.0.0.0")
    gateway = site.gateway(mqttsn={"advertise": "%s:%d" % (EVERYBODY, port)}).start()
    data, who = s.recvfrom(100)
    assert (data, who[1]) == (b"\x05\x00\x01\x03\x84", gateway.sn_port), data.hex()  # 15 minutes


def test_no_advertise_unless_asked_for(site):
    s = listener(harness.free_port(socket.SOCK_DGRAM), GROUP)
    site.gateway(mqttsn={"multicast": GROUP, "advertise_interval": "1s"}).start()
    assert_silent(s, 1.5)


def test_searchgw_in_a_group(site):
    """Answered by the listener to the asker alone, with no more octets than the question."""
    gateway = site.gateway(mqttsn={"gateway_id": 5, "multicast": GROUP}).start()
    s = asker()
    search(s, gateway.sn_port)
    assert s.recvfrom(100) == (b"\x03\x02\x05", ("127.0.0.1", gateway.sn_port))
    assert_silent(s)


def test_group_with_its_own_port(site):
    port = harness.free_port(socket.SOCK_DGRAM)
    gateway = site.gateway(mqttsn={"gateway_id": 5, "multicast": "%s:%d, 239.255.18.85" % (GROUP, port)}).start()
    s = asker()
    search(s, port)
    assert s.recvfrom(100) == (b"\x03\x02\x05", ("127.0.0.1", gateway.sn_port))
    search(s, gateway.sn_port, group="239.255.18.85")
    assert s.recvfrom(100) == (b"\x03\x02\x05", ("127.0.0.1", gateway.sn_port))


def test_a_listener_at_all_addresses(site):
    """It hears the group once, and only the groups that are configured."""
    port = harness.free_port(socket.SOCK_DGRAM)
    gateway = site.gateway(mqttsn={"listen": "udp://0.0.0.0:%d" % port, "allow_plain": "yes", "multicast": GROUP,
                                   "multicast_interface": "lo"})
    gateway.sn_port = port
    gateway.start()
    foreign = listener(harness.free_port(socket.SOCK_DGRAM), "239.255.18.86")  # joined by somebody on this machine
    s = asker()
    search(s, port)
    assert s.recvfrom(100)[0] == b"\x03\x02\x01"
    search(s, port, group="239.255.18.86")
    assert_silent(s)
    foreign.close()


def test_only_searchgw_in_a_group(site):
    """What every gateway hears none may act upon."""
    gateway = site.gateway(mqttsn={"multicast": GROUP}).start()
    s = asker()
    search(s, gateway.sn_port, sn.packet(sn.CONNECT, b"\x04\x01\x00\x3cdev"))
    search(s, gateway.sn_port, sn.packet(sn.PINGREQ))
    assert_silent(s)
    search(s, gateway.sn_port, b"\x04\xfe\x00n\x03\x01\x00")
    assert s.recvfrom(100)[0] == b"\x04\xfe\x00n\x03\x02\x01"
    assert gateway.counters()["mqttsn.unexpected"] == 2


def test_gwinfo_for_all(site):
    """Where it is configured: once for all who asked, after a random time."""
    port = harness.free_port(socket.SOCK_DGRAM)
    gateway = site.gateway(mqttsn={"gwinfo_delay": "500ms", "advertise": "%s:%d" % (GROUP, port),
                                   "multicast": GROUP}).start()
    everybody = listener(port, GROUP)
    askers = [asker() for _ in range(5)]
    for s in askers:
        search(s, gateway.sn_port)
    for s in askers:
        assert s.recvfrom(100)[0] == b"\x03\x02\x01"
    data = everybody.recvfrom(100)[0]
    while data[1] == sn.ADVERTISE:
        data = everybody.recvfrom(100)[0]
    assert data == b"\x03\x02\x01"
    assert_silent(everybody, 0.7)


def test_each_group_of_listeners(site):
    """[mqttsn.NAME] with its own port, group and timers; what it does not set is as in [mqttsn]."""
    port = harness.free_port(socket.SOCK_DGRAM)
    gateway = site.gateway(**{
        "mqttsn": {"gateway_id": 5, "retry_interval": "1m", "multicast": GROUP},
        "mqttsn.fast": {"listen": "udp://127.0.0.1:%d" % port, "retry_interval": "200ms", "retry_count": 1},
    }).start()
    s = asker()
    search(s, port)
    assert s.recvfrom(100) == (b"\x03\x02\x05", ("127.0.0.1", port))
    slow = sn.SnClient(gateway, "slow").connect()
    gateway.sn_port = port
    fast = sn.SnClient(gateway, "fast").connect()
    for dev in (slow, fast):
        dev.subscribe("t/%s" % dev.client_id, 1)
        dev.acknowledge = False
    local = site.mqtt(gateway, "local")
    local.publish("t/slow", b"x", 1)
    local.publish("t/fast", b"x", 1)
    assert sn.Message(fast.expect(sn.PUBLISH)).dup is False
    assert sn.Message(fast.expect(sn.PUBLISH, 2)).dup is True
    assert fast.recv(2)[0] == sn.DISCONNECT
    assert not sn.Message(slow.expect(sn.PUBLISH)).dup
    slow.quiet(0.5)


def test_without_multicast(site):
    """One warning at the start, and everything else goes on."""
    gateway = site.gateway(mqttsn={"multicast": "%s, 239.255.18.85, [ff15::1884]" % GROUP,
                                   "multicast_interface": "nonesuch0"}).start()
    sn.SnClient(gateway).connect()
    warnings = [line for line in gateway.process.lines if "multicast" in line or "cannot join" in line]
    assert len(warnings) == 1, warnings


def test_reload(site):
    gateway = site.gateway().start()
    port = harness.free_port(socket.SOCK_DGRAM)
    s = listener(port)
    gateway.sections["mqttsn"].update({"advertise": "127.0.0.1:%d" % port, "advertise_interval": "1h"})
    gateway.write_conf()
    gateway.process.signal(harness.signal.SIGHUP)
    assert s.recvfrom(100)[0] == b"\x05\x00\x01\x0e\x10"


def in_ipv6_network():
    """IPv6 has no multicast on loopback: two interfaces of a network of our own, in a child."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    script = ("ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up"
              " && ip addr add fd00::1/64 dev v0 nodad && ip addr add fd00::2/64 dev v1 nodad && exec \"$@\"")
    probe = subprocess.run(["unshare", "-rn", "sh", "-c", script, "sh", "true"], capture_output=True, check=False)
    return None if probe.returncode else ["unshare", "-rn", "sh", "-c", script, "sh"]


def ipv6_child(site):
    port = harness.free_port(socket.SOCK_DGRAM)
    index = socket.if_nametoindex("v1")
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", port))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                 socket.inet_pton(socket.AF_INET6, "ff15::1884") + struct.pack("@I", index))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("@I", index))
    s.settimeout(5)
    gateway = site.gateway(mqttsn={"listen": "udp://[fd00::1]:1884", "allow_plain": "yes", "multicast": "ff15::1884",
                                   "advertise": "[ff15::1884]:%d" % port, "advertise_interval": "1s"}).start()
    data, who = s.recvfrom(100)
    assert (data, who[:2]) == (b"\x05\x00\x01\x00\x01", ("fd00::1", 1884)), (data, who)
    while data[1] != sn.GWINFO:
        s.sendto(b"\x03\x01\x00", ("ff15::1884", 1884))
        data, who = s.recvfrom(100)
    assert (data, who[:2]) == (b"\x03\x02\x01", ("fd00::1", 1884))
    gateway.stop()


def test_ipv6(site):
    network = in_ipv6_network()
    if network is None:
        print("     (no network namespaces here)")
        return
    environment = dict(os.environ, SN_DISCOVERY_IPV6="1")
    done = subprocess.run(network + [sys.executable, __file__], env=environment, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


if os.environ.get("SN_DISCOVERY_IPV6"):
    harness.run(ipv6_child)
else:
    harness.run(
        test_advertise_by_multicast_and_unicast,
        test_advertise_by_broadcast,
        test_no_advertise_unless_asked_for,
        test_searchgw_in_a_group,
        test_group_with_its_own_port,
        test_a_listener_at_all_addresses,
        test_only_searchgw_in_a_group,
        test_gwinfo_for_all,
        test_each_group_of_listeners,
        test_without_multicast,
        test_reload,
        test_ipv6,
    )
