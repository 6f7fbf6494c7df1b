#!/usr/bin/env python3
"""Floors and doors of the house (docs/architecture.md).

A file includes its own folder or a lower floor, by full path from the root. Each outside library has
one door: the files that may include it and name its symbols.

usage: check_floors.py SOURCE_DIR [BUILD_DIR]
"""
import re
import sys
from pathlib import Path

FLOORS = {
    "gateway/base": 0,
    "gateway/store": 1,
    "gateway/core": 2,
    "gateway/upstream": 3,
    "gateway/ctl": 4,
    "adapters": 4,
    "adapters/coap": 4,
    "adapters/mqtt": 4,
    "adapters/mqttsn": 4,
    "gateway": 5,
}

# Contracts that all files of a folder below may see: adapters/adapter.h is not a neighbour.
SHARED = {"adapters"}

GENERATED = {"version.h"}

# (library, its headers, its symbols, the files that are its door)
DOORS = [
    ("Paho", r"MQTT\w+\.h", r"MQTT(Async|Client|Properties|Property)_\w+",
     r"gateway/upstream/uplink_paho\w*\.[ch]"),
    ("libcoap", r"coap[0-9]*/.*|coap\.h", r"coap_\w+", r"adapters/coap/\w+\.[ch]"),
    ("inih", r"ini\.h", r"ini_(parse|handler|reader)\w*", r"gateway/base/conf\.c"),
    ("pthread", r"pthread\.h|threads\.h", r"(pthread|thrd|mtx|cnd)_\w+",
     r"gateway/base/mailbox\.[ch]|gateway/store/\w+\.[ch]|gateway/upstream/uplink_paho\w*\.[ch]"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def blank(match):
    """White space in place of a comment or string, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group())


def floor_fault(folder, included):
    """Why a file of `folder` may not include the project's file `included`, or None."""
    target = str(Path(included).parent)
    if target not in FLOORS:
        return "belongs to no floor"
    if target == folder:
        return None
    if target in SHARED and folder.startswith(target + "/"):
        return None
    if FLOORS[target] < FLOORS[folder]:
        return None
    return f"stands on floor {FLOORS[target]}, {folder} on floor {FLOORS[folder]}"


def check_includes(root, path, text):
    folder = str(Path(path).parent)
    for match in INCLUDE.finditer(text):
        ours, system = match.groups()
        where = f"{path}:{line_of(text, match.start())}"
        if ours and ours not in GENERATED:
            if not (root / ours).is_file():
                yield f'{where}: "{ours}" is not a path from the root'
            elif fault := floor_fault(folder, ours):
                yield f'{where}: "{ours}" {fault}'
        for library, headers, _, door in DOORS:
            if system and re.fullmatch(headers, system) and not re.fullmatch(door, path):
                yield f"{where}: <{system}> may be included behind {library}'s door only"


def check_symbols(path, text):
    code = NOT_CODE.sub(blank, INCLUDE.sub(blank, text))
    for library, _, symbols, door in DOORS:
        if re.fullmatch(door, path):
            continue
        for match in re.finditer(rf"\b(?:{symbols})\b", code):
            where = f"{path}:{line_of(code, match.start())}"
            yield f"{where}: {match.group()} may be used behind {library}'s door only"


def main():
    root = Path(sys.argv[1])
    files = sorted(p for top in ("gateway", "adapters") for p in (root / top).rglob("*.[ch]"))
    faults = []
    for file in files:
        path = str(file.relative_to(root))
        text = file.read_text()
        if str(Path(path).parent) not in FLOORS:
            faults.append(f"{path}: its folder is on no floor")
            continue
        faults += check_includes(root, path, text)
        faults += check_symbols(path, text)
    print(*faults, sep="\n")
    print(f"{len(files)} files, {len(faults)} violations")
    sys.exit(1 if faults or not files else 0)


if __name__ == "__main__":
    main()
