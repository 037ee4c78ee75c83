#!/usr/bin/env python3
"""The flow plane: workflows, runs, events, deployments, control plane, audit log, kills."""
import hashlib
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

ECHO = """name: echo
steps:
  - id: shout
    type: transform
    function: template
    inputs: [message]
    template: "echo: {{ inputs.message }}"
    output: [text]
"""
SLEEP = """name: sleepy
steps:
  - id: first
    type: transform
    function: template
    template: "first"
    output: [text]
  - id: nap
    type: action
    action: sleep
    depends_on: [first]
    seconds: %s
  - id: last
    type: transform
    depends_on: [nap]
    function: template
    template: "{{ steps.first.text }} and last"
    output: [text]
"""
FAIL = """name: broken
steps:
  - id: call
    type: llm
    provider: openai
    model: m
    prompt: hello
    output: [text]
"""
FLOW = ("--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
        "--control-listen", "127.0.0.1:0", "--queue-listen", "127.0.0.1:0", "--drain-timeout", "5")


def server(*args, data=None, env=None):
    return lib.Process("flow", "server", *FLOW, "--data-dir", data or lib.tmp(), *args,
                       env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "sk-none", **(env or {})})


def add(api, text):
    reply = lib.request("POST", api + "/workflows", text.encode())
    if reply.status not in (200, 201):
        raise AssertionError(reply.text)
    return reply


def start(api, name, inputs=None, **extra):
    reply = lib.post(f"{api}/workflows/{name}/runs", {"inputs": inputs or {}, **extra})
    lib.equal(reply.status, 202, reply.text)
    return reply.json()["run_id"]


def ended(api, run):
    def look():
        answer = lib.get(f"{api}/runs/{run}").json()
        return answer if answer["status"] in ("succeeded", "failed", "cancelled") else None
    return lib.until(look, what=f"the end of {run}")


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def form(text):
    edge = "edge-of-the-form"
    body = (f"--{edge}\r\nContent-Disposition: form-data; name=\"config_file\"; filename=\"upload\"\r\n"
            f"Content-Type: application/octet-stream\r\n\r\n{text}\r\n--{edge}--\r\n").encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


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


DEPLOYMENT = """name: QuickStart
default-service: echo
services:
  echo: {name: Echo, source: {type: local, location: src}, import-path: src/echo.yaml}
  broken: {name: Broken, source: {type: local, location: src}, import-path: broken.yaml}
  remote: {name: Remote, source: {type: local, location: src}, import-path: "src/wf:flow"}
"""


def deployment_folder():
    folder = lib.tmp()
    os.mkdir(folder + "/src")
    for name, text in (("echo", ECHO), ("broken", FAIL)):
        with open(f"{folder}/src/{name}.yaml", "w") as file:
            file.write(text)
    return folder


def deploy(api, folder, text=DEPLOYMENT, **query):
    body, headers = form(text)
    extra = "".join(f"&{k}={v}" for k, v in query.items())
    return lib.request("POST", f"{api}/deployments/create?base_path={folder}{extra}", body, headers)


def task(message="hi", **extra):
    return {"input": json.dumps({"message": message}), "task_id": "t1", "session_id": None, "service_id": None, **extra}


