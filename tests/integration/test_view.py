#!/usr/bin/env python3
"""The live view of `sightline up` takes the spans of other processes: of `run` and `flow worker`, and by POST of anybody's."""
import gzip
import json
import os

import lib

WORKFLOW = "name: view\nsteps:\n  - {id: one, type: transform, function: template, template: hello, output: [line]}\n"


def field(number, payload):
    size, out = len(payload), b""
    while size >= 128:
        out += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + out + bytes([size]) + payload


def request_of(trace):
    """One span, "elsewhere", of the service "other": an ExportTraceServiceRequest by hand."""
    attribute = field(1, b"service.name") + field(2, field(1, b"other"))
    span = field(1, bytes.fromhex(trace)) + field(2, bytes(7) + b"\x01") + field(5, b"elsewhere")
    return field(1, field(1, field(1, attribute)) + field(2, field(2, span)))


def traces(up, *args):
    return json.loads(lib.run("traces", *args, "--url", up.url("admin"), "--format", "json").stdout)


def test_spans_of_a_run():
    up = lib.gateway(command="up")
    path = os.path.join(lib.tmp(), "view.yaml")
    with open(path, "w") as file:
        file.write(WORKFLOW)
    done = lib.run("run", path, "--format", "json", "--view", up.url("admin"))
    lib.equal(done.returncode, 0, done.stderr)
    trace = json.loads(done.stdout)["trace_id"]
    shown = lib.until(lambda: [t for t in traces(up) if t["trace_id"] == trace], 5, "the run in the view")
    lib.equal(shown[0]["service"], "llm-orchestrator")
    off = json.loads(lib.run("run", path, "--format", "json", env={"SIGHTLINE_ADMIN_URL": "off"}).stdout)["trace_id"]
    lib.equal([t for t in traces(up) if t["trace_id"] == off], [])
    lib.equal(lib.run("run", path, "--view", "nonsense").returncode, 2)


def test_spans_by_post():
    up = lib.gateway(command="up")
    url, kind = up.url("admin") + "/v1/traces", {"Content-Type": "application/x-protobuf"}
    reply = lib.post(url, request_of("ab" * 16), headers=kind)
    lib.equal((reply.status, reply.headers["content-type"], reply.body), (200, "application/x-protobuf", b""))
    lib.equal([(t["root"], t["service"]) for t in traces(up)], [("elsewhere", "other")])
    lib.equal(traces(up, "abab")["spans"][0]["name"], "elsewhere")
    in_json = {"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "cd" * 16, "spanId": "01" * 8, "name": "by JSON", "startTimeUnixNano": "1", "endTimeUnixNano": 2}]}]}]}
    packed = gzip.compress(json.dumps(in_json).encode())
    reply = lib.post(url, packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    lib.equal((reply.status, reply.headers["content-type"], reply.body), (200, "application/json", b"{}"))
    lib.equal(traces(up, "cdcd")["spans"][0]["name"], "by JSON")
    lib.equal(lib.post(url, packed, headers={"Content-Type": "application/json"}).status, 400)
    lib.equal(lib.post(url, gzip.compress(bytes(9 << 20)), headers={**kind, "Content-Encoding": "gzip"}).status, 413)
    lib.equal(lib.post(url, request_of("ab" * 16), headers={**kind, "Content-Encoding": "br"}).status, 415)
    lib.equal(lib.post(url, b"nonsense", headers=kind).status, 400)
    lib.equal(lib.post(url, bytes(9 << 20), headers=kind).status, 413)
    lib.equal(lib.get(url).status, 405)
    lib.equal(lib.post(up.url("metrics") + "/v1/traces", request_of("ab" * 16), headers=kind).status, 404)


def test_a_trace_by_its_first_digits():
    up = lib.gateway(command="up")
    kind = {"Content-Type": "application/x-protobuf"}
    for trace in ("abcd" * 8, "abce" * 8, "abcdabcd" + "0" * 24):
        lib.equal(lib.post(up.url("admin") + "/v1/traces", request_of(trace), headers=kind).status, 200)
    lib.equal(traces(up, "abce")["trace_id"], "abce" * 8)
    lib.equal(traces(up, "ABCE")["trace_id"], "abce" * 8, "either case")
    lib.equal(traces(up, "abcdabcd0")["trace_id"], "abcdabcd" + "0" * 24)
    for digits, status, says in (("abcd", 400, "several traces begin with these digits; give more of them"),
                                 ("abcdabcd", 400, "several traces begin with these digits"), ("1234", 404, "not found"),
                                 ("abc", 404, "not found"), ("nothex", 404, "not found"), ("abcd" * 8 + "0", 404, "not found")):
        lib.equal(lib.get(up.url("admin") + "/traces/" + digits).status, status, digits)
        done = lib.run("traces", digits, "--url", up.url("admin"))
        lib.equal((done.returncode, done.stdout), (1, ""), digits)
        lib.contains(done.stderr, f"sightline: trace {digits}: ", digits)
        lib.contains(done.stderr, says, digits)


def test_many_traces_by_post():
    """The view is bounded, whoever fills it."""
    up = lib.gateway(command="up")
    kind = {"Content-Type": "application/x-protobuf"}
    for i in range(50):
        body = b"".join(request_of("%032x" % (i * 100 + k + 1)) for k in range(100))
        lib.equal(lib.post(up.url("admin") + "/v1/traces", body, headers=kind).status, 200)
    lib.equal(len(traces(up, "--limit", "5000")), 2000)


if __name__ == "__main__":
    lib.main(globals())
