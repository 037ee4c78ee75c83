#!/usr/bin/env python3
"""The gateway as clients and operators see it: answers, errors, traces, metrics, health. The mock's ledger is the truth."""
import json
import os
import re
import socket
import subprocess
import time

import lib

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def pair(*mock_args, models=("claude-haiku", "mock"), gateway_args=(), env=None, **mock_options):
    mock = lib.mock(*mock_args, **mock_options)
    return mock, lib.gateway(*gateway_args, config=lib.config_for(mock.url("mock"), models), env=env)


def ledger(mock):
    return lib.get(mock.url("mock") + "/mock/ledger").json()


def traces(gateway, *args):
    done = lib.run("traces", "--url", gateway.url("admin"), "--format", "json", *args)
    lib.equal(done.returncode, 0, done.stderr)
    return json.loads(done.stdout)


def trace_of(gateway, trace_id):
    """The trace once both spans are in it."""
    def both():
        reply = lib.get(f"{gateway.url('admin')}/traces/{trace_id}")
        spans = reply.json().get("spans", []) if reply.status == 200 else []
        return spans if {s["kind"] for s in spans} >= {"SERVER", "CLIENT"} else None
    return lib.until(both, 3, "a trace with SERVER and CLIENT spans")


# ---- answers ----

def test_the_guides_own_curl():
    curl = lib.need("curl")
    mock, gateway = pair(tokens=5)
    command = [curl, "-sS", gateway.url("gateway") + "/v1/chat/completions", "-H", "Content-Type: application/json", "-H",
               "Authorization: Bearer sk-test", "-d", '{"model": "claude-haiku", "messages": [{"role": "user", "content": "Hello"}]}']
    body = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    lib.equal(body["usage"]["completion_tokens"], 5)
    command[-1] = command[-1][:-1] + ', "stream": true}'
    text = subprocess.run([*command, "-N"], capture_output=True, check=True, text=True).stdout
    assert text.rstrip().endswith("data: [DONE]"), text[-200:]
    lib.equal(ledger(mock)["outcomes"]["ok"], 2)
    lib.equal(gateway.stop(), 0)


def test_up_needs_no_configuration():
    gateway = lib.gateway(command="up")
    base = gateway.url("gateway")
    for model in ("claude-haiku", "mock"):
        reply = lib.chat(base, key="sk-dev-key", model=model)
        lib.equal(reply.status, 200, reply.text)
    lib.equal(lib.chat(base, key="sk-other").status, 401)
    lib.equal(lib.chat(base, key=None).status, 401)
    lib.contains(gateway.output(), "sk-dev-key")
    lib.contains(gateway.output().lower(), "mock")
    models = lib.get(base + "/v1/models", headers={"Authorization": "Bearer sk-dev-key"}).json()
    lib.equal({m["id"] for m in models["data"]} >= {"claude-haiku", "mock"}, True)
    lib.equal(gateway.stop(), 0)


def test_bodies_go_on_byte_for_byte():
    mock, gateway = pair()
    body = b'{ "model":"mock" ,"messages":[{"role":"user","content":"caf\\u00e9 \xc3\xa9"}], "unknown":{"a":[1e300,-0.0,1E+2]} }'
    headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json", "X-Request-Id": "exact"}
    reply = lib.post(gateway.url("gateway") + "/v1/chat/completions", body, headers=headers)
    lib.equal(reply.status, 200, reply.text)
    renamed = body.replace(b'"mock"', b'"claude-haiku"')
    lib.equal(lib.post(gateway.url("gateway") + "/v1/chat/completions", renamed, headers=headers).status, 200)
    for entry in ledger(mock)["requests"]:
        lib.equal(int(entry["body_hash"], 16), fnv(body))
        lib.equal(entry["model"], "mock")


def test_answers_come_back_byte_for_byte():
    other = lib.mock()
    _, gateway = pair()
    for stream in (False, True):
        options = {"model": "mock", "stream": stream, **({"stream_options": {"include_usage": True}} if stream else {})}
        seen = [re.sub(r'"(id|created)":("[^"]*"|\d+)', "", lib.chat(base, **options).text) for base in (other.url("mock"), gateway.url("gateway"))]
        lib.equal(seen[1], seen[0])


