"""`make run`: two simulated sensors, their messages at a local MQTT subscriber, and what to type next."""

import os
import socket

import harness

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def test_demonstration(site):
    env = dict(os.environ, RUN_DIR=site.dir + "/run", MQTT_PORT=str(harness.free_port()),
               SN_PORT=str(harness.free_port(socket.SOCK_DGRAM)), COAP_PORT=str(harness.free_port(socket.SOCK_DGRAM)))
    demo = harness.Process([os.path.join(SOURCE, "packaging/demo"), harness.BUILD], "demo", env=env, cwd=SOURCE)
    site.processes.append(demo)
    demo.wait_line(r"demo/sn/temperature  .*celsius")
    demo.wait_line(r"demo/coap/humidity  .*percent")
    hints = [line for line in demo.lines if line.startswith("  ")]
    assert len(hints) == 3, hints
    assert demo.terminate() == 0


harness.run(test_demonstration)