def test_deployments_as_the_public_clients_know_them():
    process = server()
    api = process.url("api")
    lib.equal(lib.get(api + "/status/").json(), {"status": "Healthy", "status_message": "", "max_deployments": 10, "deployments": []})
    folder = deployment_folder()
    lib.equal(deploy(api, folder).json(), {"name": "QuickStart"})
    lib.equal(deploy(api, folder).status, 409)
    lib.equal(deploy(api, folder, reload="true").status, 200)
    lib.equal(lib.get(api + "/deployments/").json(), [{"name": "QuickStart"}])
    lib.equal(lib.get(api + "/deployments/QuickStart").json(), {"name": "QuickStart"})
    lib.equal(lib.get(api + "/status").json()["deployments"], ["QuickStart"])
    missing = lib.get(api + "/deployments/nope")
    lib.equal((missing.status, missing.json()), (404, {"detail": "Deployment not found"}))
    base = api + "/deployments/QuickStart"
    lib.equal(lib.post(base + "/tasks/run", task()).json(), {"shout": {"text": "echo: hi"}})
    lib.equal(lib.get(base + "/sessions").json(), [], "the session of a run is gone with it")
    nope = lib.post(base + "/tasks/run", task(service_id="nope"))
    lib.equal((nope.status, nope.json()["detail"]), (404, "Service 'nope' not found in deployment 'QuickStart'"))
    session = lib.post(base + "/sessions/create").json()
    lib.equal((session["task_ids"], session["state"]), ([], {}))
    made = lib.post(f"{base}/tasks/create?session_id={session['session_id']}", task("second")).json()
    lib.equal((made["session_id"], made["service_id"]), (session["session_id"], "echo"))
    assert made["task_id"] != "t1"
    where = f"{base}/tasks/{made['task_id']}"
    events = lib.get(f"{where}/events?session_id={session['session_id']}")
    lib.equal(events.headers["content-type"], "application/x-ndjson")
    lib.equal(lines(events.text)[-1]["event"], "run_ended")
    result = lib.until(lambda: lib.get(f"{where}/results?session_id={session['session_id']}").json())
    lib.equal((result["task_id"], result["history"], json.loads(result["result"])), (made["task_id"], [], {"shout": {"text": "echo: second"}}))
    lib.equal([t["task_id"] for t in lib.get(base + "/tasks").json()], [made["task_id"]])
    lib.equal(lib.get(f"{base}/sessions/{session['session_id']}").json()["session_id"], session["session_id"])
    lib.equal(lib.get(f"{base}/sessions/nope").status, 404)
    lib.equal(lib.get(f"{where}/results").status, 422)
    lib.equal(lib.get(f"{where}/results?session_id=nope").status, 404)
    lib.equal(lib.post(f"{base}/sessions/delete?session_id={session['session_id']}").json(), None)
    lib.equal(lib.get(base + "/sessions").json(), [])
    page = lib.metrics(process.url("metrics"))
    lib.equal(lib.total(page, "deployment_state", deployment_name="QuickStart", deployment_state="running"), 1)
    lib.equal(lib.total(page, "llama_deploy_deployment_state", deployment_name="QuickStart", state="stopped"), 0)
    lib.equal(lib.total(page, "service_state", service_name="echo", service_state="ready"), 1)
    lib.equal(lib.total(page, "apiserver_state", apiserver_state="running"), 1)
    lib.contains(lib.get(api + "/status/metrics").text, "deployment_state{")
    # Another process answers the scrape than the one that has the queue.
    lib.until(lambda: lib.total(lib.metrics(process.url("metrics")), "sightline_queue_commits_total", result="ok") > 0)
    lib.contains(lib.get(process.url("metrics") + "/metrics").text, 'sightline_queue_messages{state="ready"')


def test_a_failed_task_is_no_result():
    api = server().url("api")
    deploy(api, deployment_folder())
    base = api + "/deployments/QuickStart"
    failed = lib.post(base + "/tasks/run", task(service_id="broken"))
    lib.equal((failed.status, failed.json()["status"]), (500, "failed"))
    assert failed.json()["error"]["message"], failed.text
    made = lib.post(base + "/tasks/create", task(service_id="broken")).json()
    url = f"{base}/tasks/{made['task_id']}/results?session_id={made['session_id']}"
    reply = lib.until(lambda: lib.get(url) if lib.get(url).text != "null" else None)
    lib.equal((reply.status, reply.json()["status"]), (500, "failed"))


def test_tasks_are_made_while_their_deployment_is_reloaded():
    process = server()
    api = process.url("api")
    folder = deployment_folder()
    lib.equal(deploy(api, folder).status, 200)
    base = api + "/deployments/QuickStart"
    failed = []

    def make():
        for i in range(15):
            reply = lib.post(base + "/tasks/create", task(str(i)))
            if reply.status != 200 or reply.json()["service_id"] != "echo":
                failed.append(reply.text)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        lib.equal(deploy(api, folder, reload="true").status, 200)
    for thread in threads:
        thread.join()
    lib.equal(failed, [])
    lib.equal(lib.get(api + "/status").json()["deployments"], ["QuickStart"])


