"""Grafana's published dashboard schema and the TypeScript compiler, from a lock file with integrity hashes."""
import json
import os
import shutil

from lib import cache
from peers import javascript

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lock", "npm_grafana")
FILES = ("package.json", "package-lock.json")

with open(os.path.join(FOLDER, "package.json")) as _f:
    VERSION = json.load(_f)["dependencies"]["@grafana/schema"]


def install():
    """Installs the packages; returns the folder that holds node_modules."""
    javascript.node()
    with open(os.path.join(FOLDER, "package-lock.json")) as f:
        recipe = f.read()

    def build(folder, log):
        for name in FILES:
            shutil.copy(os.path.join(FOLDER, name), folder)
        cache.sh(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, 900, folder)
    return cache.Install("npm_grafana", recipe).ensure(build)
