"""The message queue: durable tasks a second, latency, opening with a million waiting, memory; beside the disk itself."""
import os
import shutil
import statistics
import tempfile
import time

from lib import free_port, wait_port
from record import build_programs, one


class Folder:
    """An empty folder on the disk that holds the build; /tmp may be memory, where a sync costs nothing."""

    def __init__(self, bench):
        self.parent = bench.build

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="bench-queue-", dir=self.parent)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def run(bench, *steps):
    """Steps of the program in one new folder; the row of the last one."""
    program = os.path.join(build_programs(bench), "bench_queue")
    with Folder(bench) as folder:
        for what, count in steps:
            row = list(one(program, folder, what, str(count)).values())
        return row[0]


def tasks(what, count):
    def case(bench, title):
        rows, alone = [], []
        for _ in range(bench.rounds):
            rows.append(run(bench, (what, count)))
            alone.append(1e6 / run(bench, ("floor", 500))["sync_p50_us"])
        values = [row["tasks_per_s"] for row in rows]
        ours, floor = statistics.median(values), statistics.median(alone)
        last = rows[-1]
        bench.row(title, "tasks/s", round(ours), {"one sync each": round(floor)}, round(ours / floor, 2), ">= 20000",
                  ours >= 20000 and all(row["told_early"] == 0 and row["fdatasync"] > 0 for row in rows),
                  f"{min(values):.0f}-{max(values):.0f}; {last['tasks']} tasks put and acknowledged, {last['fdatasync']} "
                  f"fdatasync, {last['told_early']} told before one")
    return case


def latency(bench, title):
    rows, floors = [], []
    for _ in range(bench.rounds):
        rows.append(run(bench, ("latency", 3000)))
        floors.append(2 * run(bench, ("floor", 500))["sync_p50_us"])
    bench.absolute(title, "us p50", [row["p50_us"] for row in rows], "< 2000 us", 2000, statistics.median(floors),
                   f"put, taken, acknowledged on disk, at {rows[-1]['tasks_per_s']:.0f} tasks/s; p99 "
                   f"{statistics.median(row['p99_us'] for row in rows):.0f} us; the floor is two syncs")


def opening(bench, title):
    rows = [run(bench, ("fill", 1000000), ("opening", 1000000)) for _ in range(min(bench.rounds, 3))]
    bench.absolute(title, "ms", [row["first_task_ms"] for row in rows], "< 2000 ms", 2000,
                   note=f"{rows[-1]['waiting']} waiting, to the first task taken; {rows[-1]['bytes_per_task']:.0f} bytes each")


def memory(bench, title):
    rows = [run(bench, ("memory", 200000)) for _ in range(min(bench.rounds, 3))]
    bench.absolute(title, "bytes/task", [row["bytes_per_task"] for row in rows], "<= 4096", 4096,
                   note=f"{rows[-1]['waiting']} waiting tasks of 200 bytes")


def cluster(bench, folder):
    """Three nats-servers on loopback; their URLs."""
    program = shutil.which("nats-server") or "/usr/sbin/nats-server"
    if not os.path.exists(program):
        raise RuntimeError("nats-server is missing; install it to measure the clustered queue")
    ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    for i in range(3):
        path = os.path.join(folder, f"{i}.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'server_name: n{i}\nlisten: 127.0.0.1:{ports[i]}\njetstream {{\n store_dir: "{folder}/{i}"\n}}\n'
                       f"cluster {{\n name: bench\n listen: 127.0.0.1:{routes[i]}\n routes: [\n")
            file.write("".join(f" nats://127.0.0.1:{route}\n" for route in routes) + " ]\n}\n")
        bench.start([program, "-c", path])
    for port in ports:
        wait_port(port)
    time.sleep(5)  # to elect
    return ",".join(f"nats://127.0.0.1:{port}" for port in ports)


def jetstream(what, bar):
    def case(bench, title):
        program, values, alone = os.path.join(build_programs(bench), "bench_queue"), [], []
        with Folder(bench) as folder:
            urls = cluster(bench, folder)
            for _ in range(bench.rounds):
                values.append(one(program, urls, what, "30000")[what]["tasks_per_s"])
                alone.append(1e6 / one(program, folder, "floor", "500")["floor"]["sync_p50_us"])
            bench.stop_all()
        ours, floor = statistics.median(values), statistics.median(alone)
        bench.row(title, "tasks/s", round(ours), {"one sync each": round(floor)}, round(ours / floor, 2),
                  f">= {bar}" if bar else "-", ours >= bar if bar else None,
                  f"{min(values):.0f}-{max(values):.0f}; JetStream, 3 nodes on loopback, 3 replicas")
    return case


CASES = [("queue_tasks", tasks("throughput", 100000)), ("queue_tasks_keys", tasks("keys", 100000)),
         ("queue_latency", latency), ("queue_opening", opening), ("queue_memory", memory),
         ("queue_jetstream", jetstream("throughput", 5000)), ("queue_jetstream_keys", jetstream("keys", None))]
