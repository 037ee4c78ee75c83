#!/usr/bin/env python3
"""Servers and workers on one broker: messages, answers, cancelling, a disk that is full."""
import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import ECHO, FAIL, add, broker, can_connect, ended, free_port, lines, server, start, status, worker  # noqa: E402

SLEEP = "name: sleepy\nsteps:\n  - {id: nap, type: action, action: sleep, seconds: 60}\n"


def events(api, run):
    return [json.loads(line) for line in lib.get(f"{api}/runs/{run}/events").text.splitlines()]


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
        lib.equal(ended(api, again)["outputs"], {"shout": {"text": "echo: on"}})
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
        lib.equal(ended(api, second)["outputs"], {"shout": {"text": "echo: still here"}})
        for each in (asks, runs):
            lib.equal(each.stop(), 0)


def cancel_at_a_worker(process, queue, *args):
    """A run at a worker of the queue is cancelled at the server: it stops, and both end well."""
    api = process.url("api")
    add(api, SLEEP)
    each = worker(queue, SLEEP, args=args)
    run = start(api, "sleepy")
    until_runs(api, run)
    is_stopped(api, run, 4 * lib.SLOW)
    lib.equal(each.stop(), 0)
    lib.equal(process.stop(), 0)


def test_a_cancel_reaches_a_worker_of_the_cluster():
    with broker() as url:
        cancel_at_a_worker(server("--queue", url, "--flow-runs", 0), url)


def test_a_cancel_reaches_a_worker_over_http_with_its_next_extension():
    process = server("--flow-runs", 0)
    cancel_at_a_worker(process, process.url("queue"), "--lease", 3)


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


def test_a_cluster_holds_the_messages():
    with broker() as url:
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


def test_servers_of_a_cluster_have_their_own_answers():
    """Two servers run one another's tasks, and workers answer to the one that asked."""
    with broker() as url:
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


def test_who_was_refused_and_tries_again_with_the_key_is_accepted():
    """While the broker is away nothing is accepted, and the key does not stand for the refusal afterwards: also when the
    refused message has come to the broker after all, and nobody wanted it."""
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()

    def start_broker():
        broker = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lib.until(lambda: can_connect(port), what="the broker")
        return broker

    def put(key):
        return lib.post(process.url("api") + "/workflows/echo/runs", {"inputs": {"message": key}, "idempotency_key": key})

    def acked():
        return sum(t["acked"] for t in lib.get(process.url("queue") + "/queues").json()["queues"] if t["topic"] == "llama_deploy.echo")
    broker = start_broker()
    try:
        process = server("--queue", f"nats://127.0.0.1:{port}", "--flow-runs", 2)
        api = process.url("api")
        add(api, ECHO)
        broker.kill()
        broker.wait()
        for key in ("soon", "late"):
            reply = put(key)
            lib.equal(reply.status, 503, reply.text)
        refused = {r["idempotency_key"]: r for r in lib.until(lambda: (lambda runs: runs if all(r["status"] == "failed" for r in runs) else None)(
            lib.get(api + "/runs").json()["runs"]))}
        lib.equal([r["error_type"] for r in refused.values()], ["queue_full"] * 2)
        broker = start_broker()
        for key in ("soon", "late"):
            reply = lib.until(lambda key=key: (lambda r: r if r.status != 503 else None)(put(key)), 30)
            lib.equal((reply.status, reply.json()["existed"]), (202, False), reply.text)
            lib.equal(reply.json()["run_id"], refused[key]["run_id"])
            lib.equal(ended(api, reply.json()["run_id"])["outputs"], {"shout": {"text": "echo: " + key}})
            lib.equal(put(key).json()["existed"], True)
            lib.until(lambda: acked() >= 2, 30, "that the client of the broker has sent what it had kept")
        lib.equal(len(lib.get(api + "/runs").json()["runs"]), 2)
        lib.equal(process.stop(), 0)
    finally:
        broker.kill()
        broker.wait()


def test_a_broker_whose_disk_is_full_refuses_clearly_and_keeps_what_it_took():
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


if __name__ == "__main__":
    lib.main(globals())
