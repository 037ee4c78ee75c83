#!/usr/bin/env python3
"""Every route of the flow plane's three servers, out of their own documents: bad bodies, bad names, no key, at any time."""
import json
import os
import random
import re
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import server  # noqa: E402

ECHO = "name: echo\nsteps:\n  - {id: a, type: transform, function: template, template: '{{ inputs.x }}', output: [text]}\n"
QUEUE = [("GET", "/"), ("POST", "/topics/{topic}"), ("POST", "/messages/{topic}"), ("GET", "/messages/{topic}"), ("GET", "/queues"),
         ("POST", "/queues/{topic}/messages"), ("POST", "/queues/{topic}/lease"), ("GET", "/queues/{topic}/dead"),
         ("POST", "/queues/messages/{id}/ack"), ("POST", "/queues/messages/{id}/nack"), ("POST", "/queues/messages/{id}/extend"),
         ("POST", "/queues/{topic}/dead/requeue"), ("POST", "/queues/{topic}/dead/purge")]


def document(process, name, headers=None):
    return lib.get(process.url(name) + "/openapi.json", headers=headers).json()


def routes(process):
    """(server, URL, method, path, the operation) of all of them."""
    for name in ("api", "control"):
        for path, methods in document(process, name)["paths"].items():
            for method, operation in methods.items():
                yield name, process.url(name), method.upper(), path, operation
    for method, path in QUEUE:
        yield "queue", process.url("queue"), method, path, {"requestBody": {}} if method == "POST" else {}


def filled(path, value="nobody"):
    return re.sub(r"\{[^}]*\}", value, path)


def is_sound(reply, where):
    """Never 5xx; a refusal is JSON with a reason that names no file of ours."""
    assert reply.status < 500, (where, reply.status, reply.text[:300])
    if reply.status >= 400:
        told = json.loads(reply.body)
        assert told.get("detail"), (where, reply.text[:200])
        assert not re.search(r"\.c:\d|/src/|0x[0-9a-f]{8}", reply.text), (where, reply.text)
    return reply


def is_documented(reply, operation, where):
    """Its status is one that the document of the API server knows for this route."""
    assert "responses" not in operation or str(reply.status) in operation["responses"], (where, reply.status, reply.text[:200])
    return reply


def is_stream(path):
    return "events" in path or "stream" in path or "lease" in path


def ask(method, url, body=None, headers=None):
    return lib.request(method, url, body, headers, timeout=15)


# ---- the documents ----


def test_every_route_of_the_documents_is_there():
    """No 404 of an unknown path and no 405: what is documented is served, with a summary and its answers."""
    process = server()
    seen = 0
    for name, url, method, path, operation in routes(process):
        where = (name, method, path)
        if name != "queue":
            lib.equal("413" in operation["responses"], "requestBody" in operation, where)
            assert operation["responses"] and all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"]), where
            wanted = set(re.findall(r"\{([^}]*)\}", path))
            lib.equal({p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}, wanted, where)
        if is_stream(path):
            continue
        reply = is_sound(ask(method, url + filled(path), b"" if method == "POST" else None), where)
        assert reply.status != 405 and reply.text != '{"detail":"Not Found"}', (where, reply.status, reply.text)
        seen += 1
    assert seen > 30, seen


def test_other_methods_are_refused_with_those_there_are():
    process = server()
    known = {}
    for name, url, method, path, _ in routes(process):
        known.setdefault((url, path), set()).add(method)
    for (url, path), methods in known.items():
        for method in ("PUT", "PATCH", "DELETE", "POST", "GET", "QUERY"):
            if method in methods:
                continue
            reply = ask(method, url + filled(path))
            if reply.status != 405:
                continue  # another route has the same shape
            allowed = set(re.split(r", ", reply.headers["allow"]))
            assert methods <= allowed and method not in allowed, (method, path, reply.headers)


# ---- bodies ----


