"""MQTT 5.0: SUBSCRIBE and UNSUBSCRIBE, their options and answers (3.3.4, 3.8 to 3.11, 4.8)."""

import mq5
import suite5
from mq5 import PUBACK, PUBLISH, PUBREC, REASON, SESSION_EXPIRY, SUBACK, SUBSCRIPTION_ID, UNSUBACK, USER

NO_LOCAL, AS_PUBLISHED, RETAIN_NEW, RETAIN_NEVER = 0x04, 0x08, 0x10, 0x20


def test_each_filter_has_its_code(case):
    client = case.client()
    client.send(mq5.subscribe(7, [(case.topic("a"), 0), (case.topic("b"), 2), ("x/" * 100 + "#", 1),
                                  ("$share/g/" + case.topic(), 1), (case.topic("c"), 1)], (USER, ("a", "b"))))
    answer = client.expect(SUBACK)
    assert answer.id == 7 and answer.codes == [0, 2, 0x8f, 1, 1]
    client.send(mq5.unsubscribe(8, [case.topic("a"), case.topic("none"), case.topic("b")], (USER, ("a", "b"))))
    answer = client.expect(UNSUBACK)
    assert answer.id == 8 and answer.codes == [0, 0x11, 0]


def test_no_local(case):
    client, other = case.client(), case.client("other")
    client.subscribe(case.topic("#"), 1 | NO_LOCAL)
    assert client.publish(case.topic(), b"own", 1) == 0x10
    client.expect_nothing()
    assert other.publish(case.topic(), b"other", 0) == 0
    assert client.expect(PUBLISH).payload == b"other"
    client.subscribe(case.topic("#"), 0)  # replaces the options
    client.publish(case.topic(), b"own", 0)
    assert client.expect(PUBLISH).payload == b"own"


def test_retain_as_published(case):
    plain, kept, pub = case.client("plain"), case.client("kept"), case.client("pub")
    plain.subscribe(case.topic(), 0)
    kept.subscribe(case.topic(), AS_PUBLISHED)
    pub.publish(case.topic(), b"1", 0, retain=True)
    pub.publish(case.topic(), b"2", 0)
    assert [plain.expect(PUBLISH).retain for _ in range(2)] == [0, 0]
    assert [kept.expect(PUBLISH).retain for _ in range(2)] == [1, 0]


def test_retain_handling(case):
    client = case.client()
    client.publish(case.topic(), b"kept", 1, (USER, ("k", "v")), retain=True)
    for options, comes in ((0, True), (0, True), (RETAIN_NEW, False), (RETAIN_NEVER, False)):
        client.subscribe(case.topic(), options)
        if comes:
            m = client.expect(PUBLISH)
            assert m.retain and m.props == [(USER, ("k", "v"))]
        client.expect_nothing()
    client.send(mq5.unsubscribe(9, [case.topic()]))
    client.expect(UNSUBACK)
    client.subscribe(case.topic(), RETAIN_NEVER)
    client.expect_nothing()
    client.send(mq5.unsubscribe(10, [case.topic()]))
    client.expect(UNSUBACK)
    client.subscribe(case.topic(), RETAIN_NEW)
    assert client.expect(PUBLISH).retain


def test_subscription_identifiers(case):
    client, pub = case.client(), case.client("pub")
    client.subscribe(case.topic("a"), 0, (SUBSCRIPTION_ID, 1))
    client.subscribe(case.topic("b"), 0, (SUBSCRIPTION_ID, 268435455))
    client.subscribe(case.topic("c"), 0)
    for name, expected in (("a", [1]), ("b", [268435455]), ("c", [])):
        pub.publish(case.topic(name))
        assert client.expect(PUBLISH).all(SUBSCRIPTION_ID) == expected
    client.subscribe(case.topic("a"), 0, (SUBSCRIPTION_ID, 2))
    client.subscribe(case.topic("b"), 0)
    for name, expected in (("a", [2]), ("b", [])):
        pub.publish(case.topic(name))
        assert client.expect(PUBLISH).all(SUBSCRIPTION_ID) == expected


def test_a_retained_message_has_the_identifier_of_its_subscription(case):
    client = case.client()
    client.publish(case.topic(), b"", 0)
    client.publish(case.topic(), b"x", 0, retain=True)
    client.subscribe(case.topic("#"), RETAIN_NEVER, (SUBSCRIPTION_ID, 5))
    client.subscribe(case.topic(), 0, (SUBSCRIPTION_ID, 6))
    assert client.expect(PUBLISH).all(SUBSCRIPTION_ID) == [6]
    client.expect_nothing()


