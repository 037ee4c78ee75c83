#!/usr/bin/env python3
"""The flow plane: workflows, runs, events, traces, audit log."""
import hashlib
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import ECHO, FAIL, FLOW, SLEEP, add, ended, lines, post_deployment, server, start  # noqa: E402


def test_a_workflow_is_added_run_and_read():
    api = server().url("api")
    made = add(api, ECHO)
    lib.equal(made.status, 201)
    lib.equal(add(api, ECHO).status, 200, "the same once more")
    run = start(api, "echo", {"message": "hi"})
    done = ended(api, run)
    lib.equal((done["status"], done["outputs"], done["inputs"]), ("succeeded", {"shout": {"text": "echo: hi"}}, {"message": "hi"}))
    lib.equal([s["status"] for s in done["steps"]], ["succeeded"])
    lib.equal(lib.get(api + "/workflows").json()["workflows"], ["echo"])
    lib.equal(lib.get(api + "/workflows/echo").json()["source"], ECHO)
    lib.equal(lib.get(api + "/workflows/nope").status, 404)
    lib.equal(lib.get(api + "/runs/nope").status, 404)
    lib.equal(lib.post(api + "/workflows/nope/runs", {}).status, 404)


def test_everything_wrong_in_a_workflow_is_told_at_once():
    reply = lib.request("POST", server().url("api") + "/workflows", b"name: x\nsteps:\n  - id: a\n    type: nope\n  - id: b\n    type: llm\n    depends_on: [zz]\n")
    lib.equal(reply.status, 400)
    problems = reply.json()["problems"]
    assert len(problems) >= 3, problems
    assert all(p["line"] > 0 and p["message"] for p in problems), problems


def test_bad_bodies():
    api = server().url("api")
    add(api, ECHO)
    for body, where in ((b"{", "body"), (b"[]", "body"), (b'{"inputs": 5}', "inputs"), (b'{"idempotency_key": 5}', "idempotency_key"),
                        (b'{"idempotency_key": ""}', "idempotency_key"), (b'{"idempotency_key": "%s"}' % (b"k" * 256), "idempotency_key")):
        reply = lib.request("POST", api + "/workflows/echo/runs", body)
        lib.equal(reply.status, 422, body)
        lib.contains(json.dumps(reply.json()["detail"]), where)
    lib.equal(lib.request("PUT", api + "/workflows").status, 405)
    lib.equal(lib.get(api + "/nothing").status, 404)
    lib.equal(lib.get(api + "/runs?limit=x").status, 422)


def test_an_idempotency_key_is_one_run():
    api = server().url("api")
    add(api, ECHO)
    first = start(api, "echo", {"message": "a"}, idempotency_key="k1")
    again = lib.post(api + "/workflows/echo/runs", {"inputs": {"message": "b"}, "idempotency_key": "k1"})
    lib.equal((again.status, again.json()["run_id"], again.json()["existed"]), (202, first, True))
    by_header = lib.post(api + "/workflows/echo/runs", {}, headers={"Idempotency-Key": "k1"})
    lib.equal(by_header.json()["run_id"], first)
    assert start(api, "echo", {}, idempotency_key="k2") != first
    lib.equal(ended(api, first)["outputs"], {"shout": {"text": "echo: a"}})