def test_the_clients_key_never_goes_on():
    mock, gateway = pair()
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    lib.equal(int(ledger(mock)["requests"][0]["key_hash"], 16), fnv(b"Bearer sk-upstream-secret"))


def test_other_endpoints():
    _, gateway = pair(tokens=4)
    base, headers = gateway.url("gateway"), {"Authorization": "Bearer sk-test"}
    lib.equal(lib.post(base + "/v1/completions", {"model": "mock", "prompt": "x"}, headers=headers).json()["usage"]["completion_tokens"], 4)
    lib.equal(lib.post(base + "/v1/embeddings", {"model": "mock", "input": "x"}, headers=headers).json()["object"], "list")
    lib.equal(lib.get(base + "/v1/models", headers=headers).json()["object"], "list")
    lib.equal(lib.post(base + "/chat/completions", {"model": "mock", "messages": []}, headers=headers).status in (200, 400), True)


def test_frames_are_not_held_back():
    _, gateway = pair(ttft=50, itl=100, tokens=5)
    done = lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "-n", 1, "--stream", "--format", "json")
    report = json.loads(done.stdout)
    assert 40 < report["ttft_ms"]["p50"] < 150 * lib.SLOW and 80 < report["itl_ms"]["p50"] < 150 * lib.SLOW, report


def test_another_deployment_is_tried():
    mock = lib.mock()
    config = lib.config_for(mock.url("mock"), ["both"]).replace("general_settings:", "  - model_name: both\n    litellm_params:\n      model: "
                                                                "openai/mock\n      api_base: http://127.0.0.1:1/v1\ngeneral_settings:")
    gateway = lib.gateway(config=config)
    lib.equal([lib.chat(gateway.url("gateway"), model="both").status for _ in range(10)], [200] * 10)


def test_upstream_errors():
    for fault, statuses in (("429", {429}), ("500", {500, 502}), ("reset", {502, 503}), ("badjson", {200})):
        mock, gateway = pair("--fault", f"{fault}=1")
        for _ in range(5):  # a model's only deployment is never cooled down
            reply = lib.chat(gateway.url("gateway"))
            assert reply.status in statuses, (fault, reply.status, reply.text)
            if reply.status != 200:
                assert isinstance(reply.json()["error"]["message"], str), reply.text
        gateway.stop()
        mock.stop()
    gateway = lib.gateway(config=lib.config_for("http://127.0.0.1:1"))
    reply = lib.chat(gateway.url("gateway"))
    assert reply.status in (502, 503), reply.status
    lib.contains(reply.json()["error"], "message")


def test_a_cut_stream_is_cut_for_the_client_too():
    _, gateway = pair("--fault", "truncate=1")
    done = lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "-n", 3, "--stream", "--format", "json")
    errors = json.loads(done.stdout)["errors"]
    lib.equal(sum(errors.values()), 3)
    assert set(errors) <= {"closed", "no_done", "stream_error"}, errors


# ---- refusals ----

def test_error_shapes():
    _, gateway = pair()
    base = gateway.url("gateway")
    good = {"Authorization": "Bearer sk-test"}
    cases = [(lib.chat(base, key="sk-wrong"), 401), (lib.chat(base, key=None), 401), (lib.chat(base, model="no-such-model"), 404),
             (lib.post(base + "/v1/chat/completions", b"{", headers=good), 400), (lib.post(base + "/v1/chat/completions", b"[]", headers=good), 400),
             (lib.post(base + "/v1/chat/completions", {"messages": []}, headers=good), 400), (lib.get(base + "/nonsense", headers=good), 404),
             (lib.get(base + "/v1/chat/completions", headers=good), 405),
             (lib.get(base + "/v1/models", headers={**good, "X-Big": "x" * 40000}), 431),
             (lib.get(base + "/v1/models", headers={**good, **{f"X-{i}": "1" for i in range(120)}}), 431)]
    for reply, status in cases:
        lib.equal(reply.status, status, reply.text[:300])
        error = reply.json()["error"]
        lib.equal(set(error) >= {"message", "type", "param", "code"}, True, reply.text)
        assert error["message"] and "sk-" not in error["message"], reply.text


