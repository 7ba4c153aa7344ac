#!/usr/bin/env python3
"""Do the dependencies keep to deny.toml? Licences, banned crates, duplicates and sources, read from cargo metadata."""

import collections
import json
import re
import subprocess
import sys
import tomllib

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression: str, licences: set[str]) -> bool:
    """An SPDX expression holds if the allowed licences satisfy it. The old `MIT/Apache-2.0` means OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    terms, at = [], 0
    while at < len(words):
        word = words[at]
        if word in ("(", ")"):
            terms.append(word)
        elif word in ("AND", "OR"):
            terms.append(word.lower())
        else:
            if words[at + 1 : at + 2] == ["WITH"]:
                word, at = " ".join(words[at : at + 3]), at + 2
            terms.append(str(word in licences))
        at += 1
    return eval(" ".join(terms), {"__builtins__": {}})  # only True, False, and, or, ( and ) can be in it


def problems(metadata: dict, rules: dict) -> list[str]:
    licences = set(rules["licenses"]["allow"])
    banned = {ban["crate"] for ban in rules["bans"]["deny"]}
    skipped = {skip["crate"] for skip in rules["bans"]["skip"]}
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    versions = collections.defaultdict(set)
    found = []
    for package in metadata["packages"]:
        name, version = package["name"], package["version"]
        if package["id"] not in used:
            continue
        if not allowed(package["license"] or "none", licences):
            found.append(f"{name} {version}: licence {package['license']}")
        if package["source"] not in (None, REGISTRY):
            found.append(f"{name} {version}: comes from {package['source']}")
        if name in banned:
            found.append(f"{name} {version}: is banned")
        if f"{name}@{version.split('.')[0]}" not in skipped:
            versions[name].add(version)
    found += [f"{name}: {len(all)} versions, {', '.join(sorted(all))}" for name, all in versions.items() if len(all) > 1]
    return sorted(found)


def main() -> None:
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    found = []
    for target in rules["graph"]["targets"]:
        metadata = subprocess.run(
            ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"],
            check=True,
            stdout=subprocess.PIPE,
        )
        found += [one for one in problems(json.loads(metadata.stdout), rules) if one not in found]
    print("\n".join(found) or "dependencies keep to deny.toml")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
