#!/usr/bin/env python3
"""What the client of llama-agents calls, without its package: handlers, their events and results, on a real server."""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from flow_calls import add, audited, requests, server  # noqa: E402

ECHO = "name: echo\nsteps:\n  - {id: say, type: transform, function: template, template: 'echo: {{ message }}', output: [text]}\n"
SLEEP = "name: sleepy\nsteps:\n  - {id: nap, type: action, action: sleep, seconds: %s}\n"
LATE = "name: late\ntimeout_seconds: 1\nsteps:\n  - {id: nap, type: action, action: sleep, seconds: 30}\n"
FAIL = "name: broken\nsteps:\n  - {id: open, type: transform, function: json, inputs: [message], output: [value]}\n"


def start(api, name, **body):
    reply = lib.post(f"{api}/workflows/{name}/run-nowait", {"start_event": {}, "context": {}, **body})
    lib.equal(reply.status, 200, reply.text)
    return reply.json()["handler_id"]


def frames(text):
    """(id, envelope) of server-sent events."""
    found = []
    for frame in text.split("\n\n"):
        if frame:
            number, data = frame.split("\n")
            found.append((int(number[len("id: "):]), json.loads(data[len("data: "):])))
    return found


def events(api, handler, **query):
    words = "&".join(f"{k}={v}" for k, v in {"after_sequence": -1, **query}.items())
    return lib.get(f"{api}/events/{handler}?{words}")


def types(found):
    return [e["type"] for _, e in found]


def test_a_stream_is_whole_from_every_number():
    process = server()
    api = process.url("api")
    add(api, ECHO)
    handler = start(api, "echo", start_event={"message": "hi"})
    whole = frames(events(api, handler, include_internal="true").text)
    lib.equal(types(whole), ["RunStartedEvent", "StepStateChanged", "StepStartedEvent", "StepStateChanged", "StepEndedEvent", "StopEvent"])
    lib.equal(whole[-1][1]["value"], {"result": {"say": {"text": "echo: hi"}}})
    numbers = [n for n, _ in whole]
    lib.equal(numbers, sorted(set(numbers)))
    for after in range(-1, numbers[-1] + 2):
        for internal in ("true", "false"):
            reply = events(api, handler, after_sequence=after, include_internal=internal)
            wanted = [(n, e) for n, e in whole if n > after and (internal == "true" or e["types"] != ["InternalDispatchEvent"])]
            lib.equal(reply.status, 200 if wanted else 204, (after, internal))
            lib.equal(frames(reply.text), wanted, (after, internal))
    by_header = lib.get(f"{api}/events/{handler}", headers={"Last-Event-ID": str(numbers[-2])})
    lib.equal(frames(by_header.text), whole[-1:])
    lib.equal(lib.get(f"{api}/events/{handler}").status, 204, "now, and it has ended")
    bare = events(api, handler, sse="false", include_qualified_name="False")
    lib.equal(bare.headers["content-type"], "application/x-ndjson")
    assert all(json.loads(line)["qualified_name"] is None for line in bare.text.splitlines()), bare.text
    lib.equal(process.stop(), 0)


def test_now_is_what_comes_next():
    process = server()
    api = process.url("api")
    add(api, SLEEP % lib.SLOW)
    handler = start(api, "sleepy")
    lib.until(lambda: lib.get(f"{api}/runs/{handler}").json()["status"] == "running")
    time.sleep(0.2)
    found = frames(lib.get(f"{api}/events/{handler}", timeout=20).text)
    lib.equal(types(found), ["StepEndedEvent", "StopEvent"])
    lib.equal(process.stop(), 0)


def test_a_run_that_never_began_has_its_last_event():
    process = server("--flow-runs", 1)
    api = process.url("api")
    add(api, SLEEP % 30)
    first, second = start(api, "sleepy"), start(api, "sleepy")
    got = []
    reader = threading.Thread(target=lambda: got.append(events(api, second).text))
    reader.start()
    lib.until(lambda: lib.get(f"{api}/handlers/{second}").status == 202)
    time.sleep(0.2)
    lib.equal(lib.post(f"{api}/handlers/{second}/cancel").json(), {"status": "cancelled"})
    reader.join(10)
    lib.equal(types(frames(got[0])), ["WorkflowCancelledEvent"])
    lib.equal(types(frames(events(api, second).text)), ["WorkflowCancelledEvent"], "the same later")
    lib.equal(lib.post(f"{api}/handlers/{first}/cancel?purge=true").json(), {"status": "deleted"})
    lib.equal(lib.get(f"{api}/runs/{first}").status, 404)
    lib.equal(process.stop(), 0)


