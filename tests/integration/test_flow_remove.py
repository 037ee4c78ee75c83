#!/usr/bin/env python3
"""Deployments that are taken down: their tasks end or are cancelled, their names and states are free again."""
import os
import re
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import audited, post_deployment, requests, server, status  # noqa: E402

NAP = "name: nap\nsteps:\n  - {id: nap, type: action, action: sleep, seconds: '{{ seconds }}'}\n"
FILE = """name: %s
default-service: nap
services:
  nap: {name: Nap, source: {type: local, location: .}, import-path: nap.yaml}
"""


def folder():
    path = lib.tmp()
    with open(os.path.join(path, "nap.yaml"), "w") as file:
        file.write(NAP)
    return path


def deploy(api, name, base):
    reply = post_deployment(api, FILE % name, base_path=base)
    lib.equal(reply.status, 200, reply.text)


def task(api, name, seconds):
    reply = lib.post(f"{api}/deployments/{name}/tasks/create", {"input": '{"seconds": %s}' % seconds})
    lib.equal(reply.status, 200, reply.text)
    return reply.json()["task_id"]


def states(process, name):
    found = re.findall(r'llama_deploy_deployment_state\{[^}]*deployment_name="%s"[^}]*state="([a-z_]+)"[^}]*\} ([01])' % name,
                       lib.get(process.url("metrics") + "/metrics").text)
    assert found, "no series"
    return [state for state, value in found if value == "1"]


def names(api):
    return [d["name"] for d in lib.get(api + "/deployments/").json()]


def test_what_was_accepted_ends_and_nothing_new_is_taken():
    process, base = server("--flow-runs", 1), folder()
    api = process.url("api")
    deploy(api, "Going", base)
    deploy(api, "Staying", base)
    lib.until(lambda: states(process, "Going") == ["running"], what="its state")
    runs, waits = task(api, "Going", 1), task(api, "Going", 0.1)
    lib.until(lambda: status(api, runs) == "running")
    reply = lib.request("DELETE", f"{api}/deployments/Going")
    lib.equal((reply.status, reply.json()), (200, {"name": "Going", "tasks": 2, "cancelled": 0}))
    lib.equal(names(api), ["Staying"])
    lib.equal(lib.get(f"{api}/deployments/Going").status, 404)
    lib.equal(lib.post(f"{api}/deployments/Going/tasks/create", {"input": "{}"}).status, 404)
    lib.equal(lib.request("DELETE", f"{api}/deployments/Going").status, 404)
    lib.until(lambda: states(process, "Going") == [], what="no state at all: nobody is woken for it")
    lib.equal(states(process, "Staying"), ["running"])
    for run in (runs, waits):
        lib.until(lambda: status(api, run) == "succeeded", what="the end of what was accepted")
    other = task(api, "Staying", 0.1)
    lib.until(lambda: status(api, other) == "succeeded")
    deploy(api, "Going", base)
    again = task(api, "Going", 0.1)
    lib.until(lambda: status(api, again) == "succeeded", what="a task of its successor")
    lib.equal(states(process, "Going"), ["running"])
    lib.equal(process.stop(), 0)


def test_a_reload_meanwhile_and_the_disk_agree():
    """Both are asked for at once: what is up is what is up after the next start, and who was told of success is right."""
    data, base = lib.tmp(), folder()
    process = server(data=data)
    api = process.url("api")
    told = set()
    for n in range(9):
        name, answers = f"Both{n}", {}
        deploy(api, name, base)
        asks = [threading.Thread(target=lambda: answers.update(gone=lib.request("DELETE", f"{api}/deployments/{name}").status)),
                threading.Thread(target=lambda: answers.update(back=post_deployment(api, FILE % name, base_path=base, reload="true").status))]
        for each in asks:
            each.start()
        for each in asks:
            each.join()
        lib.equal(answers["back"], 200)
        told.add(answers["gone"])
        assert answers["gone"] == 200 or name in names(api), answers
    assert told <= {200, 409}, told
    up = sorted(names(api))
    lib.equal(process.stop(), 0)
    process = server(data=data)
    lib.equal(sorted(names(process.url("api"))), up)
    lib.equal(process.stop(), 0)


def test_its_tasks_are_cancelled_when_that_is_asked_for():
    process, base = server("--flow-runs", 1), folder()
    api = process.url("api")
    deploy(api, "Going", base)
    deploy(api, "Staying", base)
    runs, waits = task(api, "Going", 30), task(api, "Going", 30)
    lib.until(lambda: status(api, runs) == "running")
    reply = lib.request("DELETE", f"{api}/deployments/Going?cancel=true")
    lib.equal((reply.status, reply.json()), (200, {"name": "Going", "tasks": 2, "cancelled": 2}))
    for run in (runs, waits):
        lib.until(lambda: status(api, run) == "cancelled", what="their ends")
    other = task(api, "Staying", 0.1)
    lib.until(lambda: status(api, other) == "succeeded", what="a task of another deployment")
    lib.equal(process.stop(), 0)


def test_it_is_in_the_audit_log_and_counted():
    data, base = lib.tmp(), folder()
    process = server(data=data)
    api = process.url("api")
    deploy(api, "Going", base)
    lib.equal(lib.request("DELETE", f"{api}/deployments/Nobody").status, 404)
    lib.equal(lib.request("DELETE", f"{api}/deployments/Going").status, 200)
    for code in ("200", "404"):
        lib.until(lambda: requests(process, "DELETE", "/deployments/{deployment_name}", code) == 1, what="that it is counted")
    lib.equal(process.stop(), 0)
    lib.equal(audited(data), [("deployment.create", "Going"), ("deployment.delete", "Going")])


def test_a_start_goes_on_with_what_is_left():
    data, base = lib.tmp(), folder()
    process = server("--flow-runs", 1, data=data)
    api = process.url("api")
    deploy(api, "Going", base)
    session = lib.post(f"{api}/deployments/Going/sessions/create").json()["session_id"]
    runs, waits = task(api, "Going", 3), task(api, "Going", 0.1)
    lib.until(lambda: status(api, runs) == "running")
    lib.equal(lib.request("DELETE", f"{api}/deployments/Going").json()["tasks"], 2)
    lib.equal(process.stop(), 0)  # before they have ended
    process = server("--flow-runs", 1, data=data)
    api = process.url("api")
    lib.equal(names(api), [])
    for run in (runs, waits):
        lib.until(lambda: status(api, run) == "succeeded", 20, what="the end of what was accepted")
    control = process.url("control")
    lib.until(lambda: session not in lib.get(control + "/sessions").text, 20, what="that its sessions are gone")
    lib.equal(process.stop(), 0)
    process = server(data=data)
    lib.equal(names(process.url("api")), [])
    lib.equal(process.stop(), 0)


def test_removing_is_asked_for_many_times():
    import threading
    process, base = server(), folder()
    api, seen = process.url("api"), []

    def remove():
        seen.append(lib.request("DELETE", f"{api}/deployments/Going").status)
    for _ in range(5):
        deploy(api, "Going", base)
        made = [task(api, "Going", 0.05) for _ in range(5)]
        threads = [threading.Thread(target=remove) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        lib.equal(sorted(seen), [200, 404, 404, 404])
        del seen[:]
        for run in made:
            lib.until(lambda: status(api, run) == "succeeded", what="every task")
    lib.equal(process.stop(), 0)


lib.main(globals())
