#!/usr/bin/env python3
"""Nothing is lost, done twice or left behind without a word: ends that cannot be written, events to tasks that are over,
sessions of tasks that were refused, results that no message holds, what only seemed to be kept."""
import http.client
import json
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import lib  # noqa: E402

COUNT = "name: count\nsteps:\n  - {id: a, type: action, action: queue, topic: counted, message: 'x'}\n"
DOUBLE = "name: double\nsteps:\n  - {id: a, type: transform, function: template, template: '{{ inputs.x }}{{ inputs.x }}', output: [text]}\n"
NAP = "name: nap\nsteps:\n  - {id: a, type: action, action: sleep, seconds: 0.4}\n"
FAIL = "name: fail\nsteps:\n  - {id: a, type: action, action: file, operation: read, path: nothing}\n"


def counted(server):
    return server.topic("counted")["put"]


# ---- ends of runs ----


def test_an_end_that_cannot_be_written_is_not_forgotten():
    """The message of a run is acknowledged behind its end in the file; without that it comes again, until there is one."""
    server = flow.Server()
    server.add(flow.ECHO)
    server.refuse("update on flow_runs", "when new.ended_ns is not null")
    run = server.start("echo", {"x": "hi"})
    time.sleep(0.7)
    lib.equal(server.run(run)["status"], "running")
    server.allow()
    done = server.ended(run)
    lib.equal((done["status"], done["outputs"]), ("succeeded", {"a": {"text": "echo: hi"}}))
    lib.until(lambda: server.topic("llama_deploy.echo")["acked"] == 1, what="the acknowledgement")
    lib.equal(server.stop(), 0)


def leased(server, topic):
    return lib.request("POST", f"{server.queue}/queues/{topic}/lease?wait=0.3&lease=30", b"").json()["messages"]


def test_a_task_that_has_ended_is_not_given_out_again():
    """Whoever ended it could not acknowledge it before the server died; messages of users with such a key are others."""
    server = flow.Server("--flow-runs", "0")
    server.add(flow.ECHO)
    over, waits = server.start("echo", {"x": 1}), server.start("echo", {"x": 2})
    for run in (over, waits):
        lib.equal(lib.request("POST", server.queue + "/queues/mine/messages", b"mine", {"Idempotency-Key": run}).status, 201)
    server.sql(f"update flow_runs set status = 'succeeded', outputs = '{{}}', ended_ns = 5 where id = '{over}'")
    lib.equal([m["idempotency_key"] for m in leased(server, "llama_deploy.echo") + leased(server, "llama_deploy.echo")], [waits])
    lib.until(lambda: server.topic("llama_deploy.echo")["acked"] == 1, what="the other's end")
    lib.equal([m["idempotency_key"] for m in leased(server, "mine") + leased(server, "mine")], [over, waits])


def test_an_end_that_a_worker_tells_is_acknowledged_when_it_is_kept():
    server = flow.Server()
    lib.equal(lib.post(server.control + "/services/register", {"service_name": "echo", "description": "d"}).status, 200)
    flow.worker(server, flow.ECHO)
    session = server.session()
    server.refuse("update on flow_runs", "when new.ended_ns is not null")
    task = lib.post(f"{server.control}/sessions/{session}/tasks", {"input": '{"x": "w"}', "service_id": "echo"}).json()
    lib.until(lambda: server.topic("llama_deploy.control_plane")["redelivered"] > 0, what="the answer coming again")
    lib.equal(lib.get(f"{server.control}/sessions/{session}/tasks/{task}/result").json(), None)
    server.allow()
    lib.equal(server.ended(task)["outputs"], {"a": {"text": "echo: w"}})
    lib.until(lambda: lib.get(f"{server.control}/sessions/{session}/tasks/{task}/result").json(), what="the result")


