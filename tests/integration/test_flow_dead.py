#!/usr/bin/env python3
"""Tasks whose messages become dead letters: they end, say why, and come back; runs that cannot be resumed end again."""
import json
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import lib  # noqa: E402
import test_flow_cluster as cluster  # noqa: E402

TWO = ("name: two\nsteps:\n  - {id: a, type: action, action: queue, topic: counted, message: 'x'}\n"
       "  - {id: b, type: action, action: sleep, seconds: 60, depends_on: [a]}\n")
NAP = "name: nap\nsteps:\n  - {id: a, type: action, action: sleep, seconds: 1}\n"


def lease(queue, topic="llama_deploy.echo"):
    found = lib.request("POST", f"{queue}/queues/{topic}/lease?wait=10&lease=30", b"", timeout=20).json()["messages"]
    assert found, "no message"
    return found[0]


def kill(queue, message, reason="poison"):
    reply = lib.post(f"{queue}/queues/messages/{message['id']}/nack?lease={message['lease']}&dead=true&reason={reason}")
    lib.equal(reply.status, 200, reply.text)


def requeue(queue, letter=None, topic="llama_deploy.echo"):
    """Of a cluster the letter may not be in the stream yet."""
    target = f"{queue}/queues/{topic}/dead/requeue" + (f"?id={letter}" if letter else "")
    lib.until(lambda: lib.post(target).json().get("count") == 1, what="the letter that is brought back")


def is_dead(run, topic="llama_deploy.echo"):
    lib.equal((run["status"], run["error_type"]), ("failed", "dead_letter"), str(run))
    assert "(poison)" in run["error"] and f"POST /queues/{topic}/dead/requeue" in run["error"], run["error"]


