#!/usr/bin/env python3
"""What users of the flow plane trip over: each test is one of their steps, and what they may expect of it."""
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import lib  # noqa: E402
from flow_calls import can_connect, free_port  # noqa: E402

SLEEP = "name: sleepy\nsteps:\n  - {id: a, type: action, action: sleep, seconds: %s, output: [slept]}\n"


def file_of(text, name="flow.yaml"):
    path = os.path.join(lib.tmp(), name)
    with open(path, "w") as file:
        file.write(text)
    return path


# ---- the server ----

def test_who_has_read_the_end_of_a_run_finds_it_ended():
    """The last event comes when the run's end is on disk: with a slow disk, who read it was told that the run goes on."""
    server = flow.Server()
    server.add(SLEEP % 0.6)
    run = server.start("sleepy")
    lib.until(lambda: server.run(run)["status"] == "running", what="the run")
    disk = sqlite3.connect(os.path.join(server.data, "flow.db"), timeout=20, isolation_level=None)
    disk.execute("begin immediate")  # nobody else can write
    events = []

    def read():
        with urllib.request.urlopen(f"{server.api}/runs/{run}/events", timeout=20 * lib.SLOW) as stream:
            events.extend(json.loads(line) for line in stream)
        events.append(server.run(run))
    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(1.5 * lib.SLOW)
    disk.execute("commit")
    disk.close()
    reader.join(20 * lib.SLOW)
    lib.equal((events[-2]["event"], events[-1]["status"], len(events[-1]["steps"])), ("run_ended", "succeeded", 1))
    lib.equal(server.stop(), 0)


def test_the_end_that_a_worker_says_comes_with_its_result():
    server = flow.Server()
    lib.post(server.control + "/services/register", {"service_name": "ext", "description": "elsewhere"})
    task = lib.post(f"{server.control}/sessions/{server.session()}/tasks", {"input": "{}", "service_id": "ext"}).json()
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = lib.post(f"{server.control}/sessions/{server.session()}/tasks", {"input": "{}", "service_id": "ext"},
                      headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}).json()
    lib.equal(server.run(traced)["trace_id"], trace)  # whoever runs it, and before it is run
    heard = []

    def read():
        with urllib.request.urlopen(f"{server.api}/runs/{task}/events", timeout=20 * lib.SLOW) as stream:
            heard.extend((json.loads(line)["event"], server.run(task)["status"]) for line in stream)
    reader = threading.Thread(target=read)
    reader.start()

    def say(action, **data):
        lib.equal(lib.post(server.control + "/process_message", {"action": action, "type": "control_plane",
                                                                 "data": {"task_id": task, **data}}).status, 200)
    for index, event in enumerate(("run_started", "run_ended")):
        say("task_stream", index=index, data={"event": event, "seq": index + 1, "run_id": task})
    lib.until(lambda: heard, what="the first event")
    time.sleep(0.3)
    assert reader.is_alive()
    lib.equal([kind for kind, _ in heard], ["run_started"])
    say("completed_task", history=[], result="done", data={})
    reader.join(20 * lib.SLOW)
    lib.equal(heard[1:], [("run_ended", "succeeded")])
    lib.equal(server.stop(), 0)


def test_a_key_that_is_known_tells_how_its_run_stands():
    server = flow.Server()
    server.add(flow.ECHO)
    first = server.start("echo", {"x": "a"}, idempotency_key="k")
    server.ended(first)
    again = lib.post(server.api + "/workflows/echo/runs", {"inputs": {"x": "a"}, "idempotency_key": "k"})
    lib.equal((again.status, again.json()), (202, {"run_id": first, "status": "succeeded", "existed": True}))
    lib.equal(server.stop(), 0)