def test_a_message_of_a_service_says_when_its_result_is_not_kept():
    server = flow.Server()
    lib.post(server.control + "/services/register", {"service_name": "py", "description": "d"})
    session = server.session()
    task = lib.post(f"{server.control}/sessions/{session}/tasks", {"input": "{}", "service_id": "py"}).json()
    told = {"action": "completed_task", "data": {"task_id": task, "history": [], "result": "done", "data": {}}}
    server.refuse("update on flow_runs", "when new.ended_ns is not null")
    lib.equal(lib.post(server.control + "/process_message", told).status, 503)
    server.allow()
    lib.equal(lib.post(server.control + "/process_message", told).status, 200)
    lib.equal(server.ended(task)["outputs"], {"result": "done"})
    told["data"]["result"] = "later"
    lib.equal(lib.post(server.control + "/process_message", told).status, 200)  # it has ended: nothing changes
    lib.equal(server.run(task)["outputs"], {"result": "done"})


def test_messages_of_services_that_are_none():
    server = flow.Server()
    stream = {"action": "task_stream", "data": {"task_id": "t", "index": 0, "data": {"n": 1}}}
    lib.equal(lib.post(server.control + "/process_message", stream).status, 200)
    wrong = [None, [], {}, {"action": "task_stream"}, {"action": "completed_task", "data": {"task_id": "t"}},
             {"action": "completed_task", "data": {"task_id": "a b", "result": "x"}},
             {"action": "completed_task", "data": {"task_id": "t", "result": 5}},
             {"action": "completed_task", "data": {"task_id": "x" * 64, "result": "x"}},
             {"action": "unknown", "data": {"task_id": "t", "result": "x"}}, {"action": 5, "data": {"task_id": "t"}}]
    wrong += [{"action": "task_stream", "data": {"task_id": "t", "index": index, "data": {}}}
              for index in (-1, 1.5, "1", None, 2 ** 31, 2 ** 63 - 1, -2 ** 63)]
    wrong += [{"action": "task_stream", "data": {"task_id": "t", "index": 1}}]
    for message in wrong:
        reply = lib.post(server.control + "/process_message", message)
        lib.equal(reply.status, 422, f"{message}: {reply.text}")
    lib.equal(lib.get(server.control + "/").status, 200)


# ---- events ----


def test_an_event_to_a_task_does_not_run_it_again():
    server = flow.Server()
    server.add(COUNT)
    server.deploy(count=COUNT)
    session = server.session()
    task = lib.post(f"{server.control}/sessions/{session}/tasks", {"input": "{}", "service_id": "count"}).json()
    server.ended(task)
    made = server.task("create", {}, "count").json()
    server.ended(made["task_id"])
    lib.equal(counted(server), 2)
    event = {"service_id": "count", "event_obj_str": "{}"}
    lib.equal(lib.post(f"{server.control}/sessions/{session}/tasks/{task}/send_event", event).status, 200)
    lib.equal(lib.post(f"{server.api}/deployments/d/tasks/{made['task_id']}/events?session_id={made['session_id']}", event).status, 200)
    run = server.start("count")  # behind the events
    server.ended(run)
    lib.until(lambda: server.topic("llama_deploy.count")["acked"] >= 3, what="the event's acknowledgement")
    lib.equal(counted(server), 3)
    for topic in lib.get(server.queue + "/queues").json()["queues"]:
        if topic["topic"] != "counted":
            lib.equal((topic["ready"], topic["leased"], topic["dead"]), (0, 0, 0), topic)


def test_events_that_are_none():
    server = flow.Server()
    server.deploy(count=COUNT)
    made = server.task("create", {}, "count").json()
    base = f"{server.api}/deployments/d/tasks/{made['task_id']}/events"
    session = "?session_id=" + made["session_id"]
    good = {"service_id": "count", "event_obj_str": "{}"}
    for target, body, status in ((base, good, 422), (base + "?session_id=none", good, 404), (base + session, {}, 422),
                                 (base + session, {"service_id": "count"}, 422), (base + session, {"event_obj_str": "{}"}, 422),
                                 (base + session, {"service_id": "none", "event_obj_str": "{}"}, 404),
                                 (base + session, {"service_id": 5, "event_obj_str": "{}"}, 422),
                                 (base.replace("/d/", "/none/") + session, good, 404),
                                 (base.replace(made["task_id"], "none") + session, good, 404), (base + session, good, 200)):
        lib.equal(lib.post(target, body).status, status, f"{target} {body}")


