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


def wait_total(gateway, name, wanted, **labels):
    seen = [None]

    def reached():
        seen[0] = lib.total(lib.metrics(gateway.url("metrics")), name, **labels)
        return seen[0] == wanted
    try:
        lib.until(reached, 5)
    except AssertionError:
        raise AssertionError(f"{name} is {seen[0]}, expected {wanted}")


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


def test_what_the_drain_timeout_cuts_off_leaves_its_spans():
    """The workers end such requests themselves, before the supervisor kills."""
    count = 1000
    lib.need_descriptors(5 * count)
    mock = lib.mock("--fault", "hang=1")
    gateway = start(mock, "--drain-timeout", "1", env={"OTEL_TRACES_EXPORTER": "console"})
    running = Background(gateway, "-n", count, "-c", count, "--timeout", "20")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == count)
    lib.equal(gateway.stop(within=10), 0)
    lib.equal(running.report()["ok"], 0)
    lib.equal(gateway.output().count("POST /v1/chat/completions  SERVER"), count)
    lib.equal(gateway.output().count("chat claude-haiku  CLIENT"), count)
    lines = [line for line in gateway.output().splitlines() if 'message="POST /v1/chat/completions"' in line]
    lib.equal(len(lines), count, "lines of the access log")
    for line in lines:  # nobody else is to blame
        lib.contains(line, "server_shutdown")


def exported_servers(path):
    with open(path) if os.path.exists(path) else open(os.devnull) as file:
        return sum(line.count('"name":"POST /v1/chat/completions"') for line in file)


def burst(count, env):
    """A gateway whose reader of telemetry stands still while `count` requests run: spans exported, and the gateway."""
    mock = lib.mock()
    path = os.path.join(lib.tmp(), "spans.jsonl")
    env = dict(env, OTEL_TRACES_EXPORTER="file", OTEL_LOGS_EXPORTER="none", OTEL_METRICS_EXPORTER="none", SIGHTLINE_EXPORTER_FILE=path,
               OTEL_BSP_SCHEDULE_DELAY="200")
    gateway = start(mock, env=env)
    reader = lib.descendant(gateway.process.pid, "control")
    os.kill(reader, signal.SIGSTOP)
    try:
        lib.equal(load(gateway, "-n", count, "-c", 32)["ok"], count)
    finally:
        os.kill(reader, signal.SIGCONT)
    if lib.SANITIZERS:  # more than can be written within the time that the end has
        lib.until(lambda: exported_servers(path) >= count, 60, "spans in the file")
    lib.equal(gateway.stop(), 0)
    return exported_servers(path), gateway.output()


def test_a_burst_waits_for_a_reader_that_is_late():
    """On a busy machine nobody reads the workers' rings for a while: all is there afterwards, and as much as was asked for."""
    seen, output = burst(2000, {})
    lib.equal(seen, 2000, "SERVER spans")
    assert "records dropped" not in output, output[-2000:]
    seen, output = burst(9000, {"OTEL_BSP_MAX_QUEUE_SIZE": "65536", "OTEL_BLRP_MAX_QUEUE_SIZE": "65536"})
    lib.equal(seen, 9000, "SERVER spans")
    assert "records dropped" not in output, output[-2000:]


def test_what_a_queue_does_not_hold_is_told():
    seen, output = burst(1000, {"OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    assert 0 < seen < 1000, seen
    lib.contains(output, "records dropped: a recording thread's ring was full")


def test_nothing_is_left_behind():
    mock = lib.mock()
    gateway = start(mock, "--workers", 2)
    children = lib.descendants(gateway.process.pid)
    lib.equal(gateway.stop(), 0)
    lib.until(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], 5, "the end of every process")
    gateway = start(mock, "--workers", 2)
    children = lib.descendants(gateway.process.pid)
    gateway.signal(signal.SIGKILL)
    lib.until(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], 10, "the end of every orphan")


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