def test_bodies_that_are_none_of_theirs():
    """Not JSON, another type, nested too deep, not UTF-8, a NUL, a number that no machine has: a reason, never a failure."""
    process = server()
    lib.equal(lib.request("POST", process.url("api") + "/workflows", ECHO.encode()).status, 201)
    bodies = [b"", b"{", b"[]", b"5", b"null", b'"text"', b"{}", b'{"a":', b"\xff\xfe", b'{"a": "\\u0000"}', b"[" * 5000, b'{"x": 1e999}',
              b'{"inputs": []}', b'{"inputs": 5, "idempotency_key": 7}', b'{"idempotency_key": "' + b"k" * 5000 + b'"}', b'{"a":1,"a":2}',
              b'{"inputs": {"x": "\xed\xa0\x80"}}', b"\x00" * 100, b"name: [", b"<xml/>"]
    for name, url, method, path, operation in routes(process):
        if "requestBody" not in operation or is_stream(path):
            continue
        for body in bodies:
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"):
                where = (name, method, path, body[:30], kind)
                is_documented(is_sound(ask(method, url + filled(path, "echo"), body, {"Content-Type": kind}), where), operation, where)
    lib.equal(lib.get(process.url("api") + "/workflows/echo").status, 200)


def test_values_of_other_types():
    """Each member that the document names, with a value of each other type."""
    process = server()
    lib.equal(lib.request("POST", process.url("api") + "/workflows", ECHO.encode()).status, 201)
    values = [None, True, -1, 1.5, 10 ** 30, "", "text", "x" * 3000, [], [1, [2]], {}, {"a": {"b": []}}]
    members = ["inputs", "idempotency_key", "input", "session_id", "task_id", "service_name", "host", "port", "name", "event", "state", "data",
               "topic", "body", "priority", "delay_ms", "max_deliveries", "lease", "lease_ms", "max", "wait", "reason", "id", "agent_id"]
    for name, url, method, path, operation in routes(process):
        if "requestBody" not in operation or is_stream(path):
            continue
        for member in members:
            body = {member: random.Random(member + path).choice(values)}
            is_documented(is_sound(ask(method, url + filled(path, "echo"), body), (name, path, body)), operation, (name, path, body))
        for value in values:
            reply = is_sound(ask(method, url + filled(path, "echo"), {member: value for member in members}), (name, path, value))
            is_documented(reply, operation, (name, path, value))


def test_queries_with_other_values():
    process = server()
    for name, url, method, path, operation in routes(process):
        if is_stream(path):
            continue
        for query in ("limit=x", "limit=-1", "limit=99999999999999999999", "after=%00", "after=" + "x" * 2000, "status=%FF", "after=1&after=2", "%", "=",
                      "base_path=../..", "reload=maybe", "priority=x", "delay=-1", "wait=1e9"):
            reply = ask(method, f"{url}{filled(path)}?{query}", b"{}" if method == "POST" else None)
            is_documented(is_sound(reply, (name, method, path, query)), operation, (name, method, path, query))


def outside(schema):
    """Values that the schema of a parameter does not allow."""
    if schema["type"] == "integer":
        return ["x", "", "1.5", "1e3", str(schema["minimum"] - 1), str(schema["maximum"] + 1) if "maximum" in schema else "9" * 30]
    if schema["type"] == "boolean":
        return ["maybe", "", "2", "truer"]
    return ["x", ""] if "pattern" in schema else [schema["enum"][0] + "x"] if "enum" in schema else []


