#!/usr/bin/env python3
"""Operating a gateway: workers that sum exactly, draining, reloading, crashes, export."""
import http.server
import json
import os
import signal
import subprocess
import threading
import time

import lib


def ledger(mock):
    return lib.get(mock.url("mock") + "/mock/ledger").json()


def start(mock, *args, models=("claude-haiku",), env=None):
    return lib.gateway(*args, config=lib.config_for(mock.url("mock"), models), env=env)


def load(gateway, *args, timeout=120):
    done = lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "--format", "json", *args, timeout=timeout)
    return json.loads(done.stdout)


class Background:
    """A load run beside the test."""

    def __init__(self, gateway, *args):
        command = [lib.BINARY, "load", "--url", gateway.url("gateway"), "--key", "sk-test", "--format", "json", *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=lib.environment())

    def report(self, timeout=60):
        out, _ = self.process.communicate(timeout=timeout * lib.SLOW)
        return json.loads(out)


def processes(pid):
    """Pids of all descendants."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children = [int(x) for x in file.read().split()]
        except OSError:
            children = []
        found += children
        queue += children
    return found


def wait_total(gateway, name, wanted, **labels):
    seen = [None]

    def reached():
        seen[0] = lib.total(lib.metrics(gateway.url("metrics")), name, **labels)
        return seen[0] == wanted
    try:
        lib.until(reached, 5)
    except AssertionError:
        raise AssertionError(f"{name} is {seen[0]}, expected {wanted}")


def test_workers_sum_exactly():
    mock = lib.mock(tokens=4)
    gateway = start(mock, "--workers", 4)
    report = load(gateway, "-n", 4000, "-c", 40)
    lib.equal((report["ok"], report["errors"]), (4000, {}))
    report = load(gateway, "-n", 1000, "-c", 40, "--stream")
    lib.equal((report["ok"], report["errors"]), (1000, {}))
    wait_total(gateway, "http_server_request_duration_seconds_count", 5000)
    page, book = lib.metrics(gateway.url("metrics")), ledger(mock)
    lib.equal(lib.total(page, "llamastack_requests_total", status="200"), book["served"])
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), book["completion_tokens"])
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="input"), book["prompt_tokens"])
    lib.equal(lib.total(page, "sightline_gateway_requests_in_flight"), 0)
    lib.equal(gateway.stop(), 0)


def test_a_killed_process_loses_no_count():
    mock = lib.mock(tokens=2)
    gateway = start(mock, "--workers", 3)
    lib.equal(load(gateway, "-n", 600, "-c", 12)["ok"], 600)
    wait_total(gateway, "http_server_request_duration_seconds_count", 600)
    children = processes(gateway.process.pid)
    assert len(children) >= 3, children
    os.kill(children[-1], signal.SIGKILL)
    lib.until(lambda: children[-1] not in processes(gateway.process.pid) and len(processes(gateway.process.pid)) >= len(children), 10, "another worker")
    time.sleep(0.3)
    report = load(gateway, "-n", 600, "-c", 12)
    lib.equal((report["ok"], report["errors"]), (600, {}))
    wait_total(gateway, "http_server_request_duration_seconds_count", 1200)
    wait_total(gateway, "sightline_gateway_requests_in_flight", 0)
    lib.equal(gateway.stop(), 0)


def test_a_worker_killed_under_load():
    mock = lib.mock(itl=5, tokens=20)
    gateway = start(mock, "--workers", 3)
    running = Background(gateway, "--duration", 3, "-c", 20, "--stream")
    time.sleep(1)
    os.kill(processes(gateway.process.pid)[-1], signal.SIGKILL)
    report = running.report()
    assert report["ok"] > 100, report
    assert sum(report["errors"].values()) <= 40, report["errors"]  # what that worker had in hand
    page = lib.until(lambda: (lambda p: p if lib.total(p, "sightline_gateway_requests_in_flight") == 0 else None)(
        lib.metrics(gateway.url("metrics"))), 5, "no request in flight")
    assert lib.total(page, "llamastack_requests_total", status="200") >= report["ok"]
    lib.equal(load(gateway, "-n", 100, "-c", 10)["ok"], 100)


def test_sigterm_drains():
    mock = lib.mock(itl=50, tokens=40)
    gateway = start(mock)
    running = Background(gateway, "-n", 20, "-c", 20, "--stream")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == 20)
    begun = time.monotonic()
    lib.equal(gateway.stop(within=15), 0)
    took = time.monotonic() - begun
    report = running.report()
    lib.equal((report["ok"], report["errors"]), (20, {}))
    assert 0.3 < took < 8 * lib.SLOW, took


def test_drain_timeout_bounds_the_wait():
    mock = lib.mock("--fault", "hang=1")
    gateway = start(mock, "--drain-timeout", "1")
    running = Background(gateway, "-n", 2, "-c", 2, "--timeout", "20")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == 2)
    begun = time.monotonic()
    lib.equal(gateway.stop(within=10), 0)
    assert time.monotonic() - begun < 5 * lib.SLOW
    lib.equal(running.report()["ok"], 0)


def test_nothing_is_left_behind():
    mock = lib.mock()
    gateway = start(mock, "--workers", 2)
    children = processes(gateway.process.pid)
    lib.equal(gateway.stop(), 0)
    lib.until(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], 5, "the end of every process")
    gateway = start(mock, "--workers", 2)
    children = processes(gateway.process.pid)
    gateway.signal(signal.SIGKILL)
    lib.until(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], 10, "the end of every orphan")


def test_sighup_reloads_without_dropping_a_stream():
    mock = lib.mock(itl=50, tokens=60)
    gateway = start(mock, "--workers", 2)
    running = Background(gateway, "-n", 30, "-c", 30, "--stream")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == 30)
    with open(gateway.config_path, "w") as file:
        file.write(lib.config_for(mock.url("mock"), ["claude-haiku", "added"]))
    gateway.signal(signal.SIGHUP)
    lib.until(lambda: lib.chat(gateway.url("gateway"), model="added", max_tokens=1).status == 200, 10, "the added model")
    report = running.report()
    lib.equal((report["ok"], report["errors"]), (30, {}))
    wait_total(gateway, "sightline_gateway_requests_in_flight", 0)
    assert lib.total(lib.metrics(gateway.url("metrics")), "llamastack_requests_total", status="200") >= 31


def test_reload_under_load_loses_no_request():
    mock = lib.mock()
    gateway = start(mock, "--workers", 2)
    running = Background(gateway, "--duration", 4, "-c", 8)
    for _ in range(3):
        time.sleep(0.9)
        gateway.signal(signal.SIGHUP)
    report = running.report()
    lib.equal(report["errors"], {})
    wait_total(gateway, "llamastack_requests_total", report["ok"], status="200")
    lib.equal(ledger(mock)["outcomes"]["ok"], report["ok"])


def test_a_bad_configuration_is_not_taken():
    mock = lib.mock()
    gateway = start(mock)
    with open(gateway.config_path, "w") as file:
        file.write("model_list: nonsense\n")
    gateway.signal(signal.SIGHUP)
    lib.until(lambda: f"{gateway.config_path}:1:" in gateway.output(), 10, "the fault in the log")
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)


class Receiver:
    """Takes OTLP over HTTP and keeps the bodies."""

    def __init__(self, delay=0.0):
        bodies = self.bodies = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(delay)
                bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def test_export_and_flush_at_the_end():
    mock, receiver = lib.mock(), Receiver()
    gateway = start(mock, env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"})
    lib.equal(load(gateway, "-n", 50, "-c", 5)["ok"], 50)
    lib.equal(gateway.stop(), 0)
    spans = b"".join(receiver.bodies.get("/v1/traces", []))
    lib.equal(spans.count(b"gen_ai.request.model") >= 100, True, "a SERVER and a CLIENT span for each of 50 requests")
    lib.contains(spans, b"litellm-gateway")
    assert receiver.bodies.get("/v1/metrics") and receiver.bodies.get("/v1/logs")


def test_a_dead_or_slow_backend_slows_nothing():
    for url in ("http://127.0.0.1:1", Receiver(delay=30).url):
        mock = lib.mock()
        gateway = start(mock, "--drain-timeout", "3", env={"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100",
                                                         "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"})
        report = load(gateway, "-n", 500, "-c", 5)
        lib.equal((report["ok"], report["errors"]), (500, {}))
        assert report["latency_ms"]["p99"] < 100 * lib.SLOW, report["latency_ms"]
        begun = time.monotonic()
        lib.equal(gateway.stop(within=30), 0)
        assert time.monotonic() - begun < 12 * lib.SLOW
        mock.stop()


def test_probes_answer_under_load():
    mock = lib.mock()
    gateway = start(mock)
    running = Background(gateway, "--duration", 3, "-c", 100)
    slowest = 0.0
    while running.process.poll() is None:
        begun = time.monotonic()
        lib.equal(lib.get(gateway.url("health") + "/health/ready").status, 200)
        lib.equal(lib.get(gateway.url("metrics") + "/metrics").status, 200)
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.05)
    assert slowest < 1 * lib.SLOW, slowest
    lib.equal(running.report()["errors"], {})


def test_data_folder_of_a_newer_version_is_refused():
    mock = lib.mock()
    folder = lib.tmp()
    gateway = lib.Process("up", *lib.FREE, "--data-dir", folder)
    gateway.stop()
    found = [os.path.join(f, n) for f, _, names in os.walk(folder) for n in names if "format" in n.lower() or "version" in n.lower()]
    if not found:
        raise lib.Skip("nothing is kept on disk yet")
    with open(found[0], "w") as file:
        file.write("999999\n")
    done = lib.run("up", *lib.FREE, "--data-dir", folder, timeout=20)
    assert done.returncode in (1, 2), done.returncode
    lib.contains(done.stderr, folder)
    mock.stop()


lib.main(globals())
