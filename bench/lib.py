"""What the benchmarks share: rounds, medians, CPU of process trees, peers, the table."""
import atexit
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def cache_dir(*parts):
    """A folder outside the tree for what is built once: ${SIGHTLINE_CACHE}, else the XDG cache."""
    base = os.environ.get("SIGHTLINE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sightline")
    path = os.path.join(base, "bench", *parts)
    os.makedirs(path, exist_ok=True)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing answers on port {port}")


def descendants(pid):
    """The process and everything below it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
            except (OSError, IndexError, ValueError):
                pass
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def cpu_ns(pid):
    """Scheduler run time of a process tree, all threads."""
    total = 0
    for process in descendants(pid):
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/schedstat", encoding="utf-8") as file:
                    total += int(file.read().split()[0])
        except (OSError, ValueError):
            pass
    return total


def pss_bytes(pid):
    """Proportional set size of a process tree."""
    total = 0
    for process in descendants(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup", encoding="utf-8") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


class Bench:
    """Collects rows; owns the processes and folders of the run."""

    def __init__(self, build, only, rounds):
        self.build = os.path.join(ROOT, build)
        self.only = only
        self.rounds = rounds
        self.rows = []
        self.processes = []
        self.ready_count = 0
        self.dir = tempfile.mkdtemp(prefix="sightline-bench-")
        self.sightline = os.path.join(self.build, "sightline")
        atexit.register(self.close)

    def wanted(self, name):
        return not self.only or self.only in name

    def run_case(self, name, case):
        print(f"bench {name} …", file=sys.stderr, flush=True)
        try:
            case(self, name)
        except Exception as error:  # a broken benchmark is a row that does not hold, not a silent gap
            traceback.print_exc()
            self.row(name, "-", None, {}, None, "failed", False, str(error)[:300])
        self.stop_all()

    def row(self, name, unit, ours, peers, ratio, bar, holds, note=""):
        self.rows.append({"name": name, "unit": unit, "ours": ours, "peers": peers, "ratio": ratio, "bar": bar,
                          "holds": holds, "note": note})

    def compare(self, name, unit, samples, bar_text, limit, peer=None, note=""):
        """samples: {"ours": [...], peer: [...]}; holds when median(ours)/median(peer) <= limit."""
        medians = {key: statistics.median(values) for key, values in samples.items() if values}
        ours = medians.pop("ours")
        best = min(medians.values()) if peer is None else medians[peer]
        ratio = ours / best if best else None
        spread = f"ours {min(samples['ours']):.3g}-{max(samples['ours']):.3g}"
        self.row(name, unit, round(ours, 3), {k: round(v, 3) for k, v in medians.items()}, round(ratio, 3), bar_text,
                 ratio <= limit, f"{spread} {note}".strip())

    def absolute(self, name, unit, values, bar_text, limit, floor=None, note=""):
        """holds when the median is at most `limit`; `floor` is a lower bound measured in the same run."""
        ours = statistics.median(values)
        peers = {"floor": round(floor, 3)} if floor is not None else {}
        ratio = round(ours / floor, 3) if floor else None
        self.row(name, unit, round(ours, 3), peers, ratio, bar_text, ours <= limit,
                 f"{min(values):.3g}-{max(values):.3g} {note}".strip())

    def start(self, command, env=None, port=None, log=None):
        path = os.path.join(self.dir, log or f"{os.path.basename(command[0])}-{len(self.processes)}.log")
        with open(path, "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       env={**os.environ, **(env or {})}, start_new_session=True)
        self.processes.append(process)
        if port:
            try:
                wait_port(port)
            except RuntimeError as error:
                with open(path, encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"{error}: {' '.join(command)}: {file.read()[-2000:]}") from error
        return process

    def start_ready(self, command, env=None):
        """Starts a sightline command with --ready-file; returns (process, its addresses)."""
        self.ready_count += 1
        ready = os.path.join(self.dir, f"ready-{self.ready_count}.json")
        process = self.start(command + ["--ready-file", ready], env)
        deadline = time.monotonic() + 20
        while not os.path.exists(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"not ready: {' '.join(command)}")
            time.sleep(0.02)
        with open(ready, encoding="utf-8") as file:
            return process, json.load(file)

    def stop(self, process):
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def stop_all(self):
        for process in self.processes:
            self.stop(process)
        self.processes = []

    def close(self):
        self.stop_all()
        shutil.rmtree(self.dir, ignore_errors=True)

    def print_table(self):
        head = ("name", "unit", "ours", "peers", "ratio", "bar", "holds")
        lines = [head]
        for row in self.rows:
            peers = ", ".join(f"{k} {v}" for k, v in row["peers"].items())
            holds = {True: "yes", False: "NO", None: "-"}[row["holds"]]
            lines.append((row["name"], row["unit"], str(row["ours"]), peers, str(row["ratio"]), row["bar"], holds))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        for row in self.rows:
            if row["note"]:
                print(f"  {row['name']}: {row['note']}")