# ---- sessions ----


def test_the_session_of_a_refused_task_goes_with_it():
    """tasks/run has a session of its own for each task, which nobody could remove later."""
    server = flow.Server()
    server.deploy(echo=flow.ECHO)
    before = lib.get(server.control + "/sessions").json()
    for _ in range(3):
        reply = server.task("run", {"x": "y" * 5000000}, "echo")
        lib.equal(reply.status, 413, reply.text[:200])
    lib.equal(server.task("run", {"x": "hi"}, "echo").json(), {"a": {"text": "echo: hi"}})
    lib.until(lambda: lib.get(server.control + "/sessions").json() == before, what="the sessions to go")


def test_a_deployment_removes_its_own_sessions_alone():
    server = flow.Server()
    server.deploy(echo=flow.ECHO)
    server.deploy("e", echo=flow.ECHO)
    mine = lib.post(server.api + "/deployments/d/sessions/create").json()["session_id"]
    other = lib.post(server.api + "/deployments/e/sessions/create").json()["session_id"]
    control = server.session()
    for session in (other, control, "none"):
        lib.equal(lib.post(f"{server.api}/deployments/d/sessions/delete?session_id={session}").json(), None)
    lib.equal(lib.get(f"{server.api}/deployments/e/sessions/{other}").status, 200)
    lib.equal(lib.get(f"{server.control}/sessions/{control}").status, 200)
    lib.equal(lib.get(f"{server.api}/deployments/d/sessions/{other}").status, 404)
    lib.equal(lib.get(f"{server.api}/deployments/d/sessions/{mine}").status, 200)
    lib.equal(lib.post(f"{server.api}/deployments/d/sessions/delete?session_id={mine}").status, 200)
    lib.equal(lib.get(f"{server.api}/deployments/d/sessions/{mine}").status, 404)
    lib.equal([s["session_id"] for s in lib.get(server.api + "/deployments/e/sessions").json()], [other])
    with open(os.path.join(server.data, "audit.jsonl")) as file:
        lib.until(lambda: "session.delete" in open(os.path.join(server.data, "audit.jsonl")).read(), what="the audit")
        gone = [json.loads(line)["object"] for line in file if "session.delete" in line]
    lib.equal(gone, [mine])  # what was not removed is not said to be


def test_the_state_of_a_session_says_when_it_is_not_kept():
    server = flow.Server()
    session = server.session()
    url = f"{server.control}/sessions/{session}/state"
    lib.equal(lib.post(url, {"a": 1, "b": {"c": [True, None, "\u00e9\u20ac"]}, "empty": {}}).status, 200)
    lib.equal(lib.get(url).json(), {"a": 1, "b": {"c": [True, None, "\u00e9\u20ac"]}})
    server.hide("session_state")
    reply = lib.post(url, {"a": 2, "d": 3})
    lib.equal(reply.status, 503, reply.text)
    server.show("session_state")
    lib.equal(lib.get(url).json()["a"], 1)
    lib.equal(lib.post(url, {}).status, 200)
    lib.equal(lib.post(url, {"a": None, "k" * 900: "long"}).status, 200)
    lib.equal(lib.get(url).json(), {"a": None, "b": {"c": [True, None, "\u00e9\u20ac"]}, "k" * 900: "long"})
    for body in ([], 5, "x", None):
        lib.equal(lib.post(url, body).status, 422, body)
    lib.equal(lib.post(f"{server.control}/sessions/none/state", {"a": 1}).status, 404)
    many = {f"k{n}": n for n in range(500)}
    lib.equal(lib.post(url, many).status, 200)
    lib.equal({k: v for k, v in lib.get(url).json().items() if k in many}, many)


# ---- what is said to be kept ----