def test_events_are_streamed_as_they_happen_and_again_later():
    api = server().url("api")
    add(api, SLEEP % 1)
    run = start(api, "sleepy")
    begun = time.monotonic()
    arrived = []
    import urllib.request
    with urllib.request.urlopen(f"{api}/runs/{run}/events", timeout=20) as stream:
        for line in stream:
            arrived.append((time.monotonic() - begun, json.loads(line)))
    kinds = [e["event"] for _, e in arrived]
    lib.equal((kinds[0], kinds[-1]), ("run_started", "run_ended"))
    lib.equal([e["seq"] for _, e in arrived], list(range(1, len(arrived) + 1)))
    assert arrived[1][0] < 0.8 * lib.SLOW, arrived[1]
    assert arrived[-1][0] > 0.8, arrived[-1]
    again = lib.get(f"{api}/runs/{run}/events")
    lib.equal(again.headers["content-type"], "application/x-ndjson")
    lib.equal(lines(again.text), [e for _, e in arrived])
    sse = lib.get(f"{api}/runs/{run}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "3"})
    lib.equal(sse.headers["content-type"], "text/event-stream")
    frames = [f for f in sse.text.split("\n\n") if f]
    lib.equal(frames[0].split("\n")[0], "id: 4")
    lib.equal(len(frames), len(arrived) - 3)
    lib.equal(json.loads(frames[-1].split("data: ")[1]), arrived[-1][1])
    lib.equal(lib.get(f"{api}/runs/{run}/events?after=2", timeout=5).text.count("\n"), len(arrived) - 2)
    lib.equal(lib.get(f"{api}/runs/nope/events").status, 404)


def test_a_run_is_cancelled():
    api = server().url("api")
    add(api, SLEEP % 30)
    run = start(api, "sleepy")
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "running")
    lib.equal(lib.post(f"{api}/runs/{run}/cancel").status, 202)
    lib.equal(ended(api, run)["status"], "cancelled")
    lib.equal(lib.post(f"{api}/runs/{run}/cancel").status, 409)
    lib.equal(lib.post(f"{api}/runs/nope/cancel").status, 404)


def test_a_run_that_waits_is_cancelled_too():
    api = server("--flow-runs", 1).url("api")
    add(api, SLEEP % 30)
    first, second = start(api, "sleepy"), start(api, "sleepy")
    lib.equal(lib.post(f"{api}/runs/{second}/cancel").status, 202)
    lib.equal(ended(api, second)["status"], "cancelled")
    lib.equal(lib.post(f"{api}/runs/{first}/cancel").status, 202)
    lib.equal(ended(api, first)["status"], "cancelled")


def test_a_failure_is_an_error_and_is_resumed():
    api = server().url("api")
    add(api, FAIL)
    run = start(api, "broken")
    done = ended(api, run)
    lib.equal(done["status"], "failed")
    assert done["error"] and done["error_type"], done
    lib.equal(lib.post(f"{api}/runs/nope/resume").status, 404)
    lib.equal(lib.post(f"{api}/runs/{run}/resume").status, 202)
    lib.until(lambda: sum(e["event"] == "run_ended" for e in lines(lib.get(f"{api}/runs/{run}/events").text)) == 2)
    lib.equal(ended(api, run)["status"], "failed")
    add(api, ECHO)
    good = start(api, "echo", {"message": "x"})
    ended(api, good)
    lib.equal(lib.post(f"{api}/runs/{good}/resume").status, 409)


def test_runs_come_in_pages():
    api = server().url("api")
    add(api, ECHO)
    ids = [start(api, "echo", {"message": str(i)}) for i in range(7)]
    for run in ids:
        ended(api, run)
    seen, before = [], ""
    while True:
        page = lib.get(f"{api}/runs?limit=3&workflow=echo&status=succeeded" + (f"&before={before}" if before else "")).json()
        seen += [r["run_id"] for r in page["runs"]]
        before = page["next"]
        if not before:
            break
    lib.equal(seen, ids[::-1])


def test_the_document_is_what_is_served():
    api = server().url("api")
    document = lib.get(api + "/openapi.json").json()
    lib.equal(document["openapi"], "3.1.0")
    count = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            url = api + path.replace("{", "").replace("}", "")
            reply = lib.request(method.upper(), url, b"" if method == "post" else None)
            assert reply.status != 405, (method, path)
            assert not (reply.status == 404 and reply.json()["detail"] == "Not Found"), (method, path)
            assert str(reply.status) in operation["responses"], (method, path, reply.status)
            assert all("{" + p["name"] + "}" in path for p in operation["parameters"] if p["in"] == "path")
            lib.equal(path.count("{"), sum(p["in"] == "path" for p in operation["parameters"]))
            count += 1
        other = lib.request("PATCH", api + path.replace("{", "").replace("}", ""))
        lib.equal(other.status, 405, path)
    assert count > 20, count


