#!/usr/bin/env python3
"""Trace context through the gateway: W3C headers in and out, sampling, what is switched off."""
import time

import lib

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def pair(env=None, extra=""):
    mock = lib.mock(tokens=3)
    config = lib.config_for(mock.url("mock"))
    if extra:
        config = config.replace("general_settings:", extra + "general_settings:")
    return mock, lib.gateway(config=config, env=env)


def upstream(mock):
    """The newest request that the upstream got."""
    return lib.get(mock.url("mock") + "/mock/ledger").json()["requests"][-1]


def spans(gateway, trace_id, wanted=2):
    def look():
        reply = lib.get(f"{gateway.url('admin')}/traces/{trace_id}")
        found = reply.json().get("spans", []) if reply.status == 200 else []
        return found if len(found) >= wanted else None
    return {s["kind"]: s for s in lib.until(look, 3, f"trace {trace_id}")}


def no_trace(gateway):
    time.sleep(0.4)
    lib.equal(lib.get(gateway.url("admin") + "/traces").json(), [])


def send(gateway, **headers):
    reply = lib.chat(gateway.url("gateway"), headers={k.replace("_", "-"): v for k, v in headers.items()})
    lib.equal(reply.status, 200, reply.text)
    return reply


def test_a_parent_is_continued():
    mock, gateway = pair()
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1,other=x", baggage="user=u1,k=v;p=1")
    found = spans(gateway, TRACE)
    lib.equal(found["SERVER"]["parent_span_id"], PARENT)
    lib.equal(found["CLIENT"]["parent_span_id"], found["SERVER"]["span_id"])
    entry = upstream(mock)
    lib.equal(entry["traceparent"], f"00-{TRACE}-{found['CLIENT']['span_id']}-01")
    lib.equal(entry["tracestate"], "vendor=1,other=x")
    assert "user=u1" in entry["baggage"] and "k=v" in entry["baggage"], entry
    lib.equal(found["CLIENT"]["name"], "chat claude-haiku")
    lib.equal(found["SERVER"]["name"], "POST /v1/chat/completions")
    assert found["SERVER"]["start_ns"] <= found["CLIENT"]["start_ns"]


def test_without_a_parent_a_trace_begins():
    mock, gateway = pair()
    send(gateway)
    version, trace, span, flags = upstream(mock)["traceparent"].split("-")
    lib.equal((version, len(trace), len(span), flags in ("01", "03")), ("00", 32, 16, True))
    found = spans(gateway, trace)
    lib.equal(found["CLIENT"]["span_id"], span)
    assert not found["SERVER"].get("parent_span_id"), found["SERVER"]


def test_malformed_parents_begin_a_new_trace():
    mock, gateway = pair()
    for bad in (f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01",
                f"00-{TRACE}-{PARENT}", f"00-{TRACE}-{PARENT}-01-x", f"00-{TRACE[:-1]}g-{PARENT}-01", "nonsense", "", f"00-{TRACE}-{PARENT}-1"):
        send(gateway, traceparent=bad, tracestate="lost=1")
        entry = upstream(mock)
        assert TRACE not in entry["traceparent"].lower(), (bad, entry)
        assert len(entry["traceparent"]) == 55, (bad, entry)
        lib.equal(entry["tracestate"], "", f"the tracestate of a parent that is not one: {bad}")
    # A later version is read as far as it is known.
    send(gateway, traceparent=f"cc-{TRACE}-{PARENT}-01-what-the-future-holds")
    lib.equal(upstream(mock)["traceparent"][:35], f"00-{TRACE}")


