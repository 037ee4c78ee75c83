#!/usr/bin/env python3
"""The flow plane: deployments, their tasks and services, the control plane, LlamaDeploy's variables."""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import (  # noqa: E402
    DEPLOYMENT, ECHO, FLOW, SLEEP, add, deploy, deployment_folder, form, free_port, lines, post_deployment, server, task)


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


lib.main(globals())
