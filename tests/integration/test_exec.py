#!/usr/bin/env python3
"""`sightline exec`: the program that it runs behaves as without it, whatever ends whom."""
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time

import lib

QUIET = ("--metrics-listen", "off", "--view", "off")
LIBRARY = os.path.join(os.path.dirname(lib.BINARY), "libsightline-llama.so")


def environment(**extra):
    return lib.environment(extra)


def run(*command, options=QUIET, env=None, **more):
    return subprocess.run([lib.BINARY, "exec", *options, "--", *command], env=environment(**(env or {})), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, text=True, errors="replace", **more)


def python(code, *args):
    return [sys.executable, "-u", "-c", code, *args]


class Running:
    """exec with a program that writes lines."""

    def __init__(self, *command, options=QUIET, env=None, **more):
        self.process = subprocess.Popen([lib.BINARY, "exec", *options, "--", *command], env=environment(**(env or {})),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.log = open(os.devnull)
        self.args = ["exec", *command]
        lib._started.append(self)

    def output(self):
        return ""

    def line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 20)
        assert ready, "no line within 20 s"
        return self.process.stdout.readline().strip()

    def wait(self, seconds=20):
        status = self.process.wait(seconds)
        lib._started.remove(self)
        return status


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- the same outside ----

def test_status():
    """The exit status is the program's; ended by a signal, exec ends by the same one."""
    for command, status in ((["true"], 0), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -9 $$"], -9), (["sh", "-c", "kill -TERM $$"], -15),
                            (["sh", "-c", "ulimit -c 0; kill -SEGV $$"], -11)):
        lib.equal(run(*command).returncode, status, " ".join(command))
    done = run("no-such-program-anywhere")
    lib.equal((done.returncode, done.stdout), (127, ""))
    lib.equal(done.stderr, "sightline: no-such-program-anywhere: no such program; check its name and PATH\n")
    done = run("/etc/passwd")
    lib.equal((done.returncode, done.stderr), (126, "sightline: /etc/passwd: cannot be run: Permission denied\n"))


def test_output_and_input():
    """Not a byte more or less when piped."""
    done = run("sh", "-c", "cat; echo err >&2", input="hello\n")
    lib.equal((done.stdout, done.stderr, done.returncode), ("hello\n", "err\n", 0))


def test_options_end_at_the_program():
    """With and without the dashes."""
    for words in (["--", "echo", "--check", "--", "-x"], ["echo", "--check", "--", "-x"]):
        done = subprocess.run([lib.BINARY, "exec", *QUIET, *words], env=environment(), stdout=subprocess.PIPE, text=True, timeout=60)
        lib.equal((done.returncode, done.stdout), (0, "--check -- -x\n"))


SHOW = "import os, json; print(json.dumps({'env': dict(os.environ), 'fds': sorted(os.listdir('/proc/self/fd')), " \
       "'sig': [l for l in open('/proc/self/status') if l.startswith('Sig') and 'SigQ' not in l], 'group': os.getpgrp(), 'session': os.getsid(0)}))"


def test_what_the_program_finds():
    """Variables, descriptors, signals and process group as without exec, but for three variables."""
    plain = json.loads(subprocess.run(python(SHOW), env=environment(A="1"), stdout=subprocess.PIPE, timeout=60).stdout)
    seen = json.loads(run(*python(SHOW), env={"A": "1"}).stdout)
    preload, folder = seen["env"].pop("LD_PRELOAD"), seen["env"].pop("SIGHTLINE_PROBE_DIR")
    lib.equal(os.path.basename(preload), "libsightline-llama.so")
    assert not os.path.exists(folder) and not os.path.exists(os.path.dirname(folder)), folder
    assert seen["env"].pop("ASAN_OPTIONS").endswith("verify_asan_link_order=0")
    for of in (plain, seen):
        of["env"].pop("LC_CTYPE", 0), of["env"].pop("ASAN_OPTIONS", 0)
    lib.equal(seen, plain)


def test_ignored_signals_stay_ignored():
    for ignore in ("SIGPIPE", "SIGHUP", "SIGCHLD"):
        begin = f"import signal; signal.signal(signal.{ignore}, signal.SIG_IGN); import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        show = ["grep", "^SigIgn", "/proc/self/status"]
        plain = subprocess.run(python(begin, *show), env=environment(), stdout=subprocess.PIPE, timeout=60).stdout
        done = subprocess.run(python(begin, lib.BINARY, "exec", *QUIET, "--", *show), env=environment(), stdout=subprocess.PIPE, timeout=60)
        lib.equal(done.stdout, plain, ignore)


