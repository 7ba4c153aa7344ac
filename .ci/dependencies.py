#!/usr/bin/env python3
"""Do the dependencies keep to deny.toml? Licences, banned crates, duplicates and sources, read from cargo tree."""

import collections
import re
import subprocess
import sys
import tomllib


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


def problems(packages: set[tuple[str, str, str, str]], rules: dict) -> list[str]:
    licences = set(rules["licenses"]["allow"])
    banned = {ban["crate"] for ban in rules["bans"]["deny"]}
    skipped = {skip["crate"] for skip in rules["bans"]["skip"]}
    versions = collections.defaultdict(set)
    found = []
    for name, version, source, licence in packages:
        if not allowed(licence or "none", licences):
            found.append(f"{name} {version}: licence {licence or 'unknown'}")
        if source and name != "weir":
            found.append(f"{name} {version}: comes from {source}")
        if name in banned:
            found.append(f"{name} {version}: is banned")
        if f"{name}@{version.split('.')[0]}" not in skipped:
            versions[name].add(version)
    found += [f"{name}: {len(all)} versions, {', '.join(sorted(all))}" for name, all in versions.items() if len(all) > 1]
    return sorted(found)


def tree(target: str) -> set[tuple[str, str, str, str]]:
    """Name, version, source (none for the registry) and licence of each package that a build for `target` uses."""
    command = ["cargo", "tree", "--locked", "--target", target, "--prefix=none", "--no-dedupe", "--format={p}|{l}"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    line = re.compile(r"(?P<name>\S+) v(?P<version>\S+)(?: \(proc-macro\))?(?: \((?P<source>.*)\))?\|(?P<licence>.*)")
    return {match.group("name", "version", "source", "licence") for match in map(line.fullmatch, filter(None, lines))}


def main() -> None:
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    packages = set().union(*(tree(target) for target in rules["graph"]["targets"]))
    found = problems(packages, rules)
    print("\n".join(found) or f"{len(packages)} packages keep to deny.toml")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
