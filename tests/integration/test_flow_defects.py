#!/usr/bin/env python3
"""What the two systems behind the flow plane do wrong, each as a test that we do not: LlamaDeploy first, LLM
Orchestrator below. The same defects are shown on the originals by `make interop`."""
import concurrent.futures
import http.client
import json
import os
import statistics
import threading
import time
import urllib.parse

import lib
from test_flow_examples import Provider, Run

LISTEN = [f"--{part}-listen" for part in ("api", "control", "queue", "metrics", "health", "admin")]


def server(*args, env=None):
    listen = [word for option in LISTEN for word in (option, "127.0.0.1:0")]
    return lib.Process("flow", "server", *listen, "--data-dir", lib.tmp(), *args, env=env)


def workflow(process, text):
    reply = lib.post(process.url("api") + "/workflows", text.encode(), headers={"Content-Type": "application/yaml"})
    assert reply.status in (200, 201), (reply.status, reply.text)


def deploy(process, **files):
    """A deployment `d` of workflow files, each a service by its name."""
    folder = lib.tmp()
    lines = ["name: d", "services:"]
    for name, text in files.items():
        with open(os.path.join(folder, name + ".yaml"), "w") as file:
            file.write(text)
        lines.append(f"  {name}: {{name: {name}, source: {{type: local, location: .}}, import-path: {name}.yaml}}")
    mark = "----test"
    body = f'--{mark}\r\nContent-Disposition: form-data; name="config_file"; filename="d.yml"\r\n\r\n' + "\n".join(lines) + f"\n\r\n--{mark}--\r\n"
    reply = lib.post(process.url("api") + "/deployments/create?base_path=" + urllib.parse.quote(folder), body.encode(),
                     headers={"Content-Type": "multipart/form-data; boundary=" + mark})
    lib.equal(reply.status, 200, reply.text)


def task(process, verb, service, **inputs):
    return lib.post(process.url("api") + f"/deployments/d/tasks/{verb}", {"input": json.dumps(inputs), "service_id": service})


def resident_kib(pid):
    """Of a process and its children."""
    total = 0
    with open(f"/proc/{pid}/status") as file:
        total += next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return total + sum(resident_kib(int(child)) for child in file.read().split())


ECHO = """name: echo
steps:
  - {id: say, type: transform, function: template, template: "echo: {{ message }}", output: [text]}
"""


# ---- LlamaDeploy ----

def test_stream_events_come_as_they_happen():
    """There all events of a task arrived at its end."""
    flow = server()
    steps = "".join(f"  - {{id: s{n}, type: action, action: sleep, seconds: 0.2, depends_on: [{f's{n - 1}' if n else ''}]}}\n" for n in range(4))
    deploy(flow, slow="name: slow\nsteps:\n" + steps)
    made = task(flow, "create", "slow").json()
    parts = urllib.parse.urlsplit(flow.url("api"))
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request("GET", f"/deployments/d/tasks/{made['task_id']}/events?session_id={made['session_id']}")
    answer, times = connection.getresponse(), []
    while answer.readline():
        times.append(time.monotonic())
    connection.close()
    assert len(times) >= 4, times
    assert times[-1] - times[0] > 0.4, f"{len(times)} events within {times[-1] - times[0]:.3f} s"
    lib.equal(flow.stop(), 0)


def test_a_task_does_not_wait_for_a_poll():
    """There four loops that looked every 0.1 s stood between a task and its result."""
    flow = server()
    deploy(flow, echo=ECHO)
    seconds = []
    for n in range(40):
        begin = time.monotonic()
        reply = task(flow, "run", "echo", message=str(n))
        seconds.append(time.monotonic() - begin)
        lib.contains(reply.text, f"echo: {n}")
    assert statistics.median(seconds) < 0.05 * lib.SLOW, f"median {statistics.median(seconds):.3f} s"
    lib.equal(flow.stop(), 0)


