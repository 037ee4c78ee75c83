"""LLM Orchestrator: the published library 0.1.1 (Rust crates), in a small program of ours that runs a workflow file.

interop/lock/orchestrator.txt has a line `NAME VERSION SHA256` for every crate; a build that would use another one is
refused.
"""
import json
import os
import shutil
import subprocess

from lib import cache

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(HERE, "clients", "orchestrator")
LOCK = os.path.join(HERE, "lock", "orchestrator.txt")
SOURCES = ("Cargo.toml", "src/main.rs")
INDEX = "registry+https://github.com/rust-lang/crates.io-index"
BUILD_TIMEOUT = 3600


def crates():
    """Set of (name, version, checksum) that the lock file pins."""
    with open(LOCK) as f:
        return {tuple(line.split()) for line in f if line.strip() and not line.startswith("#")}


def version():
    return next(v for name, v, _ in crates() if name == "llm-orchestrator-core")


def _install():
    texts = []
    for path in [LOCK] + [os.path.join(SOURCE, name) for name in SOURCES]:
        with open(path) as f:
            texts.append(f.read())
    return cache.Install("orchestrator", "\n".join(texts))


def cached():
    return _install().ready()


def lock_text():
    """A Cargo.lock that knows every crate; who needs whom cargo finds out itself."""
    parts = ["version = 4\n"]
    for name, number, checksum in sorted(crates()):
        parts.append('[[package]]\nname = "%s"\nversion = "%s"\nsource = "%s"\nchecksum = "%s"\n' % (
            name, number, INDEX, checksum))
    return "\n".join(parts)


def locked(work):
    """What cargo has really chosen, as crates()."""
    found, current = set(), {}
    with open(os.path.join(work, "Cargo.lock")) as f:
        for line in f:
            if line.startswith("[[package]]"):
                current = {}
            key, _, value = line.partition(" = ")
            if key in ("name", "version", "checksum"):
                current[key] = value.strip().strip('"')
            if key == "checksum":
                found.add((current["name"], current["version"], current["checksum"]))
    return found


def install():
    """Returns the path of the program."""
    def build(folder, log):
        if not shutil.which("cargo"):
            raise cache.Missing("needs cargo to build")
        work = os.path.join(folder, "build")
        shutil.copytree(SOURCE, work)
        with open(os.path.join(work, "Cargo.lock"), "w") as f:
            f.write(lock_text())
        cache.sh(["cargo", "fetch", "--quiet"], log, BUILD_TIMEOUT, work)
        other = locked(work) - crates()
        if other:
            raise cache.Missing("crates that interop/lock/orchestrator.txt does not pin: %s" % sorted(other)[:3])
        target = os.path.join(folder, "target")
        cache.sh(["cargo", "build", "--quiet", "--release", "--locked", "--jobs", "2", "--target-dir", target], log,
                 BUILD_TIMEOUT, work)
        shutil.copy(os.path.join(target, "release", "orchestrator-client"), os.path.join(folder, "program"))
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    return os.path.join(_install().ensure(build), "program")


def run(path, inputs, base, rounds=1, timeout=60):
    """Runs a workflow file; (the program's report, exit status, last line of its errors)."""
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run([install(), path, json.dumps(inputs), base, str(rounds)], capture_output=True, text=True,
                          timeout=timeout, env=env)
    last = done.stderr.strip().split("\n")[-1]
    return (json.loads(done.stdout) if done.returncode == 0 else None), done.returncode, last
