#!/usr/bin/env python3
"""Runs go on behind their finished steps, whoever takes them up: after the death of a worker or a server, with a resume,
over HTTP and in a cluster. What a step did is counted outside, where it had its effect."""
import collections
import http.server
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import flow_calls as cluster  # noqa: E402
import lib  # noqa: E402


class Effects:
    """Counts what steps do by the path they call: /hold waits for release(), /fail fails until mend()."""

    def __init__(self):
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.go, self.bad = threading.Event(), True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.counts[self.path] += 1
                    count = outer.counts[self.path]
                if self.path == "/hold":
                    outer.go.wait(120)
                body = (b'"' + b"x" * 400000 + b'"') if self.path == "/large" else json.dumps({"path": self.path, "count": count}).encode()
                try:
                    self.send_response(422 if self.path == "/fail" and outer.bad else 200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # who asked is dead
                    pass

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def flow(self, *paths, name="w"):
        """A chain of calls, and a last step that shows what the first gave."""
        text, before = f"name: {name}\nsteps:\n", None
        for path in paths:
            text += (f"  - {{id: {path}, type: action, action: http, method: POST, url: 'http://127.0.0.1:{self.server.server_port}/{path}', body: {{a: 1}},\n"
                     f"     timeout_seconds: 120, output: [body]" + (f", depends_on: [{before}]" if before else "") + "}\n")
            before = path
        return text + f"  - {{id: last, type: transform, function: template, template: 'last', depends_on: [{before}], output: [text]}}\n"

    def until(self, path, count, seconds=20):
        lib.until(lambda: self.counts[path] >= count, seconds, f"call {count} of {path}")

    def are(self, **counts):
        lib.equal(dict(self.counts), {"/" + name: count for name, count in counts.items()})


def statuses(server, run):
    return {step["id"]: step["status"] for step in server.run(run)["steps"]}


def until_told(server, run, *steps):
    """What was done in the last moment is not known: whoever runs it tells it a little later."""
    lib.until(lambda: all(statuses(server, run).get(step) == "succeeded" for step in steps), what="that its server knows the steps")


def goes_on_behind_a_dead_worker(home, effects, worker):
    """One is killed in its second step; the next one goes on behind the first step."""
    first = worker()
    run = home.start("w")
    effects.until("/hold", 1)
    until_told(home, run, "first")
    first.process.kill()
    second = worker()
    effects.until("/hold", 2)
    effects.go.set()
    lib.equal(home.ended(run, 20)["status"], "succeeded")
    effects.are(first=1, hold=2)
    lib.equal(second.stop(), 0)


def test_a_worker_that_dies_leaves_its_steps():
    """Over HTTP; rounds of a loop and steps of blocks are steps too."""
    effects, server = Effects(), flow.Server("--flow-runs", 0)
    call = f"type: action, action: http, method: POST, url: 'http://127.0.0.1:{effects.server.server_port}/"
    text = ("name: w\nsteps:\n  - id: each\n    type: loop\n    items: [a, b, hold, d]\n    max_concurrency: 1\n"
            f"    steps:\n      - {{id: call, {call}{{{{ item }}}}', body: {{a: 1}}, timeout_seconds: 120, output: [body]}}\n"
            "  - {id: last, type: transform, function: template, template: '{{ steps.each.count }}', depends_on: [each], output: [text]}\n")
    for program in (text, effects.flow("first", "hold").replace("name: w", "name: chain")):
        server.add(program)
        name = "w" if program is text else "chain"
        effects.go.clear()
        effects.counts.clear()
        first = flow.worker(server, program, args=("--lease", "1"))
        run = server.start(name)
        effects.until("/hold", 1)
        until_told(server, run, *(["each[0].call", "each[1].call"] if program is text else ["first"]))
        first.process.kill()
        second = flow.worker(server, program, args=("--lease", "1"))
        effects.until("/hold", 2)
        effects.go.set()
        done = server.ended(run)
        lib.equal(done["status"], "succeeded", done["error"])
        if program is text:
            effects.are(a=1, b=1, hold=2, d=1)
            lib.equal(done["outputs"]["last"], {"text": "4"})
        else:
            effects.are(first=1, hold=2)
            lib.equal(done["outputs"]["first"]["body"], {"path": "/first", "count": 1})
            lib.equal(statuses(server, run), {"first": "succeeded", "hold": "succeeded", "last": "succeeded"})
        events = [e["seq"] for e in map(json.loads, lib.get(f"{server.api}/runs/{run}/events").text.splitlines())]
        lib.equal(events, sorted(set(events)))
        lib.equal(second.stop(), 0)
    lib.equal(server.stop(), 0)


def test_a_server_that_dies_goes_on_from_its_file():
    effects = Effects()
    server = flow.Server()
    server.add(effects.flow("first", "second", "hold"))
    runs = [server.start("w") for _ in range(3)]
    effects.until("/hold", 3)
    for run in runs:
        until_told(server, run, "first", "second")
    server.kill()
    effects.until("/hold", 6)
    effects.go.set()
    for run in runs:
        lib.equal(server.ended(run, 20)["status"], "succeeded")
    effects.are(first=3, second=3, hold=6)
    lib.equal(server.stop(), 0)


def test_a_run_that_failed_at_a_worker_is_resumed():
    effects, server = Effects(), flow.Server("--flow-runs", 0)
    program = effects.flow("first", "fail")
    server.add(program)
    worker = flow.worker(server, program)
    run = server.start("w")
    lib.equal(server.ended(run)["status"], "failed")
    lib.equal(statuses(server, run), {"first": "succeeded", "fail": "failed", "last": "cancelled"})
    effects.bad = False
    lib.equal(lib.post(f"{server.api}/runs/{run}/resume").status, 202)
    lib.equal(server.ended(run)["outputs"]["last"], {"text": "last"})
    effects.are(first=1, fail=2)
    lib.equal(worker.stop(), 0)
    lib.equal(server.stop(), 0)


def test_what_is_too_large_to_be_told_is_done_again():
    effects, server = Effects(), flow.Server("--flow-runs", 0)
    program = effects.flow("first", "large", "hold")
    server.add(program)
    worker = flow.worker(server, program, args=("--lease", "1"))
    run = server.start("w")
    effects.until("/hold", 1)
    until_told(server, run, "first")
    lib.until(lambda: server.sql("select 1 from flow_events where body like '%step_ended%large%succeeded%'"), what="the event of the large step")
    lib.equal(statuses(server, run), {"first": "succeeded"})
    worker.process.kill()
    worker = flow.worker(server, program, args=("--lease", "1"))
    effects.until("/hold", 2)
    effects.go.set()
    lib.equal(server.ended(run)["status"], "succeeded")
    effects.are(first=1, large=2, hold=2)
    lib.equal(worker.stop(), 0)
    lib.equal(server.stop(), 0)


# ---- a cluster ----

def test_a_worker_of_the_cluster_that_dies():
    effects, program = Effects(), None
    with cluster.broker() as url:
        home = flow.Server("--queue", url, "--flow-runs", 0)
        program = effects.flow("first", "hold")
        home.add(program)
        goes_on_behind_a_dead_worker(home, effects, lambda: cluster.worker(url, program, args=("--lease", "1")))
        lib.equal(home.stop(), 0)


def test_a_run_that_fails_at_another_server_is_resumed():
    effects = Effects()
    with cluster.broker() as url:
        home, other = flow.Server("--queue", url, "--flow-runs", 0), flow.Server("--queue", url)
        for each in (home, other):
            each.add(effects.flow("first", "fail"))
        run = home.start("w")
        lib.equal(home.ended(run)["status"], "failed")
        lib.equal(statuses(home, run), {"first": "succeeded", "fail": "failed", "last": "cancelled"})
        effects.bad = False
        lib.equal(lib.post(f"{home.api}/runs/{run}/resume").status, 202)
        lib.equal(home.ended(run)["outputs"]["last"], {"text": "last"})
        effects.are(first=1, fail=2)
        for each in (home, other):
            lib.equal(each.stop(), 0)


def test_another_server_goes_away():
    """Whoever has the run next asks its server, which knows what the one that has gone had done."""
    effects = Effects()
    with cluster.broker() as url:
        home, other = flow.Server("--queue", url, "--flow-runs", 0), flow.Server("--queue", url, "--drain-timeout", 1)
        for each in (home, other):
            each.add(effects.flow("first", "hold"))
        run = home.start("w")
        effects.until("/hold", 1)
        until_told(home, run, "first")
        lib.equal(other.stop(), 0)  # its run goes back
        third = flow.Server("--queue", url)
        third.add(effects.flow("first", "hold"))
        effects.until("/hold", 2)
        effects.go.set()
        lib.equal(home.ended(run, 20)["status"], "succeeded")
        effects.are(first=1, hold=2)
        for each in (home, third):
            lib.equal(each.stop(), 0)


def test_the_server_that_has_the_run_goes_away():
    """Others do not begin it anew: it waits until its server is there again, and says what it had done."""
    effects = Effects()
    with cluster.broker() as url:
        home = flow.Server("--queue", url, "--drain-timeout", 1)
        home.add(effects.flow("first", "hold"))
        run = home.start("w")
        effects.until("/hold", 1)
        lib.equal(home.stop(), 0)
        other = flow.Server("--queue", url)
        other.add(effects.flow("first", "hold"))
        time.sleep(1)
        effects.are(first=1, hold=1)
        home = flow.Server("--queue", url, "--flow-runs", 0, data=home.data)
        effects.until("/hold", 2)
        effects.go.set()
        lib.equal(home.ended(run, 20)["status"], "succeeded")
        effects.are(first=1, hold=2)
        for each in (home, other):
            lib.equal(each.stop(), 0)


def test_a_worker_over_http_at_another_server():
    effects = Effects()
    with cluster.broker() as url:
        home, other = flow.Server("--queue", url, "--flow-runs", 0), flow.Server("--queue", url, "--flow-runs", 0)
        program = effects.flow("first", "hold")
        home.add(program)
        goes_on_behind_a_dead_worker(home, effects, lambda: flow.worker(other, program, args=("--lease", "1")))
        for each in (home, other):
            lib.equal(each.stop(), 0)


def test_a_task_that_kills_whoever_takes_it_ends():
    """It is handed over with the deliveries that are left, and so becomes a dead letter as it would have."""
    effects = Effects()
    with cluster.broker() as url:
        home = flow.Server("--queue", url, "--flow-runs", 0)
        program = effects.flow("first", "hold")
        home.add(program)
        run, lives = home.start("w"), 0
        while home.run(run)["status"] in ("queued", "running"):
            worker = cluster.worker(url, program, args=("--lease", "1"))
            lib.until(lambda: effects.counts["/hold"] > lives or home.run(run)["status"] == "failed", 20, "the next life, or the end")
            lives = effects.counts["/hold"]
            if lives == 1:
                until_told(home, run, "first")
            worker.process.kill()
            worker.process.wait()
        done = home.run(run)
        lib.equal((done["status"], done["error_type"]), ("failed", "dead_letter"))
        effects.are(first=1, hold=5)
        lib.equal(home.stop(), 0)


lib.main(globals())