def test_a_body_that_is_too_large():
    mock = lib.mock()
    gateway = lib.gateway(config=lib.config_for(mock.url("mock"), extra="sightline:\n  max_body: 64KiB\n"))
    reply = lib.chat(gateway.url("gateway"), content="x" * 100000)
    lib.equal(reply.status, 413)
    lib.contains(reply.json()["error"], "message")
    lib.equal(lib.chat(gateway.url("gateway"), content="x" * 1000).status, 200)
    lib.equal(ledger(mock)["served"], 1)


# ---- traces ----

def test_one_request_is_one_trace():
    mock, gateway = pair(tokens=6)
    reply = lib.chat(gateway.url("gateway"), headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1", "baggage": "k=v"})
    lib.equal(reply.status, 200)
    finished = time.monotonic()
    spans = trace_of(gateway, TRACE)
    assert time.monotonic() - finished < 0.5 * lib.SLOW, "later than 0.5 s"
    server = next(s for s in spans if s["kind"] == "SERVER")
    client = next(s for s in spans if s["kind"] == "CLIENT")
    lib.equal((server["parent_span_id"], client["parent_span_id"]), (PARENT, server["span_id"]))
    entry = ledger(mock)["requests"][0]
    lib.equal(entry["traceparent"], f"00-{TRACE}-{client['span_id']}-01")
    lib.equal((entry["tracestate"], entry["baggage"]), ("a=1", "k=v"))
    lib.equal(server["service"], "litellm-gateway")
    assert server["duration_ns"] >= client["duration_ns"] > 0
    for span in spans:
        a = span["attributes"]
        lib.equal((a["llm.model"], a["llm.tokens.prompt"], a["llm.tokens.completion"], a["http.status_code"]),
                  ("claude-haiku", entry["prompt_tokens"], 6, 200), span["kind"])
        lib.equal(a["gen_ai.usage.output_tokens"], 6)
        assert a["llm.provider"] and a["gen_ai.request.model"] == "claude-haiku"
    lib.equal(client["attributes"]["gen_ai.provider.name"], "openai")
    lib.equal(server["attributes"]["http.route"], "/v1/chat/completions")
    lib.equal(traces(gateway, TRACE)["trace_id"], TRACE)


def test_traces_command():
    _, gateway = pair()
    for _ in range(3):
        lib.chat(gateway.url("gateway"))
    rows = lib.until(lambda: (lambda r: r if len(r) == 3 else None)(traces(gateway)), 3)
    for row in rows:
        lib.equal(set(row) >= {"trace_id", "root", "service", "start", "duration_ns", "spans", "error"}, True)
        lib.equal(row["error"], False)
    lib.equal(len(traces(gateway, "--limit", 2)), 2)
    lib.equal(traces(gateway, "--service", "nobody"), [])
    lib.equal(len(traces(gateway, "--service", "litellm-gateway")), 3)
    text = lib.run("traces", "--url", gateway.url("admin")).stdout
    lib.contains(text, rows[0]["trace_id"][:8])
    assert "\033" not in text
    text = lib.run("traces", rows[0]["trace_id"], "--url", gateway.url("admin")).stdout
    lib.contains(text, "/v1/chat/completions")
    done = lib.run("traces", "0" * 31 + "1", "--url", gateway.url("admin"))
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, "not found")


def test_failures_are_errors_in_their_traces():
    _, gateway = pair("--fault", "500=1")
    lib.chat(gateway.url("gateway"))
    rows = lib.until(lambda: traces(gateway), 3)
    lib.equal(rows[0]["error"], True)