def test_deployment_files_that_are_wrong():
    api = server().url("api")
    folder = deployment_folder()
    lib.equal(lib.request("POST", api + "/deployments/create", b"x").status, 422)
    body, headers = form("name: a\n")
    lib.equal(lib.request("POST", api + "/deployments/create", body.replace(b"config_file", b"other_file"), headers).status, 422)
    reply = deploy(api, folder, "name: 'a b'\nservices: {s: 5}\n")
    lib.equal((reply.status, len(reply.json()["problems"])), (400, 2))
    reply = deploy(api, folder, "name: a\nservices:\n  s: {path: none.yaml}\n")
    lib.equal(reply.status, 400)
    lib.contains(reply.json()["detail"], "no such file")
    lib.equal(lib.get(api + "/deployments/").json(), [])


def python_service(queue, control, name="remote"):
    """A worker as LlamaDeploy's Python service behaves: registers, polls, streams, answers."""
    lib.post(f"{control}/services/register", {"service_name": name, "description": "d", "host": "127.0.0.1", "port": 8002})
    topic, answers = f"llama_deploy.{name}", "llama_deploy.control_plane"
    lib.equal(lib.post(f"{queue}/topics/{topic}").status, 200)
    message = lib.until(lambda: lib.get(f"{queue}/messages/{topic}").json(), what="a task")
    lib.equal((message["action"], message["type"]), ("new_task", name))
    assert len(message["stats"]["trace_id"]) == 32, message
    definition = message["data"]
    who = {"task_id": definition["task_id"]}
    for i in range(3):
        lib.equal(lib.post(f"{queue}/messages/{answers}", {"type": "control_plane", "action": "task_stream", "data": {
            **who, "session_id": definition["session_id"], "data": {"n": i}, "index": i}}).status, 200)
    text = "echo: " + json.loads(definition["input"])["message"]
    lib.equal(lib.post(f"{queue}/messages/{answers}", {"type": "control_plane", "action": "completed_task", "data": {
        **who, "history": [], "result": text, "data": {}}}).status, 200)


def test_a_service_elsewhere_takes_part_through_the_queue():
    process = server()
    api, queue, control = process.url("api"), process.url("queue"), process.url("control")
    deploy(api, deployment_folder())
    base = api + "/deployments/QuickStart"
    made = lib.post(base + "/tasks/create", task("from far", service_id="remote")).json()
    url = f"{base}/tasks/{made['task_id']}/%s?session_id={made['session_id']}"
    lib.equal(lib.get(url % "results").json(), None)
    worker = threading.Thread(target=python_service, args=(queue, control))
    worker.start()
    events = lines(lib.get(url % "events").text)
    worker.join()
    lib.equal(events, [{"n": 0}, {"n": 1}, {"n": 2}])
    lib.equal(lib.until(lambda: lib.get(url % "results").json())["result"], "echo: from far")