def test_preload_that_is_there_already_stays():
    other = os.path.join(lib.tmp(), "other.so")
    subprocess.run([lib.need("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", other], input=b"int other;\n", check=True)
    done = run("sh", "-c", 'echo "$LD_PRELOAD"', env={"LD_PRELOAD": other})
    first, second = done.stdout.strip().split(":")
    lib.equal(second, other)
    done = run("sh", "-c", 'echo "$LD_PRELOAD"', env={"LD_PRELOAD": f"{first} {other}"})
    lib.equal(done.stdout.strip(), f"{first}:{other}")


def test_folder_of_rings():
    """Nobody else can list it, or open what is in it."""
    done = run("sh", "-c", 'echo "$SIGHTLINE_PROBE_DIR"; stat -c %a "$SIGHTLINE_PROBE_DIR" "$SIGHTLINE_PROBE_DIR/.."; ls -A "$SIGHTLINE_PROBE_DIR"')
    folder, inner, outer = done.stdout.split()
    lib.equal((inner, outer), ("1733", "711") if os.geteuid() == 0 else ("700", "700"))
    lib.equal(os.path.exists(folder), False)
    lib.equal(len(os.path.basename(folder)), 32)


def test_library_with_a_space_in_its_name():
    folder = os.path.join(lib.tmp(), "with space: and colon")
    os.mkdir(folder)
    path = os.path.join(folder, "lib.so")
    subprocess.run([lib.need("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=b"int other;\n", check=True)
    done = run("grep", "-c", "with space", "/proc/self/maps", env={"SIGHTLINE_PROBE_LIBRARY": path})
    assert int(done.stdout) > 0, done
    lib.equal(done.stderr, "")


# ---- signals ----

LISTEN = """
import os, signal, sys, time
names = 'HUP INT QUIT TERM USR1 USR2 WINCH ALRM CONT'.split()
for n in names:
    signal.signal(getattr(signal, 'SIG' + n), lambda s, f: os.write(1, (signal.Signals(s).name + '\\n').encode()))
os.write(1, b'%d\\n' % os.getpid())
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(1)
"""


def test_signals_reach_the_program_once():
    """Sent to exec alone, to the whole group, or to one process after the other as a service manager does."""
    running = Running(*python(LISTEN), start_new_session=True)
    child = int(running.line())
    time.sleep(0.2)
    members = [int(p) for p in os.listdir("/proc") if p.isdigit() and _group(p) == running.process.pid]
    assert child in members and running.process.pid in members, members
    for name in ("INT", "TERM", "HUP", "USR1", "QUIT", "USR2", "WINCH", "ALRM"):
        number = getattr(signal, "SIG" + name)
        for send in (lambda n: running.process.send_signal(n), lambda n: os.killpg(running.process.pid, n),
                     lambda n: [os.kill(p, n) for p in members], lambda n: [os.kill(p, n) for p in reversed(members)]):
            send(number)
            lib.equal(running.line(), "SIG" + name)
            assert not select.select([running.process.stdout], [], [], 0.15)[0], f"{name} came twice"
    os.kill(child, signal.SIGKILL)
    lib.equal(running.wait(), -9)


def _group(pid):
    with contextlib.suppress(OSError, ValueError):
        return os.getpgid(int(pid))
    return -1


def test_signal_that_ends_the_program():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        running = Running("sh", "-c", "echo ready; exec sleep 60")
        running.line()
        running.process.send_signal(number)
        lib.equal(running.wait(), -number)


def test_exec_is_killed():
    """Who kills exec means the program."""
    running = Running("sh", "-c", "echo $$; exec sleep 60")
    child = int(running.line())
    time.sleep(0.1)
    running.process.kill()
    lib.equal(running.wait(), -9)
    lib.until(lambda: not alive(child), 5, "the end of the program")


def test_exec_crashes():
    """A fault of exec is not the program's."""
    running = Running("sh", "-c", "echo $$; exec sleep 60", preexec_fn=lambda: _no_core())
    child = int(running.line())
    time.sleep(0.1)
    running.process.send_signal(signal.SIGSEGV)
    assert running.wait() < 0
    time.sleep(0.5)
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_thread_of_exec_crashes():
    """Nor is a fault of one of its threads."""
    import ctypes
    running = Running("sh", "-c", "echo $$; exec sleep 60", preexec_fn=lambda: _no_core())
    child = int(running.line())
    tasks = f"/proc/{running.process.pid}/task"

    def reader():
        for tid in os.listdir(tasks):
            with open(f"{tasks}/{tid}/comm") as file:
                if file.read().strip() == "sl-probe-reader":
                    return int(tid)
        return None

    time.sleep(0.1)
    tid = lib.until(reader, 5, "the thread")
    lib.equal(ctypes.CDLL(None, use_errno=True).syscall(234 if os.uname().machine == "x86_64" else 131, running.process.pid, tid, signal.SIGSEGV), 0)
    lib.equal(running.wait(), -signal.SIGSEGV)
    time.sleep(0.5)
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_ring_that_is_cut_short():
    """A program can shorten the file that it shares with exec: reading it must not be a fault."""
    code = """
import os, struct, time
place, pid = os.environ["SIGHTLINE_PROBE_DIR"], os.getpid()
path = f"{place}/{pid}-1.ring"
file = os.open(path + ".new", os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(file, 4096 + (1 << 19))
os.pwrite(file, struct.pack("<QIIIIQq", 0x474E4952504C5353, 1, pid, 1, 0, 1 << 19, 0), 0)
os.rename(path + ".new", path)
time.sleep(0.5)
os.ftruncate(file, 0)
time.sleep(0.5)
print("alive")
raise SystemExit(7)
"""
    done = run(*python(code))
    lib.equal((done.returncode, done.stdout, done.stderr), (7, "alive\n", ""))


def _no_core():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def test_nothing_is_left_behind():
    """No process, no folder, whoever ends first."""
    before = set(os.listdir("/dev/shm"))
    for command in (["true"], ["sh", "-c", "sleep 60 & exit 3"]):
        done = subprocess.run([lib.BINARY, "exec", *QUIET, "--", *command], env=environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, timeout=20, start_new_session=True)
        lib.equal(done.returncode, 0 if command == ["true"] else 3)
    assert not [x for x in set(os.listdir("/dev/shm")) - before if x.startswith("sightline-exec-")]
    time.sleep(0.1)
    keepers = [p for p in os.listdir("/proc") if p.isdigit() and _comm(p) == "exec-keeper" and alive(p) and _parent(p) in (1, os.getpid())]
    lib.equal(keepers, [])


def _comm(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()


def _parent(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])


# ---- the terminal ----

class Terminal:
    """exec in the foreground of a terminal of its own, as a job of something that is like a shell."""

    def __init__(self, *command, options=QUIET):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            self._shell([lib.BINARY, "exec", *options, "--", *command])
        self.text = ""

    @staticmethod
    def _shell(command):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        job = os.fork()
        if job == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvpe(command[0], command, environment())
        while True:
            _, status = os.waitpid(job, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.tcsetpgrp(0, os.getpgrp())
                os.write(1, b"[stopped]\n")
                assert os.read(0, 10)  # "fg"
                os.tcsetpgrp(0, job)
                os.killpg(job, signal.SIGCONT)
                continue
            os.write(1, b"[status %d]\n" % (os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)))
            os._exit(0)

    def expect(self, part, seconds=20):
        end = time.monotonic() + seconds
        while part not in self.text:
            assert time.monotonic() < end, f"{part!r} did not come: {self.text!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    assert part in self.text, f"{part!r} did not come: {self.text!r}"
        seen, _, self.text = self.text.partition(part)
        return seen

    def type(self, text):
        os.write(self.fd, text)

    def close(self):
        os.close(self.fd)
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def test_terminal():
    """Ctrl-C arrives once, Ctrl-Z stops the job, the foreground goes on; one line says where the metrics are."""
    terminal = Terminal(*python(LISTEN.replace("time.sleep(1)", "time.sleep(0.05)") + "    if os.path.exists(sys.argv[1]): sys.exit(7)\n", lib.tmp() + "/end"),
                        options=("--metrics-listen", "127.0.0.1:0", "--view", "off"))
    try:
        terminal.expect("sightline: metrics of ")
        terminal.expect("/metrics; spans: `sightline traces` while `sightline up` runs\r\n")
        terminal.expect("\r\n")  # the program's own number: it is ready
        terminal.type(b"\x03")
        terminal.expect("SIGINT")
        terminal.type(b"\x1c")
        assert "SIGINT" not in terminal.expect("SIGQUIT")
        terminal.type(b"\x1a")
        terminal.expect("[stopped]")
        terminal.type(b"fg\n")
        terminal.expect("SIGCONT")
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, b"\x20\x00\x60\x00\x00\x00\x00\x00")
        terminal.expect("SIGWINCH")
        terminal.type(b"\x03")
        assert "SIGWINCH" not in terminal.expect("SIGINT")
    finally:
        terminal.close()


def test_terminal_is_told_when_nothing_was_seen():
    """After a while; a program that only prints its help is not meant."""
    terminal = Terminal("sleep", "5.2")
    try:
        terminal.expect("sightline: sleep never called libllama.so")
        terminal.expect("[status 0]")
    finally:
        terminal.close()


def test_terminal_is_the_programs():
    """It reads keys, knows that it is a terminal, and its status goes through."""
    terminal = Terminal("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && read line && echo got:$line && exit 5", options=QUIET)
    try:
        terminal.type(b"keys\n")
        terminal.expect("got:keys")
        terminal.expect("[status 5]")
    finally:
        terminal.close()


# ---- listeners and options ----

def test_ready_file_and_listeners():
    running = Serving()
    lib.equal(sorted(running.ready), ["admin", "health", "metrics", "pid"])
    lib.equal(running.ready["pid"], running.process.pid)
    page = lib.metrics(running.url("metrics"))
    lib.equal(lib.total(page, "sightline_build_info"), 1)
    target = page["target_info"][0][0]
    lib.equal((target["service_name"], target["process_executable_name"]), ("llama-cpp", "sleep"))
    with open(f"/proc/{target['process_pid']}/cmdline") as file:
        lib.equal(file.read(), "sleep\0" + "60\0")
    assert lib.total(page, "process_resident_memory_bytes") > 0
    lib.until(lambda: lib.get(running.url("health") + "/health/ready").status == 200, 5)
    lib.contains(lib.get(running.url("health") + "/health").text, '"program"')
    lib.equal(lib.get(running.url("admin") + "/traces").json(), [])
    running.signal(signal.SIGTERM)
    lib.equal(running.process.wait(20), -15)


class Serving(lib.Process):
    """`lib.Process` puts --ready-file last: a program would take it for its own."""

    def __init__(self, *options, command=("sleep", "60"), env=None):
        folder = lib.tmp()
        self.ready_path, self.log_path = os.path.join(folder, "ready.json"), os.path.join(folder, "log")
        options = options or ("--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--view", "off")
        self.args = [lib.BINARY, "exec", *options, "--ready-file", self.ready_path, "--", *command]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(self.args, env=environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        lib._started.append(self)
        self.ready = self._wait_ready(20 * lib.SLOW)


def test_default_listener_that_is_taken():
    """The default one is left out with a warning; one that was asked for is a failure before the program starts."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 9464))
            taken.listen()
        done = run("echo", "ran", options=("--view", "off"))
        lib.equal((done.returncode, done.stdout), (0, "ran\n"))
        lib.contains(done.stderr, "warning: the metrics listener is left out")
        done = run("echo", "ran", options=("--view", "off", "--metrics-listen", "127.0.0.1:9464"))
        lib.equal((done.returncode, done.stdout), (1, ""))


def test_check():
    """Everything that a start would refuse, without a start."""
    done = run("x", options=("--check",))
    lib.equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
    for options, env, part in ((("--metrics-listen", "nonsense:x"), {}, "--metrics-listen"), (("--view", "ftp://x"), {}, "--view"),
                               (("--decode-span-every", "0"), {}, "--decode-span-every"), (("--flush-timeout", "100"), {}, "--flush-timeout"),
                               ((), {"SIGHTLINE_PROBE_LIBRARY": "/nonexistent.so"}, "/nonexistent.so"),
                               ((), {"SIGHTLINE_ADMIN_URL": "x://"}, "SIGHTLINE_ADMIN_URL")):
        done = run("echo", "ran", options=(*options, "--check"), env=env)
        lib.equal((done.returncode, done.stdout), (2, ""), str(options))
        lib.contains(done.stderr, part)
        done = run("echo", "ran", options=options, env=env)
        lib.equal((done.returncode, done.stdout), (2, ""), str(options))
    bad = ("--view", "ftp://x", "--quotas", "queue=x", "--front-to", "off", "--metrics-listen", "a:b", "--flush-timeout", "90")
    done = run("x", options=(*bad, "--check"))
    for option in bad[::2]:
        lib.contains(done.stderr, f"sightline: {option}: ", "all faults at once")
    done = subprocess.run([lib.BINARY, "exec"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "no program")


def test_pid():
    """A process in which there is nothing to look at: what is said can be typed."""
    sleeper = subprocess.Popen(["sleep", "60.25"])
    try:
        done = subprocess.run([lib.BINARY, "exec", "--pid", str(sleeper.pid)], env=environment(), stderr=subprocess.PIPE, text=True, timeout=60)
        lib.equal(done.returncode, 1)
        lib.contains(done.stderr, "sightline exec -- sleep 60.25\n")
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    code = "import threading, time; t = threading.Thread(target=time.sleep, args=(60,)); t.start(); print(t.native_id, flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as threads:
        try:
            for number in (str(sleeper.pid), threads.stdout.readline().strip(), "99999999999"):
                done = subprocess.run([lib.BINARY, "exec", "--pid", number], env=environment(), stderr=subprocess.PIPE, text=True, timeout=60)
                lib.equal(done.returncode, 1, number)
                lib.contains(done.stderr, f"no process {number}")
        finally:
            threads.kill()


def test_ends_soon_whatever_the_collector_does():
    """One that takes connections and says nothing, one that is not there."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        for env in ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
                    {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
                    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}):
            begun = time.monotonic()
            lib.equal(run("true", env=env).returncode, 0)
            assert time.monotonic() - begun < 5 * lib.SLOW, env


def test_disabled():
    """OTEL_SDK_DISABLED: the program runs without anything."""
    done = run("sh", "-c", 'echo "[$LD_PRELOAD][$SIGHTLINE_PROBE_DIR]"', env={"OTEL_SDK_DISABLED": "true"})
    lib.equal(done.stdout, "[][]\n")
    done = subprocess.run([lib.BINARY, "exec", *QUIET, "--", lib.BINARY, "exec", *QUIET, "--", "sh", "-c", 'echo "$LD_PRELOAD"'],
                          env=environment(), stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout.strip() and ":" not in done.stdout, f"exec within exec, and the library twice: {done.stdout}"


# ---- hosts: a program with a library like libllama ----

def host():
    """Path of the program, made once."""
    folder = os.path.join(lib._state_home(), "host")
    path = os.path.join(folder, "host")
    if not os.path.exists(path):
        os.makedirs(folder)
        os.chmod(lib._state_home(), 0o755)
        source = os.path.join(lib.SOURCE, "tests", "probe", "exec_host.c")
        cc = [lib.need("cc"), "-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([*cc, "-DLIBRARY", "-shared", "-fPIC", "-o", folder + "/libllama.so", source], check=True)
        subprocess.run([*cc, "-o", path, source, "-L" + folder, "-lllama", "-Wl,-rpath,$ORIGIN"], check=True)
    return path


def spans_of(path):
    """The spans that the file exporter has written."""
    found = []
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                for resource in json.loads(line).get("resourceSpans", []):
                    found += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
    return found


def names(path):
    """How many spans there are of each name."""
    found = {}
    for span in spans_of(path):
        found[span["name"]] = found.get(span["name"], 0) + 1
    return found


class Told:
    """What a host did, and the spans that came of it."""

    def __init__(self, *steps, env=None, bare=False):
        self.path = os.path.join(lib.tmp(), "spans.json")
        env = {"OTEL_TRACES_EXPORTER": "file", "SIGHTLINE_EXPORTER_FILE": self.path, "SIGHTLINE_ADMIN_URL": "off", **(env or {})}
        if bare:
            self.command = [host(), *steps]
            env["LD_PRELOAD"] = LIBRARY
        else:
            self.command = [lib.BINARY, "exec", "--metrics-listen", "off", "--decode-span-every", "1", "--", host(), *steps]
        begun = time.monotonic()
        done = subprocess.run(self.command, env=lib.environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, text=True)
        self.seconds = time.monotonic() - begun
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.names = names(self.path)


def doctor(*command, **env):
    """Rows of `doctor -- COMMAND` that are about the program: (status, what was seen)."""
    done = subprocess.run([lib.BINARY, "doctor", "--offline", "--format", "json", "--", *command], env=environment(**env), stdout=subprocess.PIPE, timeout=60)
    return [(row["status"], row["seen"]) for row in json.loads(done.stdout)["checks"] if row["name"] == "program"]


def test_doctor_of_a_program():
    """What would be seen of it, without running it."""
    program, folder = host(), lib.tmp()
    library = os.path.join(os.path.dirname(program), "libllama.so")
    ((status, seen),) = [row for row in doctor(program, "print:ran") if library in row[1] and " functions " in row[1]]
    lib.equal(status, "ok")
    lib.contains(seen, "batches by llama_decode")
    assert ("warn", f"{library} has no llama_tokenize: tokens of prompts are not seen") in doctor(program)

    script = os.path.join(folder, "run.sh")
    with open(script, "w") as file:
        file.write(f"#!/usr/bin/env sh\n{program}\n")
    os.chmod(script, 0o755)
    rows = doctor(script)
    lib.equal([status for status, _ in rows], ["ok", "ok"])
    lib.contains(rows[0][1], "is a script for sh")
    lib.contains(rows[1][1], "not linked to libllama")
    lib.equal([row[1].split(":")[0] for row in doctor("run.sh", PATH=folder + ":" + os.environ["PATH"])][0][:len(script)], script)

    alone = os.path.join(folder, "alone")
    shutil.copy(program, alone)
    rows = doctor(alone)
    lib.equal([status for status, _ in rows], ["FAIL"])
    lib.contains(rows[0][1], "does not start: libllama.so: cannot open shared object file")
    os.chmod(alone, 0o4755)
    lib.contains(doctor(alone)[0][1], "set-user-ID")

    source = os.path.join(lib.SOURCE, "tests", "probe", "exec_host.c")
    inside = os.path.join(folder, "inside")
    subprocess.run([lib.need("cc"), "-DLIBRARY", "-c", "-o", inside + ".o", source], check=True)
    subprocess.run([lib.need("cc"), "-o", inside, source, inside + ".o"], check=True)
    rows = doctor(inside)
    lib.equal([status for status, _ in rows], ["warn"])
    lib.contains(rows[0][1], "has llama.cpp linked in")
    rows = doctor("no-such-program")
    lib.equal(rows, [("FAIL", "no-such-program: no such program")])
    rows = doctor(os.path.join(lib.SOURCE, "README.md"))
    lib.equal([status for status, _ in rows], ["FAIL"])


def test_ends_of_hosts():
    """Whatever ends a host, nothing that it told is lost, and its end is exec's."""
    for last, status in (("exit:3", 3), ("quick:4", 4), ("kill", -9), ("crash", -11), ("abort", -6)):
        told = Told("load", "decode:300", last)
        lib.equal((told.status, told.out, told.err), (status, "", ""), last)
        lib.equal((told.names.get("llama_model_load"), told.names.get("llama_decode")), (1, 300), f"{last}: {told.names}")


def test_descriptors_of_hosts():
    """A host that closes all it has, and takes their numbers, finds its own files behind them; it goes on being watched."""
    for bare in (False, True):
        told = Told("load", "decode:10", "close", "decode:10", "check", "sleep:300", "decode:10", "check", "exit:0", bare=bare)
        lib.equal((told.status, told.out, told.err), (0, "", ""), f"bare {bare}")
        assert told.names.get("llama_decode", 0) >= (30 if not bare else 1), told.names


def test_children_of_hosts():
    """A child of fork() tells for itself, once it uses the library; a child that does not, tells nothing."""
    told = Told("load", "decode:3", "fork:load,decode:5", "fork:print:quiet", "decode:3")
    lib.equal((told.status, told.out), (0, "quiet\n"))
    lib.equal((told.names["llama_model_load"], told.names["llama_decode"]), (2, 11), str(told.names))
    told = Told("load", "decode:3", "fork:decode:5", "decode:3")  # its parent's model: known, and loaded once
    lib.equal((told.status, told.out), (0, ""))
    lib.equal((told.names["llama_model_load"], told.names["llama_decode"]), (1, 11), str(told.names))


def test_hosts_that_become_other_programs():
    """exec() in a host: the process stays, the program is another one."""
    told = Told("load", "decode:2", "again", "load", "decode:4", "again", "print:done")
    lib.equal((told.status, told.out), (0, "done\n"))
    lib.equal((told.names["llama_model_load"], told.names["llama_decode"]), (2, 6), str(told.names))


def test_hosts_that_become_other_users():
    """Before and after the library is used for the first time."""
    if os.geteuid() != 0:
        raise lib.Skip("needs root")
    for steps in (["load", "decode:2", "become:65534", "decode:2"], ["become:65534", "load", "decode:4", "sleep:500"]):
        told = Told(*steps)
        lib.equal((told.status, told.out, told.err), (0, "", ""), str(steps))
        lib.equal(told.names.get("llama_decode"), 4, str(steps))


def test_a_shell_full_of_hosts():
    """Several at once, each with a ring of its own."""
    told_path = os.path.join(lib.tmp(), "spans.json")
    script = f"for i in 1 2 3 4 5 6 7 8; do {host()} load decode:20 & done; wait"
    done = run("sh", "-c", script, options=(*QUIET, "--decode-span-every", "1"), env={"OTEL_TRACES_EXPORTER": "file", "SIGHTLINE_EXPORTER_FILE": told_path})
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.equal((names(told_path)["llama_model_load"], names(told_path)["llama_decode"]), (8, 160))


def test_hosts_in_pid_namespaces():
    """Each is number 1 of a namespace, and another process for who reads its ring: neither dead nor somebody else."""
    isolated = [lib.need("unshare"), "--pid", "--fork", "--kill-child"]
    if subprocess.run([*isolated, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        raise lib.Skip("needs the right to make a PID namespace")
    told_path = os.path.join(lib.tmp(), "spans.json")
    script = f"for i in 1 2 3; do {' '.join(isolated)} {host()} load decode:10 sleep:1500 decode:10 & done; wait"
    done = run("sh", "-c", script, options=(*QUIET, "--decode-span-every", "1"), env={"OTEL_TRACES_EXPORTER": "file", "SIGHTLINE_EXPORTER_FILE": told_path})
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.equal((names(told_path)["llama_model_load"], names(told_path)["llama_decode"]), (3, 60))


def test_one_tree_in_the_view():
    """`sightline traces` of an `up` elsewhere shows what happens under exec, with nothing configured but where it is."""
    up = lib.gateway(command="up")
    done = run(host(), "load", "decode:3", options=("--metrics-listen", "off", "--view", up.url("admin")), env={})
    lib.equal((done.returncode, done.stderr), (0, ""))
    listed = json.loads(lib.run("traces", "--url", up.url("admin"), "--service", "llama-cpp", "--format", "json").stdout)
    assert {"llama_model_load", "llama_new_context_with_model"} <= {t["root"] for t in listed}, listed


# ---- the listener in front ----

SERVER = r"""
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, status, body, **fields):
        self.send_response(status)
        for k, v in fields.items():
            self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
    def do_GET(self):
        if self.path.startswith('/missing'):
            return self.answer(404, b'no', Content_Type='text/plain')
        if self.path == '/break':
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')
            self.wfile.flush()
            self.connection.shutdown(2)
            return
        self.answer(200, (self.path + '|' + '|'.join(f'{k}: {v}' for k, v in self.headers.items())).encode(), Content_Type='text/plain',
                    Set_Cookie='a=b', X_Odd='  yes')
    do_HEAD = do_DELETE = do_GET
    def do_POST(self):
        if self.headers.get('Transfer-Encoding'):
            self.answer(400, b'chunks were not expected')
            return
        body = self.rfile.read(int(self.headers['Content-Length']))
        if b'"stream"' not in body:
            return self.answer(200, body, Content_Type='application/json')
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for i in range(5):
            piece = b'data: %d\n\n' % i
            self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b'0\r\n\r\n')
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[2])), Handler)
server.serve_forever()
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def fronted(*options, before=""):
    """A server with a listener in front, which finds it by the program's --port; `before` runs beside it."""
    script = f'{before} exec "$@"'
    for _ in range(5):
        port = free_port()
        serving = Serving("--metrics-listen", "127.0.0.1:0", "--view", "off", "--front-listen", "127.0.0.1:0", *options,
                          command=["sh", "-c", script, "sh", *python(SERVER, "--port", str(port))])
        lib.until(lambda: _answers(port) or serving.process.poll() is not None, 10, "the server")
        if serving.process.poll() is None:
            return serving
        lib._started.remove(serving)  # another program took the port in the meantime
    raise AssertionError(serving.output())


def _answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def test_front_passes_everything():
    front = fronted().url("front")
    parent = "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01"
    seen = lib.get(front + "/any/path?q=1&r=%20", headers={"traceparent": parent, "X-Mine": "yes", "Authorization": "Bearer k"})
    lib.equal(seen.status, 200)
    for part in ("/any/path?q=1&r=%20|", f"traceparent: {parent}", "X-Mine: yes", "Authorization: Bearer k", "Host: " + front[7:]):
        lib.contains(seen.text, part)
    lib.equal((seen.headers["x-odd"], seen.headers["set-cookie"], seen.headers["content-type"]), ("yes", "a=b", "text/plain"))
    lib.equal(lib.get(front + "/missing").status, 404)
    lib.equal(lib.request("DELETE", front + "/x").status, 200)
    lib.equal(lib.request("HEAD", front + "/x").body, b"")
    body = os.urandom(3_000_000)
    lib.equal(lib.post(front + "/completion", body, headers={"Content-Type": "application/json"}).body == body, True)
    chunked = lib.raw(front, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    lib.contains(chunked.decode(), "\r\n\r\nabc")


def test_front_streams():
    """Frames come one by one, as the server sends them."""
    front = fronted().url("front")
    host_name, port = front[7:].split(":")
    times, received = [], b""
    with socket.create_connection((host_name, int(port)), 10) as connection:
        body = b'{"stream": true}'
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        while True:
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
            times += [time.monotonic()] * piece.count(b"data: ")
    lib.equal(received.count(b"data: "), 5)
    assert received.endswith(b"0\r\n\r\n")
    assert times[-1] - times[0] > 0.2, times


def test_front_without_a_server():
    """502 in OpenAI's shape, and a broken answer stays broken."""
    serving = Serving("--metrics-listen", "off", "--view", "off", "--front-listen", "127.0.0.1:0", "--front-to", f"127.0.0.1:{free_port()}")
    reply = lib.chat(serving.url("front"))
    lib.equal((reply.status, reply.json()["error"]["code"]), (502, "upstream_error"))
    broken = lib.raw(fronted().url("front"), b"GET /break HTTP/1.1\r\nHost: x\r\n\r\n")
    lib.contains(broken.decode(), "Content-Length: 100")
    assert broken.endswith(b"half")
    lib.equal(run("true", options=("--front-to", "off")).returncode, 2)


def test_front_refuses_while_a_quota_is_exceeded():
    """429 with Retry-After for what makes tokens; health, metrics and lists go through."""
    front = fronted("--quotas", "resident_memory=1KiB", before=f"{host()} load decode:5 sleep:60000 &")
    url = front.url("front")
    reply = lib.until(lambda: (lambda r: r if r.status == 429 else None)(lib.chat(url)), 10, "429")
    lib.equal((reply.json()["error"]["type"], reply.json()["error"]["code"]), ("rate_limit_error", "quota_exceeded"))
    lib.contains(reply.json()["error"]["message"], "resident_memory")
    assert int(reply.headers["retry-after"]) > 0
    for path in ("/completion", "/v1/embeddings", "/v1/rerank", "/infill"):
        lib.equal(lib.post(url + path, {"prompt": "x"}).status, 429, path)
    for path in ("/health", "/metrics", "/v1/models"):
        lib.equal(lib.get(url + path).status, 200, path)
    lib.equal(lib.post(url + "/tokenize", {"content": "x"}).status, 200)
    lib.equal(lib.total(lib.metrics(front.url("metrics")), "llamacpp_quota_exceeded", quota="resident_memory"), 1)


# ---- hosts without exec ----

def test_bare_ends():
    """The preload alone: the same behaviour of the host, and its spans by an exporter of its own."""
    for last, status in (("exit:3", 3), ("quick:4", 4), ("kill", -9), ("crash", -11)):
        told = Told("load", "decode:5", last, bare=True)
        lib.equal((told.status, told.out, told.err), (status, "", ""), last)
        if last.startswith("exit"):
            lib.equal(told.names.get("llama_model_load"), 1, str(told.names))


def test_bare_children():
    told = Told("load", "decode:3", "fork:load,decode:3,sleep:100", "fork:print:quiet", "decode:3", bare=True)
    lib.equal((told.status, told.out, told.err), (0, "quiet\n", ""))
    lib.equal(told.names.get("llama_model_load"), 2, str(told.names))


def test_bare_exit_is_bounded():
    """A collector that takes connections and says nothing costs half a second at the end, once."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        told = Told("load", "decode:3", bare=True, env={"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                                                        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        lib.equal((told.status, told.err), (0, ""))
        assert told.seconds < 1.5, told.seconds


def test_bare_without_the_library():
    """Nothing is there before libllama is used: no thread, no descriptor; nor with SIGHTLINE_PROBE=off."""
    for steps, env, threads in ((["sleep:60000"], {}, 1), (["load", "sleep:60000"], {"SIGHTLINE_PROBE": "off"}, 1), (["load", "sleep:60000"], {}, 2)):
        process = subprocess.Popen([host(), *steps], env=lib.environment({"LD_PRELOAD": LIBRARY, "SIGHTLINE_ADMIN_URL": "off", **env}))
        try:
            time.sleep(0.3)
            seen = len(os.listdir(f"/proc/{process.pid}/task"))
            assert (seen == 1) if threads == 1 else (seen > 1), f"{steps} {env}: {seen} threads"
            lib.equal(len([fd for fd in os.listdir(f"/proc/{process.pid}/fd") if int(fd) > 2 and "pipe" not in os.readlink(f"/proc/{process.pid}/fd/{fd}")
                           and "lib" not in os.readlink(f"/proc/{process.pid}/fd/{fd}")]), _inherited(), str(steps))
        finally:
            process.kill()
            process.wait()


def _inherited():
    """Descriptors above 2 that a program finds open in any case."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.1)
        return len([fd for fd in os.listdir(f"/proc/{process.pid}/fd") if int(fd) > 2 and "pipe" not in os.readlink(f"/proc/{process.pid}/fd/{fd}")])
    finally:
        process.kill()
        process.wait()


def test_bare_listener_and_guide():
    """Metrics on a listener of the host's own; port 4317 without a protocol means the port for HTTP beside it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"LD_PRELOAD": LIBRARY, "SIGHTLINE_ADMIN_URL": "off", "SIGHTLINE_METRICS_LISTEN": f"127.0.0.1:{port}", "SIGHTLINE_PROBE_DEBUG": "1",
           "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
    process = subprocess.Popen([host(), "load", "decode:5", "sleep:60000"], env=lib.environment(env), stderr=subprocess.PIPE, text=True)
    try:
        def page():
            with contextlib.suppress(OSError):
                return lib.total(lib.metrics(f"http://127.0.0.1:{port}"), "llamacpp_decode_results_total", result="ok") == 5
        lib.until(page, 10, "five batches on the page")
    finally:
        process.kill()
    lib.contains(process.stderr.read(), "OTLP over HTTP to http://127.0.0.1:4318")
    process.wait()


if __name__ == "__main__":
    lib.main(globals())