def test_every_attribute_is_in_the_reference():
    known = {a["name"] for a in json.loads(lib.run("docs", "--format", "json").stdout)["attributes"]}
    _, gateway = pair()
    lib.chat(gateway.url("gateway"), stream=True, max_tokens=3, temperature=0.5)
    lib.chat(gateway.url("gateway"), model="nonsense")
    rows = lib.until(lambda: (lambda r: r if len(r) == 2 else None)(traces(gateway)), 3)
    unknown = {name for row in rows for span in traces(gateway, row["trace_id"])["spans"] for name in span["attributes"]} - known
    lib.equal(unknown, set(), "not in src/telemetry/attributes.def")


def test_exporters_off_keep_traces_and_propagation():
    mock, gateway = pair(env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    lib.chat(gateway.url("gateway"))
    lib.until(lambda: traces(gateway), 3)
    assert ledger(mock)["requests"][0]["traceparent"]
    assert lib.total(lib.metrics(gateway.url("metrics")), "http_server_request_duration_seconds_count") == 1


def test_sdk_disabled_stops_all():
    mock, gateway = pair(env={"OTEL_SDK_DISABLED": "true"})
    lib.equal(lib.chat(gateway.url("gateway"), headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}).status, 200)
    time.sleep(0.3)
    reply = lib.get(gateway.url("admin") + "/traces") if "admin" in gateway.ready else None
    assert reply is None or reply.status != 200 or reply.json() == []
    lib.equal(ledger(mock)["requests"][0]["traceparent"], f"00-{TRACE}-{PARENT}-01")


# ---- metrics ----

def test_metrics_are_exact():
    mock, gateway = pair(tokens=3)
    for stream in ([], ["--stream"]):
        done = lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "-n", 200, "-c", 10, *stream)
        lib.equal(done.returncode, 0, done.stdout)
    for _ in range(3):
        lib.chat(gateway.url("gateway"), model="nonsense")
    book = ledger(mock)
    page = lib.until(lambda: (lambda p: p if lib.total(p, "http_server_request_duration_seconds_count") == 403 else None)(
        lib.metrics(gateway.url("metrics"))), 5, "403 requests on the metrics page")
    lib.equal(lib.total(page, "llamastack_requests_total", status="200"), 400)
    lib.equal(lib.total(page, "llamastack_requests_total", status="404"), 3)
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), book["completion_tokens"])
    lib.equal(lib.total(page, "gen_ai_client_token_usage_sum", gen_ai_token_type="input"), book["prompt_tokens"])
    lib.equal(lib.total(page, "gen_ai_client_operation_duration_seconds_count", gen_ai_request_model="claude-haiku"), 400)
    lib.equal(lib.total(page, "gen_ai_server_time_to_first_token_seconds_count") >= 200, True)
    lib.equal(lib.total(page, "sightline_gateway_requests_in_flight"), 0)
    lib.equal(lib.total(page, "sightline_build_info"), 1)
    assert "process_cpu_seconds_total" in page
    for name in ("process_resident_memory_bytes", "process_start_time_seconds"):
        assert lib.total(page, name) > 0, name
    assert not any("nonsense" in str(labels) for rows in page.values() for labels, _ in rows), "a client's text in a label"


def test_promtool_finds_nothing():
    promtool = lib.need("promtool")
    _, gateway = pair()
    lib.chat(gateway.url("gateway"), stream=True)
    page = lib.get(gateway.url("metrics") + "/metrics")
    lib.contains(page.headers["content-type"], "text/plain; version=0.0.4")
    done = subprocess.run([promtool, "check", "metrics"], input=page.body, capture_output=True)
    complaints = [line for line in done.stderr.decode().split("\n") if line and "colon" not in line]
    lib.equal(complaints, [])