def test_keys_are_asked_for_when_there_is_one():
    process = server("--api-key", "sk-flow")
    for key, path in (("api", "/runs"), ("control", "/sessions"), ("queue", "/queues")):
        lib.equal(lib.get(process.url(key) + path).status, 401, key)
        lib.equal(lib.get(process.url(key) + path, headers={"Authorization": "Bearer nope"}).status, 401, key)
        lib.equal(lib.get(process.url(key) + path, headers={"Authorization": "Bearer sk-flow"}).status, 200, key)
    lib.equal(lib.get(process.url("api") + "/status/").status, 200)
    refused = lib.run("flow", "server", "--api-listen", "0.0.0.0:0", "--data-dir", lib.tmp(), "--check")
    lib.equal(refused.returncode, 2)
    lib.contains(refused.stderr, "--api-key")


def test_of_two_parents_neither_is_one():
    process = server()
    api = process.url("api")
    add(api, ECHO)
    trace, body = "0af7651916cd43dd8448eb211c80319c", b'{"inputs":{"message":"x"}}'
    parent = f"traceparent: 00-{trace}-b7ad6b7169203331-01\r\n"
    head = f"POST /workflows/echo/runs HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    answers = [lib.raw(api, (head + parent * times + "\r\n").encode() + body) for times in (1, 2)]
    runs = [json.loads(answer.split(b"\r\n\r\n", 1)[1])["run_id"] for answer in answers]
    lib.equal([ended(api, run)["trace_id"] == trace for run in runs], [True, False])


