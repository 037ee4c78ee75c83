#!/usr/bin/env python3
"""What users of the flow plane trip over: each test is one of their steps, and what they may expect of it."""
import http.client
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
    lib.equal(heard, [("run_started", "running")])
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


if __name__ == "__main__":
    lib.main(globals())
