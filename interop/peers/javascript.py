"""JavaScript: the official OpenAI client and the OpenTelemetry SDK, from a lock file with integrity hashes."""
import json
import os
import shutil
import subprocess

from lib import cache

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lock", "npm")
NODE_MINIMUM = 18


def pinned(package):
    with open(os.path.join(FOLDER, "package.json")) as f:
        return json.load(f)["dependencies"][package]


OPENAI = pinned("openai")
OTEL = pinned("@opentelemetry/sdk-node")


def node():
    """Path of node; Missing when there is none that is new enough."""
    path = shutil.which("node")
    if not path or not shutil.which("npm"):
        raise cache.Missing("needs Node.js %d or newer with npm" % NODE_MINIMUM)
    out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
    if int(out.lstrip("v").split(".")[0]) < NODE_MINIMUM:
        raise cache.Missing("needs Node.js %d or newer, this one is %s" % (NODE_MINIMUM, out))
    return path


def install():
    """Installs the packages; returns the folder that holds node_modules."""
    node()
    with open(os.path.join(FOLDER, "package-lock.json")) as f:
        recipe = f.read()

    def build(folder, log):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(os.path.join(FOLDER, name), folder)
        cache.sh(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, 900, folder)
    return cache.Install("npm", recipe).ensure(build)