def test_a_workflow_or_deployment_that_cannot_be_kept_is_refused():
    server = flow.Server()
    server.hide("workflows")
    reply = lib.request("POST", server.api + "/workflows", flow.ECHO.encode())
    lib.equal(reply.status, 503, reply.text)
    server.show("workflows")
    server.add(flow.ECHO)
    server.hide("deployments")
    server.deploy(count=COUNT, status=503)
    server.show("deployments")
    server.deploy(count=COUNT, reload=True)
    lib.equal(server.stop(), 0)
    again = flow.Server(data=server.data)
    lib.equal(lib.get(again.api + "/workflows/echo").status, 200)
    lib.equal(lib.get(again.api + "/deployments/count").status, 404)
    lib.equal(lib.get(again.api + "/deployments/d").status, 200)


def test_sessions_and_services_that_cannot_be_kept_are_refused():
    server = flow.Server()
    server.deploy(echo=flow.ECHO)
    server.hide("sessions")
    lib.equal(lib.post(server.control + "/sessions/create").status, 503)
    lib.equal(lib.post(server.api + "/deployments/d/sessions/create").status, 503)
    lib.equal(server.task("create", {"x": 1}, "echo").status, 503)
    assert lib.get(server.control + "/sessions").status >= 500
    server.show("sessions")
    server.hide("services")
    lib.equal(lib.post(server.control + "/services/register", {"service_name": "s", "description": "d"}).status, 503)
    lib.equal(lib.post(server.control + "/services/deregister?service_name=s").status, 503)
    lib.equal(lib.get(server.control + "/services").status, 503)
    server.show("services")
    lib.equal(lib.post(server.control + "/services/register", {"service_name": "s", "description": "d"}).status, 200)
    lib.equal(server.task("create", {"x": 1}, "echo").status, 200)


def test_runs_that_cannot_be_kept_are_refused_whole():
    server = flow.Server()
    server.add(flow.ECHO)
    for table in ("flow_sources", "flow_unsent", "flow_runs"):
        server.hide(table)
        reply = lib.post(server.api + "/workflows/echo/runs", {"inputs": {"x": 1}})
        lib.equal(reply.status, 503, table + reply.text)
        server.show(table)
    lib.equal(lib.get(server.api + "/runs").json()["runs"], [])
    run = server.start("echo", {"x": 2})
    lib.equal(server.ended(run)["status"], "succeeded")
    lib.equal(server.stop(), 0)
    again = flow.Server(data=server.data)
    time.sleep(0.3)
    lib.equal([r["run_id"] for r in lib.get(again.api + "/runs").json()["runs"]], [run])


# ---- keys ----