def test_a_service_over_http_is_asked():
    import http.server
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((body, self.headers.get("traceparent")))
            data = json.dumps({"said": body["message"]}).encode()
            self.send_response(503 if len(asked) == 1 else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    service = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    api = server().url("api")
    text = f"name: Far\ndefault-service: s\nservices:\n  s: {{name: S, path: 'http://127.0.0.1:{service.server_port}/ask'}}\n"
    lib.equal(deploy(api, lib.tmp(), text).status, 200)
    lib.equal(lib.post(api + "/deployments/Far/tasks/run", task("over http")).json()["answer"]["result"], {"said": "over http"})
    service.shutdown()
    lib.equal([a[0] for a in asked], [{"message": "over http"}] * 2, "once more after a 503")
    assert asked[0][1] and asked[0][1].startswith("00-"), asked


def test_the_control_plane():
    process = server()
    control, queue = process.url("control"), process.url("queue")
    add(process.url("api"), ECHO)
    lib.equal(lib.get(control + "/").json()["running"], "True")
    config = lib.get(control + "/queue_config").json()["SimpleMessageQueueConfig"]
    lib.contains(queue, str(config["port"]))
    lib.equal(lib.post(control + "/services/register", {"service_name": "s"}).status, 422)
    lib.equal(lib.post(control + "/services/register", {"service_name": "s", "description": "d"}).json()["topic_namespace"], "llama_deploy")
    lib.equal(sorted(lib.get(control + "/services").json()), ["echo", "s"])
    lib.equal(lib.get(control + "/services/s").json()["description"], "d")
    session = lib.post(control + "/sessions/create").json()
    assert isinstance(session, str)
    where = f"{control}/sessions/{session}"
    lib.equal(lib.get(where + "/current_task").json(), None)
    bad = lib.post(where + "/tasks", {"input": "{}", "service_id": "echo", "session_id": "other"})
    lib.equal(bad.status, 400)
    lib.contains(bad.json()["detail"], "Wrong task definition")
    lib.equal(lib.post(where + "/tasks", {"input": "{}", "service_id": "nobody"}).status, 404)
    made = lib.post(where + "/tasks", {"input": '{"message": "core"}', "service_id": "echo", "session_id": session, "task_id": "my-task"}).json()
    lib.equal(made, "my-task")
    result = lib.until(lambda: lib.get(f"{where}/tasks/{made}/result").json())
    lib.contains(result["result"], "echo: core")
    lib.equal(lib.get(f"{where}/tasks/{made}/result_stream").status, 200)
    lib.equal(lib.get(where).json()["task_ids"], ["my-task"])
    lib.equal(lib.get(where + "/current_task").json()["task_id"], "my-task")
    lib.equal(list(lib.get(control + "/sessions").json()), [session])
    lib.equal(lib.post(where + "/state", {"k": [1]}).status, 200)
    lib.equal(lib.get(where + "/state").json()["k"], [1])
    lib.equal(lib.post(control + "/services/deregister?service_name=s").status, 200)
    lib.equal(lib.get(control + "/services/s").status, 404)
    lib.equal(lib.post(where + "/delete").status, 200)
    lib.equal(lib.get(where).status, 404)


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


def test_what_was_accepted_survives_a_kill():
    data = lib.tmp()
    process = server("--flow-runs", 4, data=data)
    api = process.url("api")
    add(api, SLEEP % 0.3)
    runs = [start(api, "sleepy", idempotency_key=f"k{i}") for i in range(20)]
    flow = child(process, "flow")
    time.sleep(0.4)
    os.kill(flow, signal.SIGKILL)
    lib.until(lambda: alive(api), what="the server after the kill")
    lib.equal(start(api, "sleepy", idempotency_key="k0"), runs[0])
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    time.sleep(0.5)
    again = server("--flow-runs", 4, data=data).url("api")
    for run in runs:
        done = ended(again, run)
        lib.equal((done["status"], done["outputs"]["last"]), ("succeeded", {"text": "first and last"}))
        kinds = [e["event"] for e in lines(lib.get(f"{again}/runs/{run}/events").text)]
        lib.equal(kinds.count("run_ended"), 1, run)
        assert sum(k == "step_ended" for k in kinds) == 3, kinds


def child(process, name):
    def look():
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                try:
                    with open(f"/proc/{pid}/stat") as file:
                        text = file.read()
                except OSError:
                    continue
                comm, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
                if comm == name and int(rest[1]) == process.process.pid:
                    return int(pid)
        return None
    return lib.until(look, what=f"the process {name}")


def alive(api):
    try:
        return lib.get(api + "/status/", timeout=1).status == 200
    except OSError:
        return False


def worker(queue, *files, args=()):
    paths = []
    for i, text in enumerate(files):
        paths.append(os.path.join(lib.tmp(), f"{i}.yaml"))
        with open(paths[-1], "w") as file:
            file.write(text)
    return lib.Process("flow", "worker", "--queue", queue, *args, *paths)


def test_workers_elsewhere_run_what_the_server_accepts():
    process = server("--flow-runs", 0)
    api, admin = process.url("api"), process.url("admin")
    add(api, ECHO)
    add(api, FAIL)
    trace = "1af7651916cd43dd8448eb211c80319c"
    lib.request("POST", api + "/workflows/echo/runs", b'{"inputs":{"message":"far"},"idempotency_key":"k"}', {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    run = start(api, "echo", idempotency_key="k")
    broken = start(api, "broken")
    lib.equal(lib.get(f"{api}/runs/{run}").json()["status"], "queued")
    workers = [worker(process.url("queue"), ECHO, FAIL) for _ in range(2)]
    lib.equal(ended(api, run)["outputs"], {"shout": {"text": "echo: far"}})
    lib.equal(ended(api, broken)["status"], "failed")
    kinds = [e["event"] for e in lines(lib.get(f"{api}/runs/{run}/events").text)]
    lib.equal(kinds, ["run_started", "step_started", "step_ended", "run_ended"])
    more = [start(api, "echo", {"message": str(i)}) for i in range(40)]
    for i, each in enumerate(more):
        lib.equal(ended(api, each)["outputs"], {"shout": {"text": f"echo: {i}"}})
    spans = lib.get(f"{admin}/traces/{trace}").json()["spans"]
    names = [s["name"] for s in spans]
    assert names.count("message_queue.callback") >= 5 and "control_plane.handle_service_completion" in names, names
    for each in workers:
        lib.equal(each.stop(), 0)


def test_a_task_of_a_worker_that_dies_goes_to_the_next():
    process = server("--flow-runs", 0)
    api, queue = process.url("api"), process.url("queue")
    add(api, SLEEP % 1)
    first = worker(queue, SLEEP % 1, args=("--lease", 1))
    runs = [start(api, "sleepy") for _ in range(4)]
    lib.until(lambda: lib.get(f"{api}/runs/{runs[0]}").json()["status"] == "running")
    first.process.kill()
    worker(queue, SLEEP % 0, args=("--lease", 1))
    for run in runs:
        lib.equal(ended(api, run)["outputs"]["last"], {"text": "first and last"})


def test_a_worker_that_is_told_to_end_gives_back_or_ends():
    process = server("--flow-runs", 0)
    api, queue = process.url("api"), process.url("queue")
    add(api, SLEEP % 1)
    first = worker(queue, SLEEP % 1)
    run = start(api, "sleepy")
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "running")
    lib.equal(first.stop(), 0)
    lib.equal(ended(api, run)["status"], "succeeded")


def test_a_cluster_holds_the_messages():
    import subprocess
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()
    broker = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"nats://127.0.0.1:{port}"
        lib.until(lambda: can_connect(port), what="the broker")
        check = lib.run("flow", "worker", "--queue", "nats://127.0.0.1:1", "--help")
        lib.equal(check.returncode, 0)
        process = server("--queue", url, "--flow-runs", 0)
        api = process.url("api")
        add(api, ECHO)
        add(api, FAIL)
        runs = [start(api, "echo", {"message": str(i)}, idempotency_key=f"k{i}") for i in range(20)]
        broken = start(api, "broken")
        workers = [worker(url, ECHO, FAIL) for _ in range(2)]
        for i, run in enumerate(runs):
            lib.equal(ended(api, run)["outputs"], {"shout": {"text": f"echo: {i}"}})
        lib.equal(ended(api, broken)["status"], "failed")
        lib.equal([e["event"] for e in lines(lib.get(f"{api}/runs/{runs[0]}/events").text)], ["run_started", "step_started", "step_ended", "run_ended"])
        for each in workers:
            lib.equal(each.stop(), 0)
        lib.equal(process.stop(), 0)
        own = server("--queue", url)
        add(own.url("api"), ECHO)
        lib.equal(ended(own.url("api"), start(own.url("api"), "echo", {"message": "here"}))["status"], "succeeded")
    finally:
        broker.kill()
        broker.wait()


def test_a_broker_whose_disk_is_full_refuses_clearly_and_keeps_what_it_took():
    import subprocess
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()
    config = os.path.join(lib.tmp(), "nats.conf")

    def mounted(*options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], stderr=subprocess.DEVNULL).returncode == 0
    if os.geteuid() != 0 or not mounted("size=16m"):
        raise lib.Skip("a file system of its own cannot be mounted here")
    with open(config, "w") as file:  # more than there is: the disk itself ends first
        file.write(f'listen: 127.0.0.1:{port}\njetstream {{ store_dir: "{folder}", max_file: 4G }}\n')

    def start_broker():
        broker = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lib.until(lambda: can_connect(port), what="the broker")
        return broker
    broker = start_broker()
    try:
        url = f"nats://127.0.0.1:{port}"
        process = server("--queue", url, "--flow-runs", 0)
        api = process.url("api")
        add(api, ECHO)
        accepted, refused = [], []
        for n in range(400):
            reply = lib.post(f"{api}/workflows/echo/runs", {"inputs": {"message": f"{n}", "ballast": "x" * 200000}})
            if reply.status == 202:
                accepted.append((reply.json()["run_id"], n))
            else:
                refused.append(reply)
            if len(refused) == 3:
                break
        assert len(accepted) > 5 and len(refused) == 3, (len(accepted), len(refused))
        for reply in refused:
            lib.equal(reply.status, 503, reply.text)
            lib.contains(reply.json()["detail"], "the run is not accepted")
            lib.contains(reply.json()["detail"], "its disk may be full")
        states = {r["status"] for r in lib.get(f"{api}/runs?limit=1000").json()["runs"]}
        lib.equal(states, {"queued", "failed"})  # what was refused says so, nothing is lost from sight
        broker.kill()
        broker.wait()
        subprocess.run(["mount", "-o", "remount,size=400m", folder], check=True)
        broker = start_broker()
        each = worker(url, ECHO)
        for run, n in accepted:
            lib.equal(ended(api, run)["outputs"], {"shout": {"text": f"echo: {n}"}})
        lib.equal(ended(api, start(api, "echo", {"message": "room"}))["status"], "succeeded")
        lib.equal(each.stop(), 0)
        lib.equal(process.stop(), 0)
        print(f"     {len(accepted)} accepted before the disk was full: {refused[0].json()['detail']}")
    finally:
        broker.kill()
        broker.wait()
        subprocess.run(["umount", "-l", folder])


def test_servers_of_a_cluster_have_their_own_answers():
    """Two servers run one another's tasks, and workers answer to the one that asked."""
    import subprocess
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()
    broker = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"nats://127.0.0.1:{port}"
        lib.until(lambda: can_connect(port), what="the broker")
        for here in (4, 0):  # tasks that the servers run themselves: all of them, or none
            servers = [server("--queue", url, "--flow-runs", here) for _ in range(2)]
            apis = [s.url("api") for s in servers]
            for api in apis:
                add(api, ECHO)
                add(api, FAIL)
            workers = [] if here else [worker(url, ECHO, FAIL)]
            runs = [(api, start(api, "echo", {"message": f"{n}"}), n) for n in range(20) for api in apis]
            broken = [(api, start(api, "broken")) for api in apis]
            for api, run, n in runs:
                lib.equal(ended(api, run)["outputs"], {"shout": {"text": f"echo: {n}"}})
                lib.equal([e["event"] for e in lines(lib.get(f"{api}/runs/{run}/events").text)][-1], "run_ended")
            for api, run in broken:
                lib.equal(ended(api, run)["status"], "failed")
            for each in workers + servers:
                lib.equal(each.stop(), 0)
    finally:
        broker.kill()
        broker.wait()


def can_connect(port):
    import socket
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def test_sigterm_lets_runs_end():
    data = lib.tmp()
    process = server(data=data)
    api = process.url("api")
    add(api, SLEEP % 1)
    run = start(api, "sleepy")
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] == "running")
    lib.equal(process.stop(), 0)
    again = server(data=data).url("api")
    lib.equal(lib.get(f"{again}/runs/{run}").json()["status"], "succeeded")


