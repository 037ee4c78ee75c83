"""What a running check has: its folder, its processes, free ports, and everything ended when it is over."""
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from lib import cache, net

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """The check found something wrong; the text says what was expected and what was seen."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def expect_eq(seen, wanted, what):
    if seen != wanted:
        raise Failure("%s: expected %s, saw %s" % (what, short(wanted), short(seen)))


def short(value):
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) < 300 else text[:300] + "…"


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Context:
    def __init__(self, name, build_dir, sightline, source_dir):
        self.name = name
        self.build = build_dir
        self.source = source_dir
        self.sightline = sightline
        self.dir = os.path.join(build_dir, "interop", name)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        self.ports = set()
        self.processes = []
        self.closers = []

    # Files and ports.
    def folder(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def free_port(self, wish=0):
        """A loopback port that nobody listens on; 0 when `wish` is given and taken. No port is given out twice."""
        for _ in range(50):
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", wish))
                except OSError:
                    return 0
                port = s.getsockname()[1]
            if port not in self.ports:
                self.ports.add(port)
                return port
        raise Failure("no free port")

    # Processes.
    def environment(self, extra=None):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("OTEL_", "SIGHTLINE_", "LLAMA", "LOG_", "OPENAI_", "LITELLM"))}
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            env.pop(name, None)
        env.update(extra or {})
        return env

    def start(self, name, argv, env=None, cwd=None):
        """Starts a process that lives as long as the check; its output goes to NAME.log in the check's folder."""
        log = os.path.join(self.dir, name + ".log")
        with open(log, "ab") as out:
            p = subprocess.Popen(argv, env=self.environment(env), cwd=cwd or self.dir, stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=out, start_new_session=True, preexec_fn=_die_with_parent)
        p.log = log
        p.title = name
        self.processes.append(p)
        return p

    def run(self, argv, env=None, timeout=60, stdin=None, ok=(0,)):
        """Runs a program to its end and returns its standard output; Failure when its exit status is not in `ok`."""
        p = subprocess.Popen(argv, env=self.environment(env), cwd=self.dir,
                             stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                             preexec_fn=_die_with_parent)
        try:
            out, err = p.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            raise Failure("%s: did not end within %d s" % (os.path.basename(argv[0]), timeout))
        finally:
            if p.poll() is None:
                kill_group(p, signal.SIGKILL)
                p.wait(10)
        if p.returncode not in ok:
            text = (err or out).decode("utf-8", "replace").strip()
            raise Failure("%s: exit status %d: %s" % (os.path.basename(argv[0]), p.returncode, text[-600:]))
        return out.decode("utf-8", "replace")

    def alive(self):
        """Failure when a process of the check has ended by itself."""
        for p in self.processes:
            if p.poll() is not None and p.returncode != 0:
                raise Failure("%s ended with status %d: %s" % (p.title, p.returncode, cache.log_tail(p.log, 3)))

    def wait_http(self, url, seconds):
        def probe():
            self.alive()
            return net.get(url, timeout=2).status < 500
        net.until(url, seconds, probe)

    def wait_port(self, port, seconds):
        def probe():
            self.alive()
            socket.create_connection(("127.0.0.1", port), 2).close()
            return True
        net.until("port %d" % port, seconds, probe)

    def wait_file(self, path, seconds):
        def probe():
            self.alive()
            with open(path) as f:
                return json.load(f)
        return net.until(path, seconds, probe, 0.02)

    def own(self, thing):
        """Closes `thing` at the end of the check."""
        self.closers.append(thing)
        return thing

    def stop(self, p, seconds=10):
        """Ends one process by TERM, after `seconds` by KILL; returns its status, None when it had to be killed."""
        kill_group(p, signal.SIGTERM)
        try:
            return p.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_group(p, signal.SIGKILL)
            p.wait(10)
            return None

    def close(self):
        for thing in self.closers:
            thing.close()
        for p in self.processes:
            kill_group(p, signal.SIGTERM)
        end = time.monotonic() + 4
        for p in self.processes:
            try:
                p.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            kill_group(p, signal.SIGKILL)
            p.wait(10)


def kill_group(p, sig):
    """Signals the process and all it started (it leads a session of its own)."""
    try:
        os.killpg(p.pid, sig)
    except (ProcessLookupError, PermissionError):
        pass
