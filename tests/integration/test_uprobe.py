#!/usr/bin/env python3
"""`sightline exec` for programs into which no library can be loaded: linked statically, or running already."""
import os
import signal
import subprocess
import sys
import time

import lib

COUNT = 300


def _host(shared=False):
    """A program with a stand-in for llama.cpp inside, or beside it."""
    cc, folder = lib.need("cc"), lib.tmp()
    sources = [os.path.join(lib.SOURCE, "tests", "probe", name) for name in ("static_host.c", "static_llama.c")]
    program = os.path.join(folder, "llama-host")
    if shared:
        subprocess.run([cc, "-O1", "-fPIC", "-shared", "-o", os.path.join(folder, "libllama.so"), sources[1]], check=True, timeout=60)
        sources[1:] = ["-L" + folder, "-lllama", "-Wl,-rpath," + folder]
    subprocess.run([cc, "-O1", "-o", program, *sources], check=True, timeout=60)
    return program


class Watched:
    """`sightline exec` of a program, or of a process, and its metrics."""

    def __init__(self, *command):
        self.ready = os.path.join(lib.tmp(), "ready.json")
        env = lib.environment()
        self.process = subprocess.Popen([lib.BINARY, "exec", "--metrics-listen", "127.0.0.1:0", "--view", "off", "--ready-file", self.ready,
                                         *command], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = open(os.devnull)
        self.args = ["exec", *command]
        lib._started.append(self)
        try:
            lib.until(lambda: os.path.exists(self.ready) or self.process.poll() is not None, 20, "readiness")
        except AssertionError:
            self.process.kill()
            raise
        if self.process.poll() is not None:
            error = self.process.stderr.read()
            self.forget()
            _skip_if_refused(error)
            raise AssertionError(error)
        with open(self.ready) as file:
            self.address = [part for part in file.read().split('"') if part.startswith("http://")][0]

    def output(self):
        return ""

    def forget(self):
        lib._started.remove(self)

    def page(self):
        return lib.metrics(self.address)

    def total(self, name, **labels):
        return lib.total(self.page(), name, **labels)

    def reaches(self, name, value, **labels):
        lib.until(lambda: self.total(name, **labels) >= value, 20, f"{name} of {value}")
        lib.equal(self.total(name, **labels), value, name)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(30)
        self.forget()
        return status


def _skip_if_refused(error):
    for part in ("needs root", "no uprobes", "on x86-64 and aarch64 alone", "needs Linux 5.8"):
        if part in error:
            raise lib.Skip(error.strip().split("\n")[0])


def _library():
    """The stand-in as a library that is opened later."""
    path = os.path.join(lib.tmp(), "libllama.so")
    subprocess.run([lib.need("cc"), "-O1", "-fPIC", "-shared", "-o", path, os.path.join(lib.SOURCE, "tests", "probe", "static_llama.c")],
                   check=True, timeout=60)
    return path


class Host:
    """A host of its own, which decodes when it is told to."""

    def __init__(self, program, *more):
        self.process = subprocess.Popen([program, "/models/tiny.gguf", str(COUNT), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.log = open(os.devnull)
        self.args = [program]
        lib._started.append(self)
        lib.equal(self.process.stdout.readline(), f"good={COUNT}\n")

    def output(self):
        return ""

    def tell(self, what, lines=1):
        self.process.stdin.write(what)
        self.process.stdin.flush()
        for _ in range(lines):
            lib.equal(self.process.stdout.readline(), f"good={COUNT}\n", what)

    def end(self):
        self.process.stdin.close()
        lib.equal(self.process.wait(20), 0, "the host's status")
        lib._started.remove(self)


def test_static():
    """Everything from the first call on: what is linked in is looked at from outside."""
    watched = Watched("--", _host(), "/models/tiny.gguf", str(COUNT))
    lib.equal(watched.process.stdout.readline(), f"good={COUNT}\n")
    try:
        watched.reaches("llamacpp_decode_results_total", COUNT, result="ok")
    except AssertionError:
        watched.process.stdin.close()
        _skip_if_refused(watched.process.stderr.read())
        raise
    page = watched.page()
    lib.equal(lib.total(page, "llamacpp_batch_tokens_sum"), 3 * COUNT, "tokens")
    lib.equal(lib.total(page, "llamacpp_model_load_seconds_count", outcome="ok"), 1, "loads")
    lib.equal(lib.total(page, "sightline_probe_events_dropped_total"), 0, "dropped")
    lib.contains(str(page), "tiny")
    watched.process.stdin.close()
    lib.equal(watched.process.wait(30), 0)
    watched.forget()


def test_running():
    """From when on it is attached to; the host is the same before, meanwhile and after, however the watching ends."""
    for shared in (False, True):
        host = Host(_host(shared))
        for number, status in ((signal.SIGTERM, 0), (signal.SIGKILL, -9)):
            watched = Watched("--pid", str(host.process.pid))
            for _ in range(3):
                host.tell("d")
            watched.reaches("llamacpp_batch_tokens_count", 3 * COUNT)
            host.tell("f")  # its child is not ours
            time.sleep(0.2)
            lib.equal(watched.total("llamacpp_batch_tokens_count"), 3 * COUNT, "a child's")
            lib.equal(watched.end(number), status, str(number))
            host.tell("d")
        host.end()


def test_library_that_is_opened_later():
    """By a process that is looked at, and by a program that has another llama.cpp inside and the probe's library with it."""
    host = Host(_host(), _library())
    watched = Watched("--pid", str(host.process.pid))
    host.tell("do", 2)
    watched.reaches("llamacpp_batch_tokens_count", 2 * COUNT)
    watched.reaches("llamacpp_model_load_seconds_count", 1, outcome="ok")
    host.tell("d")
    watched.reaches("llamacpp_batch_tokens_count", 3 * COUNT)
    host.end()
    lib.equal(watched.process.wait(30), 0)
    watched.forget()
    watched = Watched("--", _host(), "/models/tiny.gguf", str(COUNT), _library())
    lib.equal(watched.process.stdout.readline(), f"good={COUNT}\n")
    for what in "od":
        watched.process.stdin.write(what)
        watched.process.stdin.flush()
        lib.equal(watched.process.stdout.readline(), f"good={COUNT}\n", what)
    watched.reaches("llamacpp_batch_tokens_count", 3 * COUNT)
    watched.process.stdin.close()
    lib.equal(watched.process.wait(30), 0)
    watched.forget()


def test_host_that_becomes_another_program():
    host = Host(_host())
    watched = Watched("--pid", str(host.process.pid))
    host.tell("x")
    host.tell("d")
    host.end()
    lib.equal(watched.process.wait(30), 0, "it ends with the process")
    watched.forget()


def test_host_that_is_killed():
    host = Host(_host())
    watched = Watched("--pid", str(host.process.pid))
    host.tell("d")
    host.process.kill()
    host.process.wait()
    lib._started.remove(host)
    lib.equal(watched.process.wait(30), 0)
    watched.forget()


def test_without_rights():
    """The program runs all the same, and one is told what to do."""
    if os.geteuid() != 0:
        raise lib.Skip("only root can give rights up")
    program = _host()
    os.chmod(os.path.dirname(program), 0o755)
    code = "import os, sys; os.setgid(65534); os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])"
    env = lib.environment()
    command = [sys.executable, "-c", code, lib.BINARY, "exec", "--metrics-listen", "off", "--view", "off"]
    done = subprocess.run([*command, "--", program, "a.gguf", "5"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    if "Permission denied" in done.stderr:
        raise lib.Skip("another user cannot get at this build")
    lib.equal((done.returncode, done.stdout), (0, "good=5\n"), done.stderr)
    for part in ("linked in statically", "needs root, or CAP_BPF and CAP_PERFMON", "-DLLAMA_OTEL_ENABLE=ON"):
        lib.contains(done.stderr, part)


def test_own_probe_is_not_watched_twice():
    """Without llama.cpp inside there is nothing to say."""
    env = lib.environment()
    done = subprocess.run([lib.BINARY, "exec", "--metrics-listen", "off", "--view", "off", "--", "true"], env=env, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    lib.equal((done.returncode, done.stderr), (0, ""))
    done = subprocess.run([lib.BINARY, "exec", "--pid", str(os.getpid()), "--", "true"], env=env, stderr=subprocess.PIPE, text=True, timeout=60)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "not both")


lib.main(globals())
