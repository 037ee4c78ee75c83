#!/usr/bin/env python3
"""The flow plane: kills, restarts, ends, workers that die."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import ECHO, FAIL, SLEEP, add, deploy, deployment_folder, ended, lines, server, start, task, worker  # noqa: E402


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


lib.main(globals())
