#!/usr/bin/env python3
"""Upstreams that fail in every way: what the client gets, what the metrics say, when another deployment is tried; streams in time."""
import json
import socket
import threading
import time
import urllib.parse

import lib


def ledger(mock):
    return lib.get(mock.url("mock") + "/mock/ledger").json()


def page(gateway):
    return lib.metrics(gateway.url("metrics"))


def config(*upstreams, extra="", params=""):
    text = "model_list:\n"
    for upstream in upstreams:
        text += (f"  - model_name: claude-haiku\n    litellm_params:\n      model: openai/mock\n      api_base: {upstream}/v1\n"
                 f"      api_key: sk-up\n{params}")
    return text + f"general_settings:\n  master_key: sk-test\n{extra}"


def attempts(gateway):
    rows = page(gateway).get("sightline_gateway_upstream_attempts_total", [])
    return {labels["outcome"]: value for labels, value in rows if value}


def errors(gateway):
    return {labels["error_type"]: value for labels, value in page(gateway).get("sightline_gateway_errors_total", []) if value}


def settled(look, wanted, what):
    seen = [None]

    def reached():
        seen[0] = look()
        return seen[0] == wanted
    try:
        lib.until(reached, 3)
    except AssertionError:
        raise AssertionError(f"{what}: {seen[0]!r}, expected {wanted!r}")


def open_stream(gateway, **extra):
    """A raw connection with a streamed request sent."""
    parts = urllib.parse.urlsplit(gateway.url("gateway"))
    body = json.dumps({"model": "claude-haiku", "stream": True, "messages": [{"role": "user", "content": "x"}], **extra}).encode()
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20 * lib.SLOW)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer sk-test\r\nContent-Type: application/json\r\n"
                       b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def dechunk(received):
    head, _, rest = received.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[:int(size, 16)]
        rest = rest[int(size, 16) + 2:]
    return head, body


# ---- each fault of the mock ----

def test_each_fault_gives_the_right_answer_and_metrics():
    #        fault, status of a whole answer, error.type of it
    table = (("429", 429, "429"), ("500", 500, "500"), ("reset", 502, "upstream_closed"))
    for fault, status, error in table:
        mock = lib.mock("--fault", f"{fault}=1")
        gateway = lib.gateway(config=config(mock.url("mock")))
        replies = [lib.chat(gateway.url("gateway"), stream=stream) for stream in (False, True, False)]
        lib.equal([r.status for r in replies], [status] * 3, fault)
        for reply in replies:
            lib.equal(isinstance(reply.json()["error"]["message"], str), True, fault)
        if fault == "429":
            lib.equal(replies[0].headers["retry-after"], "1")
            lib.contains(replies[0].text, "mock: rate limited", "the upstream's own words go to the client")
        settled(lambda: lib.total(page(gateway), "llamastack_requests_total", status=str(status)), 3, fault)
        settled(lambda: errors(gateway), {error: 3}, fault)
        lib.equal(lib.total(page(gateway), "gen_ai_client_operation_duration_seconds_count", error_type=error), 3, fault)
        lib.equal(lib.total(page(gateway), "sightline_gateway_requests_in_flight"), 0, fault)
        gateway.stop()
        mock.stop()


def test_a_truncated_answer_is_seen_to_be_truncated():
    mock = lib.mock("--fault", "truncate=1")
    gateway = lib.gateway(config=config(mock.url("mock")))
    for stream in (False, True):
        try:
            reply = lib.chat(gateway.url("gateway"), stream=stream)
            whole = reply.status == 200
        except Exception as error:  # http.client: IncompleteRead
            whole = False
            assert "Incomplete" in type(error).__name__ or "Closed" in type(error).__name__ or "Reset" in type(error).__name__, error
        assert not whole, "a truncated answer looked whole"
    settled(lambda: sum(errors(gateway).values()), 2, "errors by type")
    settled(lambda: lib.total(page(gateway), "sightline_gateway_requests_in_flight"), 0, "in flight")


def test_a_hanging_upstream_times_out():
    mock = lib.mock("--fault", "hang=1")
    gateway = lib.gateway(config=config(mock.url("mock"), params="      timeout: 0.5\n"))
    begun = time.monotonic()
    reply = lib.chat(gateway.url("gateway"))
    took = time.monotonic() - begun
    lib.equal(reply.status, 504)
    lib.contains(reply.json()["error"], "message")
    assert 0.4 < took < 2 * lib.SLOW, took
    settled(lambda: errors(gateway), {"timeout": 1}, "errors")


