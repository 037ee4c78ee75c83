#!/usr/bin/env python3
"""The end of servers: whoever sends the signal, to whom and how often, what is under way ends in order and leaves its spans."""
import contextlib
import json
import os
import signal
import subprocess
import time

import flow
import lib

SLOW_FLOW = "name: slow\nsteps:\n  - {id: a, type: llm, provider: openai, model: gpt-4o, prompt: p, output: [text]}\n"


def start(mock, *args, env=None):
    return lib.gateway(*args, config=lib.config_for(mock.url("mock")), env=env)


class Background:
    """A load run beside the test."""

    def __init__(self, gateway, *args):
        command = [lib.BINARY, "load", "--url", gateway.url("gateway"), "--key", "sk-test", "--format", "json", *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=lib.environment())

    def report(self, timeout=60):
        out, _ = self.process.communicate(timeout=timeout * lib.SLOW)
        return json.loads(out)


def streams_under_way(count, *args, **options):
    """A gateway that tells its spans, and so many streams through it."""
    gateway = start(lib.mock(itl=50, tokens=30), *args, env={"OTEL_TRACES_EXPORTER": "console"}, **options)
    running = Background(gateway, "-n", count, "-c", count, "--stream")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == count)
    return gateway, running


def all_were_served(gateway, running, count):
    lib.equal(gateway.process.wait(20 * lib.SLOW), 0)
    report = running.report()
    lib.equal((report["ok"], report["errors"]), (count, {}))
    lib.equal(gateway.output().count("POST /v1/chat/completions  SERVER"), count)
    lib.equal(gateway.output().count("chat claude-haiku  CLIENT"), count)


def test_a_signal_to_every_process_drains():
    """systemd's control-group, `kill -- -GROUP`, `pkill -f` reach workers and control too."""
    for supervisor_first in (False, True):
        gateway, running = streams_under_way(20, "--workers", 2)
        pids = lib.descendants(gateway.process.pid)
        pids.insert(0 if supervisor_first else len(pids), gateway.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        all_were_served(gateway, running, 20)


def test_a_signal_that_comes_twice_is_one():
    """timeout(1) sends it to the process and to its group."""
    gateway, running = streams_under_way(20)
    gateway.signal(signal.SIGTERM)
    time.sleep(0.02)
    gateway.signal(signal.SIGTERM)
    all_were_served(gateway, running, 20)


def test_the_end_finds_workers_that_a_reload_drains():
    gateway, running = streams_under_way(20)
    before = set(lib.descendants(gateway.process.pid))
    gateway.signal(signal.SIGHUP)
    lib.until(lambda: set(lib.descendants(gateway.process.pid)) - before, 10, "a new worker")
    time.sleep(0.4)
    gateway.signal(signal.SIGTERM)
    all_were_served(gateway, running, 20)


def test_a_second_signal_leaves_the_spans():
    count = 200
    gateway = start(lib.mock("--fault", "hang=1"), env={"OTEL_TRACES_EXPORTER": "console"})
    running = Background(gateway, "-n", count, "-c", count, "--timeout", "20")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == count)
    gateway.signal(signal.SIGTERM)
    time.sleep(0.6)
    gateway.signal(signal.SIGTERM)
    lib.equal(gateway.process.wait(5 * lib.SLOW), 0)
    lib.equal(running.report()["ok"], 0)
    lib.equal(gateway.output().count("POST /v1/chat/completions  SERVER"), count)


def hanging(count, env):
    """A gateway with so many requests under way, which no upstream answers."""
    gateway = start(lib.mock("--fault", "hang=1"), "--drain-timeout", "1", env=dict(env, OTEL_TRACES_EXPORTER="console"))
    running = Background(gateway, "-n", count, "-c", count, "--timeout", "30")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == count)
    return gateway, running


def stand_still(pid, seconds):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile: the spans tell
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_is_late_is_not_killed():
    """On a busy machine, or with thousands of requests, cutting them off takes its time."""
    gateway, running = hanging(50, {})
    gateway.signal(signal.SIGTERM)
    time.sleep(0.5)
    stand_still(lib.descendant(gateway.process.pid, "worker"), 1.5)
    lib.equal(gateway.process.wait(10 * lib.SLOW), 0)
    lib.equal(running.report()["ok"], 0)
    lib.equal(gateway.output().count("POST /v1/chat/completions  SERVER"), 50)


def test_spans_of_the_end_wait_for_their_reader():
    """All requests end in one moment; the worker has nothing else to do than to wait until their spans have gone."""
    gateway, running = hanging(400, {"OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    gateway.signal(signal.SIGTERM)
    time.sleep(0.7)
    stand_still(lib.descendant(gateway.process.pid, "control"), 0.8)
    lib.equal(gateway.process.wait(20 * lib.SLOW), 0)
    lib.equal(running.report()["ok"], 0)
    lib.equal(gateway.output().count("POST /v1/chat/completions  SERVER"), 400)
    lib.equal(gateway.output().count("chat claude-haiku  CLIENT"), 400)


def run_under_way():
    """A server of workflows with a run whose step takes two seconds."""
    mock = lib.mock(ttft=2000)
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": mock.url("mock") + "/v1", "OTEL_TRACES_EXPORTER": "console"}
    server = flow.Server("--drain-timeout", "20", env=env)
    server.add(SLOW_FLOW)
    run = server.start("slow")
    lib.until(lambda: server.run(run).get("status") == "running", what="the run")
    time.sleep(0.3)
    return server


def test_a_signal_to_every_process_lets_runs_end():
    server = run_under_way()
    pid = server.process.process.pid
    for one in lib.descendants(pid) + [pid]:
        os.kill(one, signal.SIGTERM)
    lib.equal(server.process.process.wait(20 * lib.SLOW), 0)
    lib.contains(server.process.output(), "workflow.execute:slow", "the span of the run")


lib.main(globals())
