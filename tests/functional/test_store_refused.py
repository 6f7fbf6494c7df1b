"""A state directory that can't be used: one clear line, the exit status for it, nothing started, nothing changed."""

import os
import subprocess

import harness

NOBODY = 65534


def refused(gateway, status, text, **arguments):
    """Returns the one line of complaint."""
    done = subprocess.run([harness.TIDEGATE, "-c", gateway.conf], stderr=subprocess.PIPE, timeout=20, check=False,
                          **arguments)
    lines = done.stderr.decode().split("\n")
    errors = [line for line in lines if "error:" in line]
    assert done.returncode == status, (done.returncode, lines)
    assert len(errors) == 1 and text in errors[0] and gateway.sections["store"]["dir"] in errors[0], lines
    assert not any("listening" in line for line in lines), lines


def test_a_file_in_its_place(site):
    gateway = site.gateway()
    state = gateway.sections["store"]["dir"]
    with open(state, "wb") as f:
        f.write(b"mine")
    refused(gateway, 1, "Not a directory")
    with open(state, "rb") as f:
        assert f.read() == b"mine"


def test_a_dangling_link(site):
    gateway = site.gateway()
    os.symlink(site.dir + "/nowhere", gateway.sections["store"]["dir"])
    refused(gateway, 1, "")
    assert not os.path.exists(site.dir + "/nowhere")


def test_a_link_to_a_directory_of_ours(site):
    """State on another disk, as people do it."""
    gateway = site.gateway()
    os.mkdir(site.dir + "/elsewhere", 0o700)
    os.symlink(site.dir + "/elsewhere", gateway.sections["store"]["dir"])
    gateway.start()
    gateway.stop()


def test_no_right_to_it(site):
    if os.geteuid() != 0:
        return
    gateway = site.gateway()
    state = gateway.sections["store"]["dir"]
    for mode, owner in ((0o000, 0), (0o555, 0), (0o700, 0), (0o000, NOBODY)):
        os.mkdir(state)
        os.chown(state, owner, owner)
        os.chmod(state, mode)
        for path in (site.dir, gateway.dir):
            os.chmod(path, 0o755)
        refused(gateway, 77, "", user=NOBODY, group=NOBODY, extra_groups=[])
        assert os.listdir(state) == []
        os.rmdir(state)


def test_read_only(site):
    path = os.path.join(site.dir, "small")
    os.mkdir(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", path], check=False,
                          stderr=subprocess.DEVNULL)
    if done.returncode:
        print("skipped: cannot mount a tmpfs")
        return
    try:
        refused(site.gateway(store={"dir": path + "/state"}), 1, "Read-only file system")
        refused(site.gateway(store={"dir": path}), 1, "Read-only file system")
    finally:
        subprocess.run(["umount", path], check=True)


harness.run(test_a_file_in_its_place, test_a_dangling_link, test_a_link_to_a_directory_of_ours, test_no_right_to_it,
            test_read_only)