def test_one_trace_from_request_to_step():
    process = server()
    api, admin = process.url("api"), process.url("admin")
    add(api, ECHO)
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = lib.request("POST", api + "/workflows/echo/runs", b'{"inputs":{"message":"x"}}', {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    run = reply.json()["run_id"]
    lib.equal(ended(api, run)["trace_id"], trace)
    spans = lib.until(lambda: (lambda r: r.json()["spans"] if r.status == 200 and len(r.json()["spans"]) > 14 else None)(lib.get(f"{admin}/traces/{trace}")))
    names = [s["name"] for s in spans]
    for name in ("POST /workflows/{workflow_name}/runs", "control_plane.add_task_to_session", "message_queue.publish", "message_queue.callback",
                 "workflow.process_call", "workflow.get_state", "workflow.run", "workflow.execute:echo", "step.execute:shout",
                 "workflow.event.publish", "workflow.set_state", "workflow.result.publish", "control_plane.handle_service_completion"):
        assert name in names, (name, names)
    ids = {s["span_id"] for s in spans} | {"b7ad6b7169203331"}
    assert all(s["parent_span_id"] in ids for s in spans), "an orphan"
    by_name = {s["name"]: s for s in spans}
    lib.equal(by_name["workflow.process_call"]["attributes"]["task.id"], run)
    lib.equal(by_name["control_plane.add_task_to_session"]["attributes"]["task.service_id"], "echo")
    lib.equal(by_name["control_plane.add_task_to_session"]["attributes"]["success"], "True")
    server_span = by_name["POST /workflows/{workflow_name}/runs"]
    lib.equal((server_span["kind"], server_span["attributes"]["http.response.status_code"]), ("SERVER", 202))


def test_many_at_once_give_a_tree_each():
    process = server()
    api, admin = process.url("api"), process.url("admin")
    add(api, ECHO)
    runs, lock = [], threading.Lock()

    def go():
        for _ in range(10):
            run = start(api, "echo", {"message": "x"})
            with lock:
                runs.append(run)
    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lib.equal(len(set(runs)), 80)
    traces = [ended(api, run)["trace_id"] for run in runs]
    lib.equal(len(set(traces)), 80)

    def whole(trace):
        reply = lib.get(f"{admin}/traces/{trace}")
        spans = reply.json()["spans"] if reply.status == 200 else []
        return spans if len(spans) >= 16 else None
    for trace in traces[::4]:
        spans = lib.until(lambda: whole(trace), what=f"the spans of {trace}")
        ids = {s["span_id"] for s in spans}
        roots = [s["name"] for s in spans if s["parent_span_id"] not in ids]
        lib.equal(roots, ["POST /workflows/{workflow_name}/runs"], trace)
    page = lib.metrics(process.url("metrics"))
    lib.equal(lib.total(page, "orchestrator_workflow_executions_total", status="success"), 80)
    lib.equal(lib.total(page, "http_server_request_duration_seconds_count", http_route="/workflows/{workflow_name}/runs",
                        http_response_status_code="202"), 80)


def verify_chain(path):
    before, count = "0" * 64, 0
    with open(path, "rb") as file:
        for line in file.read().splitlines():
            entry = json.loads(line)
            lib.equal(entry["prev"], before)
            before = hashlib.sha256(line[:line.rindex(b',"hash"')]).hexdigest()
            lib.equal(entry["hash"], before)
            count += 1
            yield entry
    assert count


def test_what_was_changed_is_in_the_audit_log():
    data = lib.tmp()
    process = server(data=data)
    api = process.url("api")
    add(api, ECHO)
    run = start(api, "echo", {"message": "secret text"})
    ended(api, run)
    lib.equal(process.stop(), 0)
    entries = list(verify_chain(data + "/audit.jsonl"))
    lib.equal([(e["action"], e["object"]) for e in entries], [("workflow.create", "echo"), ("run.create", run)])
    assert "secret text" not in json.dumps(entries)


def test_files_of_the_command_line():
    path = os.path.join(lib.tmp(), "echo.yaml")
    with open(path, "w") as file:
        file.write(ECHO)
    api = server("-w", path).url("api")
    lib.equal(ended(api, start(api, "echo", {"message": "f"}))["status"], "succeeded")
    with open(path, "w") as file:
        file.write("name: x\nsteps: 5\n")
    bad = lib.run("flow", "server", "-w", path, "--check", "--data-dir", lib.tmp())
    lib.equal(bad.returncode, 2)
    lib.contains(bad.stderr, path + ":")


def services_of(process):
    """Span name to service, of one run in the live view."""
    api, admin = process.url("api"), process.url("admin")
    add(api, ECHO)
    trace = ended(api, start(api, "echo", {"message": "who"}))["trace_id"]

    def whole():
        reply = lib.get(f"{admin}/traces/{trace}")
        spans = reply.json()["spans"] if reply.status == 200 else []
        return spans if len(spans) >= 16 else None
    return {s["name"]: s["service"] for s in lib.until(whole, what=f"the spans of {trace}")}


def test_parts_of_the_flow_plane_have_services_of_their_own():
    api, flow = "llama-deploy-apiserver", "llm-orchestrator"
    wanted = {"POST /workflows/{workflow_name}/runs": api, "control_plane.add_task_to_session": api, "message_queue.publish": api,
              "message_queue.callback": api, "workflow.process_call": flow, "workflow.execute:echo": flow, "step.execute:shout": flow}
    for command in (("up", "--gateway-listen", "127.0.0.1:0"), ("flow", "server")):
        process = lib.Process(*command, *FLOW, "--data-dir", lib.tmp())
        seen = services_of(process)
        lib.equal({name: seen.get(name) for name in wanted}, wanted, command)
        if command[0] == "up":
            reply = lib.chat(process.url("gateway"), key="sk-dev-key")
            lib.until(lambda: any(t["service"] == "litellm-gateway" for t in lib.get(process.url("admin") + "/traces").json()),
                      what=f"the gateway's own name ({reply.status})")
        process.stop()
    named = lib.Process("up", *FLOW, "--gateway-listen", "127.0.0.1:0", "--data-dir", lib.tmp(), env={"OTEL_SERVICE_NAME": "mine"})
    lib.equal(set(services_of(named).values()), {"mine"})
    named.stop()


def test_a_burst_of_runs_is_seen_whole():
    process = lib.Process("up", *FLOW, "--gateway-listen", "127.0.0.1:0", "--data-dir", lib.tmp())
    api, admin = process.url("api"), process.url("admin")
    add(api, ECHO)
    runs, lock = [], threading.Lock()

    def go():
        for _ in range(50):
            run = start(api, "echo", {"message": "x"})
            with lock:
                runs.append(run)
    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {ended(api, run)["trace_id"] for run in runs}
    lib.equal(len(wanted), 400)
    last = {}

    def whole():
        last.update((t["trace_id"], t["spans"]) for t in lib.get(admin + "/traces?limit=2000").json())
        return all(last.get(trace, 0) >= 16 for trace in wanted) or None
    try:
        lib.until(whole, 10, "400 whole traces")
    except AssertionError as error:
        few = [(trace, last.get(trace)) for trace in wanted if last.get(trace, 0) < 16]
        raise AssertionError(f"{error}: {len(few)} are not whole: {few[:5]}") from error
    process.stop()


def test_a_long_history_is_streamed_as_fast_as_it_is_read():
    import socket
    process = server()
    api = process.url("api")
    loop = ("  - id: l%d\n    type: loop\n    items: '{{ inputs.list }}'\n    max_iterations: 1000\n    steps:\n"
            "      - {id: a%d, type: transform, function: template, template: '{{ inputs.big }}', output: [v]}\n")
    add(api, "name: long\nsteps:\n" + "".join(loop % (n, n) for n in range(4)))
    run = start(api, "long", {"list": list(range(400)), "big": "x" * 9000})
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "succeeded" or None, 60, "its end")
    host, port = api.split("//")[1].split(":")
    for pause in (0, 0.002):
        link = socket.create_connection((host, int(port)))
        link.sendall(f"GET /runs/{run}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = bytearray()
        while True:
            piece = link.recv(1 << 20)
            if not piece:
                break
            data += piece
            time.sleep(pause)
        link.close()
        lib.equal(data.count(b'"step_ended"'), 1604)
        lib.equal(data.count(b'"run_ended"'), 1)
        assert data.endswith(b"0\r\n\r\n"), data[-100:]
    process.stop()


def test_what_is_sent_comes_back_as_it_was():
    folder = lib.tmp()
    with open(os.path.join(folder, "n.yaml"), "w") as file:
        file.write("name: n\nsteps:\n  - {id: a, type: transform, function: expression, expression: 'inputs.x', output: [v]}\n")
    process = server()
    api = process.url("api")
    lib.equal(post_deployment(api, "name: N\ndefault-service: n\nservices:\n  n: {name: N, source: {type: local, location: .}, import-path: n.yaml}\n",
                              base_path=folder).status, 200)
    sent = '{ "x" : [0.1, 1e2, 0.30000000000000004,\t1.50],  "\u00e4": "ä" }'
    made = lib.post(api + "/deployments/N/tasks/create", {"input": sent}).json()
    lib.equal(made["input"], sent)
    listed = lib.get(api + "/deployments/N/tasks").json()
    lib.equal([t["input"] for t in listed], [sent])
    where = f"{api}/deployments/N/tasks/{made['task_id']}/results?session_id={made['session_id']}"
    reply = lib.until(lambda: (lambda r: r if r.status == 200 and r.text != "null" else None)(lib.get(where)), what="the result")
    lib.contains(reply.text, "[0.1,100,0.30000000000000004,1.5]")
    process.stop()


def test_up_serves_the_flow_plane_too():
    process = lib.Process("up", *FLOW, "--gateway-listen", "127.0.0.1:0", "--data-dir", lib.tmp())
    api = process.url("api")
    add(api, ECHO)
    lib.equal(ended(api, start(api, "echo", {"message": "up"}))["outputs"], {"shout": {"text": "echo: up"}})
    lib.equal(lib.chat(process.url("gateway"), key="sk-dev-key").status, 200)
    lib.equal(process.stop(), 0)


lib.main(globals())
