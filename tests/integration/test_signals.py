#!/usr/bin/env python3
"""What the guides promise of logs, health and tracing variables, seen from outside a running gateway."""
import json
import re
import socket
import time

import lib

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
PARENT = "00f067aa0ba902b7"


def pair(*args, env=None, extra=""):
    mock = lib.mock()
    return lib.gateway(*args, config=lib.config_for(mock.url("mock"), extra=extra), env=env)


def log_lines(gateway, begin):
    return [line for line in gateway.output().split("\n") if re.match(begin, line)]


def provoke(gateway, trace):
    headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
    lib.equal(lib.chat(gateway.url("gateway"), content='quotes " and \\ and \u00e9', headers=headers).status, 200)
    lib.equal(lib.chat(gateway.url("gateway"), model="no\nsuch\" model", headers=headers).status, 404)


# ---- logs ----

def test_lines_of_text():
    """TIME LEVEL key=value … message="…", each request with the ids of its trace."""
    trace = "1" * 31 + "a"
    gateway = pair()
    provoke(gateway, trace)
    lines = lib.until(lambda: (lambda found: found if len(found) == 2 else None)([x for x in log_lines(gateway, TIME) if trace in x]), 3, "two lines")
    for line in lines:
        assert re.fullmatch(TIME + r' (INFO|WARN|ERROR)( [a-z_.]+=("(\\.|[^"\\])*"|[^" ]+))* message="POST /v1/chat/completions"', line), line
        assert re.search(rf" trace_id={trace} span_id=[0-9a-f]{{16}} ", line), line
    lib.contains(lines[0], ' model="claude-haiku" ')


def test_lines_of_json():
    """One object a line, as a log shipper with `format json` takes it."""
    trace = "2" * 31 + "b"
    gateway = pair(env={"LOG_FORMAT": "json"})
    provoke(gateway, trace)
    rows = lib.until(lambda: (lambda found: found if len(found) == 2 else None)(
        [r for r in map(json.loads, log_lines(gateway, r"\{")) if r.get("trace_id") == trace]), 3, "two lines")
    for row in rows:
        assert re.fullmatch(TIME, row["timestamp"]) and row["level"] in ("INFO", "WARN", "ERROR"), row
        assert re.fullmatch("[0-9a-f]{16}", row["span_id"]) and row["message"] == "POST /v1/chat/completions", row
        assert not any(isinstance(value, (dict, list)) for value in row.values()), row
    lib.equal((rows[0]["model"], rows[0]["http.response.status_code"]), ("claude-haiku", 200))
    lib.equal(rows[1]["http.response.status_code"], 404)


def test_levels():
    """LOG_LEVEL in any case, and what a wrong one does."""
    for level, shown in (("info", True), ("INFO", True), ("Debug", True), ("warn", False), ("WARNING", False), ("critical", False), ("loud", True)):
        gateway = pair(env={"LOG_LEVEL": level})
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
        gateway.stop()
        lib.equal(bool(log_lines(gateway, TIME + " INFO ")), shown, level)
        lib.equal("LOG_LEVEL" in gateway.output(), level == "loud", level)


# ---- health ----

def test_a_hanging_dependency_hangs_no_probe():
    """Its own timeout makes it unhealthy; liveness is untouched, and both answer at once all the time."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and never answers
        port = hanging.getsockname()[1]
        gateway = pair(extra=f"sightline:\n  health_checks:\n    - name: database\n      kind: http\n      target: http://127.0.0.1:{port}/health\n"
                             "      timeout: 0.3\n      interval: 0.1\n    - name: memory\n      kind: memory\n      limit: 64GiB\n")
        base, slowest = gateway.url("health"), [0.0]

        def look():
            begun = time.monotonic()
            replies = {path: lib.get(base + path) for path in ("/health", "/health/ready", "/health/live", "/ready")}
            slowest[0] = max(slowest[0], (time.monotonic() - begun) / 4)
            return replies if replies["/health"].json()["checks"]["database"]["status"] == "unhealthy" else None
        replies = lib.until(look, 5, "an unhealthy database")
        for _ in range(20):
            replies = look() or replies
        assert slowest[0] < 0.15 * lib.SLOW, slowest
    lib.equal({path: reply.status for path, reply in replies.items()}, {"/health": 503, "/health/ready": 503, "/health/live": 200, "/ready": 503})
    body = replies["/health/ready"].json()
    lib.equal(body["status"], "unhealthy")
    lib.equal(list(body)[:3], ["status", "timestamp", "checks"])
    lib.equal(list(body["checks"]["memory"]), ["status", "response_time_ms", "last_check"])
    for name, check in body["checks"].items():
        assert re.fullmatch(TIME, check["last_check"]), (name, check)
    assert body["checks"]["database"]["error"], body
    lib.equal(body["checks"]["memory"]["status"], "healthy")


# ---- tracing by LlamaDeploy's variables ----

def tracing(**extra):
    env = {f"LLAMA_DEPLOY_APISERVER_TRACING_{key.upper()}": value for key, value in extra.items()}
    gateway = pair(env={"LOG_LEVEL": "ERROR", **env})
    for _ in range(20):
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    lib.equal(gateway.stop(), 0)
    return [line for line in gateway.output().split("\n") if line.startswith("trace ")]


def test_tracing_is_off_until_enabled():
    lib.equal(tracing(exporter="console"), [])
    lib.equal(len(tracing(exporter="console", enabled="true")), 20)


def test_service_name_and_sample_rate():
    lines = tracing(enabled="true", exporter="console", service_name="my-deployment")
    assert len(lines) == 20 and all(line.endswith("my-deployment") for line in lines), lines
    lib.equal(len(tracing(enabled="true", exporter="console", sample_rate="0.0")), 0)
    lib.equal(len(tracing(enabled="true", exporter="console", sample_rate="1.0")), 20)


lib.main(globals())