def test_overlapping_subscriptions_give_one_copy_with_all_identifiers(case):
    keep = dict(clean=False, pairs=((SESSION_EXPIRY, 60),))
    client, pub = case.client(**keep), case.client("pub")
    for n, (name, qos) in enumerate((("#", 0), ("+/x", 2), ("a/#", 1), ("a/x", 1), ("a/+", 0), ("b", 2))):
        client.subscribe(case.topic(name), qos, (SUBSCRIPTION_ID, 1000 * n + 1))
    client.subscribe(case.topic("+/+"), 1)
    everything = [1, 1001, 2001, 3001, 4001]
    assert pub.publish(case.topic("a/x"), b"m", 2) == 0
    m = client.expect(PUBLISH)
    assert m.qos == 2 and sorted(m.all(SUBSCRIPTION_ID)) == everything
    client.expect_nothing()
    client.close()
    # They stay with the message while it waits.
    pub.publish(case.topic("a/x"), b"n", 1)
    client = case.client(**keep)
    again, waited = client.expect(PUBLISH), client.expect(PUBLISH)
    assert again.payload == b"m" and sorted(again.all(SUBSCRIPTION_ID)) == everything
    assert waited.payload == b"n" and sorted(waited.all(SUBSCRIPTION_ID)) == everything
    client.ack(PUBREC, again.id, 0x80)
    client.ack(PUBACK, waited.id)
    client.expect_nothing()


def test_the_same_identifier_comes_as_often_as_it_matches(case):
    client = case.client()
    client.subscribe(case.topic("#"), 0, (SUBSCRIPTION_ID, 7))
    client.subscribe(case.topic("+"), 0, (SUBSCRIPTION_ID, 7))
    client.publish(case.topic())
    assert client.expect(PUBLISH).all(SUBSCRIPTION_ID) == [7, 7]


def test_shared_subscriptions(case):
    """4.8.2: beside an own one each has its message, with its own identifier; [MQTT-3.8.3-4] No Local."""
    client = case.client()
    assert client.subscribe("$share/group/" + case.topic(), 1, (SUBSCRIPTION_ID, 3)) == 1
    assert client.subscribe(case.topic(), 1, (SUBSCRIPTION_ID, 4)) == 1
    client.publish(case.topic(), b"x", 0)
    got = [client.expect(PUBLISH) for _ in range(2)]
    assert sorted(m.all(SUBSCRIPTION_ID) for m in got) == [[3], [4]]
    client.send(mq5.subscribe(7, [("$share/group/t", 1 | NO_LOCAL)]))
    client.expect_bye(0x82)


def test_malformed_subscribe(case):
    t = mq5.text(case.topic())
    for code, body in ((0x82, b"\0\1\0"), (0x81, b"\0\0\0" + t + b"\0"), (0x81, b"\0\1" + t + b"\0"),
                       (0x81, b"\0\1\0" + t), (0x81, b"\0\1\0" + t + b"\x40"), (0x81, b"\0\1\0" + t + b"\x80"),
                       (0x82, b"\0\1\0" + t + b"\x03"), (0x82, b"\0\1\0" + t + b"\x30"),
                       (0x81, b"\0\1\0" + mq5.text("a#") + b"\0"), (0x81, b"\0\1\0" + mq5.text("") + b"\0"),
                       (0x82, b"\0\1" + mq5.props((SUBSCRIPTION_ID, 0)) + t + b"\0"),
                       (0x82, b"\0\1" + mq5.props((SUBSCRIPTION_ID, 1), (SUBSCRIPTION_ID, 2)) + t + b"\0"),
                       (0x81, b"\0\1" + mq5.props((REASON, "x")) + t + b"\0")):
        client = case.client()
        client.send(mq5.packet(mq5.SUBSCRIBE, body, 2))
        client.expect_bye(code)
    client = case.client()
    client.send(mq5.packet(mq5.SUBSCRIBE, b"\0\1\0" + t + b"\0", 0))
    client.expect_bye(0x81)


def test_malformed_unsubscribe(case):
    t = mq5.text(case.topic())
    for code, body in ((0x82, b"\0\1\0"), (0x81, b"\0\0\0" + t), (0x81, b"\0\1\0" + mq5.text("a#")),
                       (0x81, b"\0\1" + mq5.props((SUBSCRIPTION_ID, 1)) + t)):
        client = case.client()
        client.send(mq5.packet(mq5.UNSUBSCRIBE, body, 2))
        client.expect_bye(code)


suite5.run(globals())