def test_openmetrics_by_negotiation():
    _, gateway = pair()
    lib.chat(gateway.url("gateway"))
    page = lib.get(gateway.url("metrics") + "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    lib.contains(page.headers["content-type"], "application/openmetrics-text; version=1.0.0")
    assert page.text.endswith("# EOF\n")


def test_every_metric_is_in_the_reference():
    known = {m["prometheus"] for m in json.loads(lib.run("docs", "--format", "json").stdout)["metrics"]}
    _, gateway = pair()
    lib.chat(gateway.url("gateway"), stream=True)
    names = re.findall(r"^# TYPE (\S+) ", lib.get(gateway.url("metrics") + "/metrics").text, re.M)
    assert names
    lib.equal([n for n in names if n not in known and n not in ("target_info", "otel_scope_info")], [])


def test_top():
    _, gateway = pair(tokens=3)
    lib.run("load", "--url", gateway.url("gateway"), "--key", "sk-test", "-n", 20, "--stream")
    lib.chat(gateway.url("gateway"), model="nonsense")

    def look():
        report = json.loads(lib.run("top", "--url", gateway.url("metrics") + "/metrics", "--format", "json").stdout)
        rows = {m["model"]: m for m in report["models"]}
        return rows if rows.get("claude-haiku", {}).get("requests") == 20 else None
    row = lib.until(look, 5)["claude-haiku"]
    lib.equal((row["errors"], row["tokens_out"]), (0, 60))
    assert row["latency_ms"]["p50"] > 0 and row["ttft_ms"]["p50"] > 0
    lib.contains(lib.run("top", "--url", gateway.url("metrics") + "/metrics", "--once").stdout, "claude-haiku")


# ---- health, doctor, ready file ----

def test_health():
    _, gateway = pair()
    base = gateway.url("health")
    for path in ("/health", "/health/live", "/health/ready", "/ready"):
        reply = lib.get(base + path)
        lib.equal(reply.status, 200, path)
        lib.equal(reply.json()["status"], "healthy", path)
    for path in ("/health/liveliness", "/health/liveness"):
        lib.equal(lib.get(base + path).json(), "I'm alive!", path)
    lib.contains(lib.get(base + "/health/readiness").json(), "status")
    lib.equal(lib.get(base + "/nonsense").status, 404)


def test_doctor_is_content_with_a_running_gateway():
    _, gateway = pair()
    lib.chat(gateway.url("gateway"))
    done = lib.run("doctor", "--ready-file", gateway.ready_path, "--key", "sk-test", "--format", "json")
    checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
    for name in ("gateway", "metrics", "health", "admin"):
        lib.equal(checks[name]["status"], "ok", checks[name])
    lib.equal(done.returncode, 0)
    done = lib.run("doctor", "--ready-file", gateway.ready_path, "--key", "wrong")
    lib.contains(done.stdout, "warn gateway: ")


def test_ready_file():
    gateway = lib.gateway("--health-listen", "off", command="up")
    listeners = {"gateway", "metrics", "admin"}
    assert listeners | {"pid"} <= set(gateway.ready), gateway.ready
    assert set(gateway.ready) <= listeners | {"pid", "api", "control", "queue"}, gateway.ready
    lib.equal(gateway.ready["pid"], gateway.process.pid)
    for key in set(gateway.ready) - {"pid"}:
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", gateway.ready[key]), gateway.ready


def test_a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = lib.run("up", *lib.FREE[:6], "--admin-listen", f"127.0.0.1:{port}", timeout=20)
        lib.equal(done.returncode in (1, 2), True, "an address that was asked for fails the start")
        lib.contains(done.stderr, str(port))
        assert done.stderr.startswith("sightline: "), done.stderr
    # A default that is taken is left out with a warning.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody has it already: just as good
        gateway = lib.Process("up", "--gateway-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                              "--data-dir", lib.tmp())
        assert "health" not in gateway.ready, gateway.ready
        lib.contains(gateway.output(), "8080")


def test_listeners_from_the_environment_and_the_file():
    mock = lib.mock()
    config = lib.config_for(mock.url("mock"), extra="sightline:\n  listen:\n    gateway: 127.0.0.1:0\n    metrics: 'off'\n    health: 'off'\n    admin: 'off'\n")
    path = os.path.join(lib.tmp(), "config.yaml")
    with open(path, "w") as file:
        file.write(config)
    gateway = lib.Process("gateway", "-c", path, "--data-dir", lib.tmp(), env={"SIGHTLINE_ADMIN_LISTEN": "127.0.0.1:0"})
    lib.equal(set(gateway.ready), {"pid", "gateway", "admin"})


lib.main(globals())
