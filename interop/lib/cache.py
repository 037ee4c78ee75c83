"""The cache of installed peers.

Peers are installed once, outside the source tree, in
${SIGHTLINE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/sightline}/interop. An installation is complete when its
stamp file exists and holds the same text as the pinned recipe: a changed pin installs again, an
interrupted installation is thrown away. A file lock keeps two runs from installing the same peer at once.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import time


class Missing(Exception):
    """The peer cannot be had on this machine; the text says why (a check is then `skipped`)."""


def root():
    base = os.environ.get("SIGHTLINE_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sightline")
    return os.path.join(base, "interop")


def log_tail(path, lines=12):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:]).strip()
    except OSError:
        return ""


def sh(argv, log, timeout, cwd=None, env=None):
    """Runs one installation step at low priority with its output in `log`; raises Missing on failure."""
    full = dict(os.environ, **(env or {}))
    with open(log, "ab") as out:
        out.write(("$ " + " ".join(argv) + "\n").encode())
        out.flush()
        try:
            rc = subprocess.run(["nice", "-n", "10", *argv], cwd=cwd, env=full, stdin=subprocess.DEVNULL,
                                stdout=out, stderr=out, timeout=timeout).returncode
        except subprocess.TimeoutExpired:
            raise Missing("installation step '%s' took more than %d s (log: %s)" % (argv[0], timeout, log))
        except FileNotFoundError:
            raise Missing("'%s' is not installed" % argv[0])
    if rc != 0:
        last = log_tail(log, 1)
        raise Missing("installation step '%s' failed: %s (log: %s)" % (" ".join(argv[:3]), last[:200], log))


class Install:
    """One folder of the cache, made by `build(folder, log)`, valid for exactly one `recipe` text."""

    def __init__(self, name, recipe):
        self.name = name
        self.dir = os.path.join(root(), name)
        self.recipe = hashlib.sha256(recipe.encode()).hexdigest()
        self.stamp = os.path.join(self.dir, ".complete")

    def ready(self):
        try:
            with open(self.stamp) as f:
                return f.read() == self.recipe
        except OSError:
            return False

    def ensure(self, build):
        if self.ready():
            return self.dir
        os.makedirs(root(), exist_ok=True)
        with open(os.path.join(root(), ".lock-" + self.name), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.ready():
                return self.dir
            shutil.rmtree(self.dir, ignore_errors=True)
            os.makedirs(self.dir)
            begin = time.monotonic()
            log = os.path.join(root(), self.name + ".log")
            open(log, "w").close()
            build(self.dir, log)
            with open(log, "a") as f:
                f.write("installed in %.0f s\n" % (time.monotonic() - begin))
            with open(self.stamp, "w") as f:
                f.write(self.recipe)
        return self.dir