def test_parameters_outside_their_schemas_are_refused():
    """Of a route that is reached: a 404 of what the path names comes first."""
    process = server()
    lib.equal(lib.request("POST", process.url("api") + "/workflows", ECHO.encode()).status, 201)
    made = lib.post(process.url("api") + "/workflows/echo/runs", {"inputs": {"x": 1}}).json()["run_id"]
    seen = 0
    for name, url, method, path, operation in routes(process):
        for parameter in operation.get("parameters", []):
            for value in outside(parameter["schema"]) if parameter["in"] == "query" else []:
                where = f"{url}{filled(path, made)}?{parameter['name']}={value}"
                reply = is_documented(is_sound(ask(method, where), where), operation, where)
                assert reply.status in (400, 422), (where, reply.status, reply.text[:200])
                seen += 1
    assert seen >= 10, seen


def test_what_a_body_must_have_is_asked_for():
    """Every field that the document requires: without it 4xx, and the field is named where it is a member."""
    process = server()
    seen = 0
    for name, url, method, path, operation in routes(process):
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for field in schema.get("required", []):
            body = {other: [] if kind.get("type") == "array" else "x" for other, kind in schema["properties"].items() if other != field}
            reply = is_documented(is_sound(ask(method, url + filled(path), body), (path, field)), operation, (path, field))
            assert reply.status in (400, 404, 422), (path, field, reply.status)
            seen += reply.status != 404
    assert seen >= 4, seen


def test_a_server_without_a_key_asks_for_none():
    process = server()
    for name in ("api", "control"):
        told = document(process, name)
        assert "security" not in told and "components" not in told, told.keys()


# ---- names ----


def test_names_that_are_strange():
    process = server()
    names = ["%00", "%2F", "..", "%2e%2e", "a%2Fb", "%FF", "x" * 1000, "%20", "a b".replace(" ", "%20"), "%C3%A4", "%0d%0aX:1", "'\"%3Cscript%3E", "-", "{x}", "*", "~"]
    for name, url, method, path, _ in routes(process):
        if "{" not in path or is_stream(path):
            continue
        for strange in names:
            reply = ask(method, url + filled(path, strange), b"{}" if method == "POST" else None)
            assert reply.status < 500, (name, method, path, strange, reply.status, reply.text[:200])
            assert "x" not in reply.headers or reply.headers["x"] != "1", (name, path, "a field was smuggled in")
    assert process.process.poll() is None


# ---- keys ----


def test_without_the_key_nothing_is_told():
    """401 with how to send it, whatever the route, the method and the body, and nothing is done."""
    process = server("--api-key", "right")
    open_ones = set()
    headers = {"Authorization": "Bearer right"}
    known = [("queue", process.url("queue"), m, p) for m, p in QUEUE]
    for name in ("api", "control"):
        told = document(process, name, headers)
        lib.equal(told["security"], [{"key": []}], name)
        known += [(name, process.url(name), m.upper(), p) for p, methods in told["paths"].items() for m in methods]
    for name, url, method, path in known:
        for given in (None, "Bearer wrong", "Bearer ", "Bearer right ".upper(), "Basic cmlnaHQ=", "right", "Bearer rightx", "bearer  wrong", "Bearer righ"):
            reply = lib.request(method, url + filled(path), b"{}" if method == "POST" else None, {"Authorization": given} if given else None)
            if reply.status != 401:
                open_ones.add((name, path))
                continue
            assert "www-authenticate" in reply.headers, (name, path)
    assert all(re.search(r"status|health|openapi|docs|metrics|^/$", path) for _, path in open_ones), open_ones
    for name, path in (("api", "/workflows"), ("control", "/sessions"), ("queue", "/queues")):
        for given in ("Bearer right", "bearer right", "BEARER right"):
            lib.equal(lib.get(process.url(name) + path, headers={"Authorization": given}).status, 200, (name, given))


# ---- the shape of events ----


