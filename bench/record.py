"""Recording: spans, counters, histograms, log lines, exposition, beside the Rust OpenTelemetry SDK."""
import json
import os
import shutil
import subprocess

from lib import ROOT, cache_dir

PROGRAMS = {}


def build_programs(bench):
    """The C programs of this folder, from the same build as the binary."""
    if "c" not in PROGRAMS:
        subprocess.run(["ninja", "-C", bench.build, "--quiet", "benches"], check=True)
        PROGRAMS["c"] = os.path.join(bench.build, "bench")
    return PROGRAMS["c"]


def rust_peer():
    """Builds the Rust peer once; None without cargo."""
    if "rust" not in PROGRAMS:
        cargo = shutil.which("cargo") or os.path.expanduser("~/.cargo/bin/cargo")
        if not os.path.exists(cargo):
            PROGRAMS["rust"] = None
            return None
        target = cache_dir("otel-rust")
        subprocess.run([cargo, "build", "--release", "--quiet"], cwd=os.path.join(ROOT, "bench/peers/otel-rust"),
                       env={**os.environ, "CARGO_TARGET_DIR": target}, check=True)
        PROGRAMS["rust"] = os.path.join(target, "release", "otel-rust-peer")
    return PROGRAMS["rust"]


def one(program, *args):
    """Runs a program; its JSON lines by name."""
    done = subprocess.run([program, *args], stdout=subprocess.PIPE, check=True, timeout=300)
    rows = [json.loads(line) for line in done.stdout.decode().split("\n") if line.startswith("{")]
    return {row["name"]: row for row in rows}


def beside_rust(c_program, name, limit, bar, count=1000000):
    def case(bench, title):
        folder, rust = build_programs(bench), rust_peer()
        if not rust:
            raise RuntimeError("cargo is missing; install a Rust tool chain to measure beside its SDK")
        ours, theirs, kept = [], [], ""
        for _ in range(bench.rounds):
            row = one(os.path.join(folder, c_program), name, str(count))[name]
            ours.append(row["ns"])
            peer = one(rust, name, str(count))[name]
            theirs.append(peer["ns"])
            if row.get("started"):
                kept = (f"exported/started: ours {row['exported']}/{row['started']}, "
                        f"rust {peer['exported']}/{peer['started']}; "
                        f"CPU per operation, all threads: ours {row.get('cpu_ns', 0):.0f} ns, rust {peer['cpu_ns']:.0f} ns")
        bench.compare(title, "ns", {"ours": ours, "rust": theirs}, bar, limit, note=kept)
    return case


def absolute(c_program, name, limit, bar, count=1000000, floor_name=None, field="ns"):
    def case(bench, title):
        folder = build_programs(bench)
        values, floors, note = [], [], ""
        for _ in range(bench.rounds):
            rows = one(os.path.join(folder, c_program), name, str(count))
            values.append(rows[name][field])
            if floor_name:
                floors.append(one(os.path.join(folder, c_program), floor_name, str(count))[floor_name]["ns"])
            extra = {k: v for k, v in rows[name].items() if k not in ("name", "ns", field)}
            note = ", ".join(f"{k} {v}" for k, v in extra.items())
        bench.absolute(title, "ns", values, bar, limit, sorted(floors)[len(floors) // 2] if floors else None, note)
    return case


def two_threads(bench, title):
    """The same series from two threads at once, against one thread of ours in the same round."""
    folder, rust = build_programs(bench), rust_peer()
    program = os.path.join(folder, "bench_sdk")
    single, double, theirs = [], [], []
    for _ in range(bench.rounds):
        single.append(one(program, "counter_bound", "20000000")["counter_bound"]["ns"])
        double.append(one(program, "counter_bound_2", "20000000")["counter_bound_2"]["ns"])
        if rust:
            theirs.append(one(rust, "counter_bound_2", "1000000")["counter_bound_2"]["ns"])
    samples = {"ours": double, "one thread": single}
    if theirs:
        samples["rust"] = theirs
    bench.compare(title, "ns", samples, "<= 1.3x one thread", 1.3, peer="one thread")


CASES = [
    ("span_sampled", beside_rust("bench_sdk", "span_sampled", 0.25, "<= 0.25x rust")),
    ("span_unsampled", absolute("bench_sdk", "span_unsampled", 10, "< 10 ns", 10000000, "floor_clock")),
    ("counter_bound", absolute("bench_sdk", "counter_bound", 3, "< 3 ns", 50000000, "floor_store")),
    ("counter_bound_2", two_threads),
    ("histogram_bound", absolute("bench_sdk", "histogram_bound", 10, "< 10 ns", 20000000, "floor_store")),
    ("log_line", absolute("bench_sdk", "log_line", 400, "< 400 ns", 50000, "floor_clock")),
    ("exposition", absolute("bench_sdk", "exposition", 50, "< 50 ns a series", 50, "floor_memcpy")),
]
