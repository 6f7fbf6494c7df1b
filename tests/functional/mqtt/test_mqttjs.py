"""mqtt.js as a client, over TCP and WebSocket, in MQTT 3.1.1 and 5.0."""

import os
import shutil
import subprocess

import harness

MODULES = os.path.join(harness.BUILD, "npm", "node_modules")
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mqttjs.js")


def install():
    """Into the build directory, once."""
    if os.path.exists(os.path.join(MODULES, "mqtt", "package.json")):
        return
    where = os.path.dirname(MODULES)
    os.makedirs(where, exist_ok=True)
    subprocess.run([shutil.which("npm"), "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund",
                    "--prefix", where, "mqtt@5"], check=True, timeout=120)


def drive(site, scheme, version):
    install()
    port = harness.free_port()
    gateway = site.gateway()
    gateway.sections["mqtt"]["listen"] += ", ws://127.0.0.1:%d" % port
    gateway.write_conf()
    gateway.start()
    url = "ws://127.0.0.1:%d/mqtt" % port if scheme == "ws" else "mqtt://127.0.0.1:%d" % gateway.mqtt_port
    done = subprocess.run([shutil.which("node"), SCRIPT, os.path.abspath(MODULES), url, str(version)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.endswith(b"done\n"), done.stdout.decode()


def test_tcp_311(site):
    drive(site, "mqtt", 4)


def test_tcp_5(site):
    drive(site, "mqtt", 5)


def test_websocket_311(site):
    drive(site, "ws", 4)


def test_websocket_5(site):
    drive(site, "ws", 5)


harness.run(test_tcp_311, test_tcp_5, test_websocket_311, test_websocket_5)
