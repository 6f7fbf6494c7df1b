"""MQTT-SN 1.2, 6.2: connecting; who may connect as whom."""

import sn
import suite
from harness import each
from suite import FOREIGN


def prepare(site):
    return suite.Bench(site)


def test_accepted(c):
    """6.2, 5.4.5: without the Will flag CONNACK follows at once, and is one octet."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(), sn.CONNACK) == b"\x00"
    dev.silent()
    assert dev.is_connected()


@each(("0", 0), ("2", 2), ("255", 255))
def test_other_protocol_id(c, value):
    """5.3.8: only ProtocolId 0x01 is this protocol; 5.3.10: 0x03, not supported."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(protocol=value[1]), sn.CONNACK) == b"\x03"
    assert not dev.is_connected()


def test_other_protocol_id_leaves_the_session(c):
    """6.2: a CONNECT that is turned down changes nothing."""
    dev = c.connected()
    assert dev.ask(sn.CONNECT, dev.connect_body(protocol=9), sn.CONNACK) == b"\x03"
    assert dev.is_connected()


def test_empty_client_id(c):
    """5.3.1: a client id has at least one character."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(client_id=""), sn.CONNACK) == b"\x03"
    assert not dev.is_connected()


@each(("1", 1), ("23", 23), ("24", 24), ("248", 248), ("249", 249), ("256", 256))
def test_client_id_length(c, value):
    """5.3.1: ids up to 23 characters; longer ones (to 256) are taken whole."""
    dev = c.device((c.client_id() * 40)[-value[1]:] if value[1] > 1 else "~")
    assert dev.ask(sn.CONNECT, dev.connect_body(), sn.CONNACK) == b"\x00"
    assert dev.is_connected()


@each(("257", 257), ("1000", 1000), ("60000", 60000))
def test_client_id_too_long(c, value):
    """5.3.1: never cut, but refused."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(client_id="x" * value[1]), sn.CONNACK) == b"\x03"
    assert not dev.is_connected()


@each(("23", 23), ("255", 255))
def test_client_ids_are_never_cut(c, value):
    """5.3.1: two ids that begin alike are two clients."""
    begin = (c.client_id() + "x" * 300)[:value[1]]
    one, two = c.device(begin + "1").connect(), c.device(begin + "2").connect()
    one.silent()
    assert one.is_connected() and two.is_connected()


@each(("umlaut", "gerät".encode()), ("cjk", "温度".encode()), ("emoji", "\U0001f321".encode()), ("space", b"a b"))
def test_client_id_utf8(c, value):
    """5.3.1: characters of UTF-8."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(client_id=value[1] + dev.client_id.encode()), sn.CONNACK) == b"\x00"


@each(("broken", b"a\xff"), ("cut", b"a\xe2\x82"), ("overlong", b"a\xc0\x80"), ("surrogate", b"a\xed\xa0\x80"),
      ("nul", b"a\x00b"), ("control", b"a\nb"), ("non-character", b"a\xef\xbf\xbf"))
def test_client_id_not_utf8(c, value):
    """5.3.1: what would make a broker drop the link costs only its sender."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(client_id=value[1]), sn.CONNACK) == b"\x03"
    assert not dev.is_connected()


@each(("dup", 0x80), ("qos", 0x60), ("retain", 0x10), ("topic type", 0x03), ("all", 0xF3))
def test_unused_flags(c, value):
    """5.4.4: DUP, QoS, Retain and TopicIdType have no meaning in CONNECT."""
    dev = c.device()
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=value[1] | 0x04), sn.CONNACK) == b"\x00"
    assert dev.is_connected()


def test_repeated_connect_is_answered(c):
    """6.2: CONNACK may have been lost."""
    dev = c.device()
    for _ in range(4):
        assert dev.ask(sn.CONNECT, dev.connect_body(), sn.CONNACK) == b"\x00"
    dev.silent()
    assert dev.is_connected()


def test_repeated_connect_keeps_the_session(c):
    """6.3: without CleanSession subscriptions stay."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    dev.connect(clean=False)
    c.say(c.topic(), b"x")
    assert dev.wait_messages(1)[0].payload == b"x"


def test_repeated_connect_cleans(c):
    """6.3: a repeated CONNECT may be a rebooted device's; CleanSession is applied again."""
    dev = c.connected()
    dev.subscribe(c.topic())
    dev.connect(clean=True)
    c.say(c.topic(), b"x")
    dev.silent()


