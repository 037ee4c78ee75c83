#!/usr/bin/env python3
"""Workers elsewhere at their edges: a server that dies under them, keys, several workflows, how many at once, what is no
task, failures and retries told home, tasks of many workers each done once."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import lib  # noqa: E402

NAP = "name: nap\nsteps:\n  - {id: a, type: action, action: sleep, seconds: 0.3}\n"
LONG = "name: long\nsteps:\n  - {id: a, type: action, action: sleep, seconds: 1.2}\n"
FAIL = "name: fail\nsteps:\n  - {id: a, type: action, action: file, operation: read, path: nothing}\n  - {id: b, type: action, action: log, depends_on: [a]}\n"
KEYS = {"Authorization": "Bearer k3y"}


def register(server, *names, headers=None):
    for name in names:
        lib.equal(lib.post(server.control + "/services/register", {"service_name": name, "description": "d"}, headers=headers).status, 200)


def put(server, session, service, headers=None, **inputs):
    reply = lib.post(f"{server.control}/sessions/{session}/tasks", {"input": json.dumps(inputs), "service_id": service}, headers=headers)
    lib.equal(reply.status, 200, reply.text)
    return reply.json()


def events(server, run):
    return [json.loads(line) for line in lib.get(f"{server.api}/runs/{run}/events").text.splitlines()]


def test_tasks_of_many_workers_are_done_once_each():
    server = flow.Server()
    register(server, "echo")
    workers = [flow.worker(server, flow.ECHO, args=("--concurrency", n)) for n in (1, 2, 8)]
    session = server.session()
    tasks = {put(server, session, "echo", x=n): n for n in range(90)}
    lib.equal(len(tasks), 90)
    for task, n in tasks.items():
        lib.equal(server.ended(task, 20)["outputs"], {"a": {"text": f"echo: {n}"}})
    lib.until(lambda: server.topic("llama_deploy.echo")["acked"] == 90, what="all acknowledgements")
    figures = server.topic("llama_deploy.echo")
    lib.equal((figures["taken"], figures["redelivered"], figures["dead"]), (90, 0, 0))
    for task in tasks:
        kinds = [e["event"] for e in events(server, task)]
        lib.equal((kinds[0], kinds[-1], kinds.count("step_ended"), kinds.count("run_ended")), ("run_started", "run_ended", 1, 1))
    for each in workers:
        lib.equal(each.stop(), 0)


def test_a_server_that_dies_under_its_workers():
    """What they have done meanwhile is told to the next one, and nothing is lost."""
    server = flow.Server()
    register(server, "nap")
    each = flow.worker(server, NAP, args=("--concurrency", "2"))
    session = server.session()
    tasks = [put(server, session, "nap") for _ in range(6)]
    lib.until(lambda: server.topic("llama_deploy.nap")["leased"], what="the first tasks")
    server.kill()
    tasks += [put(server, session, "nap") for _ in range(2)]
    for task in tasks:
        lib.equal(server.ended(task, 60)["status"], "succeeded")
    assert each.process.poll() is None, each.output()
    lib.equal(each.stop(), 0)


def test_no_more_at_once_than_asked_for():
    server = flow.Server()
    register(server, "nap")
    flow.worker(server, NAP, args=("--concurrency", "2"))
    session = server.session()
    tasks = [put(server, session, "nap") for _ in range(6)]
    spans = []
    for task in tasks:
        server.ended(task, 20)
        told = events(server, task)
        spans.append((told[0]["time"], told[-1]["time"]))
    for begun, _ in spans:
        at_once = sum(b <= begun < e for b, e in spans)
        assert at_once <= 2, spans


def test_a_worker_of_several_workflows():
    server = flow.Server()
    register(server, "echo", "nap", "fail")
    flow.worker(server, flow.ECHO, NAP, FAIL)
    session = server.session()
    tasks = [put(server, session, name, x=n) for n in range(5) for name in ("echo", "nap", "fail")]
    ends = [server.ended(task, 20) for task in tasks]
    lib.equal([e["status"] for e in ends], ["succeeded", "succeeded", "failed"] * 5)
    for end in ends[2::3]:
        lib.contains(end["error"], "step a:")
        lib.contains(end["error"], "files are not allowed")
        lib.equal(end["error_type"], "forbidden")
    result = lib.get(f"{server.control}/sessions/{session}/tasks/{tasks[2]}/result").json()
    lib.equal(result["data"]["status"], "failed")
    lib.contains(result["result"], "files are not allowed")


def test_a_queue_that_asks_for_a_key():
    server = flow.Server("--api-key", "k3y")
    register(server, "echo", headers=KEYS)
    session = lib.post(server.control + "/sessions/create", headers=KEYS).json()
    without = flow.worker(server, flow.ECHO)
    wrong = flow.worker(server, flow.ECHO, args=("--api-key", "other"))
    task = put(server, session, "echo", KEYS, x=1)
    time.sleep(0.3)
    lib.equal(lib.get(f"{server.api}/runs/{task}", headers=KEYS).json()["status"], "queued")
    flow.worker(server, flow.ECHO, env={"SIGHTLINE_API_KEY": "k3y"})
    lib.until(lambda: lib.get(f"{server.api}/runs/{task}", headers=KEYS).json()["status"] == "succeeded", what="the task")
    for each in (without, wrong):
        assert each.process.poll() is None
        assert "k3y" not in each.output() and "other" not in each.output()
        lib.equal(each.stop(), 0)


def test_what_is_no_task_is_a_dead_letter():
    server = flow.Server()
    register(server, "echo")
    flow.worker(server, flow.ECHO)
    topic = server.queue + "/queues/llama_deploy.echo"
    bodies = ["nonsense", "[]", "{}", '{"data": {}}', '{"data": {"task_id": "t"}}', '{"data": {"task_id": 5, "input": "{}"}}',
              '{"data": {"task_id": "' + "x" * 64 + '", "input": "{}"}}', '{"data": {"input": "{}"}}']
    for body in bodies:
        lib.equal(lib.post(topic + "/messages", body.encode()).status, 201)
    lib.until(lambda: (server.topic("llama_deploy.echo") or {})["dead"] == len(bodies), what="the dead letters")
    dead = lib.get(topic + "/dead?max=100").json()["messages"]
    lib.equal(sorted(d["body"] for d in dead), sorted(bodies))
    session = server.session()
    lib.equal(server.ended(put(server, session, "echo", x=1))["status"], "succeeded")  # it goes on


def test_inputs_of_every_shape():
    """What is no object is none: of messages that are put by hand, as the server refuses such inputs."""
    server = flow.Server()
    register(server, "echo")
    flow.worker(server, flow.ECHO)
    topic = server.queue + "/queues/llama_deploy.echo/messages"
    for number, (given, text) in enumerate((("{}", "echo: "), ("[1]", "echo: "), ("5", "echo: "), ("not json", "echo: "), ("", "echo: "),
                                            ('{"x": {"a": [1, "\u00e9"]}}', 'echo: {"a":[1,"\u00e9"]}'), ('{"x": null}', "echo: "),
                                            ('{"x": true}', "echo: true"), ('{"x": 1.5}', "echo: 1.5"))):
        task = f"hand{number}"
        server.sql("insert into flow_runs(id, workflow, hash, inputs, traceparent, status, max_concurrency, timeout_ms, created_ns) "
                   f"values('{task}', 'echo', 'worker', '', '', 'queued', 0, 0, 1)")
        lib.equal(lib.post(topic, {"data": {"task_id": task, "input": given}, "action": "new_task"}).status, 201)
        lib.equal(server.ended(task)["outputs"], {"a": {"text": text}}, given)


def test_a_worker_that_ends_lets_its_task_end():
    server = flow.Server()
    register(server, "long")
    first = flow.worker(server, LONG, args=("--concurrency", "1"))
    session = server.session()
    task, behind = put(server, session, "long"), put(server, session, "long")
    lib.until(lambda: server.run(task)["status"] == "running", what="the first task")
    begun = time.monotonic()
    lib.equal(first.stop(), 0)
    assert time.monotonic() - begun < 10 * lib.SLOW
    lib.equal(server.ended(task)["status"], "succeeded")
    lib.equal(server.run(behind)["status"], "queued")
    flow.worker(server, LONG)
    lib.equal(server.ended(behind, 20)["status"], "succeeded")


def test_a_second_signal_does_not_wait():
    server = flow.Server()
    register(server, "long")
    first = flow.worker(server, LONG, args=("--lease", "1"))
    session = server.session()
    task = put(server, session, "long")
    lib.until(lambda: server.run(task)["status"] == "running", what="the task")
    first.signal(signal.SIGTERM)
    time.sleep(0.1)
    first.signal(signal.SIGTERM)
    lib.equal(first.process.wait(10 * lib.SLOW), 0)
    flow.worker(server, LONG, args=("--lease", "1"))
    lib.equal(server.ended(task, 30)["status"], "succeeded")  # given back, and done by the next
    lib.equal(server.topic("llama_deploy.long")["redelivered"], 1)


def test_what_cannot_be_a_worker():
    folder = lib.tmp()
    good = os.path.join(folder, "good.yaml")
    with open(good, "w") as file:
        file.write(flow.ECHO)
    bad = os.path.join(folder, "bad.yaml")
    with open(bad, "w") as file:
        file.write("name: x\nsteps: []\n")
    for args, words in (((), "no file"), ((bad,), "bad.yaml:"), ((os.path.join(folder, "none.yaml"),), "none.yaml"),
                        ((good, "--queue", "ftp://h"), "ftp://h"), ((good, "--queue", ""), "queue"), ((good, "--concurrency", "0"), "concurrency"),
                        ((good, "--concurrency", "x"), "concurrency"), ((good, "--lease", "0"), "lease"), ((good, "--lease", "soon"), "lease"),
                        ((good, "--nonsense"), "--nonsense")):
        done = lib.run("flow", "worker", *args, "--check")
        lib.equal(done.returncode, 2, f"{args}: {done.stdout}{done.stderr}")
        lib.contains(done.stdout + done.stderr, words, args)
    lib.equal(lib.run("flow", "worker", good, "--queue", "http://127.0.0.1:9/base/", "--check").returncode, 0)


lib.main(globals())
