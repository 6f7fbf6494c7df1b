#!/usr/bin/env python3
"""Every tracked C file is as .clang-format wants it. Skipped without clang-format or git.

usage: check_format.py SOURCE_DIR [BUILD_DIR]
"""
import shutil
import subprocess
import sys

SKIP = 77


def tracked_files(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "*.c", "*.h"],
                            capture_output=True, check=False)
    if listed.returncode != 0:  # a release archive
        return None
    return [name.decode() for name in listed.stdout.split(b"\0") if name]


def main():
    root = sys.argv[1]
    if not shutil.which("clang-format") or not shutil.which("git"):
        print("clang-format or git is not installed")
        sys.exit(SKIP)
    files = tracked_files(root)
    if files is None:
        print("not a git checkout")
        sys.exit(SKIP)
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=root, check=False)
    print(f"{len(files)} files")
    sys.exit(1 if done.returncode else 0)


if __name__ == "__main__":
    main()