def send_lines(gateway, *lines):
    """A request with these header lines, which may have one name twice."""
    body = b'{"model":"claude-haiku","messages":[{"role":"user","content":"Hello"}]}'
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: h", "Authorization: Bearer sk-test", "Content-Type: application/json",
            f"Content-Length: {len(body)}", "Connection: close", *lines]
    answer = lib.raw(gateway.url("gateway"), "\r\n".join(head).encode() + b"\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_of_two_parents_neither_is_one():
    mock, gateway = pair()
    other = TRACE[::-1]
    for second in (f"00-{other}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01", "nonsense", ""):
        send_lines(gateway, f"traceparent: 00-{TRACE}-{PARENT}-01", f"TraceParent: {second}", "tracestate: lost=1")
        entry = upstream(mock)
        lib.equal((len(entry["traceparent"]), entry["tracestate"]), (55, ""), second)
        assert entry["traceparent"][3:35] not in (TRACE, other), (second, entry)
    send_lines(gateway, f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=1", "TraceState: b=2")
    lib.equal(upstream(mock)["tracestate"], "a=1,b=2", "several tracestate fields are one list")


def test_an_unsampled_parent_is_respected():
    mock, gateway = pair()
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-00", tracestate="a=1")
    entry = upstream(mock)
    lib.equal((entry["traceparent"][:35], entry["traceparent"][-2:]), (f"00-{TRACE}", "00"))
    lib.equal(entry["tracestate"], "a=1")
    no_trace(gateway)
    # Metrics and logs go on.
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "llamastack_requests_total") == 1, 3, "one request")


def test_always_off():
    mock, gateway = pair(env={"OTEL_TRACES_SAMPLER": "always_off"})
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01")
    entry = upstream(mock)
    lib.equal((entry["traceparent"][:35], entry["traceparent"][-2:]), (f"00-{TRACE}", "00"))
    no_trace(gateway)


def test_errors_of_unsampled_requests_can_be_kept():
    dead = """  - model_name: dead
    litellm_params:
      model: openai/dead
      api_base: http://127.0.0.1:9/v1
"""
    _, gateway = pair(env={"OTEL_TRACES_SAMPLER": "always_off", "SIGHTLINE_KEEP_ERRORS": "true"}, extra=dead)
    send(gateway)
    lib.equal(lib.chat(gateway.url("gateway"), model="dead", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}).status, 502)
    lib.equal(spans(gateway, TRACE)["CLIENT"]["status"], "ERROR")
    lib.equal(len(lib.get(gateway.url("admin") + "/traces").json()), 1)


def test_parent_based_off_keeps_sampled_parents():
    _, gateway = pair(env={"OTEL_TRACES_SAMPLER": "parentbased_always_off"})
    send(gateway)
    no_trace(gateway)
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01")
    spans(gateway, TRACE)


def test_the_sample_rate_of_the_router():
    mock, gateway = pair(env={"LLMROUTER_OTEL_SAMPLE_RATE": "0.25"})
    count = 400
    for _ in range(count):
        send(gateway)
    flags = [e["traceparent"][-2:] for e in lib.get(mock.url("mock") + "/mock/ledger").json()["requests"]]
    kept = sum(int(f, 16) & 1 for f in flags)
    assert 55 <= kept <= 150, kept  # 100 expected, 5 deviations to either side
    lib.until(lambda: len(lib.get(gateway.url("admin") + "/traces?limit=1000").json()) == kept, 3, f"{kept} traces")
    # A parent decides before the rate does.
    for n in range(5):
        send(gateway, traceparent=f"00-{TRACE[:-1]}{n}-{PARENT}-01")
        assert upstream(mock)["traceparent"].endswith(("-01", "-03"))


def test_otel_sampler_beats_the_rate_of_the_router():
    mock, gateway = pair(env={"LLMROUTER_OTEL_SAMPLE_RATE": "0", "OTEL_TRACES_SAMPLER": "always_on"})
    send(gateway)
    spans(gateway, upstream(mock)["traceparent"].split("-")[1])


def test_disabled_passes_the_clients_headers():
    mock, gateway = pair(env={"OTEL_SDK_DISABLED": "true"})
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=1", baggage="k=v")
    entry = upstream(mock)
    lib.equal((entry["traceparent"], entry["tracestate"], entry["baggage"]), (f"00-{TRACE}-{PARENT}-01", "a=1", "k=v"))
    no_trace(gateway)
    page = lib.metrics(gateway.url("metrics"))
    lib.equal(lib.total(page, "llamastack_requests_total"), 0)