def test_a_stream_ends_when_its_run_is_removed():
    process = server()
    api = process.url("api")
    add(api, SLEEP % 30)
    handler, got = start(api, "sleepy"), []
    lib.until(lambda: lib.get(f"{api}/runs/{handler}").json()["status"] == "running")
    readers = [threading.Thread(target=lambda: got.append(events(api, handler).text)) for _ in range(5)]
    for r in readers:
        r.start()
    time.sleep(0.3)
    lib.equal(lib.post(f"{api}/handlers/{handler}/cancel?purge=true").json(), {"status": "deleted"})
    for r in readers:
        r.join(10)
    lib.equal([types(frames(text))[-1] for text in got], ["WorkflowCancelledEvent"] * 5)
    lib.equal(events(api, handler).status, 404)
    lib.equal(process.stop(), 0)


def test_every_end_is_told():
    process = server()
    api = process.url("api")
    add(api, FAIL, LATE)
    failed = lib.post(f"{api}/workflows/broken/run", {"start_event": {"message": "{"}})
    lib.equal((failed.status, failed.json()["status"], failed.json()["result"]), (500, "failed", None))
    assert failed.json()["error"], failed.text
    last = frames(events(api, failed.json()["handler_id"]).text)[-1][1]
    lib.equal((last["type"], last["types"], last["value"]["step_name"], last["value"]["attempts"]),
              ("WorkflowFailedEvent", ["StopEvent"], "open", 1))
    late = lib.post(f"{api}/workflows/late/run", {"start_event": {}}, timeout=20).json()
    lib.equal(late["status"], "failed")
    last = frames(events(api, late["handler_id"]).text)[-1][1]
    lib.equal(last["type"], "WorkflowTimedOutEvent", last)
    assert 0.9 < last["value"]["timeout"] < 1 + lib.SLOW, last
    lib.equal(last["value"]["active_steps"], ["nap"])
    lib.equal(process.stop(), 0)


def test_a_name_is_one_run_at_a_time():
    data = lib.tmp()
    process = server(data=data)
    api = process.url("api")
    add(api, ECHO, SLEEP % 1)
    name = "user 7/ü"
    path = "user%207%2F%C3%BC"
    begun, threads = [], []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: begun.append(lib.post(
            f"{api}/workflows/sleepy/run-nowait", {"start_event": {}, "handler_id": name}).status)))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lib.equal(sorted(begun), [200] + [409] * 7)
    lib.until(lambda: lib.get(f"{api}/handlers/{path}").status == 200, what="the end of the first run")
    first = lib.get(f"{api}/handlers/{path}").json()
    again = lib.post(f"{api}/workflows/echo/run", {"start_event": {"message": "2"}, "handler_id": name}).json()
    lib.equal((again["handler_id"], again["workflow_name"], again["status"]), (name, "echo", "completed"))
    assert again["run_id"] != first["run_id"], again
    listed = lib.get(f"{api}/handlers").json()["handlers"]
    lib.equal([(h["handler_id"], h["run_id"]) for h in listed], [(name, again["run_id"])], "the newest run of a name alone")
    lib.equal(process.stop(), 0)
    process = server(data=data)
    api = process.url("api")
    lib.equal(lib.get(f"{api}/handlers/{path}").json(), again, "after a restart")
    lib.equal(lib.post(f"{api}/handlers/{path}/cancel?purge=true").json(), {"status": "deleted"})
    lib.equal(lib.get(f"{api}/handlers").json(), {"handlers": []}, "all its runs")
    lib.equal(lib.get(f"{api}/runs").json()["runs"], [])
    lib.equal(process.stop(), 0)


