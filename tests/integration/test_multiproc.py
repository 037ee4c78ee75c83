#!/usr/bin/env python3
"""PROMETHEUS_MULTIPROC_DIR: gateways and Python workers that share a folder are one sum, on every one's metrics page."""
import json
import os
import shutil
import signal
import struct
import subprocess

import lib

NAME = "llamastack_requests_total"


def start(folder, mock, *args):
    return lib.gateway(*args, config=lib.config_for(mock.url("mock")), env={"PROMETHEUS_MULTIPROC_DIR": folder})


def chats(gateway, count):
    done = lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "-n", count, "-c", 8, "--format", "json")
    lib.equal(json.loads(done.stdout)["ok"], count)


def total(gateway, name=NAME, **labels):
    return lib.total(lib.metrics(gateway.url("metrics")), name, **labels)


def settle(gateway, wanted, name=NAME):
    seen = [None]

    def reached():
        seen[0] = total(gateway, name)
        return seen[0] == wanted
    try:
        lib.until(reached, 5)
    except AssertionError:
        raise AssertionError(f"{name} is {seen[0]}, expected {wanted}")


def db_file(folder, name, entries):
    """A file as Python's client writes it: entries of (metric, sample, labels, help, value)."""
    data = b""
    for metric, sample, labels, text, value in entries:
        key = json.dumps([metric, sample, labels, text]).encode()
        padded = key + b" " * (8 - (len(key) + 4) % 8)
        data += struct.pack("<i", len(key)) + padded + struct.pack("<dd", value, 0.0)
    data = struct.pack("<ii", len(data) + 8, 0) + data
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data.ljust(65536, b"\0"))


def test_files_have_names_that_python_leaves_alone():
    folder, mock = lib.tmp(), lib.mock()
    gateway = start(folder, mock, "--workers", 2)
    chats(gateway, 50)
    names = os.listdir(folder)
    assert names and all(n.endswith(".segment") for n in names), names
    assert not any(n.endswith(".db") for n in names), names
    settle(gateway, 50)
    lib.equal(gateway.stop(), 0)