def test_slow_and_split_answers_come_whole():
    for fault in ("slow", "split"):
        mock = lib.mock("--fault", f"{fault}=1", tokens=8)
        gateway = lib.gateway(config=config(mock.url("mock")))
        reply = lib.chat(gateway.url("gateway"))
        lib.equal((reply.status, reply.json()["usage"]["completion_tokens"]), (200, 8), fault)
        frames = lib.events(lib.chat(gateway.url("gateway"), stream=True))
        lib.equal(frames[-1], "[DONE]", fault)
        chunks = [json.loads(f) for f in frames[:-1]]
        assert all(c["choices"] for c in chunks), "the usage frame is hidden, split or not"
        assert not any(c.get("usage") for c in chunks)
        settled(lambda: lib.total(page(gateway), "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), 16, fault)
        gateway.stop()
        mock.stop()


def test_no_usage_and_bad_json_pass_and_are_counted_as_unknown():
    for fault in ("nousage", "badjson"):
        mock = lib.mock("--fault", f"{fault}=1", tokens=8)
        gateway = lib.gateway(config=config(mock.url("mock")))
        reply = lib.chat(gateway.url("gateway"))
        lib.equal(reply.status, 200, fault)
        frames = lib.chat(gateway.url("gateway"), stream=True)
        lib.equal(frames.status, 200, fault)
        settled(lambda: lib.total(page(gateway), "llamastack_requests_total", status="200"), 2, fault)
        if fault == "nousage":
            assert "usage" not in reply.json()
            settled(lambda: lib.total(page(gateway), "sightline_gateway_usage_missing_total") >= 1, True, fault)
        gateway.stop()
        mock.stop()


# ---- usage of streams ----

def test_usage_is_asked_for_and_hidden_unless_the_client_asked():
    mock = lib.mock(tokens=5)
    gateway = lib.gateway(config=config(mock.url("mock")))
    base = gateway.url("gateway")
    hidden = lib.chat(base, stream=True)
    lib.equal(any(json.loads(f).get("usage") for f in lib.events(hidden)[:-1]), False)
    asked = lib.chat(base, stream=True, stream_options={"include_usage": True})
    last = json.loads(lib.events(asked)[-2])
    lib.equal((last["choices"], last["usage"]["completion_tokens"]), ([], 5))
    refused = lib.chat(base, stream=True, stream_options={"include_usage": False})
    lib.equal(any(json.loads(f).get("usage") for f in lib.events(refused)[:-1]), False)
    settled(lambda: len(ledger(mock)["requests"]), 3, "requests in the ledger")
    rows = ledger(mock)["requests"]
    assert rows[0]["include_usage"] and rows[1]["include_usage"], rows
    settled(lambda: lib.total(page(gateway), "gen_ai_client_token_usage_count", gen_ai_token_type="output") >= 2, True, "usage known")


def test_a_model_can_switch_the_asking_off():
    mock = lib.mock(tokens=5)
    text = config(mock.url("mock")).replace("general_settings", "    sightline:\n      include_usage: false\ngeneral_settings")
    gateway = lib.gateway(config=text)
    lib.equal(lib.chat(gateway.url("gateway"), stream=True).status, 200)
    lib.equal(ledger(mock)["requests"][0]["include_usage"], False)


def edited(body):
    """The body as CONTRACT says that it goes on: the model replaced in place, include_usage added."""
    return body.replace(b'"claude-haiku"', b'"mock"')


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def test_bytes_go_on_exactly_in_every_shape():
    mock = lib.mock()
    gateway = lib.gateway(config=config(mock.url("mock")))
    bodies = [
        b'{"model":"claude-haiku","messages":[{"role":"user","content":"x"}]}',
        b'\r\n {\t"messages" :[ {"content":"\\ud83d\\ude00 \\"model\\":\\"claude-haiku\\"","role":"user"} ] , "model" : "claude-haiku"\n}\n',
        '{"a":{"model":"inner","stream":true},"model":"claude-haiku","messages":[{"role":"user","content":"é😀"}],"z":[[[]]]}'.encode(),
        b'{"m\\u006fdel2":1,"model":"claude-haiku","messages":[],"stream":false,"n":1.50e+00}',
        b'{"model":"claude-haiku","messages":[{"role":"user","content":"' + b"y" * 300000 + b'"}]}',
    ]
    for number, body in enumerate(bodies):
        headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json", "X-Request-Id": f"body-{number}"}
        lib.post(gateway.url("gateway") + "/v1/chat/completions", body, headers=headers)
    seen = {r["id"]: r["body_hash"] for r in ledger(mock)["requests"]}
    for number, body in enumerate(bodies):
        if f"body-{number}" in seen:
            inner = edited(body) if number != 1 else body[:-len(b'"claude-haiku"\n}\n')] + b'"mock"\n}\n'
            lib.equal(seen[f"body-{number}"], fnv(inner), f"body {number}")
    assert len(seen) >= 4, seen


# ---- time ----

def test_each_frame_arrives_as_it_is_sent():
    mock = lib.mock(ttft=50, itl=50, tokens=20)
    gateway = lib.gateway(config=config(mock.url("mock")))
    times = []
    with open_stream(gateway) as connection:
        while True:
            piece = connection.recv(65536)
            if not piece:
                break
            times += [time.monotonic()] * piece.count(b"data: ")
    gaps = [b - a for a, b in zip(times, times[1:]) if b - a > 0.005]
    # 20 tokens, 50 ms apart: frames that were held back would come together.
    assert len(gaps) >= 19, (len(gaps), gaps)
    late = sorted(gaps)[int(len(gaps) * 0.9)]
    assert late < 0.070 * lib.SLOW, gaps


def test_first_frame_and_usage_of_a_cancelled_stream():
    mock = lib.mock(itl=20, tokens=500)
    gateway = lib.gateway(config=config(mock.url("mock")))
    with open_stream(gateway) as connection:
        seen = b""
        while seen.count(b"data: ") < 6:
            seen += connection.recv(4096)
        left = time.monotonic()
    entry = lib.until(lambda: (ledger(mock)["requests"] or [None])[0], 5, "the end of the upstream call")
    assert time.monotonic() - left < 1 * lib.SLOW, "the upstream call ended late"
    lib.equal(entry["outcome"], "cancelled")
    # Usage is counted, not reported: at least what the client saw, at most what the mock gave out.
    counted = lib.until(lambda: lib.total(page(gateway), "gen_ai_client_token_usage_sum", gen_ai_token_type="output"), 3, "counted usage")
    assert 4 <= counted <= entry["completion_tokens"] + 2, (counted, entry)
    settled(lambda: lib.total(page(gateway), "sightline_gateway_client_disconnects_total"), 1, "disconnects")
    settled(lambda: lib.total(page(gateway), "sightline_gateway_requests_in_flight"), 0, "in flight")


def test_a_client_that_leaves_before_the_answer():
    mock = lib.mock(ttft=5000)
    gateway = lib.gateway(config=config(mock.url("mock")))
    with open_stream(gateway):
        settled(lambda: lib.total(page(gateway), "sightline_gateway_requests_in_flight"), 1, "in flight")
    settled(lambda: ledger(mock)["outcomes"]["cancelled"], 1, "cancelled calls")
    settled(lambda: lib.total(page(gateway), "sightline_gateway_requests_in_flight"), 0, "in flight")


# ---- another deployment ----

def test_another_deployment_before_the_first_byte():
    good = lib.mock(tokens=3)
    for fault in ("429", "500", "reset"):
        bad = lib.mock("--fault", f"{fault}=1")
        gateway = lib.gateway(config=config(bad.url("mock"), good.url("mock")))
        replies = [lib.chat(gateway.url("gateway"), stream=bool(i % 2)) for i in range(12)]
        lib.equal([r.status for r in replies], [200] * 12, fault)
        tried = ledger(bad)["served"]
        assert 0 < tried < 12, f"{fault}: the faulty deployment had {tried} of 12"
        settled(lambda: lib.total(page(gateway), "llamastack_requests_total", status="200"), 12, fault)
        settled(lambda: sum(attempts(gateway).values()), 12 + tried, f"{fault}: attempts")
        gateway.stop()
        bad.stop()


def test_no_other_deployment_behind_the_first_byte():
    """Two deployments that break off in the midst of the answer: nobody gets two halves."""
    mocks = [lib.mock("--fault", "truncate=1", tokens=10) for _ in range(2)]
    gateway = lib.gateway(config=config(*(m.url("mock") for m in mocks)))
    for _ in range(4):
        with open_stream(gateway) as connection:
            received = b""
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        lib.equal(received.count(b"HTTP/1.1 "), 1)
        lib.equal(received.count(b'"role"'), 1, "one beginning")
        assert not received.endswith(b"0\r\n\r\n") and b"[DONE]" not in received
    lib.equal(sum(ledger(m)["served"] for m in mocks), 4, "requests sent")


def test_both_deployments_fail():
    mocks = [lib.mock("--fault", "500=1") for _ in range(2)]
    gateway = lib.gateway(config=config(*(m.url("mock") for m in mocks)))
    reply = lib.chat(gateway.url("gateway"))
    lib.equal(reply.status, 500)
    lib.equal([ledger(m)["served"] for m in mocks], [1, 1])
    settled(lambda: lib.total(page(gateway), "llamastack_requests_total"), 1, "one request, whatever its attempts")


def test_the_upstream_comes_back():
    mock = lib.mock()
    port = int(mock.url("mock").rsplit(":", 1)[1])
    gateway = lib.gateway(config=config(mock.url("mock")))
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    mock.stop()
    lib.equal([lib.chat(gateway.url("gateway")).status for _ in range(3)], [502] * 3)
    again = lib.Process("mock", "--listen", f"127.0.0.1:{port}", "--ttft", 0, "--itl", 0)
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    again.stop()


# ---- refusals ----

def test_every_refusal_has_openais_shape():
    mock = lib.mock()
    gateway = lib.gateway(config=config(mock.url("mock")))
    base, good = gateway.url("gateway"), {"Authorization": "Bearer sk-test"}
    url = base + "/v1/chat/completions"
    deep = b'{"model":"claude-haiku","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
    cases = [
        ("other scheme", lib.post(url, b"{}", headers={"Authorization": "Basic c2stdGVzdA=="}), 401, "invalid_api_key"),
        ("key and more", lib.post(url, b"{}", headers={"Authorization": "Bearer sk-testx"}), 401, "invalid_api_key"),
        ("part of the key", lib.post(url, b"{}", headers={"Authorization": "Bearer sk-tes"}), 401, "invalid_api_key"),
        ("empty key", lib.post(url, b"{}", headers={"Authorization": "Bearer "}), 401, "invalid_api_key"),
        ("too deep", lib.post(url, deep, headers=good), 400, None),
        ("empty body", lib.post(url, b"", headers=good), 400, None),
        ("a number", lib.post(url, b"1", headers=good), 400, None),
        ("bytes that are no UTF-8", lib.post(url, b'{"model":"\xff\xfe"}', headers=good), 400, None),
        ("two values", lib.post(url, b"{} {}", headers=good), 400, None),
        ("model of a wrong type", lib.post(url, b'{"model":1}', headers=good), 400, None),
        ("empty model", lib.post(url, b'{"model":"","messages":[]}', headers=good), (400, 404), None),
        ("long model", lib.post(url, {"model": "m" * 5000}, headers=good), (400, 404), None),
        ("compressed body", lib.post(url, b"\x1f\x8b", headers={**good, "Content-Encoding": "gzip"}), 415, None),
        ("wrong method", lib.request("DELETE", base + "/v1/models", headers=good), 405, None),
        ("unknown path", lib.post(base + "/v1/nothing", b"{}", headers=good), 404, None),
        ("unknown model", lib.chat(base, model='no"such\\model\x01'), 404, "model_not_found"),
        ("model's page", lib.get(base + "/v1/models/none", headers=good), 404, "model_not_found"),
    ]
    for what, reply, statuses, code in cases:
        assert reply.status in (statuses if isinstance(statuses, tuple) else (statuses,)), (what, reply.status, reply.text[:200])
        error = reply.json()["error"]
        assert set(error) >= {"message", "type", "param", "code"} and error["message"] and error["type"], (what, error)
        if code:
            lib.equal(error["code"], code, what)
        lib.equal(reply.headers["content-type"], "application/json", what)
    lib.equal(ledger(mock)["served"], 0)
    lib.equal(lib.get(base + "/v1/models/claude-haiku", headers=good).json()["id"], "claude-haiku")


def test_many_at_once_get_their_own_answers():
    mock = lib.mock(ttft=5, itl=1, tokens=4)
    gateway = lib.gateway("--workers", 2, config=config(mock.url("mock")))
    faults = []

    def one(number):
        for turn in range(10):
            reply = lib.chat(gateway.url("gateway"), stream=bool((number + turn) % 2), headers={"X-Request-Id": f"r-{number}-{turn}"})
            if reply.status != 200 or reply.headers.get("x-request-id", f"r-{number}-{turn}") != f"r-{number}-{turn}":
                faults.append((number, turn, reply.status, reply.headers))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    lib.equal(faults, [])
    lib.equal(len({r["id"] for r in ledger(mock)["requests"]}), 200)


lib.main(globals())
