#!/usr/bin/env python3
"""Several workers behind one port: one scrape sums all, exactly, also when one of them is killed."""
import json
import os
import signal
import subprocess
import time

import lib

LONG = os.environ.get("SIGHTLINE_LONG") == "1"
REQUESTS = 100000 if LONG else 20000 // lib.SLOW
COUNTS = ("llamastack_requests_total", "gen_ai_client_operation_duration_seconds_count", "http_server_request_duration_seconds_count",
          "llamastack_request_duration_seconds_count", "llamastack_inference_latency_seconds_count")


def start(*args, env=None, **options):
    mock = lib.mock(**options)
    return mock, lib.gateway(*args, config=lib.config_for(mock.url("mock")), env=env)


def load_command(gateway, *args):
    return [lib.BINARY, "load", "--url", gateway.url("gateway"), "--key", "sk-test", "--format", "json", *map(str, args)]


def load(gateway, *args):
    done = subprocess.run(load_command(gateway, *args), stdout=subprocess.PIPE, env=lib.environment(), timeout=200 * lib.SLOW, check=False)
    return json.loads(done.stdout)


def children(gateway):
    """{pid: name} of the children of the supervisor."""
    with open(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children") as file:
        found = {int(pid): lib.process_name(pid) for pid in file.read().split()}
    return {pid: name for pid, name in found.items() if name}


def workers(gateway):
    return [pid for pid, name in children(gateway).items() if name == "worker"]


def totals(gateway):
    page = lib.metrics(gateway.url("metrics"))
    return {name: lib.total(page, name) for name in COUNTS}


def settle(gateway, wanted):
    """Waits for the sums of one scrape; they must never be beyond."""
    seen = {}

    def reached():
        seen.update(totals(gateway))
        assert all(v <= wanted for v in seen.values()), f"more than {wanted}: {seen}"
        return all(v == wanted for v in seen.values())
    try:
        lib.until(reached, 5)
    except AssertionError:
        raise AssertionError(f"{seen}, expected {wanted} of each")


def in_flight(gateway):
    return lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight")


def test_one_scrape_is_exact():
    mock, gateway = start("--workers", 4, tokens=4)
    lib.equal(len(workers(gateway)), 4)
    report = load(gateway, "-n", REQUESTS, "-c", 64)
    lib.equal((report["ok"], report["errors"]), (REQUESTS, {}))
    settle(gateway, REQUESTS)
    book = lib.get(mock.url("mock") + "/mock/ledger").json()
    page = lib.metrics(gateway.url("metrics"))
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), book["completion_tokens"])
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="input"), book["prompt_tokens"])
    lib.equal(lib.total(page, "gen_ai_client_token_usage_count", gen_ai_token_type="input"), REQUESTS)
    lib.equal(in_flight(gateway), 0)
    # Histograms are whole: the last bucket is the count.
    for name in ("gen_ai_client_operation_duration_seconds", "http_server_request_duration_seconds", "sightline_gateway_overhead_seconds"):
        lib.equal(lib.total(page, name + "_bucket", le="+Inf"), lib.total(page, name + "_count"), name)
    lib.equal(gateway.stop(), 0)


def test_every_worker_takes_part():
    _, gateway = start("--workers", 4)
    load(gateway, "-n", 20000, "-c", 64)
    busy = 0
    for pid in workers(gateway):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        busy += int(fields[11]) + int(fields[12]) > 0
    assert busy >= 3, busy


def test_scrapes_never_go_back():
    _, gateway = start("--workers", 3)
    running = subprocess.Popen(load_command(gateway, "--duration", 3, "-c", 20), stdout=subprocess.PIPE, env=lib.environment())
    last = dict.fromkeys(COUNTS, 0)
    while running.poll() is None:
        now = totals(gateway)
        assert all(now[name] >= last[name] for name in COUNTS), (last, now)
        last = now
    settle(gateway, json.loads(running.stdout.read())["ok"])