def test_every_stream_of_events_goes_on_behind_the_last_one():
    """Streams of tasks have ids too; who came back with the last one was given all of them again."""
    server = flow.Server()
    server.deploy(echo=flow.ECHO)
    session = lib.post(server.api + "/deployments/d/sessions/create").json()["session_id"]
    task = server.task("create", {"x": "a"}, "echo", session=session).json()["task_id"]
    server.ended(task)
    streams = (f"{server.api}/runs/{task}/events", f"{server.api}/deployments/d/tasks/{task}/events?session_id={session}",
               f"{server.control}/sessions/{session}/tasks/{task}/result_stream")
    for url in streams:
        ids = [re.findall(r"(?m)^id: (\d+)$", lib.get(url, headers={"Accept": "text/event-stream", **more}).text)
               for more in ({}, {"Last-Event-ID": "2"}, {"Last-Event-ID": "4"})]
        lib.equal(ids, [["1", "2", "3", "4"], ["3", "4"], []], url)
        lib.equal(lib.get(url, headers={"Last-Event-ID": "x"}).status, 422)
    lib.equal(server.stop(), 0)
    again = flow.Server(data=server.data)
    url = streams[1].replace(server.api, again.api)
    lib.equal(re.findall(r"(?m)^id: (\d+)$", lib.get(url, headers={"Accept": "text/event-stream", "Last-Event-ID": "3"}).text), ["4"])
    lib.equal(again.stop(), 0)


def test_every_error_of_a_surface_has_one_form():
    """What the connection refuses by itself (413, 431) had OpenAI's form, which clients of LlamaDeploy do not read."""
    server = flow.Server()
    for url in (server.api + "/workflows", server.queue + "/queues/t/messages", server.control + "/process_message"):
        host, _, target = url[7:].partition("/")
        begin = f"POST /{target} HTTP/1.1\r\nHost: {host}\r\n"
        for head, status in ((begin + "Content-Length: 999999999\r\n\r\n", 413), (begin + "X: " + "a" * 40000 + "\r\n\r\n", 431)):
            answer = lib.raw(url, head.encode())
            lib.contains(answer.decode(), f"HTTP/1.1 {status} ")
            lib.equal(list(json.loads(answer.partition(b"\r\n\r\n")[2])), ["detail"], (url, status))
    server.deploy(echo=flow.ECHO)
    for url in (server.api + "/deployments/d/tasks/run", f"{server.control}/sessions/{server.session()}/tasks"):
        lib.contains(lib.post(url, {"input": {"x": 1}, "service_id": "echo"}).text, "Input should be a valid string")
        lib.contains(lib.post(url, {"service_id": "echo"}).text, "Field required")
    lib.equal(server.stop(), 0)


