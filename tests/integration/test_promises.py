#!/usr/bin/env python3
"""docs/promises.md names tests: each of them exists."""
import os
import re
import subprocess
import sys

import lib


def read(path):
    with open(os.path.join(lib.SOURCE, path)) as file:
        return file.read()


def listed(program):
    """First words of what `program --list` prints."""
    done = subprocess.run([sys.executable, os.path.join(lib.SOURCE, program), "--list"], capture_output=True, text=True, timeout=60)
    lib.equal(done.returncode, 0, done.stderr[-500:])
    return {line.split()[0] for line in done.stdout.split("\n") if line.strip()}


def faults(proof, lists):
    """Names in a cell of the table that mean nothing; counts those that do."""
    found, good, text = [], 0, ""
    for word in re.findall(r"`([^`]+)`", proof):
        kind, _, name = word.partition(":")
        if kind in lists:
            ok = name in lists[kind]
        elif "/" in word:
            ok = os.path.exists(os.path.join(lib.SOURCE, word))
            text = read(word) if ok else ""
        else:
            ok = re.search(rf"(def |SL_TEST\(){word}\(?\)", text) is not None
        good += ok
        if not ok:
            found.append(word)
    return found, good


def test_every_proof_exists():
    lists = {"interop": listed("interop/run"), "bench": listed("bench/run")}
    rows = re.findall(r"^\| ([SB]\d[\d.]*) \| (.*) \| (.*) \|$", read("docs/promises.md"), re.M)
    assert len(rows) > 20, len(rows)
    for name, _, proof in rows:
        bad, good = faults(proof, lists)
        lib.equal(bad, [], name)
        assert good, f"{name}: no proof"
    lib.equal(faults("`tests/integration/test_cli.py`: `test_nonsense`; `bench:nonsense`", lists)[0], ["test_nonsense", "bench:nonsense"])


lib.main(globals())
