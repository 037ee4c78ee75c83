"""What the integration tests share: starting and stopping the program, HTTP, counting.

A test file defines functions test_…(), and ends with lib.main(globals()). Each runs with a fresh temporary folder
(lib.tmp()), and everything it started is stopped after it. The last line is `N passed, M failed, K skipped`.
"""
import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

SOURCE = os.environ.get("SIGHTLINE_SOURCE") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SIGHTLINE_BUILD") or os.path.join(SOURCE, "build")
BINARY = os.environ.get("SIGHTLINE") or os.path.join(BUILD, "sightline")


def _sanitizers():
    """What the program was built with: "address,undefined", "thread", or nothing."""
    with contextlib.suppress(OSError), open(os.path.join(os.path.dirname(BINARY), "CMakeCache.txt")) as file:
        for line in file:
            if line.startswith("SL_SANITIZE:"):
                return line.partition("=")[2].strip()
    return ""


SANITIZERS = _sanitizers()
# Programs and libraries that a test builds itself, to run under the same.
SANITIZER_FLAGS = ["-g", f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer"] if SANITIZERS else []
# They slow things down: times that tests allow are stretched by this.
SLOW = 5 if SANITIZERS else 1
# What a sanitizer finds in any process goes into a file here: a test that leaves one has failed. Not so what is
# undefined, where there are two of them: the program itself says that, among its output.
_reports = os.path.join(tempfile.mkdtemp(prefix="sightline-reports-"), "") if SANITIZERS else None
_said = []

_started = []
_folders = []


class Skip(Exception):
    """The test cannot run here; the text says why."""


def need_descriptors(count):
    """Raises this process's limit, which the programs it starts take over; skips where the hard one is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise Skip(f"{hard} descriptors, {count} needed")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Reply:
    """An answer: status, headers (lower case), body as bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


def tmp():
    folder = tempfile.mkdtemp(prefix="sightline-test-")
    _folders.append(folder)
    return folder


def environment(extra=None):
    """The environment of a started program: nothing of the caller's that the program would read."""
    prefixes = ("OTEL_", "SIGHTLINE_", "LLAMA_DEPLOY_", "LLMROUTER_", "ROUTEIQ_", "LITELLM_", "LOG_", "PROMETHEUS_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    env.update({"NO_COLOR": "1", "HOME": "/nonexistent", "XDG_STATE_HOME": _state_home()})
    env.update(extra or {})
    return env


def _state_home():
    if not hasattr(_state_home, "path"):
        _state_home.path = tempfile.mkdtemp(prefix="sightline-state-")
    return _state_home.path


def run(*args, env=None, stdin=None, timeout=60, cwd=None):
    """Runs a command of the program to its end; a CompletedProcess with text."""
    done = subprocess.run([BINARY, *map(str, args)], env=environment(env), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout * SLOW, cwd=cwd, text=True, errors="replace")
    _listen(done.stderr)
    return done


class Process:
    """A serving command that was started and has said that it is ready."""

    def __init__(self, *args, env=None, ready_within=20, cwd=None):
        self.folder = tmp()
        self.ready_path = os.path.join(self.folder, "ready.json")
        self.log_path = os.path.join(self.folder, "log")
        self.args = [BINARY, *map(str, args), "--ready-file", self.ready_path]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(self.args, env=environment(env), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=cwd)
        _started.append(self)
        self.ready = self._wait_ready(ready_within * SLOW)

    def _wait_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.path.exists(self.ready_path):
                with open(self.ready_path) as file:
                    return json.load(file)
            if self.process.poll() is not None:
                raise AssertionError(f"{' '.join(self.args)} ended with {self.process.returncode}:\n{self.output()}")
            time.sleep(0.01)
        raise AssertionError(f"{' '.join(self.args)} was not ready within {seconds} s:\n{self.output()}")

    def output(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def url(self, key):
        return self.ready[key]

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, within=40):
        """Ends it by SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(within * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{' '.join(self.args)} did not end within {within} s after SIGTERM:\n{self.output()[-2000:]}")
        finally:
            self.log.close()
            if self in _started:
                _started.remove(self)
        return status


def mock(*args, ttft=0, itl=0, tokens=16):
    return Process("mock", "--listen", "127.0.0.1:0", "--ttft", ttft, "--itl", itl, "--tokens", tokens, *args)


FREE = ("--gateway-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--admin-listen",
        "127.0.0.1:0", "--drain-timeout", "10")


def gateway(*args, config=None, env=None, command="gateway"):
    """A gateway on free ports. `config`: text of a configuration file."""
    options = list(FREE) + ["--data-dir", tmp()]
    if config is not None:
        path = os.path.join(tmp(), "config.yaml")
        with open(path, "w") as file:
            file.write(config)
        options += ["-c", path]
    process = Process(command, *options, *args, env=env)
    process.config_path = path if config is not None else None
    return process


def config_for(upstream, models=("claude-haiku",), key="sk-test", extra=""):
    """A LiteLLM configuration in front of a mock; `extra` is appended."""
    lines = ["model_list:"]
    for model in models:
        lines += [f"  - model_name: {model}", "    litellm_params:", "      model: openai/mock", f"      api_base: {upstream}/v1",
                  "      api_key: sk-upstream-secret"]
    lines += ["general_settings:", f"  master_key: {key}", extra]
    return "\n".join(lines) + "\n"


def request(method, url, body=None, headers=None, timeout=30):
    """One request; a body that is no bytes becomes JSON."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout * SLOW)
    fields = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        fields.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, (parts.path or "/") + ("?" + parts.query if parts.query else ""), body, fields)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def get(url, **options):
    return request("GET", url, **options)


def post(url, body=None, **options):
    return request("POST", url, body, **options)


def chat(base, key="sk-test", model="claude-haiku", stream=False, content="Hello", headers=None, **extra):
    body = {"model": model, "messages": [{"role": "user", "content": content}], **extra}
    if stream:
        body["stream"] = True
    fields = {"Authorization": f"Bearer {key}"} if key else {}
    fields.update(headers or {})
    return post(base + "/v1/chat/completions", body, headers=fields)


def events(reply):
    """Data of the frames of a stream."""
    return [frame[len("data: "):] for frame in reply.text.split("\n\n") if frame.startswith("data: ")]


def raw(url, data, timeout=10, half_close=False):
    """Sends bytes and returns all that comes back until the peer closes or falls silent."""
    parts = urllib.parse.urlsplit(url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(timeout)
        with contextlib.suppress(socket.timeout, ConnectionError):
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
                if b"\r\n\r\n" in received and not half_close:
                    connection.settimeout(0.3)
    return received


def metrics(url):
    """The metrics page: {name: [(labels, value)]}."""
    found = {}
    for line in get(url + "/metrics").text.split("\n"):
        if not line or line.startswith("#"):
            continue
        head, _, value = line.partition("} ") if "{" in line else line.partition(" ")
        name, _, labels = head.partition("{")
        pairs = {}
        for part in _split_labels(labels):
            key, _, text = part.partition("=")
            pairs[key] = text.strip('"')
        found.setdefault(name, []).append((pairs, float(value.split(" ")[0])))
    return found


def _split_labels(text):
    part, quoted, escaped = "", False, False
    for c in text:
        if escaped:
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == '"':
            quoted = not quoted
        if c == "," and not quoted:
            yield part
            part = ""
        else:
            part += c
    if part:
        yield part


def total(page, name, **labels):
    """Sum of the samples of a name with these labels."""
    return sum(v for pairs, v in page.get(name, []) if all(pairs.get(k) == w for k, w in labels.items()))


def process_name(pid):
    """What the process calls itself; empty: it has gone."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def descendants(pid):
    """Pids of all processes below one."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children = [int(x) for x in file.read().split()]
        except OSError:
            children = []
        found += children
        queue += children
    return found


def descendant(pid, name):
    """The one that calls itself so."""
    for child in descendants(pid):
        if process_name(child) == name:
            return child
    raise AssertionError(f"no process {name} below {pid}")


def until(condition, seconds=10, what="the condition"):
    """Waits until condition() gives something true, and returns it."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


def equal(seen, wanted, what=""):
    if seen != wanted:
        raise AssertionError(f"{what}: {seen!r}, expected {wanted!r}" if what else f"{seen!r}, expected {wanted!r}")


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError(f"{what or 'text'}: {part!r} is not in {text[:2000]!r}")


def need(program):
    path = shutil.which(program)
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def _set_sanitizers():
    """For this process's children, whatever environment they are given by way of os.environ."""
    os.chmod(_reports, 0o1777)  # some change their user
    for tool, more in (("asan", ":verify_asan_link_order=0"), ("lsan", ""), ("ubsan", ":print_stacktrace=1"),
                       ("tsan", ":suppressions=" + os.path.join(SOURCE, "tests", "harness", "tsan.supp"))):
        name = tool.upper() + "_OPTIONS"  # the link order: the probe's library is loaded before the runtime
        os.environ[name] = ":".join(filter(None, [os.environ.get(name), f"log_path={_reports}{tool}{more}"]))


def sanitizer_options(words):
    """What a sanitizer is told besides, as an environment: a crash that is meant is not to be reported."""
    return {name: f"{os.environ[name]}:{words}" for name in ("ASAN_OPTIONS", "TSAN_OPTIONS") if _reports}


def _listen(output):
    if _reports and ": runtime error: " in output:
        _said.append(output)


def _found_by_sanitizers():
    """Takes the reports away."""
    texts = [f"--- output\n{_said.pop()}" for _ in list(_said)]
    for name in sorted(os.listdir(_reports)) if _reports else []:
        with open(_reports + name, errors="replace") as file:
            texts.append(f"--- {name}\n{file.read()}")
        os.unlink(_reports + name)
    return "\n".join(texts)


def _stop_all():
    for process in _started if _reports else []:
        with contextlib.suppress(Exception):
            process.process.terminate()  # leaks are found by those that end by themselves
    for process in list(_started):
        with contextlib.suppress(Exception):
            process.process.wait(20 if _reports else 0)
        with contextlib.suppress(Exception):
            process.process.kill()
            process.process.wait(5)
            process.log.close()
        _started.remove(process)
    for folder in _folders if _reports else []:
        with contextlib.suppress(OSError), open(os.path.join(folder, "log"), errors="replace") as file:
            _listen(file.read())  # a Process's
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def _run_test(name, test):
    """One test and the end of all that it started: 0 passed, 1 failed, 2 skipped."""
    begun, result = time.monotonic(), 1
    try:
        test()
        result = 0
    except Skip as reason:
        result = 2
        print(f"skipped {name}: {reason}", flush=True)
    except Exception:
        print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
        for process in _started:
            print(f"--- output of {' '.join(process.args)}\n{process.output()[-3000:]}", flush=True)
    finally:
        seconds = time.monotonic() - begun
        _stop_all()
    found = _found_by_sanitizers()
    if found:
        print(f"FAIL {name}: a sanitizer found something\n{found}", flush=True)
        return 1
    if result == 0:
        print(f"ok {name} ({seconds:.1f} s)", flush=True)
    return result


def main(names):
    if not os.access(BINARY, os.X_OK):
        print(f"skipped: {BINARY} is not built\n0 passed, 0 failed, 1 skipped")
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # which nohup and shells leave ignored
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if _reports:
        _set_sanitizers()
    only, counts = sys.argv[1:], [0, 0, 0]
    for name, test in [(n, t) for n, t in names.items() if n.startswith("test_") and callable(t)]:
        if not only or any(word in name for word in only):
            counts[_run_test(name, test)] += 1
    for folder in filter(None, (_state_home(), _reports)):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    sys.exit(1 if counts[1] else 0)
