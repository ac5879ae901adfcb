#!/usr/bin/env python3
"""Prints the licences of everything that is compiled into peercam for a target: systemd/debian/licences.py TRIPLE

Each text is printed once, below the names of the crates that it belongs to. Crates without a licence text are listed with
their licence and authors.
"""
import collections
import json
import pathlib
import subprocess
import sys

NAMES = ("LICEN[CS]E*", "COPYING*", "NOTICE*", "README.ijg")

metadata = json.loads(subprocess.check_output(
    ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", sys.argv[1]]))
packages = {p["id"]: p for p in metadata["packages"]}
needs = {n["id"]: [d["pkg"] for d in n["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
         for n in metadata["resolve"]["nodes"]}

inside, waiting = set(), [metadata["resolve"]["root"]]
while waiting:
    package = waiting.pop()
    if package not in inside:
        inside.add(package)
        waiting += needs[package]

texts, without = collections.defaultdict(list), []
for package in sorted((packages[i] for i in inside), key=lambda p: (p["name"], p["version"])):
    root = pathlib.Path(package["manifest_path"]).parent
    title = f"{package['name']} {package['version']} ({package['license']})"
    # Some crates bring C sources with licences one directory deeper. Our own crate does not; there everything else lies.
    depths = ("",) if package["source"] is None else ("", "*/")
    files = sorted({f for d in depths for n in NAMES for f in root.glob(d + n) if f.is_file()})
    for file in files:
        text = file.read_text(errors="replace").strip()
        texts[text].append(title if file.parent == root else f"{title}: {file.parent.name}")
    if not files:
        without.append(f"{title}, by {', '.join(package['authors']) or 'its contributors'}")

print("Crates without a licence text of their own:\n")
print("\n".join(without))
for text, titles in texts.items():
    print(f"\n{'=' * 78}\n" + "\n".join(dict.fromkeys(titles)) + f"\n{'-' * 78}\n\n{text}")
