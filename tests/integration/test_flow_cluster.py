#!/usr/bin/env python3
"""What one server of a cluster asks for, and another one, or a worker, has to do: cancelling, and answers without an address."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

FLOW = ("--metrics-listen", "127.0.0.1:0", "--health-listen", "off", "--admin-listen", "off", "--api-listen", "127.0.0.1:0",
        "--control-listen", "127.0.0.1:0", "--queue-listen", "127.0.0.1:0", "--drain-timeout", "5")
ECHO = "name: echo\nsteps:\n  - {id: say, type: transform, function: template, template: 'echo: {{ message }}', output: [text]}\n"
SLEEP = "name: sleepy\nsteps:\n  - {id: nap, type: action, action: sleep, seconds: 60}\n"


def server(*args):
    return lib.Process("flow", "server", *FLOW, "--data-dir", lib.tmp(), *args)


def worker(queue, *texts, more=()):
    args = []
    for n, text in enumerate(texts):
        path = os.path.join(lib.tmp(), f"{n}.yaml")
        with open(path, "w") as file:
            file.write(text)
        args.append(path)
    return lib.Process("flow", "worker", *args, "--queue", queue, *more)


@contextlib.contextmanager
def broker():
    program, folder = lib.need("nats-server"), lib.tmp()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def there():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False
    try:
        lib.until(there, what="the broker")
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def add(api, *texts):
    for text in texts:
        assert lib.request("POST", api + "/workflows", text.encode()).status in (200, 201), text


def start(api, name, inputs=None):
    reply = lib.post(f"{api}/workflows/{name}/runs", {"inputs": inputs or {}})
    lib.equal(reply.status, 202, reply.text)
    return reply.json()["run_id"]


def events(api, run):
    return [json.loads(line) for line in lib.get(f"{api}/runs/{run}/events").text.splitlines()]


def status(api, run):
    return lib.get(f"{api}/runs/{run}").json()["status"]


def ended(api, run):
    return lib.until(lambda: (lambda r: r if r["status"] not in ("queued", "running") else None)(lib.get(f"{api}/runs/{run}").json()),
                     what=f"the end of {run}")


def until_runs(api, run):
    lib.until(lambda: status(api, run) == "running", what="that it runs")


def is_stopped(api, run, seconds):
    """Whoever runs it has ended its step: told to the server that has the run, after its own end is recorded."""
    begun = time.monotonic()
    lib.equal(lib.post(f"{api}/runs/{run}/cancel").status, 202)
    lib.equal(status(api, run) in ("cancelled", "running"), True)
    lib.until(lambda: [e["status"] for e in events(api, run) if e["event"] == "step_ended"] == ["cancelled"] if ended(api, run) else False,
              what="that its step is cancelled")
    lib.equal(ended(api, run)["status"], "cancelled")
    assert time.monotonic() - begun < seconds, time.monotonic() - begun
    lib.equal(lib.post(f"{api}/runs/{run}/cancel").status, 409)


def test_a_cancel_reaches_the_server_that_runs_it():
    with broker() as url:
        asks, runs = server("--queue", url, "--flow-runs", 0), server("--queue", url, "--flow-runs", 4)
        for each in (asks, runs):
            add(each.url("api"), SLEEP, ECHO)
        api = asks.url("api")
        run = start(api, "sleepy")
        until_runs(api, run)
        is_stopped(api, run, 4 * lib.SLOW)
        handler = lib.post(f"{api}/workflows/sleepy/run-nowait", {"start_event": {}}).json()["handler_id"]
        until_runs(api, handler)
        lib.equal(lib.post(f"{api}/handlers/{handler}/cancel").json(), {"status": "cancelled"})
        again = start(api, "echo", {"message": "on"})
        lib.equal(ended(api, again)["outputs"], {"say": {"text": "echo: on"}})
        for each in (asks, runs):
            lib.equal(each.stop(), 0)


def test_a_cancelled_run_that_waits_for_another_server_never_begins():
    with broker() as url:
        asks, runs = server("--queue", url, "--flow-runs", 0), server("--queue", url, "--flow-runs", 1)
        for each in (asks, runs):
            add(each.url("api"), SLEEP, ECHO)
        api = asks.url("api")
        first, second = start(api, "sleepy"), None
        until_runs(api, first)
        second = start(api, "sleepy")
        lib.equal(lib.post(f"{api}/runs/{second}/cancel").status, 202)
        lib.equal(ended(api, second)["error"], "cancelled before it began")
        is_stopped(api, first, 4 * lib.SLOW)
        lib.equal(ended(api, start(api, "echo", {"message": "x"}))["status"], "succeeded")
        lib.equal([e["event"] for e in events(api, second)], [])
        # Resumed, it is a message of its own, which the other server takes.
        lib.equal(lib.post(f"{api}/runs/{first}/resume").status, 202)
        until_runs(api, first)
        lib.equal(lib.post(f"{api}/runs/{first}/cancel").status, 202)
        lib.equal(ended(api, first)["status"], "cancelled")
        for each in (asks, runs):
            lib.equal(each.stop(), 0)


def say(url, word):
    """Publishes a word, as the servers do."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5) as s:
        s.sendall(b"CONNECT {\"verbose\":false}\r\nPUB sl.w %d\r\n%s\r\nPING\r\n" % (len(word), word.encode()))
        lib.until(lambda: b"PONG" in s.recv(4096), what="that the broker has it")


