"""Prometheus 2.42 and promtool, from Debian's package."""
import os
import shutil
import subprocess

from lib import cache


def install():
    """Returns the path of the server; installs the package when root and apt are there."""
    path = shutil.which("prometheus")
    if not path and os.geteuid() == 0 and shutil.which("apt-get"):
        os.makedirs(cache.root(), exist_ok=True)
        log = os.path.join(cache.root(), "prometheus2.log")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        cache.sh(["apt-get", "update", "-q"], log, 300, env=env)
        cache.sh(["apt-get", "install", "-q", "-y", "--no-install-recommends", "prometheus"], log, 600, env=env)
        path = shutil.which("prometheus")
    if not path:
        raise cache.Missing("needs the Debian package prometheus")
    return path


def promtool():
    install()
    return shutil.which("promtool")


def version():
    """What is installed; the package's version on Debian 12 when nothing is."""
    path = shutil.which("prometheus")
    if not path:
        return "2.42 (Debian 12)"
    out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    words = (out.stdout + out.stderr).split()
    return words[words.index("version") + 1] if "version" in words else "unknown"