def test_every_answer_is_counted():
    """Rates of errors are those of all requests: refused by the connection (400, 501), by the key (401), without a route."""
    server = flow.Server("--api-key", "sk-flow")
    surfaces = {"sightline.apiserver": server.api, "sightline.control_plane": server.control, "sightline.queue": server.queue}
    for url in surfaces.values():
        lib.raw(url, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        lib.equal(lib.request("FOO", url + "/", headers={"Authorization": "Bearer sk-flow"}).status, 501)
        lib.equal(lib.request("PUT", url + "/messages/x").status, 401)
        lib.equal(lib.get(url + "/a/b/c/d/e", headers={"Authorization": "Bearer sk-flow"}).status, 404)

    def counted():
        page = lib.metrics(server.process.url("metrics"))["http_server_request_duration_seconds_count"]
        return {name: sorted((labels["http_response_status_code"], labels["http_request_method"], labels.get("http_route"))
                             for labels, value in page if labels["otel_scope_name"] == name) for name in surfaces}
    wanted = [("400", "_OTHER", None), ("401", "PUT", None), ("404", "GET", None), ("501", "_OTHER", None)]
    lib.until(lambda: sum(map(len, counted().values())) >= 12, what="the counts")
    for name, seen in counted().items():
        lib.equal(seen, wanted, name)
    lib.equal(server.stop(), 0)


def test_metrics_where_the_guide_has_them():
    server = flow.Server()
    page = lib.get(server.api + "/metrics")
    lib.equal((page.status, page.headers["content-type"].split(";")[0]), (200, "text/plain"))
    lib.contains(page.text, "# TYPE orchestrator_errors_total counter\n")
    lib.equal(server.stop(), 0)


def test_the_first_timeout_is_seen_by_the_alert():
    """rate() does not see a series that begins with 1: what alerts read is there from the start, with 0."""
    server = flow.Server()

    def errors():
        return {(labels["component"], labels["error_type"]): value
                for labels, value in lib.metrics(server.process.url("metrics"))["orchestrator_errors_total"]}
    lib.equal(errors(), {("executor", "timeout"): 0, ("provider", "provider_error"): 0, ("step_executor", "provider_error"): 0,
                         ("executor", "validation"): 0})
    server.add((SLEEP % 30).replace("steps:", "timeout_seconds: 0.1\nsteps:"))
    lib.equal(server.ended(server.start("sleepy"))["error_type"], "timeout")
    lib.equal(lib.request("POST", server.api + "/workflows", b"name: x\nsteps: []\n").status, 400)
    server.deploy(status=400, bad="name: x\nsteps: []\n")
    lib.until(lambda: (errors()[("executor", "timeout")], errors()[("executor", "validation")]) == (1, 2), what="the counts")
    lib.equal(server.stop(), 0)


# ---- probes ----

def probed(server):
    """Status and body of /health/ready."""
    reply = lib.get(server.process.url("health") + "/health/ready")
    return reply.status, reply.json()


def health_server(**options):
    return flow.Server("--health-listen", "127.0.0.1:0", **options)


def test_readiness_tells_of_the_store():
    server = health_server()
    server.add(flow.ECHO)
    status, body = probed(server)
    lib.equal((status, body["status"], sorted(body["checks"])), (200, "healthy", ["providers", "store", "workers"]))
    disk = sqlite3.connect(os.path.join(server.data, "flow.db"), timeout=20, isolation_level=None)
    disk.execute("begin immediate")  # nothing can be written, as on a disk that hangs
    answers = []
    asker = threading.Thread(target=lambda: answers.append(lib.post(server.api + "/workflows/echo/runs", {}, timeout=60)))
    asker.start()
    body = lib.until(lambda: next((b for s, b in [probed(server)] if s == 503), None), 40, what="an unready server")
    lib.equal((body["status"], body["checks"]["store"]["status"], body["checks"]["workers"]["status"]),
              ("unhealthy", "unhealthy", "healthy"))
    assert body["checks"]["store"]["error"], body
    disk.execute("commit")
    disk.close()
    lib.until(lambda: probed(server)[0] == 200, 20, what="a ready server")
    asker.join(20 * lib.SLOW)
    assert answers and answers[0].status in (202, 503), answers
    lib.equal(server.stop(), 0)


def test_a_provider_that_fails_is_seen_before_it_is_called_again():
    """The breaker: five failures in a row open it, an answer closes it; the server stays ready, as others can be called."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    server = health_server(env=env)
    server.add("name: ask\nsteps:\n  - {id: a, type: llm, provider: openai, model: m, prompt: x, "
               "retry: {max_attempts: 4, initial_delay_ms: 1}}\n")

    def shown():
        page = lib.get(server.process.url("metrics") + "/metrics").text
        return re.findall(r'orchestrator_circuit_breaker_state\{provider="openai",state="(\w+)"\} 1\n', page)
    lib.equal(server.ended(server.start("ask"))["status"], "failed")
    lib.until(lambda: shown() == ["open"], what="the open breaker")
    body = lib.until(lambda: next((b for s, b in [probed(server)] if b["status"] == "degraded"), None), what="the probe")
    lib.equal(body["checks"]["providers"]["error"], "openai: the last 5 calls failed: provider_error")
    lib.equal(probed(server)[0], 200)
    mock = lib.Process("mock", "--listen", f"127.0.0.1:{port}", "--ttft", 0, "--itl", 0)
    lib.equal(server.ended(server.start("ask"))["status"], "succeeded")
    lib.until(lambda: shown() == ["closed"], what="the closed breaker")
    lib.until(lambda: probed(server)[1]["status"] == "healthy", what="the probe")
    mock.stop()
    lib.equal(server.stop(), 0)


def test_readiness_tells_of_the_broker():
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()

    def start_broker():
        process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        lib.until(lambda: can_connect(port), what="the broker")
        return process
    broker = start_broker()
    try:
        server = flow.Server("--health-listen", "127.0.0.1:0", "--queue", f"nats://127.0.0.1:{port}")
        lib.until(lambda: probed(server)[1]["checks"]["broker"]["status"] == "healthy")
        broker.kill()
        broker.wait()
        body = lib.until(lambda: next((b for s, b in [probed(server)] if s == 503), None), 20, "an unready server")
        lib.equal(body["checks"]["broker"]["error"], "there is no connection to the cluster")
        broker = start_broker()
        lib.until(lambda: probed(server)[0] == 200, 30, "a ready server")
        lib.equal(server.stop(), 0)
    finally:
        broker.kill()
        broker.wait()


def test_workers_are_scraped_and_probed():
    server = flow.Server("--flow-runs", 0)
    server.add(flow.ECHO)
    worker = flow.worker(server, flow.ECHO, args=("--metrics-listen", "127.0.0.1:0"))
    lib.equal(server.ended(server.start("echo", {"x": "a"}))["status"], "succeeded")
    url = worker.url("metrics")
    page = lib.metrics(url)
    lib.equal(page["orchestrator_workflow_executions_total"], [({"status": "success", "workflow_name": "echo"}, 1)])
    lib.equal(lib.get(url + "/health/live").status, 200)
    ready = lib.until(lambda: (lambda r: r if r.status == 200 else None)(lib.get(url + "/health/ready")), what="a ready worker")
    lib.equal(list(ready.json()["checks"]), ["queue"])
    lib.equal(server.stop(), 0)
    lib.until(lambda: lib.get(url + "/health/ready").status == 503, 20, "an unready worker")
    lib.equal(worker.stop(), 0)
    taken = lib.run("flow", "worker", file_of(flow.ECHO), "--metrics-listen", "nowhere:x", "--check")
    lib.equal(taken.returncode, 2)
    lib.contains(taken.stderr, "--metrics-listen")


# ---- the doctor ----

def rows(*args, env=None):
    """Of `sightline doctor`: status, and {check: [level, text]}."""
    done = lib.run("doctor", "--format", "json", *args, env=env)
    return done.returncode, {c["name"]: (c["status"], c["seen"]) for c in json.loads(done.stdout)["checks"]}


def test_the_doctor_knows_the_flow_server():
    server = flow.Server("--api-key", "sk-flow", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    ready = ("--ready-file", server.process.ready_path)
    status, found = rows(*ready, "--api-key", "sk-flow")
    lib.equal((status, [found[name][0] for name in ("api", "control", "queue")]), (0, ["ok"] * 3), found)
    _, found = rows(*ready)
    lib.equal([found[name][0] for name in ("api", "control", "queue")], ["ok", "warn", "warn"], found)
    lib.equal(server.stop(), 0)
    status, found = rows(*ready)
    lib.equal((status, [found[name][0] for name in ("api", "control", "queue")]), (1, ["FAIL"] * 3), found)


def test_the_doctor_looks_where_the_variables_of_the_guide_say():
    """LLAMA_DEPLOY_APISERVER_PORT and so on; who runs a flow server alone is not told that a gateway fails."""
    server = flow.Server("--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")

    def port(key):
        return server.process.url(key).rpartition(":")[2]
    env = {"LLAMA_DEPLOY_APISERVER_PORT": port("api"), "CONTROL_PLANE_PORT": port("control"),
           "SIMPLE_MESSAGE_QUEUE_PORT": port("queue"), "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT": port("metrics")}
    args = ("--health-listen", port("health"), "--admin-listen", port("admin"))
    status, found = rows(*args, env=env)
    lib.equal([found[name][0] for name in ("api", "control", "queue", "metrics", "health", "admin")], ["ok"] * 6, found)
    lib.equal((status, found["gateway"][0]), (0, "warn"), found)
    lib.equal(rows(*args, "--gateway-listen", free_port(), env=env)[1]["gateway"][0], "FAIL")
    lib.equal(server.stop(), 0)
    if not can_connect(4501):
        found = rows(*args)[1]
        assert found["api"][0] == "ok" and "control" not in found, found  # nobody asked for one


# ---- the start ----

def test_a_start_that_cannot_be_says_why():
    listen = [*flow.LISTEN, "--data-dir"]
    for args, status, part in (([file_of("x")], 1, "/format: cannot be used: Not a directory; "),
                               (["/proc/none"], 1, "cannot be made: No such file or directory; use --data-dir"),
                               ([lib.tmp(), "--queue", "http://127.0.0.1:1"], 2, "--queue: not the address of a NATS server; ")):
        done = lib.run("flow", "server", *listen, *args)
        lib.equal(done.returncode, status, done.stderr)
        lib.contains(done.stderr, part)


# ---- workflow files ----

TEMPLATE = "name: demo\nsteps:\n  - {id: a, type: transform, function: template, template: '<{{ x }}>', output: [o]}\n"


def report(*args, **options):
    done = lib.run("run", *args, "--format", "json", "-q", **options)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_inputs_are_given_as_the_original_takes_them():
    """LLM Orchestrator: `-i JSON|file`."""
    inputs = file_of('{"x": "from a file"}', "inputs.json")
    for given in (inputs, "@" + inputs):
        lib.equal(report(file_of(TEMPLATE), "-i", given)[1]["outputs"], {"a": {"o": "<from a file>"}}, given)
    lib.equal(report(file_of(TEMPLATE), "-i", "-", stdin='{"x": "piped"}')[1]["outputs"], {"a": {"o": "<piped>"}})
    status, error = report(file_of(TEMPLATE), "-i", file_of('{"x": }', "bad.json"))
    lib.equal(status, 2)
    lib.contains(error, "bad.json:1:")
    status, error = report(file_of(TEMPLATE), "-i", "nothing-there.json")
    lib.equal(status, 2)
    lib.contains(error, "a file that is there")


def test_a_workflow_may_come_from_standard_input():
    lib.equal(report("-", "-i", '{"x": 1}', stdin=TEMPLATE)[1]["outputs"], {"a": {"o": "<1>"}})
    good = lib.run("validate", "-", stdin=TEMPLATE)
    lib.equal((good.returncode, good.stdout), (0, "-: valid: workflow demo, version 1.0, 1 step\n"))
    bad = lib.run("validate", "-", stdin=TEMPLATE + "  - {id: a}\n")
    lib.equal(bad.returncode, 2)
    lib.contains(bad.stderr, "-:4:")
    both = lib.run("run", "-", "-i", "-", stdin=TEMPLATE)
    lib.equal(both.returncode, 2)
    lib.contains(both.stderr, "standard input is the workflow")


def test_a_folder_for_files_that_is_not_there_is_told_at_once():
    """Steps failed one by one: programs could not be started, as it is where they run."""
    missing = os.path.join(lib.tmp(), "none")
    path = file_of("name: x\nsteps:\n  - {id: a, type: action, action: exec, command: /bin/echo}\n")
    for args, env, name in ((["--file-root", missing], {}, "--file-root"), ([], {"SIGHTLINE_STEP_FILE_ROOT": missing}, "SIGHTLINE_STEP_FILE_ROOT")):
        done = lib.run("run", path, "--allow-exec", "/bin/echo", *args, env=env)
        lib.equal((done.returncode, done.stdout), (2, ""), done.stderr)
        lib.contains(done.stderr, name)
    done = lib.run("flow", "server", *flow.LISTEN, "--data-dir", lib.tmp(), env={"SIGHTLINE_STEP_FILE_ROOT": missing})
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, "SIGHTLINE_STEP_FILE_ROOT")


def test_a_nul_in_a_text_is_a_fault():
    """It ended the text there, and nobody was told."""
    done = lib.run("validate", "-", stdin=r"""
name: demo
steps:
  - {id: a, type: transform, function: template, template: "a\0b"}
  - {id: b, type: action, action: log, fields: {x: ["y\0"]}, message: m, condition: "{{ x }}\0"}
  - {id: c, type: transform, function: expression, expression: "1\0"}
""")
    lib.equal(done.returncode, 2)
    faults = [line for line in done.stderr.splitlines() if "has a NUL in it" in line]
    lib.equal([fault.split(":")[1] for fault in faults], ["4", "5", "5", "6"], done.stderr)


def test_what_is_right_is_not_warned_of():
    """Ids of other alphabets work in paths; keys that begin with x- are room for anchors."""
    done = lib.run("validate", "--strict", "-", stdin="""
name: demo
x-defaults: &defaults {type: transform, function: template}
steps:
  - {<<: *defaults, id: größe, template: x, output: [o]}
  - {<<: *defaults, id: b, depends_on: größe, template: '{{ steps.größe.o }}'}
""")
    lib.equal((done.returncode, done.stderr), (0, ""))


def test_a_terminal_that_is_closed_ends_what_the_run_has_started():
    """It left programs behind that ran on."""
    mark = f"{20000 + os.getpid() % 10000}.125"
    path = file_of("name: x\nsteps:\n  - {id: a, type: action, action: exec, command: /bin/sleep, args: ['%s']}\n" % mark)

    def sleepers():
        return subprocess.run(["pgrep", "-f", "/bin/sleep " + mark], stdout=subprocess.PIPE).stdout.split()
    run = subprocess.Popen([lib.BINARY, "run", path, "--allow-exec", "/bin/sleep", "--format", "json"], env=lib.environment(),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lib.until(sleepers, what="the program")
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=20 * lib.SLOW)
    left = sleepers()
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    lib.equal((run.returncode, json.loads(out)["status"] if out else None, left), (1, "cancelled", []))


def test_nohup_is_heeded():
    path = file_of(SLEEP % 1)
    run = subprocess.Popen([lib.BINARY, "run", path, "--format", "json"], env=lib.environment(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    lib.until(lambda: "started" in run.stderr.readline(), what="the step")
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=20 * lib.SLOW)
    lib.equal((run.returncode, json.loads(out)["status"]), (0, "succeeded"))


def test_texts_of_blocks_hold_what_is_no_text_too():
    status, done = report(file_of("""
name: blocks
steps:
  - {id: l, type: loop, items: [1, 2, 3], steps: [{id: x, type: transform, function: expression, expression: item * 2}]}
  - id: b
    type: branch
    condition: "true"
    branches: {"true": [{id: y, type: transform, function: json, mode: parse, inputs: [inputs.j]}]}
  - {id: p, type: parallel, tasks: [{id: s, type: action, action: sleep, seconds: 0}, {id: t, type: action, action: log, message: t}]}
  - {id: seen, type: transform, depends_on: [l, b, p], function: template,
     template: '{{ outputs.l }}|{{ outputs.b }}|{{ outputs.p }}', output: [o]}
"""), "-i", '{"j": "[4, 5]"}')
    lib.equal((status, done["outputs"]["seen"]["o"]), (0, "2\n4\n6|[4,5]|0\nt"))


def test_what_is_not_done_as_written_is_said():
    """A database that is not configured: the empty answer of the one in the process looked like that of the real one."""
    path = file_of("""
name: search
id: abc123
steps:
  - {id: find, type: vector_search, database: pinecone, index: kb, query: [1, 0], output: [found]}
  - {id: tell, type: action, action: send_notification, output: [told]}
  - {id: say, type: action, action: log, message: hello}
""")
    _, done = report(path)
    lib.contains(done["steps"][0]["warning"], 'database "pinecone" is not configured')
    lib.contains(done["steps"][1]["warning"], 'action "send_notification" is not configured')
    assert "warning" not in done["steps"][2], done
    plain = lib.run("run", path, "-q", env={"LOG_LEVEL": "INFO"})
    rows = [line for line in plain.stdout.splitlines() if "  warning: " in line]
    lib.equal([row.split()[1] for row in rows], ["find", "tell"])
    lines = [re.sub(r"^\S+ |trace_id=\S+ span_id=\S+ ", "", line) for line in plain.stderr.splitlines()]
    head = 'workflow_id=abc123 workflow_name="search" step_id='
    assert f'INFO {head}"say" step_type=action message="hello"' in lines, lines
    for step, part in (("find", "pinecone"), ("tell", "send_notification")):
        assert any(line.startswith(f'WARN {head}"{step}"') and part in line for line in lines), lines


if __name__ == "__main__":
    lib.main(globals())
