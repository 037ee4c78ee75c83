#!/usr/bin/env python3
"""Tasks from end to end under kill -9: `sightline flow server`, `sightline flow worker` and the nodes of a JetStream
cluster are killed at random moments and started again, while a client puts tasks under keys of its own.

What is true is told by a ledger outside all of them: each step of a task posts to this test, which writes a line
before it answers; so does the client when a task is accepted, and when it is told its end. After each round: every key
that was accepted has one run, which succeeded with its own output and ended once; every step had its effect for that
run and no other; a step had it again only where a kill came between; nothing waits, is held or is given up.

3 rounds, or 200 with SIGHTLINE_LONG=1; on JetStream 50 in the long form alone (SIGHTLINE_ROUNDS: fewer or more).
SIGHTLINE_LEDGER=DIR keeps each round's ledger as DIR/flow-N (DIR/flow-jetstream-N). SIGHTLINE_NATS_SERVER: the broker.
"""
import contextlib
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import can_connect, free_port  # noqa: E402

LONG = os.environ.get("SIGHTLINE_LONG") == "1"
TASKS, WORKERS, SETTLE_S = 16, 2, 150
STEPS = ("first", "second", "third")
OLDEST_BROKER = (2, 10)
WORK = "name: keyed\nsteps:\n" + "".join(
    f"""  - id: {step}
    type: action
    action: http
    url: http://127.0.0.1:%(port)d/
    depends_on: [{STEPS[n - 1] if n else ""}]
    body: {{step: {step}, key: "{{{{ inputs.key }}}}", run: "{{{{ workflow.run_id }}}}"}}
    output: [text]
""" for n, step in enumerate(STEPS))


class Ledger:
    """Lines, in the order of what happened: P put, A accepted, E effect, X killed, D done."""

    def __init__(self):
        self.lock, self.lines = threading.Lock(), []

    def note(self, *words):
        with self.lock:
            self.lines.append(words)

    def of(self, kind):
        with self.lock:
            return [line[1:] for line in self.lines if line[0] == kind]

    def keep(self, name):
        folder = os.environ.get("SIGHTLINE_LEDGER")
        if folder:
            with open(os.path.join(folder, name), "w") as file:
                file.writelines(" ".join(map(str, line)) + "\n" for line in self.lines)


class Effects(http.server.ThreadingHTTPServer):
    """Where steps have their effect: written down first, answered a little later, so that kills come between."""
    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        self.ledger = Ledger()
        effects = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                effects.ledger.note("E", told["key"], told["step"], told["run"])
                time.sleep(random.random() * 0.03)
                answer = f"{told['step']} of {told['key']}".encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that was killed