def failures(server):
    page = lib.get(server.process.url("metrics") + "/metrics").text
    lines = [line for line in page.splitlines() if line.startswith("orchestrator_workflow_executions_total{") and 'status="failure"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_a_run_whose_message_is_dead_fails_and_comes_back():
    server = flow.Server("--flow-runs", "0")
    server.add(flow.ECHO)
    run = server.start("echo", {"x": "one"})
    events = []
    reader = threading.Thread(target=lambda: events.append(lib.get(f"{server.api}/runs/{run}/events", timeout=20).text))
    reader.start()
    time.sleep(0.3)  # the stream is open
    message = lease(server.queue)
    kill(server.queue, message)
    is_dead(server.ended(run))
    reader.join(10)
    assert events, "the stream does not end"
    assert f"?id={message['id']}" in server.run(run)["error"]
    lib.until(lambda: failures(server) == 1, what="the run among the failures")
    lib.equal(lib.post(f"{server.api}/runs/{run}/cancel").status, 409)
    requeue(server.queue, message["id"])
    message = lease(server.queue)
    cluster.answer(server.queue, message, "done")
    lib.until(lambda: server.run(run)["status"] == "succeeded", what="the run that came back")
    done = server.run(run)
    lib.equal((done["outputs"], done["error"], done["error_type"]), ({"result": "done"}, None, None))
    lib.equal(server.stop(), 0)


def test_a_run_that_never_began_is_resumed_from_a_dead_letter():
    """Its message has a key of its own: with that of the dead one it would be taken for it."""
    server = flow.Server("--flow-runs", "0")
    server.add(flow.ECHO)
    run = server.start("echo", {"x": "one"})
    for _ in range(3):
        kill(server.queue, lease(server.queue))
        is_dead(server.ended(run))
        lib.equal(lib.post(f"{server.api}/runs/{run}/resume").status, 202)
    cluster.answer(server.queue, lease(server.queue), "done")
    lib.equal(server.ended(run)["outputs"], {"result": "done"})
    requeue_all = lib.post(f"{server.queue}/queues/llama_deploy.echo/dead/requeue").json()
    lib.equal(requeue_all["count"], 3)
    lib.equal(server.stop(), 0)
    server = flow.Server(data=server.data)  # runs them: they are over
    lib.until(lambda: server.topic("llama_deploy.echo")["acked"] == 3, what="letters of a run that is over")
    lib.equal(server.run(run)["outputs"], {"result": "done"})
    lib.equal(server.stop(), 0)


def test_a_task_of_a_deployment_is_answered():
    server = flow.Server()
    server.deploy(py="src.app:main")
    answers = []
    caller = threading.Thread(target=lambda: answers.append(server.task("run", {}, "py")))
    caller.start()
    kill(server.queue, lease(server.queue, "llama_deploy.py"))
    caller.join(10)
    assert answers, "the caller waits for ever"
    lib.equal(answers[0].status, 500, answers[0].text)
    assert "dead letter" in answers[0].text, answers[0].text
    lib.equal(server.stop(), 0)


def test_a_result_that_is_dead_fails_its_run_and_brings_it_back():
    server = flow.Server("--flow-runs", "0")
    server.add(flow.ECHO)
    run = server.start("echo")
    message = lease(server.queue)
    server.refuse("update on flow_runs", "when new.status = 'succeeded'")
    cluster.answer(server.queue, message, "done")
    done = server.ended(run, 20)  # five tries, a second apart
    lib.equal((done["status"], done["error_type"]), ("failed", "dead_letter"))
    assert done["error"].startswith("its result became a dead letter"), done["error"]
    server.allow()
    requeue(server.queue, topic="llama_deploy.control_plane")
    lib.until(lambda: server.run(run)["status"] == "succeeded", what="the result that came back")
    lib.equal(server.stop(), 0)


def test_letters_of_an_earlier_life_are_found():
    server = flow.Server("--flow-runs", "0")
    server.add(flow.ECHO)
    dead, waits = server.start("echo", {"x": "dead"}), server.start("echo", {"x": "waits"})
    server.refuse("update on flow_runs", "when new.ended_ns is not null")
    message = lease(server.queue)
    lib.equal(json.loads(message["body"])["data"]["task_id"], dead)
    kill(server.queue, message)
    lib.until(lambda: server.topic("llama_deploy.echo")["dead"] == 1, what="the letter")
    lib.equal(server.stop(), 0)
    server.allow()
    server = flow.Server("--flow-runs", "0", data=server.data)
    is_dead(server.ended(dead))
    lib.equal(server.run(waits)["status"], "queued")
    lib.equal(server.stop(), 0)
    server = flow.Server(data=server.data)
    requeue(server.queue)
    lib.until(lambda: server.run(dead)["status"] == "succeeded", what="the run that came back")
    lib.equal(server.run(dead)["outputs"], {"a": {"text": "echo: dead"}})
    lib.equal(server.ended(waits)["status"], "succeeded")
    lib.equal(server.stop(), 0)


def test_a_letter_of_another_server_of_the_cluster():
    with cluster.broker() as url:
        home, other = flow.Server("--queue", url, "--flow-runs", "0"), flow.Server("--queue", url, "--flow-runs", "0")
        for each in (home, other):
            each.add(flow.ECHO)
        run = home.start("echo", {"x": "one"})
        kill(other.queue, lease(other.queue))
        is_dead(home.ended(run))
        requeue(other.queue)
        cluster.answer(other.queue, lease(other.queue), "done")
        lib.until(lambda: home.run(run)["status"] == "succeeded", what="the run that came back")
        # One that dies while its server is down.
        run = home.start("echo", {"x": "two"})
        lib.equal(home.stop(), 0)
        kill(other.queue, lease(other.queue))
        home = flow.Server("--queue", url, "--flow-runs", "0", data=home.data)
        is_dead(home.ended(run))
        lib.equal(lib.post(f"{home.api}/runs/{run}/resume").status, 202)
        cluster.answer(other.queue, lease(other.queue), "again")
        lib.equal(home.ended(run)["outputs"], {"result": "again"})
        for each in (home, other):
            lib.equal(each.stop(), 0)


def test_finished_steps_go_to_the_server_that_goes_on():
    with cluster.broker() as url:
        home = flow.Server("--queue", url)
        home.add(TWO)
        run = home.start("two")
        lib.until(lambda: [s["status"] for s in home.run(run)["steps"]] == ["succeeded"], what="the first step")
        lib.equal(lib.post(f"{home.api}/runs/{run}/cancel").status, 202)
        lib.equal(home.ended(run)["status"], "cancelled")
        lib.equal(home.stop(), 0)
        home = flow.Server("--queue", url, "--flow-runs", "0", data=home.data)
        other = flow.Server("--queue", url)
        other.add(TWO)
        lib.equal(lib.post(f"{home.api}/runs/{run}/resume").status, 202)
        lib.until(lambda: home.run(run)["status"] == "running", what="the run at the other server")
        time.sleep(0.3)
        lib.equal(lib.post(f"{home.api}/runs/{run}/cancel").status, 202)
        lib.equal(home.ended(run)["status"], "cancelled")
        made = lib.request("POST", f"{other.queue}/queues/counted/lease?wait=1&lease=30&max=5", b"", timeout=20).json()["messages"]
        lib.equal(len(made), 1, "the first step ran once")
        for each in (home, other):
            lib.equal(each.stop(), 0)


def test_a_run_that_cannot_be_resumed_ends_again():
    server = flow.Server()
    server.add(NAP)
    run = server.start("nap")
    lib.equal(lib.post(f"{server.api}/runs/{run}/cancel").status, 202)
    before = server.ended(run)
    lib.equal(before["status"], "cancelled")
    queue = sqlite3.connect(os.path.join(server.data, "queue.db"), timeout=20)
    queue.execute("create trigger refused before insert on message begin select raise(abort, 'refused'); end")
    queue.commit()
    reply = lib.post(f"{server.api}/runs/{run}/resume")
    assert reply.status >= 400 and reply.text.startswith('{"detail":"the run cannot go on'), (reply.status, reply.text)
    after = server.ended(run)
    lib.equal([after[k] for k in ("status", "error", "error_type")], [before[k] for k in ("status", "error", "error_type")])
    queue.execute("drop trigger refused")
    queue.commit()
    queue.close()
    lib.equal(lib.post(f"{server.api}/runs/{run}/resume").status, 202)
    after = server.ended(run)
    lib.equal(after["status"], "succeeded", str(after))
    lib.equal(server.stop(), 0)


if __name__ == "__main__":
    lib.main(globals())
