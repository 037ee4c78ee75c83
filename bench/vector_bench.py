"""Exact vector search beside a plain scan of the same bytes, on the same threads, in the same rounds."""
import json
import os
import statistics
import subprocess


def program(bench):
    return os.path.join(bench.build, "bench", "bench_vector")


def measure(bench, rows, dims, top):
    done = subprocess.run([program(bench), str(rows), str(dims), str(top), "21"], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=300)
    return json.loads(done.stdout)


def search(bench, title):
    """The median over rounds of a program that interleaves both; of several programs the median again."""
    runs = [measure(bench, 100000, 768, 10) for _ in range(max(3, bench.rounds // 2))]
    ratio = statistics.median(run["ratio"] for run in runs)
    ours = statistics.median(run["search_ms"] for run in runs)
    scan = statistics.median(run["scan_ms"] for run in runs)
    spread = f"{min(run['ratio'] for run in runs):.3f}-{max(run['ratio'] for run in runs):.3f}"
    bench.row(title, "ms", round(ours, 2), {"plain scan": round(scan, 2)}, round(ratio, 3),
              "<= 1.1x a plain scan", ratio <= 1.1,
              f"ratio {spread}; 100,000 x 768 floats, top 10, {runs[0]['threads']} threads, {runs[0]['kernel']}")


CASES = [("vector-search", search)]
