#!/usr/bin/env python3
"""`sightline run`: its report, its exit statuses, retries, time, signals, a collector that never answers, a terminal."""
import json
import os
import pty
import re
import signal
import socket
import subprocess
import time

import lib

HEAD = "name: demo\nsteps:\n"
ASK = "  - {id: ask, type: llm, provider: openai, model: gpt-4o-mini, prompt: 'About {{topic}}', output: [answer]%s}\n"
AFTER = "  - {id: after, type: transform, function: template, template: '<{{outputs.ask}}>', depends_on: ask, output: [line]}\n"


def flow(text):
    path = os.path.join(lib.tmp(), "flow.yaml")
    with open(path, "w") as file:
        file.write(text)
    return path


def provider(mock):
    return {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": mock.url("mock") + "/v1"}


def run(text, *args, env=None, **options):
    """Exit status and report."""
    done = lib.run("run", flow(text), "--format", "json", "-q", *args, env=env, **options)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_the_report_is_that_of_the_contract():
    mock = lib.mock(tokens=8)
    status, report, _ = run(HEAD + ASK % "" + AFTER, "-i", '{"topic": "rain"}', env=provider(mock))
    lib.equal(status, 0)
    assert {"status", "outputs", "steps", "trace_id", "cost_usd", "tokens"} <= set(report), set(report)
    lib.equal(report["status"], "succeeded")
    lib.equal([(s["id"], s["type"], s["status"], s["attempts"], s["error"]) for s in report["steps"]],
              [("ask", "llm", "succeeded", 1, None), ("after", "transform", "succeeded", 1, None)])
    assert all(s["duration_ms"] >= 0 for s in report["steps"])
    assert re.fullmatch("[0-9a-f]{32}", report["trace_id"]) and int(report["trace_id"], 16)
    lib.equal(report["outputs"]["after"]["line"], "<" + report["outputs"]["ask"]["answer"] + ">")
    ledger = lib.get(mock.url("mock") + "/mock/ledger").json()
    rows = ledger["requests"] if isinstance(ledger, dict) else ledger
    lib.equal(report["tokens"], {"input": rows[0]["prompt_tokens"], "output": 8, "total": rows[0]["prompt_tokens"] + 8})
    assert report["cost_usd"] > 0


def test_inputs_come_from_a_file_and_from_standard_input():
    text = HEAD + "  - {id: a, type: transform, function: template, template: '{{x}}', output: [o]}\n"
    path = os.path.join(lib.tmp(), "inputs.json")
    with open(path, "w") as file:
        file.write('{"x": "from a file"}')
    lib.equal(run(text, "-i", "@" + path)[1]["outputs"], {"a": {"o": "from a file"}})
    lib.equal(run(text, "-i", "@-", stdin='{"x": "piped"}')[1]["outputs"], {"a": {"o": "piped"}})
    lib.equal(run(text)[1]["outputs"], {"a": {"o": ""}})


def test_what_is_wrong_before_anything_runs_is_exit_2():
    good = HEAD + "  - {id: a, type: transform, function: template, template: x}\n"
    for args, part in ((["-i", "{"], "--input: line 1"), (["-i", "[1]"], "not an object"), (["-i", "@/none"], "/none"),
                       (["--max-concurrency", "0"], "out of range"), (["-c", "/none.yaml"], "/none.yaml")):
        done = lib.run("run", flow(good), *args)
        lib.equal((done.returncode, done.stdout), (2, ""), args)
        lib.contains(done.stderr, part)
    path = flow("name: x\nsteps:\n  - {id: a, type: llm, depends_on: [b]}\n  - {id: b, type: nonsense, depends_on: [a]}\n")
    done = lib.run("run", path)
    lib.equal(done.returncode, 2)
    faults = [line for line in done.stderr.split("\n") if line.startswith(path + ":")]
    assert len(faults) >= 3, done.stderr  # all of them at once
    lib.equal(lib.run("run").returncode, 2)
    lib.equal(lib.run("run", "/none.yaml").returncode, 2)


def test_a_failed_run_is_exit_1_and_says_which_step():
    status, report, _ = run(HEAD + ASK % "" + AFTER, env={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    lib.equal((status, report["status"]), (1, "failed"))
    lib.equal([s["status"] for s in report["steps"]], ["failed", "cancelled"])
    lib.contains(report["steps"][1]["error"], "not run: step ask failed")
    lib.contains(report["error"], "step ask: ")


def test_defect_a_refused_connection_is_retried():
    """The original never tries a provider again, and runs what depends on the failed step."""
    retry = ", retry: {max_attempts: 2, initial_delay_ms: 20}"
    status, report, _ = run(HEAD + ASK % retry, env={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    lib.equal((status, report["steps"][0]["attempts"]), (1, 3))
    mock = lib.mock("--fault", "500=1")
    status, report, _ = run(HEAD + ASK % retry, env=provider(mock))
    lib.equal((status, report["steps"][0]["attempts"], report["steps"][0]["error_type"]), (1, 3, "provider_error"))


def test_a_program_that_fails_is_tried_once_unless_retry_says_so():
    for more, wanted in (("", 1), (", also: exit_status", 3), (", also: [too_big, exit_status]", 3)):
        text = HEAD + "  - {id: a, type: action, action: exec, command: /bin/false, retry: {max_attempts: 2, initial_delay_ms: 5%s}}\n"
        status, report, _ = run(text % more, env={"SIGHTLINE_STEP_EXEC": "/bin/false"})
        step = report["steps"][0]
        lib.equal((status, step["attempts"], step["error_type"]), (1, wanted, "exit_status"), more)
    done = lib.run("run", flow(HEAD + "  - {id: a, type: action, action: sleep, seconds: 0, retry: {also: exit}}\n"))
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, '"exit" is no error_type')


def test_defect_a_skipped_step_blocks_nobody():
    """The original waits for the workflow's timeout, an hour by default."""
    begin = time.monotonic()
    status, report, _ = run(HEAD + "  - {id: a, type: transform, function: template, template: x, condition: 'false'}\n"
                            "  - {id: b, type: transform, function: template, template: y, depends_on: a}\n")
    assert time.monotonic() - begin < 3 * lib.SLOW
    lib.equal((status, [s["status"] for s in report["steps"]]), (0, ["skipped", "succeeded"]))


def test_a_run_that_takes_too_long_is_failed():
    begin = time.monotonic()
    status, report, _ = run(HEAD + "  - {id: a, type: action, action: sleep, seconds: 30}\n", "--timeout", "0.3")
    assert time.monotonic() - begin < 3 * lib.SLOW
    lib.equal((status, report["status"], report["error_type"]), (1, "failed", "timeout"))
    lib.equal(report["steps"][0]["status"], "cancelled")


def start(text, *args, env=None, **streams):
    return subprocess.Popen([lib.BINARY, "run", flow(text), *args], env=lib.environment(env), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **streams)


SLEEP = HEAD + "  - {id: a, type: action, action: sleep, seconds: 30}\n"


def test_sigint_cancels():
    process = start(SLEEP, "--format", "json")
    lib.until(lambda: "started" in process.stderr.readline(), what="the step")
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10 * lib.SLOW)
    assert time.monotonic() - begin < 1.5 * lib.SLOW
    lib.equal((process.returncode, json.loads(out)["status"]), (1, "cancelled"))


def hanging_collector():
    """Takes connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    return listener, listener.getsockname()[1]


def test_it_ends_within_a_second_though_no_collector_answers():
    listener, port = hanging_collector()
    text = HEAD + "  - {id: a, type: transform, function: template, template: x}\n"
    plain = []
    for env in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"},
                {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}):
        begin = time.monotonic()
        status, report, error = run(text, env=env)
        plain.append(time.monotonic() - begin)
        lib.equal((status, report["status"]), (0, "succeeded"), (env, error))
        assert plain[-1] < plain[0] + 1.0 * lib.SLOW, (env, plain)
    listener.close()


def test_progress_is_plain_when_piped_and_redrawn_on_a_terminal():
    done = lib.run("run", flow(HEAD + "  - {id: a, type: transform, function: template, template: x}\n"))
    lib.equal(re.sub(r"[0-9.]+ s", "N s", done.stderr), "a (transform): started\na (transform): succeeded after N s\n")
    lib.contains(done.stdout, "demo: succeeded in ")
    lib.contains(done.stdout, "trace id: ")
    assert "\033" not in done.stdout + done.stderr
    master, slave = pty.openpty()
    subprocess.run(["stty", "rows", "40", "cols", "100"], stdin=slave, check=True)
    process = subprocess.Popen([lib.BINARY, "run", flow(HEAD + "  - {id: a, type: action, action: sleep, seconds: 0.5}\n")],
                               stdin=slave, stdout=subprocess.DEVNULL, stderr=slave, env=lib.environment({"TERM": "xterm"}))
    os.close(slave)
    process.wait(20 * lib.SLOW)
    seen = os.read(master, 65536).decode()
    os.close(master)
    lib.contains(seen, "\033[1A")  # the line is drawn again in its place
    lib.contains(seen, "running")


def test_log_lines_are_those_of_the_guide():
    mock = lib.mock()
    done = lib.run("run", flow("id: abc123\n" + HEAD + ASK % ""), "-q", env={**provider(mock), "LOG_LEVEL": "DEBUG"})
    lines = [re.sub(r"^\S+ |trace_id=\S+ span_id=\S+ |duration_ms=\d+ ", "", line) for line in done.stderr.splitlines()]
    head = 'workflow_id=abc123 workflow_name="demo" '
    for wanted in ('INFO ' + head + 'message="Starting workflow execution"',
                   'INFO ' + head + 'step_id="ask" step_type=llm message="Executing step"',
                   'DEBUG ' + head + 'step_id="ask" step_type=llm provider="openai" model="gpt-4o-mini" message="Calling LLM provider"',
                   'INFO ' + head + 'message="Workflow completed successfully"'):
        assert wanted in lines, (wanted, lines)
    assert all(re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in done.stderr.splitlines())


def test_check_runs_nothing():
    mock = lib.mock()
    done = lib.run("run", flow(HEAD + ASK % ""), "--check", env=provider(mock))
    lib.equal((done.returncode, done.stdout), (0, ""))
    ledger = lib.get(mock.url("mock") + "/mock/ledger").json()
    lib.equal(len(ledger["requests"] if isinstance(ledger, dict) else ledger), 0)


if __name__ == "__main__":
    lib.main(globals())
