"""Private Python environments for peers that come from PyPI, each pinned with hashes in interop/lock."""
import glob
import os
import shutil
import subprocess
import sys

from lib import cache

LOCKS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lock")
INSTALL_TIMEOUT = 1500


def find_python(minimum, maximum):
    """An interpreter of a minor version in [minimum, maximum], the lowest first; Missing when there is none."""
    names = ["python3"] + ["python3.%d" % n for n in range(minimum, maximum + 1)]
    names += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3")))
    found = {}
    for name in [sys.executable] + names:
        path = shutil.which(name)
        if not path:
            continue
        out = subprocess.run([path, "-c", "import sys, venv, ensurepip; print(sys.version_info[1], sys.executable)"],
                             capture_output=True, text=True, timeout=20)
        if out.returncode == 0:
            minor, real = out.stdout.split(None, 1)
            found.setdefault(int(minor), real.strip())
    for minor in range(minimum, maximum + 1):
        if minor in found:
            return found[minor]
    raise cache.Missing("needs Python 3.%d to 3.%d with venv" % (minimum, maximum))


def pinned(lock, package):
    """The version that a lock file pins."""
    with open(os.path.join(LOCKS, lock + ".txt")) as f:
        for line in f:
            if line.startswith(package + "=="):
                return line.split("==")[1].split()[0]
    raise KeyError(package)


def install(lock, minimum=11, maximum=13):
    """Makes the environment of interop/lock/LOCK.txt and returns its folder."""
    path = os.path.join(LOCKS, lock + ".txt")
    with open(path) as f:
        recipe = f.read()

    def build(folder, log):
        python = find_python(minimum, maximum)
        venv = os.path.join(folder, "venv")
        cache.sh([python, "-m", "venv", venv], log, 120)
        cache.sh([os.path.join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check",
                  "--no-input", "--require-hashes", "-r", path], log, INSTALL_TIMEOUT)
    return os.path.join(cache.Install("py-" + lock, recipe).ensure(build), "venv")


def is_installed(lock):
    """True when the environment of interop/lock/LOCK.txt is in the cache."""
    with open(os.path.join(LOCKS, lock + ".txt")) as f:
        return cache.Install("py-" + lock, f.read()).ready()
