"""The end of the gateway: with storage devices hear nothing of it and go on afterwards; without, they are told."""

import harness
import restart
import sn
import suite


def with_storage_nobody_is_told(site):
    gw = restart.gateway(site)
    active = restart.device(gw, "active")
    topic_id = active.register("t")
    sleeper = restart.asleep(restart.device(gw, "sleeper"))
    gw.stop()
    active.quiet()
    sleeper.quiet()
    gw.start()
    restart.acked(active, topic_id, b"x")
    assert sleeper.collect() == []


def without_storage_all_are_told(site):
    gw = site.gateway(store=None).start()
    active = suite.Device(gw, "active").connect()
    gw.stop()
    active.next(sn.DISCONNECT)


def without_storage_a_killed_one_knows_nobody(site):
    gw = site.gateway(store=None).start()
    dev = suite.Device(gw, "dev").connect()
    topic_id = dev.register("t")
    gw.restart_killed()
    dev.send_publish(topic_id, b"x", 1)
    dev.next(sn.DISCONNECT)


if __name__ == "__main__":
    harness.run(with_storage_nobody_is_told, without_storage_all_are_told, without_storage_a_killed_one_knows_nobody)