def test_connect_wakes_a_sleeper(c):
    """6.14: CONNECT makes a sleeping client active again; its mail follows CONNACK."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    dev.disconnect(60)
    c.say(c.topic(), b"mail")
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=0), sn.CONNACK) == b"\x00"
    assert dev.wait_messages(1)[0].payload == b"mail"
    dev.ping()
    c.say(c.topic(), b"more")
    assert dev.wait_messages(2)[1].payload == b"more"


def test_clean_connect_of_a_sleeper(c):
    """6.3, 6.14: its flags hold for a sleeper as well: no mail, no subscription."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    dev.disconnect(60)
    c.say(c.topic(), b"mail")
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=4), sn.CONNACK) == b"\x00"
    c.say(c.topic(), b"more")
    dev.silent()


def test_connect_while_awake(c):
    """6.14: CONNECT in the middle of collecting."""
    dev = c.connected(clean=False)
    dev.subscribe_short(c.two())
    dev.disconnect(60)
    c.say(c.two_names[0], b"mail")
    dev.send(sn.PINGREQ, dev.client_id.encode())
    first = dev.next_message()
    assert dev.ask(sn.CONNECT, dev.connect_body(flags=0), sn.CONNACK) == b"\x00"
    again = dev.next_message()
    assert (again.payload, again.msg_id, again.dup) == (b"mail", first.msg_id, True)
    dev.puback(again)
    dev.ping()
    dev.silent()


def test_connect_right_after_disconnect(c):
    """6.12: the address is free at once."""
    dev = c.connected()
    dev.send(sn.DISCONNECT)
    dev.send(sn.CONNECT, dev.connect_body())
    dev.next(sn.DISCONNECT)
    assert dev.next(sn.CONNACK) == b"\x00"
    assert dev.is_connected()


def test_two_connects_at_once(c):
    """6.2: sent before the first was answered: two answers, one session."""
    dev = c.device()
    dev.say_connect()
    dev.say_connect()
    assert dev.next(sn.CONNACK) == dev.next(sn.CONNACK) == b"\x00"
    assert dev.is_connected()


def test_other_client_id_from_the_same_address(c):
    """6.2: the old session there ends as by a clean DISCONNECT, and nothing of it is seen again."""
    dev = c.connected(will=(c.topic("will"), b"gone", 1, False))
    dev.subscribe(c.topic())
    assert dev.ask(sn.CONNECT, dev.connect_body(client_id=c.client_id()), sn.CONNACK) == b"\x00"
    c.say(c.topic(), b"x")
    dev.silent()
    assert dev.is_connected()
    assert (c.topic("will"), b"gone") not in c.heard()


def test_other_client_id_leaves_the_old_session_for_later(c):
    """6.3: which keeps its subscriptions if it may."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    old = dev.client_id
    dev.client_id = c.client_id()
    dev.connect(clean=True)
    c.say(c.topic(), b"mail")
    dev.silent()
    back = c.device(old).connect(clean=False)
    assert back.wait_messages(1)[0].payload == b"mail"


def test_move_to_another_port(c):
    """6.2: CONNECT from another port of the same address takes the session over."""
    old = c.connected(clean=False)
    old.subscribe(c.topic())
    new = c.device(old.client_id).connect(clean=False)
    old.next(sn.DISCONNECT)
    c.say(c.topic(), b"x")
    assert new.wait_messages(1)[0].payload == b"x"
    old.silent()


def test_old_address_is_a_stranger(c):
    """6.2: it can neither publish nor acknowledge any more."""
    two = c.two()
    old = c.connected(clean=False)
    old.subscribe_short(two)
    new = c.device(old.client_id).connect(clean=False)
    old.next(sn.DISCONNECT)
    c.say(two, b"x")
    m = new.next_message()
    old.send_publish(suite.as_id(two), b"forged", qos=1, kind=sn.SHORT)
    old.next(sn.DISCONNECT)
    old.puback(m)
    old.next(sn.DISCONNECT)
    c.say(two, b"y")
    new.silent()  # x is still waited for
    new.puback(m)
    assert new.next_message().payload == b"y"
    assert (two, b"forged") not in c.heard()


def test_moving_is_no_loss(c):
    """6.3: no will is published."""
    old = c.connected(clean=False, will=(c.topic("will"), b"gone", 1, False))
    c.device(old.client_id).connect(clean=False)
    old.next(sn.DISCONNECT)
    assert c.heard() == []


def test_foreign_address_is_refused(c):
    """6.2: a client id is no credential: another host cannot have its session."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    thief = c.device(dev.client_id, FOREIGN)
    assert thief.ask(sn.CONNECT, thief.connect_body(flags=0), sn.CONNACK) == b"\x03"
    dev.silent()
    c.say(c.topic(), b"mine")
    assert dev.wait_messages(1)[0].payload == b"mine"
    thief.silent()


