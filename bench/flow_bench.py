"""Workflows: in-memory steps a second, and the CPU that telemetry adds to an empty workflow and to an LLM step."""
import os
import shutil
import statistics
import subprocess
import json
import tempfile

from record import build_programs

SIGNALS = ["off", "metrics", "spans", "logs", "on"]


def one(bench, what, signals, count, env=None):
    """A row of the program, run in an empty folder on the disk that holds the build."""
    program = os.path.join(build_programs(bench), "bench_flow")
    folder = tempfile.mkdtemp(prefix="bench-flow-", dir=bench.build)
    try:
        done = subprocess.run([program, what, signals, str(count)], stdout=subprocess.PIPE, check=True, timeout=300,
                              cwd=folder, env={**os.environ, **(env or {})})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row = json.loads(done.stdout)
    assert row["failed"] == 0, row
    return row


def interleaved(bench, what, count, signals, env=None):
    """CPU microseconds a workflow, by signal: the least of the rounds, to which other load only adds. The order turns so
    that none is always first."""
    values = {name: [] for name in signals}
    for turn in range(max(bench.rounds, 5)):
        for name in signals[turn % len(signals):] + signals[:turn % len(signals)]:
            values[name].append(one(bench, what, name, count, env)["cpu_us"])
    return {name: min(found) for name, found in values.items()}


def added(cpu):
    return ", ".join(f"{name} +{cpu[name] - cpu['off']:.2f}" for name in cpu if name != "off")


def steps(bench, title):
    """Chains of transform steps, telemetry on; beside them the same with telemetry off."""
    rows, without = [], []
    for _ in range(bench.rounds):
        rows.append(one(bench, "steps", "on", 10000)["steps_per_s"])
        without.append(one(bench, "steps", "off", 10000)["steps_per_s"])
    ours, off = statistics.median(rows), statistics.median(without)
    bench.row(title, "steps/s", round(ours), {"telemetry off": round(off)}, round(ours / off, 3), ">= 100000",
              ours >= 100000, f"{min(rows):.0f}-{max(rows):.0f}; workflows of 20 transform steps, telemetry on")


def empty(bench, title):
    """A workflow of one step that does nothing. What telemetry adds is measured in memory, where it is larger than the
    noise of a disk; what it is a share of is the same workflow accepted and recorded on disk, as the server runs it."""
    memory = interleaved(bench, "empty", 100000, SIGNALS)
    durable = interleaved(bench, "durable", 10000, ["off", "on"])
    extra = memory["on"] - memory["off"]
    share = extra / durable["off"]
    bench.row(title, "us CPU added", round(extra, 2), {"workflow": round(durable["off"], 2)}, round(share, 4),
              "<= 0.05 of the workflow", share <= 0.05,
              f"us added: {added(memory)}, to {memory['off']:.2f} in memory; on disk {durable['off']:.2f} -> "
              f"{durable['on']:.2f}")


def llm(bench, title):
    """A workflow of one call to the mock: CPU of our process alone."""
    _, ready = bench.start_ready([bench.sightline, "mock", "--listen", "127.0.0.1:0", "--ttft", "0", "--itl", "0"])
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": ready["mock"] + "/v1"}
    cpu = interleaved(bench, "llm", 3000, SIGNALS, env)
    extra = cpu["on"] - cpu["off"]
    bench.row(title, "us CPU added", round(extra, 1), {"call without": round(cpu["off"], 1)},
              round(cpu["on"] / cpu["off"], 3), "<= 200 us", extra <= 200,
              f"a call of 20 ms: {extra / 200:.3f} %; us added: {added(cpu)}")


CASES = [("flow-steps", steps), ("flow-telemetry", empty), ("flow-llm-telemetry", llm)]
