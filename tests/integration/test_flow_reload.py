#!/usr/bin/env python3
"""SIGHUP and workflows: steps that start after a reload use the new models, keys and prices; those that have started go
on with the old ones; a bad file changes nothing. The server alone, both planes in one, and workers."""
import http.server
import json
import os
import signal
import threading
import time

import flow
import lib

FLOW = ("name: w\nsteps:\n  - {id: a, type: llm, provider: openai, model: '{{ inputs.model }}', prompt: p, timeout_seconds: 60,\n"
        "     retry: {max_attempts: 2, backoff: constant, initial_delay_ms: 700}, output: [text]}\n")


class Provider:
    """Answers with its name, and keeps the keys that came; held requests wait for release()."""

    def __init__(self, name, status=200, held=False):
        self.keys, self.go = [], threading.Event()
        outer = self
        if not held:
            self.go.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.keys.append(self.headers["Authorization"])
                outer.go.wait(60)
                body = json.dumps({"choices": [{"message": {"content": name}, "finish_reason": "stop"}], "model": "m",
                                   "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def model(self, name, key="k", price=0.001):
        return (f"  - model_name: {name}\n    litellm_params: {{model: openai/x, api_base: 'http://127.0.0.1:{self.server.server_port}/v1',"
                f" api_key: {key}, input_cost_per_token: {price}, output_cost_per_token: 0}}\n")


def config(*models):
    return "model_list:\n" + "".join(models) + "general_settings:\n  master_key: sk-test\n"


class Site:
    """A server with a configuration: `sightline flow server` or `sightline up`, or a worker of a server without one."""

    def __init__(self, kind, text):
        self.path = os.path.join(lib.tmp(), "config.yaml")
        self.write(text)
        if kind == "worker":
            self.flow = flow.Server("--flow-runs", 0)
            self.process = flow.worker(self.flow, FLOW, args=("-c", self.path))
        elif kind == "server":
            self.flow = flow.Server("-c", self.path)
            self.process = self.flow.process
        else:
            self.flow = flow.Server.__new__(flow.Server)
            self.process = self.flow.process = lib.Process("up", "-c", self.path, "--gateway-listen", "127.0.0.1:0", *flow.LISTEN, "--data-dir", lib.tmp())
            self.flow.api = self.process.url("api")
        self.flow.add(FLOW)

    def write(self, text):
        with open(self.path + ".new", "w") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)

    def reload(self, text):
        self.write(text)
        self.process.signal(signal.SIGHUP)

    def start(self, model):
        return self.flow.start("w", {"model": model})

    def answer(self, run_id, seconds=20):
        """Text of a run, or its error."""
        run = self.flow.ended(run_id, seconds)
        return run["outputs"]["a"]["text"] if run["status"] == "succeeded" else run["error"]

    def until_answer(self, model, wanted):
        def look():
            return wanted in self.answer(self.start(model))
        lib.until(look, 15, f"{wanted} of {model}")

    def stop(self):
        lib.equal(self.process.stop(), 0)
        if self.process is not self.flow.process:
            lib.equal(self.flow.stop(), 0)


def each(test):
    for kind in ("server", "up", "worker"):
        test(kind)


def check_reload(kind):
    old, new = Provider("old"), Provider("new")
    site = Site(kind, config(old.model("one"), old.model("both", key="first")))
    lib.equal(site.answer(site.start("both")), "old")
    lib.equal(old.keys[-1], "Bearer first")
    site.reload(config(new.model("both", key="second", price=0.003), new.model("two", key="third")))
    site.until_answer("both", "new")
    count = len(old.keys)
    lib.equal((site.answer(site.start("two")), new.keys[-1]), ("new", "Bearer third"))
    run = site.start("both")
    lib.equal((site.answer(run), new.keys[-1]), ("new", "Bearer second"))
    if kind != "worker":  # whose server has no prices
        lib.equal(round(site.flow.run(run)["cost_usd"], 6), 3.0)
    # `one` is no model of the file any more: it goes to the address of its provider, as any other name does
    lib.equal(site.answer(site.start("one")), "new")
    lib.equal(len(old.keys), count)
    site.reload("model_list: []\n" if kind == "worker" else config(new.model("both")).replace("openai/x", "groq/x"))
    site.until_answer("one", "provider openai: not configured")
    site.stop()


def test_steps_that_start_after_it_use_the_new_models():
    each(check_reload)


def check_running(kind):
    old, new, bad = Provider("old", held=True), Provider("new"), Provider("bad", status=500)
    site = Site(kind, config(old.model("m"), bad.model("broken")))
    held, retried = site.start("m"), site.start("broken")
    lib.until(lambda: len(old.keys) == 1 and len(bad.keys) >= 1, 20, "both steps")
    for number in range(3):  # each reload lets go of the ones before, but not of those in use
        site.reload(config(new.model("m", key=f"k{number}"), new.model("broken", key=f"k{number}")))
        site.until_answer("m", "new")
        lib.until(lambda: (site.answer(site.start("m")), new.keys[-1]) == ("new", f"Bearer k{number}"), 15, "the newest key")
    old.go.set()
    lib.equal(site.answer(held), "old")
    lib.contains(site.answer(retried), "500")
    lib.equal((len(old.keys), len(bad.keys)), (1, 3))  # each try of it
    lib.equal(site.answer(site.start("broken")), "new")
    site.stop()


def test_steps_that_have_started_keep_theirs():
    each(check_running)


def check_bad(kind):
    old, new = Provider("old"), Provider("new")
    site = Site(kind, config(old.model("m")))
    tls = config(new.model("m"), "  - model_name: tls\n    litellm_params: {model: openai/y, api_base: 'https://127.0.0.1:1/v1'}\n"
                 "    sightline: {ca_file: /no/such/file}\n")
    faults = [("model_list: nonsense\n", site.path + ":1:"), (config(new.model("m")) + "a: [\n", site.path + ":"),
              (config(new.model("m", price="cheap")), site.path + ":3:")]
    if kind != "up":  # whose gateway says so by its workers
        faults.append((tls, f"{site.path}:4: model tls: its ca_file cannot be read"))
    for text, told in faults:
        before = len(site.process.output())
        site.reload(text)
        lib.until(lambda: told in site.process.output()[before:], 10, f"{told} in the log")
        time.sleep(0.2)
        lib.equal(site.answer(site.start("m")), "old", text)
    os.unlink(site.path)
    site.process.signal(signal.SIGHUP)
    lib.until(lambda: site.process.output().count(site.path) > len(faults), 10, "the missing file in the log")
    lib.equal(site.answer(site.start("m")), "old")
    site.reload(config(new.model("m")))
    site.until_answer("m", "new")
    lib.equal(new.keys, ["Bearer k"] * len(new.keys))
    site.stop()


def test_a_bad_file_changes_nothing():
    each(check_bad)


def test_the_built_in_models_come_and_go():
    """Without a model `up` serves its own mock: workflows too, and again after a reload to an empty list."""
    site = Site("up", "general_settings:\n  master_key: sk-test\n")
    new = Provider("new")
    assert site.answer(site.start("claude-haiku"))
    site.reload(config(new.model("claude-haiku")))
    site.until_answer("claude-haiku", "new")
    site.reload("general_settings:\n  master_key: sk-test\n")
    lib.until(lambda: site.answer(site.start("claude-haiku")) not in ("new",), 15, "the mock's own answer")
    site.stop()


def test_none_is_lost_while_it_starts_anew():
    """A flow process that is killed begins with the newest file, and a signal in the middle of its start kills nothing."""
    old, new = Provider("old"), Provider("new")
    site = Site("server", config(old.model("m")))
    site.reload(config(new.model("m")))
    site.until_answer("m", "new")
    for name in ("a", "b", "c", "d"):
        provider = Provider(name)
        site.write(config(provider.model("m")))
        pid = site.process.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            site.process.signal(signal.SIGHUP)
            time.sleep(0.01)
        lib.until(lambda: lib.get(site.flow.api + "/status/", timeout=2).status == 200, 20, "the server")
        site.until_answer("m", name)
    killed = [line for line in site.process.output().splitlines() if "flow 0" in line and "was killed by signal 1;" in line]
    lib.equal(killed, [])
    site.stop()


lib.main(globals())