def test_a_name_that_is_removed_while_it_is_given_again_keeps_its_new_run():
    data = lib.tmp()
    process = server(data=data)
    api = process.url("api")
    add(api, ECHO, SLEEP % 60)
    gone = set()
    for _ in range(20):
        start(api, "echo", handler_id="mine")
        lib.until(lambda: lib.get(f"{api}/handlers/mine").status == 200, what="the end of the run before")
        answers = {}
        removes = threading.Thread(target=lambda: answers.update(gone=lib.post(f"{api}/handlers/mine/cancel?purge=true").status))
        begins = threading.Thread(target=lambda: answers.update(
            new=lib.post(f"{api}/workflows/sleepy/run-nowait", {"start_event": {}, "handler_id": "mine"}).json()["run_id"]))
        for each in (begins, removes):
            each.start()
        for each in (begins, removes):
            each.join()
        lib.equal(answers["gone"], 200)
        reply = lib.get(f"{api}/runs/{answers['new']}")
        if reply.status == 200:
            lib.equal(lib.post(f"{api}/handlers/{answers['new']}/cancel").status, 200)
        else:
            gone.add(("run.cancel", answers["new"]))
    lib.equal(process.stop(), 0)
    assert gone <= set(audited(data)), gone  # those were there when they were asked to go


def test_what_clients_change_is_in_the_audit_log_and_counted():
    data = lib.tmp()
    process = server(data=data)
    api = process.url("api")
    add(api, SLEEP % 60)
    run = start(api, "sleepy", handler_id="mine")
    run = lib.get(f"{api}/handlers/{run}").json()["run_id"]
    lib.equal(lib.post(f"{api}/handlers/mine/cancel").status, 200)
    lib.equal(lib.post(f"{api}/handlers/mine/cancel").status, 404)
    lib.equal(lib.post(f"{api}/handlers/mine/cancel?purge=true").json(), {"status": "deleted"})
    for method, route, status, count in (("POST", "/handlers/{handler_id}/cancel", "200", 2), ("POST", "/handlers/{handler_id}/cancel", "404", 1),
                                         ("GET", "/handlers/{handler_id}", "202", 1), ("POST", "/workflows/{workflow_name}/run-nowait", "200", 1)):
        lib.until(lambda: requests(process, method, route, status) == count, what=f"the requests of {route} with {status}")
    lib.equal(process.stop(), 0)
    lib.equal(audited(data)[1:], [("run.create", run), ("run.cancel", run), ("run.delete", "mine")])


def test_names_that_cannot_be():
    process = server()
    api = process.url("api")
    add(api, ECHO)
    for name in (5, ["x"], "n" * 256, "a\u0000b"):
        reply = lib.post(f"{api}/workflows/echo/run", {"handler_id": name})
        lib.equal(reply.status, 400, (name, reply.text))
    for name in (None, "", "n" * 255):
        lib.equal(lib.post(f"{api}/workflows/echo/run", {"handler_id": name}).status, 200, name)
    lib.equal(process.stop(), 0)


def test_lists_are_filtered():
    process = server()
    api = process.url("api")
    add(api, ECHO, FAIL, SLEEP % 30)
    for name in ("echo", "broken", "echo"):
        lib.post(f"{api}/workflows/{name}/run", {"start_event": {"message": "{"}})
    start(api, "sleepy")
    for query, wanted in (("", ["echo", "broken", "echo", "sleepy"]), ("status=completed", ["echo", "echo"]), ("status=running", ["sleepy"]),
                          ("status=failed&status=running", ["broken", "sleepy"]), ("workflow_name=echo&workflow_name=sleepy&status=completed",
                                                                                   ["echo", "echo"]),
                          ("status=", ["echo", "broken", "echo", "sleepy"]), ("status=queued", []), ("workflow_name=%27%20or%201", [])):
        found = lib.get(f"{api}/handlers?{query}").json()["handlers"]
        lib.equal([h["workflow_name"] for h in found], wanted, query)
    lib.equal(process.stop(), 0)


def test_the_graph_and_the_inputs_of_a_file():
    process = server()
    api = process.url("api")
    add(api, ECHO)
    lib.equal(lib.get(api + "/health").json(), {"status": "healthy"})
    listed = lib.get(api + "/workflows").json()
    lib.equal((listed["workflows"], [d["name"] for d in listed["details"]]), (["echo"], ["echo"]))
    schema = lib.get(api + "/workflows/echo/schema").json()
    lib.equal(list(schema["start"]["properties"]), ["message"])
    graph = lib.get(api + "/workflows/echo/representation").json()["graph"]
    lib.equal(sorted((e["source"], e["target"]) for e in graph["edges"]), [("StartEvent", "say"), ("say", "StopEvent")])
    lib.equal([e["title"] for e in lib.get(api + "/workflows/echo/events").json()["events"]][:2], ["StartEvent", "StopEvent"])
    lib.equal(process.stop(), 0)


lib.main(globals())
