#!/usr/bin/env python3
"""Writes the dashboards of this directory: `python3 dashboards/generate.py`, or with --check says whether they agree.

What they are made of is in generator/. Needs nothing but Python.
"""

import json
import pathlib
import sys

# Whoever runs this, a test for one, leaves nothing behind.
sys.dont_write_bytecode = True

from generator import calls, exporter, idcs, releases  # noqa: E402

DIRECTORY = pathlib.Path(__file__).parent


def main():
    made = [calls.page(), releases.page(), idcs.page(), exporter.page()]
    wanted = {f"{each['uid']}.json": json.dumps(each, indent=2) + "\n" for each in made}
    if sys.argv[1:] == ["--check"]:
        found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if differing:
            sys.exit(f"not what generate.py writes: {', '.join(differing)}; run python3 dashboards/generate.py")
        return
    for name, text in wanted.items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