def test_a_model_can_switch_either_off():
    for key, name in (("propagate_tracestate", "tracestate"), ("propagate_baggage", "baggage")):
        mock, gateway = pair(extra=f"    sightline:\n      {key}: false\n")
        send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=1", baggage="k=v")
        entry = upstream(mock)
        lib.equal(entry[name], "", key)
        lib.equal(entry["baggage" if name == "tracestate" else "tracestate"] != "", True, key)
        assert entry["traceparent"].startswith(f"00-{TRACE}"), entry
        gateway.stop()


def test_propagators():
    mock, gateway = pair(env={"OTEL_PROPAGATORS": "tracecontext"})
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", baggage="k=v")
    lib.equal(upstream(mock)["baggage"], "", "baggage is not among the propagators")
    gateway.stop()
    mock, gateway = pair(env={"OTEL_PROPAGATORS": "none"})
    send(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", baggage="k=v")
    entry = upstream(mock)
    assert TRACE not in entry["traceparent"], entry
    gateway.stop()
    _, gateway = pair(env={"OTEL_PROPAGATORS": "b3,tracecontext"})
    send(gateway, b3=f"{TRACE}-{PARENT}-1")
    lib.equal(spans(gateway, TRACE)["SERVER"]["parent_span_id"], PARENT)


def test_every_attempt_is_a_span():
    bad, good = lib.mock("--fault", "500=1"), lib.mock()
    config = lib.config_for(bad.url("mock")).replace("general_settings:", "  - model_name: claude-haiku\n    litellm_params:\n      model: "
                                                     f"openai/mock\n      api_base: {good.url('mock')}/v1\ngeneral_settings:")
    gateway = lib.gateway(config=config)
    for n in range(10):
        send(gateway, traceparent=f"00-{TRACE[:-1]}{n}-{PARENT}-01")
    retried = lib.get(bad.url("mock") + "/mock/ledger").json()["requests"]
    assert retried
    trace = retried[0]["traceparent"].split("-")[1]
    found = lib.until(lambda: (lambda r: r if len(r) == 3 else None)(lib.get(f"{gateway.url('admin')}/traces/{trace}").json().get("spans", [])), 3, "three spans")
    clients = [s for s in found if s["kind"] == "CLIENT"]
    lib.equal(sorted(s["status"] for s in clients)[0], "ERROR")
    lib.equal({s["attributes"]["http.response.status_code"] for s in clients}, {500, 200})
    server = next(s for s in found if s["kind"] == "SERVER")
    lib.equal({s["parent_span_id"] for s in clients}, {server["span_id"]})
    assert server["status"] != "ERROR", server
    sent = {s["span_id"] for s in clients}
    received = {e["traceparent"].split("-")[2] for m in (bad, good) for e in lib.get(m.url("mock") + "/mock/ledger").json()["requests"]
                if trace in e["traceparent"]}
    lib.equal(received, sent)


def test_events_and_times_of_a_stream():
    mock = lib.mock(ttft=100, itl=20, tokens=5)
    gateway = lib.gateway(config=lib.config_for(mock.url("mock")))
    lib.chat(gateway.url("gateway"), stream=True, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    client = spans(gateway, TRACE)["CLIENT"]
    events = {e["name"]: e for e in client["events"]}
    lib.equal(set(events) >= {"gen_ai.first_token", "gen_ai.last_token"}, True, client["events"])
    first = next(v for k, v in events["gen_ai.first_token"].items() if "ns" in k) - client["start_ns"]
    last = next(v for k, v in events["gen_ai.last_token"].items() if "ns" in k) - client["start_ns"]
    assert 0.09e9 < first < 0.3e9 * lib.SLOW, first
    assert 0.07e9 < last - first < 0.5e9 * lib.SLOW, (first, last)
    lib.equal(client["attributes"]["gen_ai.usage.output_tokens"], 5)


lib.main(globals())
