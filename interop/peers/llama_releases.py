"""llama.cpp as ready-made libraries, six releases over two years, from the npm packages of node-llama-cpp.

The packages are pinned by integrity hashes. The same installation has node-llama-cpp, a host in JavaScript.
"""
import collections
import glob
import os
import shutil

from lib import cache
from peers import javascript

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lock", "npm_llama")
Release = collections.namedtuple("Release", "build package ggml llama")  # the two libraries, in order of loading

# Upstream's build, and the package that carries it.
BUILDS = (("b4234", "libllama-3.3.0"), ("b4980", "libllama-3.7.0"), ("b5640", "libllama-3.10.0"),
          ("b6673", "libllama-3.14.0"), ("b8390", "libllama-3.18.1"), ("v0.5.0", "@node-llama-cpp/linux-x64"))
VERSION = "%s to %s (npm @node-llama-cpp/linux-x64)" % (BUILDS[0][0], BUILDS[-1][0])
NODE_VERSION = "3.22.1 (llama.cpp v0.5.0)"


def install():
    """Installs the packages; returns the folder that holds node_modules."""
    javascript.node()
    with open(os.path.join(FOLDER, "package-lock.json")) as f:
        recipe = f.read()

    def build(folder, log):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(os.path.join(FOLDER, name), folder)
        # Not `npm ci`: it wants packages of other systems, which this lock file leaves out, to be in it.
        cache.sh(["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"],
                 log, 900, folder)
    return cache.Install("npm_llama", recipe).ensure(build)


def _one(folder, pattern):
    others = ("-base", "-cpu", "-common")
    found = [p for p in glob.glob(os.path.join(folder, pattern)) if not any(o in os.path.basename(p) for o in others)]
    if len(found) != 1:
        raise cache.Missing("%s has %d files like %s" % (folder, len(found), pattern))
    return found[0]


def releases():
    """The libraries of every release, oldest first."""
    modules = os.path.join(install(), "node_modules")
    out = []
    for build, package in BUILDS:
        bins = glob.glob(os.path.join(modules, package, "bins", "*"))
        if len(bins) != 1:
            raise cache.Missing("%s holds no libraries for this machine" % package)
        out.append(Release(build, package, _one(bins[0], "libggml*.so"), _one(bins[0], "libllama*.so")))
    return out