def keyed(server, key):
    parts = urllib.parse.urlsplit(server.api)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.putrequest("POST", "/workflows/echo/runs")
    connection.putheader("Idempotency-Key", key)
    connection.putheader("Content-Length", "2")
    connection.endheaders()
    connection.send(b"{}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body)


def test_keys_at_their_limits():
    server = flow.Server()
    server.add(flow.ECHO)
    for key, status in ((b"k", 202), (b"x" * 255, 202), (b"x" * 256, 422), (("\u00e9" * 127).encode(), 202), (b"\xff", 422), (b"a\xc3", 422)):
        got, body = keyed(server, key)
        lib.equal(got, status, f"{key[:10]}: {body}")
    first, again = keyed(server, b"once")[1], keyed(server, b"once")[1]
    lib.equal((first["run_id"], first["existed"], again["existed"]), (again["run_id"], False, True))
    listed = lib.get(server.api + "/runs")
    lib.equal(listed.status, 200, listed.text)  # also with those keys in it
    for key in ("", 5, [], "x" * 256, True):
        lib.equal(lib.post(server.api + "/workflows/echo/runs", {"idempotency_key": key}).status, 422, key)
    lib.equal(lib.post(server.api + "/workflows/echo/runs", {"idempotency_key": None}).status, 202)


def test_a_row_that_no_json_can_hold_takes_no_list_with_it():
    server = flow.Server()
    server.add(flow.ECHO)
    runs = [server.start("echo", {"x": n}) for n in range(3)]
    for run in runs:
        server.ended(run)
    server.sql(f"update flow_runs set error = cast(x'ff' as text), idempotency_key = cast(x'61ff' as text) where id = '{runs[1]}'")
    listed = lib.get(server.api + "/runs").json()["runs"]
    lib.equal([r["run_id"] for r in listed], runs[::-1])
    lib.equal((listed[1]["error"], listed[1]["idempotency_key"]), (None, None))
    lib.equal(server.run(runs[1])["status"], "succeeded")


# ---- results that no message holds ----


def test_a_result_too_large_for_a_message_ends_its_run():
    """A worker tells of it in so many words, instead of trying for ever what no queue takes."""
    server = flow.Server()
    lib.post(server.control + "/services/register", {"service_name": "double", "description": "d"})
    each = flow.worker(server, DOUBLE, args=("--concurrency", "1"))
    session = server.session()
    url = f"{server.control}/sessions/{session}/tasks"
    large = lib.post(url, {"input": json.dumps({"x": "y" * 2200000}), "service_id": "double"}).json()
    small = lib.post(url, {"input": json.dumps({"x": "z"}), "service_id": "double"}).json()
    done = server.ended(large)
    lib.equal((done["status"], done["error_type"]), ("failed", "too_big"))
    lib.contains(done["error"], "too large to be sent")
    lib.equal(server.ended(small)["outputs"], {"a": {"text": "zz"}})  # its place is free again
    lib.until(lambda: server.topic("llama_deploy.double")["acked"] == 2, what="both to be acknowledged")
    lib.equal(each.stop(), 0)


def test_topics_with_signs_that_paths_do_not_hold():
    env = {"CONTROL_PLANE_TOPIC_NAMESPACE": "our flows/50%?x"}
    server = flow.Server(env=env)
    lib.post(server.control + "/services/register", {"service_name": "echo", "description": "d"})
    flow.worker(server, flow.ECHO, env=env)
    session = server.session()
    task = lib.post(f"{server.control}/sessions/{session}/tasks", {"input": '{"x": "w"}', "service_id": "echo"}).json()
    lib.equal(server.ended(task)["outputs"], {"a": {"text": "echo: w"}})
    lib.equal(server.topic("our flows/50%?x.control_plane")["acked"] > 0, True)


# ---- streams ----


def test_a_stream_that_cannot_be_read_breaks_off():
    """It does not end as if all had been said."""
    server = flow.Server()
    server.add(flow.ECHO)
    run = server.start("echo", {"x": 1})
    server.ended(run)
    whole = lib.get(f"{server.api}/runs/{run}/events")
    assert len(whole.text.splitlines()) == 4, whole.text
    server.hide("flow_events")
    try:
        broken = lib.get(f"{server.api}/runs/{run}/events")
        raise AssertionError(f"{broken.status}: {broken.text}")
    except (http.client.HTTPException, ConnectionError):
        pass
    server.show("flow_events")
    lib.equal(lib.get(f"{server.api}/runs/{run}/events").text, whole.text)


def test_streams_begin_behind_the_event_that_was_seen():
    server = flow.Server()
    server.add(flow.ECHO)
    run = server.start("echo", {"x": 1})
    server.ended(run)
    whole = [json.loads(line) for line in lib.get(f"{server.api}/runs/{run}/events").text.splitlines()]
    lib.equal([e["seq"] for e in whole], list(range(1, len(whole) + 1)))
    for after in range(len(whole) + 2):
        for query, headers in ((f"?after={after}", {}), ("", {"Last-Event-ID": str(after)})):
            reply = lib.get(f"{server.api}/runs/{run}/events{query}", headers=headers)
            lib.equal([json.loads(line) for line in reply.text.splitlines()], whole[after:], f"{query} {headers}")
    events = lib.get(f"{server.api}/runs/{run}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "1"})
    lib.equal(events.headers["content-type"], "text/event-stream")
    lib.equal([line for line in events.text.splitlines() if line.startswith("id: ")], [f"id: {n}" for n in range(2, len(whole) + 1)])
    for query, headers in (("?after=x", {}), ("?after=-1", {}), ("?after=9223372036854775808", {}), ("", {"Last-Event-ID": "x"}), ("", {"Last-Event-ID": "1.5"})):
        lib.equal(lib.get(f"{server.api}/runs/{run}/events{query}", headers=headers).status, 422, f"{query} {headers}")
    lib.equal(lib.get(f"{server.api}/runs/none/events").status, 404)


lib.main(globals())