def test_foreign_clean_session_wipes_nothing(c):
    """6.3: nor end it, connected or not."""
    dev = c.connected(clean=False)
    dev.subscribe(c.topic())
    dev.disconnect()
    thief = c.device(dev.client_id, FOREIGN)
    assert thief.ask(sn.CONNECT, thief.connect_body(flags=4), sn.CONNACK) == b"\x03"
    c.say(c.topic(), b"mine")
    dev.connect(clean=False)
    assert dev.wait_messages(1)[0].payload == b"mine"


def test_foreign_will_dialogue_gets_nowhere(c):
    """6.3: refused before the will is asked for."""
    dev = c.connected(clean=False)
    thief = c.device(dev.client_id, FOREIGN)
    assert thief.ask(sn.CONNECT, thief.connect_body(flags=8), sn.CONNACK) == b"\x03"
    assert dev.is_connected()


def test_clean_session_that_ended_is_free(c):
    """6.2: where no session is left, any host may use the id."""
    dev = c.connected(clean=True)
    dev.disconnect()
    other = c.device(dev.client_id, FOREIGN)
    assert other.ask(sn.CONNECT, other.connect_body(), sn.CONNACK) == b"\x00"


def test_same_id_over_mqtt_is_another_client(c):
    """5.3.1: ids are unique among MQTT-SN clients; a local MQTT client may be called the same."""
    dev = c.connected()
    c.bench.site.mqtt(c.gateway, dev.client_id)
    assert dev.is_connected()


def test_addresses_are_told_apart_by_port(c):
    """6.2: two devices behind one address."""
    devs = [c.connected() for _ in range(20)]
    for n, dev in enumerate(devs):
        dev.subscribe(c.topic(str(n)), qos=1)
    for n in range(20):
        c.say(c.topic(str(n)), b"%d" % n)
    for n, dev in enumerate(devs):
        assert dev.wait_messages(1)[0].payload == b"%d" % n


def test_version_2_is_told_so(c):
    """A CONNECT of the 2.0 draft (type 1, version 2) gets a CONNACK it understands: 0x84."""
    dev = c.device()
    dev.send_raw(b"\x0c\x01\x01\x12\x34\x02\x00\x3cabcd")
    dev.sock.settimeout(suite.WAIT_S)
    assert dev.sock.recv(100) == b"\x06\x02\x00\x12\x34\x84"
    assert not dev.is_connected()


def test_duration_zero(c):
    """5.3.3: any Duration is a promise of the device, none included."""
    dev = c.connected(duration=0)
    assert dev.is_connected()


def test_reconnect_many_times(c):
    """6.2, 6.12: nothing of a session that ended is in the way of the next."""
    dev = c.device()
    for _ in range(50):
        dev.connect()
        dev.disconnect()
    assert not dev.is_connected()


def test_nothing_but_the_answer_goes_to_other_ports(c):
    """6.2: bystanders hear nothing."""
    bystander = c.device()
    dev = c.connected()
    dev.disconnect()
    bystander.silent()


def test_return_path(c):
    """6.2: the answer comes from the address that was asked (NATs and firewalls depend on it)."""
    dev = c.device()
    dev.say_connect()
    dev.sock.settimeout(suite.WAIT_S)
    _, source = dev.sock.recvfrom(100)
    assert source == ("127.0.0.1", c.gateway.sn_port)


suite.run(prepare, globals())