def test_workflows_and_deployments_are_there_after_a_restart():
    data = lib.tmp()
    process = server(data=data)
    folder = deployment_folder()
    add(process.url("api"), ECHO)
    deploy(process.url("api"), folder)
    lib.equal(process.stop(), 0)
    api = server(data=data).url("api")
    lib.equal(lib.get(api + "/workflows/echo").status, 200)
    lib.equal(lib.post(api + "/deployments/QuickStart/tasks/run", task("again")).json(), {"shout": {"text": "echo: again"}})


def free_port():
    import socket
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_variables_of_llamadeploy():
    folder = deployment_folder()
    with open(folder + "/deploy.yml", "w") as file:
        file.write(DEPLOYMENT)
    ports = [free_port() for _ in range(4)]
    process = lib.Process("flow", "server", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", lib.tmp(), env={
        "LLAMA_DEPLOY_APISERVER_PORT": str(ports[0]), "CONTROL_PLANE_PORT": str(ports[1]), "SIMPLE_MESSAGE_QUEUE_PORT": str(ports[2]),
        "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT": str(ports[3]), "LLAMA_DEPLOY_APISERVER_DEPLOYMENT_FILE_PATH": folder + "/deploy.yml"})
    lib.equal([process.url(k).rpartition(":")[2] for k in ("api", "control", "queue", "metrics")], [str(p) for p in ports])
    lib.equal(lib.get(process.url("api") + "/deployments/").json(), [{"name": "QuickStart"}])
    lib.equal(process.stop(), 0)
    off = lib.Process("flow", "server", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", lib.tmp(), env={
        "LLAMA_DEPLOY_APISERVER_PORT": str(ports[0]), "CONTROL_PLANE_PORT": str(ports[1]), "SIMPLE_MESSAGE_QUEUE_PORT": str(ports[2]),
        "LLAMA_DEPLOY_APISERVER_PROMETHEUS_ENABLED": "false", "LLAMA_DEPLOY_APISERVER_RC_PATH": folder})
    assert "metrics" not in off.ready, off.ready
    lib.equal(lib.get(off.url("api") + "/status/metrics").status, 204)
    lib.equal(lib.get(off.url("api") + "/deployments/").json(), [{"name": "QuickStart"}])
    bad = lib.run("flow", "server", "--data-dir", lib.tmp(), "--check", env={"LLAMA_DEPLOY_APISERVER_HOST": "0.0.0.0"})
    lib.equal(bad.returncode, 2)
    lib.contains(bad.stderr, "LLAMA_DEPLOY_APISERVER_HOST")
    unknown = lib.run("flow", "server", *FLOW, "--data-dir", lib.tmp(), env={
        "LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "carrier-pigeon"})
    lib.equal(unknown.returncode, 2)
    lib.contains(unknown.stderr, "carrier-pigeon")


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


def post_deployment(api, text, **query):
    body = f'--b\r\nContent-Disposition: form-data; name="config_file"; filename="f"\r\n\r\n{text}\r\n--b--\r\n'
    path = "&".join(f"{k}={v}" for k, v in query.items())
    return lib.request("POST", f"{api}/deployments/create?{path}", body.encode(), {"Content-Type": "multipart/form-data; boundary=b"})


def test_a_deployment_that_is_refused_changes_nothing():
    folder = lib.tmp()
    for name, text in (("echo.yaml", ECHO), ("other.yaml", ECHO.replace("echo:", "other:")), ("bad.yaml", "name: bad\nsteps: 5\n")):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    process = server()
    api, page = process.url("api"), process.url("metrics")
    one = "name: %s\ndefault-service: a\nservices:\n  a: {name: A, source: {type: local, location: .}, import-path: %s}\n"
    two = one + "  b: {name: B, source: {type: local, location: .}, import-path: %s}\n"
    lib.equal(post_deployment(api, two % ("New", "echo.yaml", "bad.yaml"), base_path=folder).status, 400)
    lib.equal(lib.total(lib.metrics(page), "llama_deploy_deployment_state", deployment_name="New"), 0)
    lib.equal(post_deployment(api, one % ("Up", "echo.yaml"), base_path=folder).status, 200)
    lib.equal(post_deployment(api, two % ("Up", "other.yaml", "none.yaml"), base_path=folder, reload="true").status, 400)
    seen = lib.metrics(page)
    lib.equal(lib.total(seen, "llama_deploy_deployment_state", deployment_name="Up", state="running"), 1)
    lib.equal(lib.total(seen, "llama_deploy_deployment_state", deployment_name="Up", state="stopped"), 0)
    reply = lib.post(api + "/deployments/Up/tasks/run", {"input": '{"message": "still"}'})
    lib.contains(reply.text, "echo: still")  # not half of the new file
    process.stop()


def test_tasks_are_made_while_deployments_change():
    """Deployments are reloaded, lose and gain services, and are refused, while tasks of theirs are made, run and cancelled."""
    folder = lib.tmp()
    for name, text in (("a.yaml", ECHO), ("b.yaml", ECHO.replace("echo:", "other:")), ("slow.yaml", SLEEP % "0.01"), ("bad.yaml", "name: bad\n")):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    service = "  %s: {name: S, source: {type: local, location: .}, import-path: %s}\n"
    shapes = [[("s", "a.yaml"), ("t", "slow.yaml")], [("s", "b.yaml")], [("t", "a.yaml"), ("u", "b.yaml")], [("s", "src/wf:worker")],
              [("s", "bad.yaml"), ("t", "a.yaml")], [("s", "slow.yaml")]]
    process = server()
    api, control = process.url("api"), process.url("control")
    over, faults, seen = threading.Event(), [], {}

    def change(name, step):
        turn = step
        while not over.is_set():
            shape = shapes[turn % len(shapes)]
            turn += step
            text = f"name: {name}\ndefault-service: {shape[0][0]}\nservices:\n" + "".join(service % one for one in shape)
            status = post_deployment(api, text, base_path=folder, reload="true").status
            if status != (400 if shape[0][1] == "bad.yaml" else 200):
                faults.append(("deployment", shape, status))

    def make(number):
        count = 0
        while not over.is_set():
            count += 1
            name, kind = ("D", "E")[count % 2], ("run", "create")[number % 2]
            body = {"input": json.dumps({"message": f"{number}-{count}"}), "service_id": (None, "s", "t", "u")[count % 4]}
            try:
                reply = lib.request("POST", f"{api}/deployments/{name}/tasks/{kind}", json.dumps(body).encode(),
                                    {"Content-Type": "application/json"}, timeout=0.5 if kind == "run" else 20)
            except OSError:
                continue  # a task for a worker that nobody is: given up by its client
            seen[reply.status] = seen.get(reply.status, 0) + 1
            if reply.status not in (200, 404):
                faults.append((kind, reply.status, reply.text[:200]))
            elif kind == "create" and reply.status == 200 and count % 3 == 0:
                task = reply.json()["task_id"]
                lib.request("POST", f"{api}/runs/{task}/cancel", b"")
                lib.request("POST", f"{control}/sessions/{reply.json()['session_id']}/delete", b"")
    change_threads = [threading.Thread(target=change, args=one) for one in (("D", 1), ("E", 5), ("D", 2))]
    for thread in change_threads:
        thread.start()
    time.sleep(0.3)
    threads = change_threads + [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads[3:]:
        thread.start()
    time.sleep(float(os.environ.get("SIGHTLINE_STRESS_SECONDS", "3")))
    over.set()
    for thread in threads:
        thread.join()
    lib.equal(process.process.poll(), None)
    lib.equal(faults[:5], [])
    assert seen.get(200, 0) > 50 and seen.get(404, 0) > 10, seen
    lib.equal(lib.get(api + "/status").status, 200)
    lib.equal(process.stop(), 0)
    lib.equal([line for line in process.output().split("\n") if "ended by" in line or "starts again" in line or "anitizer" in line], [])


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