def test_killed_in_the_midst():
    kills = 3
    mock, gateway = start("--workers", 4, itl=2, tokens=5)
    settled = 2000 // lib.SLOW
    lib.equal(load(gateway, "-n", settled, "-c", 32)["ok"], settled)
    settle(gateway, settled)
    running = subprocess.Popen(load_command(gateway, "--duration", 4, "-c", 32, "--stream"), stdout=subprocess.PIPE, env=lib.environment())
    for _ in range(kills):
        time.sleep(1)
        before = totals(gateway)
        victim = workers(gateway)[0]
        os.kill(victim, signal.SIGKILL)
        lib.until(lambda: victim not in workers(gateway) and len(workers(gateway)) == 4, 10, "another worker")
        after = totals(gateway)
        assert all(after[name] >= before[name] for name in COUNTS), f"counts were lost: {before} {after}"
    report = json.loads(running.communicate(timeout=60 * lib.SLOW)[0])
    assert report["ok"] > 200, report
    assert set(report["errors"]) <= {"closed", "connect", "no_done"}, report["errors"]
    lib.until(lambda: in_flight(gateway) == 0, 5, "no request in flight")
    counted = lib.total(lib.metrics(gateway.url("metrics")), "llamastack_requests_total", status="200")
    lost = sum(report["errors"].values())
    # A request is counted right after its last byte has gone out: a worker killed between the two leaves one uncounted.
    assert settled + report["ok"] - kills <= counted <= settled + report["ok"] + lost, (counted, report)
    for pid, name in children(gateway).items():
        assert name in ("worker", "control"), (pid, name)
    again = 500
    lib.equal(load(gateway, "-n", again, "-c", 16)["ok"], again)
    lib.equal(lib.get(gateway.url("health") + "/health/ready").status, 200)
    lib.equal(gateway.stop(), 0)


def test_killed_control_comes_back():
    """Metrics and health come from a process of their own: killed, it is started again, and nothing that was counted is gone."""
    _, gateway = start("--workers", 2)
    lib.equal(load(gateway, "-n", 300, "-c", 8)["ok"], 300)
    settle(gateway, 300)
    victim = next(pid for pid, name in children(gateway).items() if name == "control")
    os.kill(victim, signal.SIGKILL)
    lib.equal(load(gateway, "-n", 200, "-c", 8)["ok"], 200)

    def back():
        try:
            return totals(gateway)[COUNTS[0]] == 500
        except OSError:
            return False
    lib.until(back, 10, "the metrics page with all 500 requests")
    settle(gateway, 500)
    lib.equal(lib.get(gateway.url("health") + "/health/ready").status, 200)
    lib.equal(gateway.stop(), 0)


def test_workers_from_the_file_and_bad_numbers():
    mock = lib.mock()
    gateway = lib.gateway(config=lib.config_for(mock.url("mock"), extra="sightline:\n  workers: 3\n"))
    lib.equal(len(workers(gateway)), 3)
    gateway.stop()
    for bad in ("0", "1000000", "x", "-1"):
        done = lib.run("up", *lib.FREE, "--workers", bad, timeout=20)
        lib.equal(done.returncode, 2, bad)
        lib.contains(done.stderr, "--workers")


def test_a_crash_is_told_with_and_without_telemetry():
    """In the log; where OTEL_SDK_DISABLED leaves nobody to write it, on standard error."""
    mock = lib.mock()
    for env, begins in (({}, ""), ({"OTEL_SDK_DISABLED": "true"}, "sightline: ")):
        gateway = lib.gateway(config=lib.config_for(mock.url("mock")), env=env)
        pid = gateway.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        worker = next(child for child in children if lib.process_name(child) == "worker")
        os.kill(int(worker), signal.SIGKILL)
        text = f"worker 0 (pid {worker}) was killed by signal 9; starting it again"
        line = lib.until(lambda: [line for line in gateway.output().split("\n") if text in line], 10, "the line about the crash")[0]
        assert line.startswith(begins), line
        lib.until(lambda: lib.chat(gateway.url("gateway")).status == 200, 10, "the next worker")
        lib.equal(gateway.stop(), 0)


lib.main(globals())
