#!/usr/bin/env python3
"""House rules that a compiler does not check: layers, documented prototypes, function length, file heads.

Prints FILE:LINE: text for each fault and ends with status 1 when there is any.
"""
import os
import re
import subprocess
import sys

# The law of layers (ARCHITECTURE.md): folder -> rank. A file may include files of its own rank's folder or lower ranks.
RANK = {
    "include/sightline": 0, "src/base": 0, "src/wire": 1, "src/net/lite": 2, "src/net": 2, "src/telemetry": 3,
    "src/export": 3, "src/llm": 4, "src/queue": 4, "src/store": 4, "src/gateway": 5, "src/flow": 5, "src/probe": 5,
    "src/view": 5, "src/cli": 6,
}
# Folders of equal rank that may not see each other, beyond the rule of ranks.
FORBIDDEN = {
    ("src/net/lite", "src/net"), ("src/telemetry", "src/net"), ("src/telemetry", "src/export"), ("src/export", "src/net"),
    # The probe runs inside foreign processes: libc alone.
    ("src/probe", "src/net"), ("src/probe", "src/export"), ("src/probe", "src/llm"), ("src/probe", "src/queue"),
    ("src/probe", "src/store"),
}
MAX_LINES = 120   # of one function
P95_LINES = 65
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]')
faults = []


def fault(path, line, text):
    faults.append(f"{path}:{line}: {text}")


def folder_of(path):
    best = ""
    for folder in RANK:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def check_layers(path, lines):
    here = folder_of(path)
    is_test = os.path.basename(path).startswith("test_")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        if target.startswith("sightline/"):
            target = "include/" + target
        there = folder_of(target)
        if not there or there == here or is_test:
            continue
        if RANK[there] > RANK[here] or (here, there) in FORBIDDEN or (RANK[there] == 5 and RANK[here] == 5):
            fault(path, number, f"{here} (layer {RANK[here]}) must not include {there} (layer {RANK[there]})")


def check_public_header(path, lines):
    """Every prototype begins with SL_API and has a comment above it."""
    for number, line in enumerate(lines, 1):
        if line.startswith("SL_API"):
            above = lines[number - 2].rstrip() if number > 1 else ""
            if not above.endswith("*/"):
                fault(path, number, "public prototype without a comment directly above it")
        elif re.match(r"^[a-z][\w \*]*\bsl_\w+\s*\(", line) and not line.startswith(("static", "typedef")):
            fault(path, number, "public prototype without SL_API")


def check_head(path, lines):
    text = "\n".join(lines[:3])
    if not text.lstrip().startswith("/*"):
        fault(path, 1, "a file begins with a comment that says what it is")


def function_lengths(files):
    """(length, path, line, name) of every function, from ctags when there, else from brace positions."""
    result = []
    for path in files:
        with open(path, encoding="utf-8") as handle:
            lines = handle.read().split("\n")
        start = None
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                name = lines[start - 2].strip()
                result.append((number - start + 1, path, start - 1, name))
                start = None
    return result


def check_lengths(files):
    lengths = function_lengths(files)
    for length, path, line, name in lengths:
        if length > MAX_LINES:
            fault(path, line, f"function of {length} lines (at most {MAX_LINES})")
    ordered = sorted(length for length, *_ in lengths)
    if ordered:
        p95 = ordered[int(len(ordered) * 0.95)]
        if p95 > P95_LINES:
            fault("src", 0, f"p95 of function length is {p95} lines (at most {P95_LINES})")
        print(f"{len(ordered)} functions, median {ordered[len(ordered) // 2]} lines, p95 {p95}")


def check_words(path, lines):
    for number, line in enumerate(lines, 1):
        if len(line) > 140:
            fault(path, number, f"line of {len(line)} characters")
        if line != line.rstrip():
            fault(path, number, "trailing white space")


def main():
    root = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True).stdout.strip()
    os.chdir(root)
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True,
                            text=True, check=True).stdout.split("\n")
    files = [f for f in listed if f.endswith((".c", ".h")) and os.path.exists(f)]
    for path in files:
        with open(path, encoding="utf-8") as handle:
            lines = handle.read().split("\n")
        check_head(path, lines)
        check_words(path, lines)
        if path.startswith(("src/", "include/")):
            check_layers(path, lines)
        if path.startswith("include/"):
            check_public_header(path, lines)
    check_lengths([f for f in files if f.startswith("src/") and f.endswith(".c")])
    for line in faults:
        print(line)
    print(f"lint: {len(files)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