def test_memory_stays_at_fifty_callers():
    """There 1,000 calls by 50 callers ended for want of memory: each event wrote the whole session anew."""
    if lib.SLOW > 1:
        raise lib.Skip("a sanitizer holds on to what was freed")
    flow = server()
    steps = "".join(f'  - {{id: s{n}, type: transform, function: template, template: "{{{{ message }}}}", output: [text]}}\n' for n in range(20))
    deploy(flow, many="name: many\nsteps:\n" + steps)
    message = "x" * 2000

    def call(_):
        return task(flow, "run", "many", message=message).status
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        lib.equal(set(pool.map(call, range(1000))), {200})  # caches and pools have their sizes then
        before = resident_kib(flow.process.pid)
        lib.equal(set(pool.map(call, range(1000))), {200})
    grown = resident_kib(flow.process.pid) - before
    assert grown < 12 * 1024, f"1,000 calls left {grown} KiB"
    lib.equal(flow.stop(), 0)


def test_runs_at_once_are_capped():
    """There was no cap: more tasks, more coroutines."""
    class Counting(Provider):
        now = most = 0
        lock = threading.Lock()

        def answer(self, path, body):
            with self.lock:
                Counting.now += 1
                Counting.most = max(Counting.most, Counting.now)
            time.sleep(0.05)
            with self.lock:
                Counting.now -= 1
            return super().answer(path, body)
    with Counting() as provider:
        flow = server("--flow-runs", "3", env={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": provider.url + "/v1"})
        deploy(flow, ask="name: ask\nsteps:\n  - {id: a, type: llm, provider: openai, model: m, prompt: x, output: [t]}\n")
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            lib.equal({r.status for r in pool.map(lambda _: task(flow, "run", "ask"), range(24))}, {200})
        lib.equal((len(provider.seen), Counting.most), (24, 3), "requests, and the most of them at once")
        lib.equal(flow.stop(), 0)


def test_a_failure_is_no_result():
    """There the text of an exception was the result, and the task had succeeded."""
    flow = server()
    deploy(flow, bad="name: bad\nsteps:\n  - {id: open, type: transform, function: json, inputs: [message], output: [v]}\n")
    reply = task(flow, "run", "bad", message="{")
    assert reply.status >= 400, (reply.status, reply.text)
    made = task(flow, "create", "bad", message="{").json()
    path = f"{flow.url('api')}/runs/{made['task_id']}"
    lib.until(lambda: lib.get(path).json()["status"] not in ("queued", "running"), what="the end of the task")
    lib.equal(lib.get(path).json()["status"], "failed")
    lib.equal(flow.stop(), 0)


def test_a_task_is_there_after_a_restart():
    """There tasks, sessions and results were in the memory of the process."""
    folder = lib.tmp()
    listen = [word for option in LISTEN for word in (option, "127.0.0.1:0")]
    flow = lib.Process("flow", "server", *listen, "--data-dir", folder)
    deploy(flow, echo=ECHO)
    made = task(flow, "create", "echo", message="kept").json()
    where = f"/deployments/d/tasks/{made['task_id']}/results?session_id={made['session_id']}"
    lib.until(lambda: lib.get(flow.url("api") + where).json(), what="the result")
    lib.equal(flow.stop(), 0)
    flow = lib.Process("flow", "server", *listen, "--data-dir", folder)
    lib.contains(lib.get(flow.url("api") + where).json()["result"], "echo: kept")
    lib.contains(task(flow, "run", "echo", message="again").text, "echo: again")
    lib.equal(flow.stop(), 0)


# ---- LLM Orchestrator ----

def run_text(text, base="http://127.0.0.1:9", inputs=None):
    path = os.path.join(lib.tmp(), "flow.yaml")
    with open(path, "w") as file:
        file.write(text)
    return Run(path, inputs or {}, base)


def llm(name, model="m", more=""):
    return f"  - {{id: {name}, type: llm, provider: openai, model: {model}, prompt: p, output: [t]{', ' + more if more else ''}}}\n"


def test_a_skipped_step_blocks_nobody():
    """There the steps behind it waited for the workflow's timeout, an hour."""
    with Provider() as provider:
        begin = time.monotonic()
        run = run_text("name: f\nsteps:\n" + llm("a") + llm("b", more='depends_on: [a], condition: "false"') + llm("c", more="depends_on: [b]"), provider.url)
    lib.equal((run.report["status"], run.statuses), ("succeeded", {"a": "succeeded", "b": "skipped", "c": "succeeded"}))
    assert time.monotonic() - begin < 5 * lib.SLOW


def test_errors_of_providers_are_tried_again():
    """There every error of a provider was final, whatever `retry` said."""
    with Provider(fails=[500, 429, 503]) as provider:
        run = run_text("name: f\nsteps:\n" + llm("a", more="retry: {max_attempts: 3, initial_delay_ms: 5, max_delay_ms: 20}"), provider.url)
    lib.equal((run.report["status"], run.report["steps"][0]["attempts"], len(provider.seen)), ("succeeded", 4, 4))


def test_a_refused_connection_is_tried_again():
    run = run_text("name: f\nsteps:\n" + llm("a", more="retry: {max_attempts: 2, initial_delay_ms: 5, max_delay_ms: 20}"))
    lib.equal((run.report["status"], run.report["steps"][0]["attempts"]), ("failed", 3))


def test_linear_delays_grow():
    """There `linear` was constant: the factor was 1."""
    with Provider(fails=[503] * 3) as provider:
        begin = time.monotonic()
        run = run_text("name: f\nsteps:\n" + llm("a", more="retry: {max_attempts: 3, backoff: linear, initial_delay_ms: 100, max_delay_ms: 10000}"), provider.url)
        seconds = time.monotonic() - begin
    lib.equal(run.report["steps"][0]["attempts"], 4)
    assert seconds >= 0.75 * 0.6, f"100 + 200 + 300 ms, a quarter less by jitter: {seconds:.3f} s"


def test_what_depends_on_a_failure_does_not_run():
    """There a failed step counted as done, the next one ran with holes in its prompt, and the run was Ok."""
    with Provider(fails=[400]) as provider:
        run = run_text("name: f\nsteps:\n" + llm("a") + llm("b", more="depends_on: [a]") + llm("c", more="depends_on: [b]"), provider.url)
    lib.equal((run.done.returncode, run.report["status"]), (1, "failed"))
    lib.equal(run.statuses, {"a": "failed", "b": "cancelled", "c": "cancelled"})
    lib.equal(len(provider.seen), 1)


def test_a_slow_step_holds_up_only_what_depends_on_it():
    """There steps began in one order, each waiting for its own dependencies before the next was looked at."""
    class Slow(Provider):
        def answer(self, path, body):
            if body["model"] == "slow":
                time.sleep(0.5)
            return super().answer(path, body)
    with Slow() as provider:
        run = run_text("name: f\nsteps:\n" + llm("slow", "slow") + llm("tail", more="depends_on: [slow]") + llm("free") + llm("free_too", more="depends_on: [free]"), provider.url)
    ends = {s["name"]: int(s["endTimeUnixNano"]) for s in run.spans.values()}
    assert ends["step.execute:free_too"] < ends["step.execute:slow"], run.tree()


def test_active_workflows_go_down_and_tokens_up():
    """There the gauge only rose, and the tokens' counter looked for names that no provider sends."""
    with Provider() as provider:
        run = run_text("name: f\nsteps:\n" + llm("a"), provider.url)
    lib.equal(run.metrics["orchestrator_active_workflows"], {(): 0})
    lib.equal(sorted(run.metrics["orchestrator_llm_tokens_total"].values()), [2, 7])


def test_types_of_steps_have_their_names():
    """There the label of a search was `vectorsearch`, had it been recorded."""
    run = run_text("name: f\nsteps:\n  - {id: s, type: vector_search, database: local, index: nothing, query: [1.0], output: [r]}\n")
    lib.equal({dict(k)["step_type"] for k in run.metrics["orchestrator_step_executions_total"]}, {"vector_search"})


if __name__ == "__main__":
    lib.main(globals())
