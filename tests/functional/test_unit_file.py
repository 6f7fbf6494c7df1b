"""The unit file is valid and hardened; an installed tree has everything in its place."""

import os
import subprocess

import harness


def installed(site):
    env = dict(os.environ, DESTDIR=site.dir + "/root")
    subprocess.run(["cmake", "--install", harness.BUILD], env=env, check=True, stdout=subprocess.DEVNULL)
    found = {}
    for top, _, files in os.walk(site.dir + "/root"):
        for name in files:
            found[name] = os.path.join(top, name)
    return found


def test_installed_files(site):
    found = installed(site)
    for name in ("tidegate", "tidegate-sim", "tidegate.service", "tidegate.conf", "tidegate.8", "tidegate.conf.5",
                 "tidegate-sim.1", "README.md", "LICENSE"):
        assert name in found, name
    subprocess.run([found["tidegate"], "-V"], check=True, stdout=subprocess.DEVNULL)


def test_installed_configuration_is_kept(site):
    installed(site)
    conf = next(os.path.join(top, "tidegate.conf") for top, _, files in os.walk(site.dir + "/root")
                if top.endswith("/etc/tidegate") and "tidegate.conf" in files)
    os.chmod(conf, 0o640)
    with open(conf, "w", encoding="utf-8") as f:
        f.write("[gateway]\nid = mine\n")
    installed(site)
    with open(conf, encoding="utf-8") as f:
        assert f.read() == "[gateway]\nid = mine\n"


def unit_for_verification(site):
    """The unit with a program that exists, so that verify looks at all the rest."""
    found = installed(site)
    path = os.path.join(site.dir, "tidegate.service")
    with open(found["tidegate.service"], encoding="utf-8") as f:
        text = f.read()
    lines = []
    for line in text.split("\n"):
        if line.startswith("ExecStart"):
            key, command = line.split("=", 1)
            line = key + "=" + found["tidegate"] + command[command.index("/tidegate") + len("/tidegate"):]
        lines.append(line)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
    return path


def test_verify(site):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit_for_verification(site)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    complaints = [line for line in done.stdout.decode().split("\n") if "tidegate" in line]
    assert done.returncode == 0 and not complaints, done.stdout.decode()


def test_exposure(site):
    path = unit_for_verification(site)
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", path],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    overall = [line for line in done.stdout.decode().split("\n") if "Overall exposure level" in line]
    print(overall)
    assert done.returncode == 0, overall


harness.run(test_installed_files, test_installed_configuration_is_kept, test_verify, test_exposure)