def family(pid):
    """A process and all that come from it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat") as file:
                    parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class World:
    """A server on ports that stay, workers, and what can be killed: (name, function that kills it and starts it again)."""

    def __init__(self, queue=None):
        self.effects, self.data, self.folder = Effects(), lib.tmp(), lib.tmp()
        self.ports = {name: free_port() for name in ("api", "control", "queue")}
        self.api, self.control, self.queue = (f"http://127.0.0.1:{self.ports[n]}" for n in ("api", "control", "queue"))
        self.options = ["--queue", queue] if queue else []
        self.worker_queue = queue or self.queue
        self.path = os.path.join(self.folder, "keyed.yaml")
        with open(self.path, "w") as file:
            file.write(WORK % {"port": self.effects.server_address[1]})
        self.start_server()
        self.workers = [self.start_worker() for _ in range(WORKERS)]
        self.victims = [(f"worker{n}", lambda n=n: self.kill_worker(n)) for n in range(WORKERS)]
        self.victims += [("flow", lambda: self.kill_child("flow")), ("control", lambda: self.kill_child("control")), ("server", self.kill_server),
                         ("everything", self.kill_everything)]

    def start_server(self):
        words = [word for name, port in self.ports.items() for word in (f"--{name}-listen", f"127.0.0.1:{port}")]
        words += [word for name in ("metrics", "health", "admin") for word in (f"--{name}-listen", "127.0.0.1:0")]
        deadline = time.monotonic() + 60 * lib.SLOW
        while True:  # the children of one that was killed keep the folder until they have drained
            try:
                self.server = lib.Process("flow", "server", *words, "--data-dir", self.data, "--drain-timeout", "1", "--flow-runs", "2",
                                          "-w", self.path, *self.options)
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def start_worker(self):
        return lib.Process("flow", "worker", self.path, "--queue", self.worker_queue, "--lease", "1", "--concurrency", "2")

    def gone(self, process):
        process.process.wait(20)
        process.log.close()
        lib._started.remove(process)

    def kill_worker(self, n):
        self.workers[n].process.kill()
        self.gone(self.workers[n])
        self.workers[n] = self.start_worker()

    def kill_child(self, name):
        """The supervisor starts it again."""
        for pid in family(self.server.process.pid):
            if lib.process_name(pid) == name:
                kill(pid)

    def kill_server(self):
        """With all of its processes, in any order."""
        pids = family(self.server.process.pid)
        random.shuffle(pids)
        for pid in pids:
            kill(pid)
        self.gone(self.server)
        self.start_server()

    def kill_everything(self):
        for each in self.workers:
            each.process.kill()
        self.kill_server()
        for n, each in enumerate(self.workers):
            self.gone(each)
            self.workers[n] = self.start_worker()

    def ask(self, method, path, body=None):
        """Until the server answers: the same, again."""
        deadline = time.monotonic() + 60 * lib.SLOW
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                reply = lib.request(method, self.api + path, body, timeout=10)
                if reply.status in (200, 202):
                    return reply
                if reply.status not in (429, 500, 502, 503, 504):
                    raise AssertionError(f"{method} {path}: {reply.status} {reply.text}")
            assert time.monotonic() < deadline, f"{method} {path}: the server does not come back\n{self.server.output()[-2000:]}"
            time.sleep(0.02)

    def put(self, key):
        self.effects.ledger.note("P", key)
        told = self.ask("POST", "/workflows/keyed/runs", {"inputs": {"key": key}, "idempotency_key": key}).json()
        self.effects.ledger.note("A", key, told["run_id"], "again" if told["existed"] else "new")
        return told["run_id"]

    def runs(self):
        return {run["idempotency_key"]: run for run in self.ask("GET", "/runs?limit=200").json()["runs"]}


def put_all(world, keys, pause, failed):
    try:
        for key in keys:
            world.put(key)
            time.sleep(random.random() * pause)
    except Exception as error:  # told by the main thread
        failed.append(error)


def settle(world, keys):
    """Waits for the ends of all tasks; writes each down as it is told."""
    left, deadline = set(keys), time.monotonic() + SETTLE_S * lib.SLOW
    while left:
        for key, run in world.runs().items():
            if key in left and run["status"] in ("succeeded", "failed", "cancelled"):
                left.remove(key)
                world.effects.ledger.note("D", key, run["run_id"], run["status"], run["error"] or "-")
        assert not left or time.monotonic() < deadline, f"{len(left)} tasks are stuck: {sorted(left)[:5]}, {topics(world)}"
        time.sleep(0.05)


def topics(world):
    return json.loads(lib.get(world.queue + "/queues").text)["queues"]


def nothing_waits(world):
    def look():
        return all(t["ready"] + t["delayed"] + t["leased"] + t["dead"] == 0 for t in topics(world))
    try:
        lib.until(look, SETTLE_S, "that the queue is empty")
    except AssertionError as error:
        raise AssertionError(f"{error}: {topics(world)}")


def judge_events(world, key, run):
    """What the server keeps of a run: without gaps, an end at its end and nowhere else but before a new beginning."""
    told = [json.loads(line) for line in world.ask("GET", f"/runs/{run}/events").text.splitlines()]
    lib.equal([e["seq"] for e in told], list(range(1, len(told) + 1)), f"{key}: numbers of its events")
    kinds = [e["event"] for e in told]
    ends = [n for n, kind in enumerate(kinds) if kind == "run_ended"]
    lib.equal(ends, [n for n, (kind, behind) in enumerate(zip(kinds, kinds[1:] + ["run_started"])) if kind == "run_ended" and behind == "run_started"],
              f"{key}: it goes on behind its end: {told}")
    lib.equal(kinds[-1], "run_ended", f"{key}: {told}")


def judge(world, keys):
    """The ledger of one round; (effects that came again, effects after the end)."""
    ledger, owner, effects, ended, late = world.effects.ledger, {}, {}, set(), 0
    for key, run, _ in ledger.of("A"):
        lib.equal(owner.setdefault(key, run), run, f"{key} has two runs")
    lib.equal(sorted(owner), sorted(keys), "accepted tasks")
    lib.equal(len(set(owner.values())), len(keys), "runs")
    for line in list(ledger.lines):
        if line[0] == "E":
            _, key, step, run = line
            lib.equal(run, owner[key], f"{key}: an effect for a run that is not its own")
            effects[(key, step)] = effects.get((key, step), 0) + 1
            late += key in ended
        elif line[0] == "D":
            lib.equal(line[2:4], (owner[line[1]], "succeeded"), f"the end of {line[1]}: {line[4:]}")
            assert line[1] not in ended, f"{line[1]} ended twice"
            ended.add(line[1])
    lib.equal(sorted(ended), sorted(keys), "tasks that ended")
    lib.equal(sorted(effects), sorted((key, step) for key in keys for step in STEPS), "effects")
    kills = len(ledger.of("X"))
    lib.equal([e for e, count in effects.items() if count > 1 + kills], [], f"effects that came more often than {kills} kills explain")
    for key in keys:
        judge_events(world, key, owner[key])
        outputs = world.ask("GET", f"/runs/{owner[key]}").json()["outputs"]
        lib.equal(outputs["third"]["text"], f"third of {key}")
    for key in random.sample(keys, 3):  # and the key is still known
        lib.equal(world.put(key), owner[key])
    return sum(count - 1 for count in effects.values()), late


def one_round(world, number, name):
    world.effects.ledger = Ledger()
    keys, failed = [f"{name}{number}-{n}" for n in range(TASKS)], []
    halves = [threading.Thread(target=put_all, args=(world, keys[n::2], 0.08, failed)) for n in range(2)]
    for half in halves:
        half.start()
    for _ in range(random.randint(1, 3)):
        time.sleep(random.random() * 0.4)
        victim, strike = random.choice(world.victims)
        world.effects.ledger.note("X", victim)
        strike()
    for half in halves:
        half.join()
    if failed:
        raise failed[0]
    try:
        settle(world, keys)
        nothing_waits(world)
        return judge(world, keys)
    finally:
        world.effects.ledger.keep(f"{name}-{number}")


def rounds_of(world, rounds, name):
    killed, again, late, begun = {}, 0, 0, time.monotonic()
    for number in range(rounds):
        try:
            more, later = one_round(world, number, name)
        except Exception:
            print(f"     round {number}, killed: {world.effects.ledger.of('X')}", flush=True)
            raise
        again, late = again + more, late + later
        for victim, in world.effects.ledger.of("X"):
            killed[victim] = killed.get(victim, 0) + 1
    told = ", ".join(f"{victim} {count}" for victim, count in sorted(killed.items()))
    print(f"     {rounds} rounds in {time.monotonic() - begun:.0f} s: {rounds * TASKS} tasks accepted, each ended once; kills: {told}; "
          f"{again} of {rounds * TASKS * len(STEPS)} effects came again, {late} of them after the end was told", flush=True)


def how_many(long_form, short_form):
    return int(os.environ.get("SIGHTLINE_ROUNDS") or (long_form if LONG else short_form))


def test_every_accepted_task_ends_once_whatever_is_killed():
    world = World()
    rounds_of(world, how_many(200, 3), "flow")


# ---- JetStream ----


class Cluster:
    """Three nodes on loopback."""

    def __init__(self, program):
        self.program, self.folder, self.nodes = program, lib.tmp(), []
        self.ports, self.routes, self.monitors = ([free_port() for _ in range(3)] for _ in range(3))
        self.url = ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self.routes)
        for n in range(3):
            with open(f"{self.folder}/{n}.conf", "w") as file:
                file.write(f'server_name: n{n}\nlisten: 127.0.0.1:{self.ports[n]}\nhttp: 127.0.0.1:{self.monitors[n]}\n'
                           f'jetstream {{ store_dir: "{self.folder}/{n}" }}\n'
                           f'cluster {{ name: test, listen: 127.0.0.1:{self.routes[n]}, routes: [{routes}] }}\n')
        self.nodes = [self.start(n) for n in range(3)]
        for port in self.ports:
            lib.until(lambda port=port: can_connect(port), 30, "a node")

    def start(self, n):
        with open(f"{self.folder}/{n}.log", "ab") as log:
            return subprocess.Popen([self.program, "-c", f"{self.folder}/{n}.conf"], stdout=log, stderr=log)

    def kill(self, n):
        self.nodes[n].kill()
        self.nodes[n].wait()
        time.sleep(random.random() * random.choice((0, 2)))
        self.nodes[n] = self.start(n)

    def leader(self):
        """The node that leads the stream of tasks, as a node tells; any, while they elect."""
        for monitor in random.sample(self.monitors, 3):
            with contextlib.suppress(OSError, KeyError, ValueError, AttributeError):
                told = lib.get(f"http://127.0.0.1:{monitor}/jsz?streams=true", timeout=2).json()
                for stream in (s for account in told["account_details"] for s in account["stream_detail"]):
                    if stream["name"] == "SIGHTLINE_TASKS":
                        return int(stream["cluster"]["leader"][1:])
        return random.randrange(3)

    def close(self):
        for node in self.nodes:
            node.kill()
            node.wait()


def broker_program():
    program = os.environ.get("SIGHTLINE_NATS_SERVER") or shutil.which("nats-server")
    if not program:
        raise lib.Skip("nats-server is not installed")
    said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True).stdout
    if tuple(map(int, re.search(r"(\d+)\.(\d+)", said).groups())) < OLDEST_BROKER:
        raise lib.Skip(f"{said.strip()} loses its way when nodes are killed; SIGHTLINE_NATS_SERVER names a newer one")
    return program, said.strip()


def test_the_same_on_a_jetstream_cluster():
    if not LONG and not os.environ.get("SIGHTLINE_ROUNDS"):
        raise lib.Skip("50 rounds on a cluster of three nodes: SIGHTLINE_LONG=1")
    program, version = broker_program()
    cluster = Cluster(program)
    try:
        world = World(cluster.url)
        world.victims += [(f"node{n}", lambda n=n: cluster.kill(n)) for n in range(3)]
        world.victims += 3 * [("leader", lambda: cluster.kill(cluster.leader()))]
        print(f"     {version}", flush=True)
        rounds_of(world, how_many(50, 50), "flow-jetstream")
    finally:
        cluster.close()


lib.main(globals())
