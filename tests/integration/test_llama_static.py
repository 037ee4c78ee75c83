#!/usr/bin/env python3
"""Builds of one's own with -DLLAMA_OTEL_ENABLE=ON: a project that knows nothing of Sightline, static and shared.

The project stands in for llama.cpp: a library `llama`, and a program whose calls of it are counted.
"""
import glob
import json
import os
import re
import shutil
import subprocess

import lib

CMAKE = os.path.join(lib.SOURCE, "deploy", "llama.cpp", "llama-otel.cmake")
HOST = os.path.join(lib.SOURCE, "src", "probe", "host")
ARCHIVE = os.path.join(lib.BUILD, "libsightline-llama-hook.a")


def _need():
    if not os.path.exists(ARCHIVE):
        raise lib.Skip("the hook library is not built (not with sanitizers)")
    for tool in ("cmake", "ninja", "cc", "nm"):
        lib.need(tool)


def _configure(folder, *options):
    return subprocess.run(["cmake", "-S", os.path.join(lib.SOURCE, "tests", "probe"), "-B", folder, "-G", "Ninja",
                           f"-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES={CMAKE}", f"-DLLAMA_OTEL_LIBRARY_DIR={lib.BUILD}", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def _build(shared, *options):
    """Path of the program, built in a folder of its own."""
    folder = lib.tmp()
    done = _configure(folder, "-DLLAMA_OTEL_ENABLE=ON", f"-DBUILD_SHARED_LIBS={'ON' if shared else 'OFF'}", *options)
    lib.equal(done.returncode, 0, done.stdout)
    lib.contains(done.stdout, "llama-otel: 1 executables " + ("load" if shared else "are linked with"))
    done = subprocess.run(["ninja", "-C", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    lib.equal(done.returncode, 0, done.stdout)
    return os.path.join(folder, "host", "llama-host")


def _run(program, count, **env):
    done = subprocess.run([program, "/models/tiny.gguf", str(count)], env=lib.environment(env), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    lib.equal((done.returncode, done.stdout), (0, f"good={count}\n"), done.stderr)
    return done


def _rings(folder):
    return [open(path, "rb").read() for path in glob.glob(os.path.join(folder, "*.ring"))]


def _tells_its_parent(program, library):
    folder = lib.tmp()
    done = _run(program, 7, SIGHTLINE_PROBE_DIR=folder)
    lib.equal(done.stderr, "")
    ring, = _rings(folder)
    for words in (b"/models/tiny.gguf", library, b"llama_model_load_from_file", b"llama_decode"):
        lib.contains(ring, words)
    # What the program's llama.cpp does not have is not said to be there.
    for words in (b"llama_model_load_from_splits", b"llama_encode"):
        assert words not in ring, words


def test_static():
    _need()
    program = _build(False)
    _tells_its_parent(program, b"(linked in)")
    names = subprocess.run(["nm", "--defined-only", "--extern-only", program], stdout=subprocess.PIPE, text=True).stdout.split()
    lib.contains(names, "__wrap_llama_decode")
    lib.equal([n for n in names if n.startswith("sl_") or n.startswith("hook_")], [], "names that could clash")


def test_shared():
    _need()
    program = _build(True)
    _tells_its_parent(program, b"libllama.so")


def test_off_and_nowhere():
    """Switched off, or with a parent's folder that is gone: the program does what it does."""
    _need()
    folder = lib.tmp()
    for shared in (False, True):
        program = _build(shared)
        lib.equal(_run(program, 3, SIGHTLINE_PROBE="off", SIGHTLINE_PROBE_DIR=folder).stderr, "")
        lib.equal(_rings(folder), [])
        lib.equal(_run(program, 3, SIGHTLINE_PROBE_DIR=folder + "/gone", OTEL_SDK_DISABLED="true").stderr, "")


class Exec:
    """A program under `sightline exec` that has done its work and waits for the end of its input."""

    def __init__(self, program, count, **env):
        ready = os.path.join(lib.tmp(), "ready.json")
        self.process = subprocess.Popen([lib.BINARY, "exec", "--metrics-listen", "127.0.0.1:0", "--ready-file", ready, "--", program,
                                         "/models/tiny.gguf", str(count)], env=lib.environment(env), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        lib.equal(self.process.stdout.readline(), f"good={count}\n")
        lib.until(lambda: os.path.exists(ready), what="the ready file")
        with open(ready) as file:
            self.url = json.load(file)["metrics"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        lib.equal(status, 0)


def test_under_exec():
    """Static and shared under `sightline exec`, which preloads the object besides: one host each, counted once."""
    _need()
    for shared in (False, True):
        with Exec(_build(shared), 9) as run:
            lib.until(lambda: lib.total(lib.metrics(run.url), "llamacpp_decode_results_total", result="ok") == 9, what="nine decodes")
            page = lib.metrics(run.url)
            lib.equal(lib.total(page, "sightline_probe_hosts"), 1)
            # The stand-in takes no memory for a context, which is what a pass that only measures looks like.
            lib.equal(lib.total(page, "llamacpp_model_load_seconds_count", model="tiny", outcome="dry_run"), 1)


def test_names_are_chosen():
    """For consumers that mind a colon there is none; promtool has nothing to say about the names with an underscore."""
    _need()
    program = _build(False)
    for names, wanted, unwanted in (("underscore", "llamacpp_n_decode_total ", ("llamacpp:", "llama_tokens_count")),
                                    ("colon", "llamacpp:n_decode_total ", ("llamacpp_", "llama_tokens_count")),
                                    ("otel", "llama_requests_active{", ("llamacpp",))):
        with Exec(program, 3, SIGHTLINE_LLAMACPP_NAMES=names) as run:
            page = lib.until(lambda: lib.total(lib.metrics(run.url), "sightline_probe_hosts") == 1 and lib.get(run.url + "/metrics").text)
            lib.contains(page, "\n" + wanted, names)
            for words in unwanted:
                assert words not in page, (names, words)
            if names == "underscore" and shutil.which("promtool"):
                done = subprocess.run(["promtool", "check", "metrics"], input=page, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                lib.equal((done.returncode, done.stdout), (0, ""))


def test_what_cmake_refuses_and_leaves_alone():
    _need()
    done = _configure(lib.tmp())
    lib.equal(done.returncode, 0, done.stdout)
    assert "llama-otel" not in done.stdout, done.stdout
    alone = shutil.copy(CMAKE, lib.tmp())
    done = subprocess.run(["cmake", "-S", os.path.join(lib.SOURCE, "tests", "probe"), "-B", lib.tmp(), "-G", "Ninja",
                           f"-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES={alone}", "-DLLAMA_OTEL_ENABLE=ON"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode != 0, done.stdout
    lib.contains(done.stdout, "set LLAMA_OTEL_LIBRARY_DIR")


def test_the_library_folder_of_debian():
    _need()
    prefix = lib.tmp()
    libraries, share = os.path.join(prefix, "lib", "x86_64-linux-gnu"), os.path.join(prefix, "share", "sightline", "llama.cpp")
    os.makedirs(libraries)
    os.makedirs(share)
    open(os.path.join(libraries, "libsightline-llama-hook.options"), "w").close()
    installed = shutil.copy(CMAKE, share)
    done = subprocess.run(["cmake", "-S", os.path.join(lib.SOURCE, "tests", "probe"), "-B", lib.tmp(), "-G", "Ninja",
                           f"-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES={installed}", "-DLLAMA_OTEL_ENABLE=ON"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    lib.equal(done.returncode, 0, done.stdout)
    lib.contains(done.stdout, libraries)


def test_the_archive_has_every_hook_and_nothing_else():
    _need()
    with open(os.path.join(HOST, "hooks.def")) as file:
        hooks = re.findall(r"^SL_HOOK\((\w+), *([A-Z]+)\)", file.read(), re.M)
    done = subprocess.run(["nm", ARCHIVE], stdout=subprocess.PIPE, text=True, check=True)
    seen = dict(reversed(line.split()[-2:]) for line in done.stdout.split("\n") if len(line.split()) in (2, 3))
    for name, kind in hooks:
        lib.equal(seen.get("__wrap_" + name), "T", name)
        assert name not in seen or seen[name] == "W", f"{name} is called past its hook's back"
        lib.contains(open(ARCHIVE[:-1] + "options").read().split("\n"), "--wrap=" + name)
    with open(os.path.join(HOST, "static", "aliases.def")) as file:
        aliases = re.findall(r"^ALIAS\((\w+), (\w+)\)", file.read(), re.M)
    for name, hook in aliases:
        lib.equal(seen.get("__wrap_" + name), "T", name)
        lib.contains([n for n, _ in hooks], hook)
        lib.contains(open(ARCHIVE[:-1] + "options").read().split("\n"), "--wrap=" + name)
    strange = [n for n, kind in seen.items() if kind in "UvV" and re.match(r"sl_|hook_|look_|tell_", n)]
    lib.equal(strange, [], "what the hook library lacks")


def test_facts_are_those_that_hooks_ask_for():
    with open(os.path.join(HOST, "static", "facts.def")) as file:
        facts = set(re.findall(r"^FACT\((\w+)\)", file.read(), re.M))
    with open(os.path.join(HOST, "hooks.def")) as file:
        hooks = set(re.findall(r"^SL_HOOK\((\w+)", file.read(), re.M))
    asked = set()
    for path in glob.glob(os.path.join(HOST, "*.c")):
        with open(path) as file:
            asked |= set(re.findall(r'"((?:llama|ggml|SSL)_\w+)"', file.read()))
    lib.equal(asked - hooks - facts, set(), "asked for, and not in facts.def")
    lib.equal(facts - asked, set(), "in facts.def, and asked for by nobody")


lib.main(globals())