def test_a_word_of_an_earlier_cancel_does_not_reach_a_run_that_was_put_since():
    with broker() as url:
        asks, runs = server("--queue", url, "--flow-runs", 0), server("--queue", url, "--flow-runs", 1)
        for each in (asks, runs):
            add(each.url("api"), SLEEP, ECHO)
        api = asks.url("api")
        before = time.time_ns()
        time.sleep(0.01)
        first = start(api, "sleepy")
        second = start(api, "echo", {"message": "still here"})
        until_runs(api, first)
        for run in (first, second):  # one that runs, one whose message waits
            say(url, f"cancel llama_deploy {run} {before}")
        time.sleep(0.5)
        lib.equal(status(api, first), "running")
        say(url, f"cancel llama_deploy {first} {time.time_ns()}")
        lib.equal(ended(api, first)["status"], "cancelled")
        lib.equal(ended(api, second)["outputs"], {"say": {"text": "echo: still here"}})
        for each in (asks, runs):
            lib.equal(each.stop(), 0)


def test_a_cancel_reaches_a_worker_of_the_cluster():
    with broker() as url:
        asks = server("--queue", url, "--flow-runs", 0)
        api = asks.url("api")
        add(api, SLEEP)
        each = worker(url, SLEEP)
        run = start(api, "sleepy")
        until_runs(api, run)
        is_stopped(api, run, 4 * lib.SLOW)
        lib.equal(each.stop(), 0)
        lib.equal(asks.stop(), 0)


def test_a_cancel_reaches_a_worker_over_http_with_its_next_extension():
    process = server("--flow-runs", 0)
    api = process.url("api")
    add(api, SLEEP)
    each = worker(process.url("queue"), SLEEP, more=("--lease", 3))
    run = start(api, "sleepy")
    until_runs(api, run)
    is_stopped(api, run, 4 * lib.SLOW)
    lib.equal(each.stop(), 0)
    lib.equal(process.stop(), 0)


def test_a_worker_in_any_language_is_told():
    process = server("--flow-runs", 0)
    api, queue = process.url("api"), process.url("queue")
    add(api, ECHO)

    def lease():
        found = lib.request("POST", f"{queue}/queues/llama_deploy.echo/lease?wait=1&lease=30", b"").json()["messages"]
        return found[0] if found else None
    run = start(api, "echo")
    message = lease()
    where = f"{queue}/queues/messages/{message['id']}"
    extended = lib.post(f"{where}/extend?lease={message['lease']}&seconds=30").json()
    assert "cancelled" not in extended, extended
    lib.equal(lib.post(f"{api}/runs/{run}/cancel").status, 202)
    lib.equal(lib.post(f"{where}/extend?lease={message['lease']}&seconds=30").json()["cancelled"], True)
    lib.equal(lib.post(f"{where}/ack?lease={message['lease']}").status, 200)
    waits, wanted = start(api, "echo"), start(api, "echo")
    lib.equal(lib.post(f"{api}/runs/{waits}/cancel").status, 202)
    lib.equal(json.loads(lease()["body"])["data"]["task_id"], wanted, "the cancelled one is not given out")
    lib.equal(lease(), None)
    lib.equal(process.stop(), 0)


def answer(queue, message, result):
    """As workers do that know nothing of several servers: no address is looked at."""
    task = json.loads(message["body"])["data"]["task_id"]
    body = {"publisher_id": "w", "type": "control_plane", "action": "completed_task",
            "data": {"task_id": task, "history": [], "result": result, "data": {}}}
    lib.equal(lib.post(f"{queue}/queues/llama_deploy.control_plane/messages", body).status, 201)
    lib.equal(lib.post(f"{queue}/queues/messages/{message['id']}/ack?lease={message['lease']}").status, 200)


def test_answers_without_an_address_come_home():
    with broker() as url:
        servers = [server("--queue", url, "--flow-runs", 0) for _ in range(3)]
        runs = []
        for each in servers:
            add(each.url("api"), ECHO)
        for n in range(60):
            api = servers[n % 3].url("api")
            runs.append((api, start(api, "echo", {"message": str(n)})))
        queue = servers[0].url("queue")
        for _ in runs:
            found = lib.request("POST", f"{queue}/queues/llama_deploy.echo/lease?wait=10&lease=30", b"").json()["messages"]
            answer(queue, found[0], "done " + json.loads(found[0]["body"])["data"]["task_id"])
        for api, run in runs:
            lib.equal(ended(api, run)["outputs"], {"result": "done " + run})
        lib.equal(lib.get(f"{queue}/queues/llama_deploy.control_plane/dead").json()["messages"], [])
        for each in servers:
            lib.equal(each.stop(), 0)


if __name__ == "__main__":
    lib.main(globals())