def test_events_have_the_shape_that_is_asked_for():
    """RFC 9110, 12.5.1: the weights of Accept decide, not the words in it; lines of JSON when nothing does."""
    process = server()
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    run = lib.post(api + "/workflows/echo/runs", {"inputs": {"x": "y"}}).json()["run_id"]
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "succeeded", what="the end")
    lines, events = "application/x-ndjson", "text/event-stream"
    for accept, wanted in ((None, lines), ("*/*", lines), (events, events), (events.upper(), events), (f"{events};q=0", lines),
                           (f"{events};q=0, */*", lines), (f"{lines};q=0.5, {events};q=0.4", lines), (f"{lines};q=0.4, {events};q=0.5", events),
                           (f"{events}, */*;q=0.1", events), ("text/*", events), ("application/*", lines), (f"{events};q=x", lines), ("image/png", lines),
                           (f"a/b;x=\"{events}\"", lines), ("", lines)):
        reply = lib.get(f"{api}/runs/{run}/events", headers={"Accept": accept} if accept is not None else {})
        lib.equal(reply.status, 200, accept)
        lib.equal(reply.headers["content-type"].split(";")[0], wanted, accept)
        if wanted == lines:
            told = [json.loads(line) for line in reply.text.splitlines() if line]
        else:
            told = [json.loads(line[len("data: "):]) for line in reply.text.splitlines() if line.startswith("data: ")]
        assert len(told) >= 3 and all(isinstance(event, dict) for event in told), (accept, reply.text[:300])


def test_events_go_on_behind_the_last_one_seen():
    """Last-Event-ID: exactly those behind it, whatever it is; what is no number is as if nothing had been seen, or refused."""
    process = server()
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    run = lib.post(api + "/workflows/echo/runs", {"inputs": {"x": "y"}}).json()["run_id"]
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "succeeded", what="the end")

    def ids(last):
        reply = lib.get(f"{api}/runs/{run}/events", headers={"Accept": "text/event-stream", **({"Last-Event-ID": last} if last is not None else {})})
        assert reply.status == 200 or (reply.status in (400, 422) and last is not None), (last, reply.status)
        return [int(line[3:]) for line in reply.text.splitlines() if line.startswith("id:")] if reply.status == 200 else None

    every = ids(None)
    assert every == sorted(set(every)) and len(every) >= 3, every
    for last in every:
        lib.equal(ids(str(last)), [n for n in every if n > last], last)
    lib.equal(ids("0"), every)
    for last in ("999999", "18446744073709551615"):
        lib.equal(ids(last), [], last)
    for last in ("x", "-1", "", "99999999999999999999999", "1.5", "1 2"):
        assert ids(last) in (None, every, []), (last, ids(last))


# ---- under way ----


def test_strange_requests_from_many_sides():
    """What eight clients do by chance at once leaves the server as it was: it answers, and every run it took ends."""
    process = server()
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    all_routes = [r for r in routes(process) if not is_stream(r[3])]
    faults, runs = [], []

    def client(seed):
        dice = random.Random(seed)
        for _ in range(120):
            if dice.random() < 0.2:
                reply = lib.post(api + "/workflows/echo/runs", {"inputs": {"x": str(dice.random())}})
                if reply.status == 202:
                    runs.append(reply.json()["run_id"])
                continue
            _, url, method, path, _ = dice.choice(all_routes)
            if "create" in path or "shutdown" in path:
                continue
            value = dice.choice(["echo", "nobody", dice.choice(runs) if runs else "x"])
            body = dice.choice([b"{}", b"", b"[", json.dumps({"inputs": {"x": 1}}).encode()]) if method == "POST" else None
            try:
                reply = ask(method, url + filled(path, value), body)
            except OSError as error:
                faults.append((method, path, error))
                continue
            if reply.status >= 500:
                faults.append((method, path, reply.status, reply.text[:200]))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lib.equal(faults, [])
    ends = ("succeeded", "failed", "cancelled")
    for run in runs:
        reply = lib.get(f"{api}/runs/{run}")
        if reply.status == 200:
            lib.until(lambda run=run: lib.get(f"{api}/runs/{run}").json()["status"] in ends, what=f"the end of {run}")
    lib.equal(process.stop(), 0)


lib.main(globals())