def test_two_gateways_are_one_sum():
    folder, mock = lib.tmp(), lib.mock(tokens=3)
    first, second = start(folder, mock, "--workers", 2), start(folder, mock)
    chats(first, 300)
    chats(second, 170)
    for gateway in (first, second):
        settle(gateway, 470)
        settle(gateway, 470, "gen_ai_client_operation_duration_seconds_count")
        lib.equal(total(gateway, "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), 3 * 470)
        lib.equal(total(gateway, "sightline_gateway_requests_in_flight"), 0)
    # One that has ended stays in the sum; the next one goes on where it stopped.
    lib.equal(first.stop(), 0)
    settle(second, 470)
    third = start(folder, mock)
    settle(third, 470)
    chats(third, 30)
    settle(second, 500)
    settle(third, 500)
    second.signal(signal.SIGKILL)
    second.process.wait()
    settle(third, 500)
    lib.equal(third.stop(), 0)


def test_a_restart_goes_on_counting():
    folder, mock = lib.tmp(), lib.mock()
    for turn in range(1, 4):
        gateway = start(folder, mock)
        chats(gateway, 20)
        settle(gateway, 20 * turn)
        lib.equal(gateway.stop(), 0)
    count = len(os.listdir(folder))
    assert count <= 5, f"{count} files after three starts: they are used again"


def test_files_of_python_are_served():
    folder, mock = lib.tmp(), lib.mock()
    for pid, value in ((101, 5.0), (102, 7.0)):
        db_file(folder, f"counter_{pid}.db", [("litellm_proxy_total_requests_metric", "litellm_proxy_total_requests_metric_total",
                                               {"model": "gpt-4o", "user": "a\"b"}, "Total requests", value)])
        db_file(folder, f"histogram_{pid}.db", [
            ("litellm_latency", "litellm_latency_bucket", {"le": "0.5"}, "Latency", value - 3),
            ("litellm_latency", "litellm_latency_bucket", {"le": "+Inf"}, "Latency", 3.0),
            ("litellm_latency", "litellm_latency_sum", {}, "Latency", value / 2)])
        db_file(folder, f"gauge_livesum_{pid}.db", [("litellm_in_flight", "litellm_in_flight", {}, "In flight", value)])
        db_file(folder, f"gauge_all_{pid}.db", [("litellm_workers", "litellm_workers", {}, "Workers", 1.0)])
    gateway = start(folder, mock)
    chats(gateway, 3)
    page = lib.metrics(gateway.url("metrics"))
    lib.equal(lib.total(page, "litellm_proxy_total_requests_metric_total", model="gpt-4o"), 12)
    lib.equal(lib.total(page, "litellm_latency_bucket", le="+Inf"), 12)
    lib.equal(lib.total(page, "litellm_latency_bucket", le="0.5"), 6)
    lib.equal((lib.total(page, "litellm_latency_count"), lib.total(page, "litellm_latency_sum")), (12, 6))
    lib.equal(lib.total(page, "litellm_in_flight"), 12)
    lib.equal(sorted((l.get("pid"), v) for l, v in page["litellm_workers"]), [("101", 1), ("102", 1)])
    lib.equal(lib.total(page, NAME, status="200"), 3)
    text = lib.get(gateway.url("metrics") + "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
    lib.equal(text.count("# EOF"), 1)
    assert text.endswith("# EOF\n") and "litellm_latency_bucket" in text
    promtool = shutil.which("promtool")
    if promtool:
        done = subprocess.run([promtool, "check", "metrics"], input=lib.get(gateway.url("metrics") + "/metrics").body, capture_output=True)
        faults = [line for line in done.stderr.decode().split("\n") if "error" in line or "parse" in line]
        lib.equal(faults, [])


REAL = """
import os, sys
from prometheus_client import Counter, Histogram, Gauge
c = Counter("py_requests", "Requests", ["model"]); h = Histogram("py_latency", "Latency", buckets=[0.1, 1, 10])
g = Gauge("py_in_flight", "In flight", multiprocess_mode="livesum")
for i in range(int(sys.argv[1])):
    c.labels("caf\\u00e9 \\"x\\"").inc(2); h.observe(0.05 * (i + 1)); g.set(i)
os._exit(0)
"""


def test_files_of_the_real_python_client():
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import prometheus_client"], capture_output=True, check=False).returncode:
        raise lib.Skip("the Debian package python3-prometheus-client is not installed")
    folder, mock = lib.tmp(), lib.mock()
    gateway = start(folder, mock)
    for count in (10, 25):
        subprocess.run([python, "-c", REAL, str(count)], env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}, check=True)
    page = lib.metrics(gateway.url("metrics"))
    lib.equal(lib.total(page, "py_requests_total"), 70)
    lib.equal((lib.total(page, "py_latency_count"), lib.total(page, "py_latency_bucket", le="+Inf")), (35, 35))
    assert abs(lib.total(page, "py_latency_sum") - (0.05 * 55 + 0.05 * 325)) < 1e-9
    # The client's own collector over the same folder agrees, and does not trip over our files.
    collect = ("import prometheus_client as p; from prometheus_client import multiprocess as m; r = p.CollectorRegistry();"
               "m.MultiProcessCollector(r); print(p.generate_latest(r).decode())")
    theirs = subprocess.run([python, "-c", collect], env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}, capture_output=True, check=True, text=True).stdout
    for line in theirs.split("\n"):
        if line.startswith("py_") and "_created" not in line:
            name = line.split("{")[0].split(" ")[0]
            assert any(float(line.rsplit(" ", 1)[1]) == value for _, value in page[name]), line


def test_broken_files_break_nothing():
    folder, mock = lib.tmp(), lib.mock()
    gateway = start(folder, mock)
    junk = {"counter_1.db": b"", "counter_2.db": b"\xff" * 100, "histogram_3.db": struct.pack("<ii", 2 ** 31 - 1, 0) + b"x" * 50,
            "gauge_all_4.db": struct.pack("<iii", 24, 0, 2 ** 30) + b" " * 40, "sightline-77.segment": b"nonsense" * 1000, "notes.txt": b"hello"}
    for name, data in junk.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    chats(gateway, 5)
    settle(gateway, 5)
    lib.equal(lib.get(gateway.url("metrics") + "/metrics").status, 200)
    lib.equal(gateway.stop(), 0)


def test_a_folder_that_is_missing():
    done = lib.run("up", *lib.FREE, env={"PROMETHEUS_MULTIPROC_DIR": lib.tmp() + "/missing"}, timeout=20)
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, "PROMETHEUS_MULTIPROC_DIR")
    lib.contains(done.stderr, "make the folder")


lib.main(globals())
