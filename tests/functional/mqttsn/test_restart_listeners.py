"""The gateway comes back with other listeners: a device whose listener is still there goes on, behind a forwarder
too; one whose listener has gone is a stranger at any other, and its session waits for its CONNECT."""

import harness
import restart
import sn
import suite
from forwarder import Forwarder, Node


def node_behind_a_forwarder(site, end):
    gw = restart.gateway(site, forwarders="any")
    forwarder = Forwarder(gw)
    one = Node(forwarder, b"\x01\x02", "one", ctrl=2).connect()
    other = Node(forwarder, b"\x01", "other").connect()
    ids = [node.register("up/" + node.client_id) for node in (one, other)]
    one.subscribe("down", 1)
    end(gw)
    forwarder.quiet()
    local = site.mqtt(gw, "local")
    local.subscribe("up/#", 1)
    for node, topic_id in zip((one, other), ids):
        node.publish_id(topic_id, node.client_id.encode())
    assert [(m.topic, m.payload) for m in local.wait_messages(2)] == [("up/one", b"one"), ("up/other", b"other")]
    local.publish("down", b"1", wait=False)
    assert one.wait_messages(1)[0].payload == b"1"


def forwarder_that_is_none_any_more(site, end):
    gw = restart.gateway(site, forwarders="any")
    forwarder = Forwarder(gw)
    Node(forwarder, b"\x01", "one").connect()
    gw.sections["mqttsn"]["forwarders"] = "192.0.2.1"
    gw.write_conf()
    end(gw)
    gw.wait_log("0 clients go on where they were")
    forwarder.quiet()


def listener_that_has_gone(site, end):
    """Of two sections; what had its session in the other one goes on."""
    port = harness.free_port(harness.socket.SOCK_DGRAM)
    gw = restart.gateway(site, session_expiry="1h")
    gw.stop()
    gw.sections["mqttsn.field"] = {"listen": "udp://127.0.0.1:%d" % port}
    gw.write_conf()
    gw.start()
    stays = restart.device(gw, "stays")
    gone = suite.Device(gw, "gone")
    gone.address = ("127.0.0.1", port)
    gone.connect(clean=False)
    ids = stays.register("t"), gone.register("only/here")
    gone.subscribe("down", 1)
    del gw.sections["mqttsn.field"]
    gw.write_conf()
    end(gw)
    restart.acked(stays, ids[0], b"x")
    gone.address = stays.address
    gone.send_publish(ids[1], b"x", 1)
    gone.next(sn.DISCONNECT)
    gone.connect(clean=False)
    restart.acked(gone, ids[1], b"its id is still known")
    site.mqtt(gw, "local").publish("down", b"1", wait=False)
    gone.regack(gone.next(sn.REGISTER))
    assert gone.next_message().payload == b"1"


def clean_session_without_its_listener(site, end):
    """It ends at once: nobody could take it up."""
    gw = restart.gateway(site)
    restart.device(gw, clean=True)
    gw.sections["mqttsn"]["listen"] = "udp://127.0.0.1:%d" % harness.free_port(harness.socket.SOCK_DGRAM)
    gw.write_conf()
    end(gw)
    gw.wait_log("0 clients go on where they were, 1 more")
    harness.until(lambda: gw.counters().get("sessions.expired", 0) == 1, "the end of the session")


if __name__ == "__main__":
    restart.both(node_behind_a_forwarder, forwarder_that_is_none_any_more, listener_that_has_gone,
                 clean_session_without_its_listener)
