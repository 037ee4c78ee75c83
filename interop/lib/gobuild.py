"""Builds a peer from Go modules, in a throw-away module, with its binary kept in the cache.

`go install` refuses modules with replace directives, so each build makes a module of its own. The module
proxy is asked without the `direct` fallback, which only fails slowly where the network ends at the proxy.
"""
import os
import shutil
import subprocess

from lib import cache

STEP_TIMEOUT = 3600


def env():
    proxy = ",".join(p for p in go_proxy().split(",") if p and p != "direct")
    return {"GOPROXY": proxy or "direct", "GOMAXPROCS": "2", "GOFLAGS": "-mod=mod -buildvcs=false -p=2",
            "GOTOOLCHAIN": "local"}


def go_proxy():
    if not shutil.which("go"):
        raise cache.Missing("needs Go 1.26 or newer to build")
    return subprocess.run(["go", "env", "GOPROXY"], capture_output=True, text=True, timeout=30).stdout.strip()


def module_dir(module, version, cwd, log):
    """Downloads one module and returns its folder in the module cache."""
    cache.sh(["go", "mod", "download", "%s@%s" % (module, version)], log, 600, cwd, env())
    out = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", "%s@%s" % (module, version)], cwd=cwd,
                         env=dict(os.environ, **env()), capture_output=True, text=True, timeout=300)
    if out.returncode != 0:
        raise cache.Missing("module %s %s: %s" % (module, version, out.stderr.strip()[:200]))
    return out.stdout.strip()


def build_tool(folder, log, name, package, version, replaces=(), tags="", ldflags="", go_sum_of=None):
    """Builds main package `package`@`version` to folder/name."""
    work = os.path.join(folder, "build-" + name)
    os.makedirs(work)
    e = env()
    cache.sh(["go", "mod", "init", "peer/" + name], log, 60, work, e)
    if go_sum_of:
        shutil.copyfile(os.path.join(module_dir(go_sum_of, version, work, log), "go.sum"),
                        os.path.join(work, "go.sum"))
    for r in replaces:
        cache.sh(["go", "mod", "edit", "-replace=" + r], log, 60, work, e)
    cache.sh(["go", "get", "-tool", "%s@%s" % (package, version)], log, STEP_TIMEOUT, work, e)
    argv = ["go", "build"] + (["-tags", tags] if tags else [])
    argv += ["-ldflags=-s -w " + ldflags, "-o", os.path.join(folder, name), package]
    cache.sh(argv, log, STEP_TIMEOUT, work, e)
    shutil.rmtree(work, ignore_errors=True)
