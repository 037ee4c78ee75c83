"""LlamaDeploy's own Python client in front of our API server and control plane; every answer is compared with that of
its own server, run beside ours, by the same program. Its service takes part through our queue, and so does one in
plain Python."""
import json
import os
import re
import sys

from checks import Row
from lib import flow, net
from lib.context import expect, expect_eq
from peers import llamadeploy

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PYTHON_SOURCE = """try:
    from workflows import Context, Workflow, step
    from workflows.events import Event, StartEvent, StopEvent
except ImportError:
    from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step


class Progress(Event):
    n: int


class Echo(Workflow):
    @step
    async def run_step(self, ctx: Context, ev: StartEvent) -> StopEvent:
        message = str(ev.get("message", ""))
        if message == "fail":
            raise ValueError("planned failure")
        for n in range(2):
            ctx.write_event_to_stream(Progress(n=n))
        return StopEvent(result="echo: " + message)


echo = Echo(timeout=20)
failing = Echo(timeout=20)
"""


def client(ctx, generation, url, control, path, pause):
    job = {"url": url, "control": control, "file": path, "base": os.path.dirname(path), "service": "echo",
           "failing": "failing", "pause": pause}
    text = ctx.run([llamadeploy.python(generation), "-W", "ignore",
                    os.path.join(llamadeploy.CLIENTS, "llamadeploy_client.py"), json.dumps(job)], timeout=120)
    return json.loads(text.strip().split("\n")[-1])


def theirs(ctx, generation):
    """What the client sees of its own server."""
    server = llamadeploy.Server(ctx, generation)
    folder = ctx.folder("theirs" + generation)
    os.makedirs(os.path.join(folder, "src"), exist_ok=True)
    with open(os.path.join(folder, "src", "wf.py"), "w") as f:
        f.write(PYTHON_SOURCE)
    path = ctx.write("theirs%s/deployment.yml" % generation, llamadeploy.DEPLOYMENT[generation] % dict(
        server.ports, echo="src/wf:echo", failing="src/wf:failing"))
    return client(ctx, generation, server.url, server.control, path, 2)


# ---- ours ----

ECHO = """name: echo
steps:
  - {id: begin, type: action, action: log, message: "{{ message }}"}
  - {id: say, type: transform, depends_on: [begin], function: template, template: "echo: {{ message }}", output: [text]}
"""
FAILING = """name: failing
steps:
  - {id: open, type: transform, function: json, inputs: [message], output: [value]}
"""


def start_worker(ctx, server, service, **more):
    job = dict({"queue": server.queue, "control": server.control, "service": service}, **more)
    return ctx.start("worker-%s-%d" % (service, len(ctx.processes)),
                     [sys.executable, os.path.join(llamadeploy.CLIENTS, "flow_worker.py"), json.dumps(job)])


def wait_services(server, names):
    def there():
        return set(names) <= set(net.get(server.control + "/services").json())
    net.until("services %s at the control plane" % " ".join(names), 40, there)


def ours_deployment(ctx, server, generation, echo, failing):
    ports = {name: ctx.free_port() for name in ("port1", "port2")}
    ports["control"], ports["queue"] = (int(url.rsplit(":", 1)[1]) for url in (server.control, server.queue))
    return ctx.write("deployment%s.yml" % generation, llamadeploy.DEPLOYMENT[generation] % dict(
        ports, echo=echo, failing=failing))


def no_ids(value, names):
    """Ids of any kind as id1, id2 ... in the order in which they appear."""
    if isinstance(value, str):
        return UUID.sub(lambda m: names.setdefault(m.group(0), "id%d" % (len(names) + 1)), value)
    if isinstance(value, list):
        return [no_ids(v, names) for v in value]
    if isinstance(value, dict):
        return {k: no_ids(json.loads(v) if k == "input" else v, names) for k, v in value.items()}
    return value


# What we answer otherwise, and on purpose. Functions of (ours, theirs) that are true when it is as wanted.
def status_of(value):
    return value["raised"][1] if isinstance(value, dict) and "raised" in value else None


ON_PURPOSE = {
    # A failed deployment, a failed task: said as such, with the reason; theirs is a bare 500, or the text as a result.
    "created_twice": lambda ours, _: status_of(ours) == 409 and "already" in ours["raised"][2],
    "run_failing": lambda ours, _: status_of(ours) == 500 and "planned failure" in ours["raised"][2],
    # The placeholder of its message is filled in.
    "run_unknown": lambda ours, _: status_of(ours) == 404 and ours["raised"][2] == json.dumps(
        {"detail": "Service 'nope' not found in deployment 'QuickStart'"}, separators=(",", ":")),
}


def check_failing(seen):
    """The result of a task that failed cannot be taken for one of a task that succeeded."""
    result = seen["failing_result"]
    if "raised" in result:
        expect(result["raised"][1] >= 500 and "planned failure" in result["raised"][2], "failing_result: %s" % result)
    else:
        expect_eq(result["data"].get("status"), "failed", "status in the result of a failed task")
        expect("planned failure" in result["result"], "failing_result: %s" % result)


def compare(seen, wanted):
    """Every answer but those of ON_PURPOSE; returns how many."""
    count = 0
    for key in sorted(set(seen) | set(wanted)):
        expect(key in seen and key in wanted, "'%s' is in one of the two alone" % key)
        if key in ON_PURPOSE:
            expect(ON_PURPOSE[key](seen[key], wanted[key]), "%s: saw %s" % (key, seen[key]))
        elif not key.startswith("failing"):
            expect_eq(no_ids(seen[key], {}), no_ids(wanted[key], {}), key)
        count += 1
    expect_eq(seen["result"]["task_id"], seen["task"]["id"], "task id of the result")
    check_failing(seen)
    return count


def run_client(ctx, generation):
    """The deployment file is theirs, unchanged; its services are programs that we did not start."""
    wanted = theirs(ctx, generation)
    server = flow.Server(ctx)
    path = ours_deployment(ctx, server, generation, "src/wf:echo", "src/wf:failing")
    for service in ("echo", "failing"):
        start_worker(ctx, server, service)
    wait_services(server, ("echo", "failing"))
    seen = client(ctx, generation, server.url, server.control, path, 0)
    ours_ms, theirs_ms = (1000 * answers.pop("seconds") for answers in (seen, wanted))
    better = len(set(ON_PURPOSE) & set(wanted))
    if generation == "0.8":  # its control plane and queue are asked every 0.1 s; and a failure is a result
        expect(isinstance(wanted["run_failing"], str), "its own server now says that a task has failed")
        expect(ours_ms < theirs_ms, "a task takes %.0f ms, its own server %.0f ms" % (ours_ms, theirs_ms))
    return "%d answers as its own server gives them, %d better on purpose; a task %.0f ms, there %.0f ms" % (
        compare(seen, wanted) - better, better, ours_ms, theirs_ms)


def run_files(ctx):
    """Services that are workflow files: deployment, sessions, tasks, events, results, all of both clients."""
    details = []
    for generation in ("0.9", "0.8"):
        server = flow.Server(ctx, "files" + generation)
        ctx.folder("src")
        ctx.write("src/echo.yaml", ECHO)
        ctx.write("src/failing.yaml", FAILING)
        path = ours_deployment(ctx, server, generation, "src/echo.yaml", "src/failing.yaml")
        seen = client(ctx, generation, server.url, server.control, path, 0)
        for key, message in (("run", "hi there"), ("run_named", "by name"), ("sync_run", "sync")):
            expect("echo: " + message in json.dumps(seen[key]), "%s: %s" % (key, seen[key]))
        expect("echo: second" in seen["result"]["result"], "result: %s" % seen["result"])
        expect_eq(seen["result"]["task_id"], seen["task"]["id"], "task id of the result")
        expect(len(seen["events"]) >= 2, "events: %s" % seen["events"])
        expect(status_of(seen["run_failing"]) == 500, "run_failing: %s" % seen["run_failing"])
        if generation == "0.8":
            expect("echo: core" in json.dumps(seen["core_run"]), "core_run: %s" % seen["core_run"])
            expect(seen["core_result"]["own_id"], "core_result: %s" % seen["core_result"])
        details.append("%s: %d events" % (generation, len(seen["events"])))
    return "runs, sessions, events, results; " + ", ".join(details)


def run_service(ctx):
    """A workflow service of LlamaDeploy 0.8 registers with our control plane and works from our queue."""
    wanted = theirs(ctx, "0.8")
    server = flow.Server(ctx)
    path = ours_deployment(ctx, server, "0.8", "src/wf:echo", "src/wf:failing")
    for service in ("echo", "failing"):
        ctx.start("service-" + service, [
            llamadeploy.python("0.8"), "-W", "ignore", os.path.join(llamadeploy.CLIENTS, "llamadeploy_service.py"),
            "127.0.0.1", server.control.rsplit(":", 1)[1], str(ctx.free_port()), service])
    wait_services(server, ("echo", "failing"))
    seen = client(ctx, "0.8", server.url, server.control, path, 2)
    keys = ("run", "run_named", "sync_run", "events", "core_run", "core_stream", "core_tasks", "services")
    for key in keys:
        expect_eq(no_ids(seen[key], {}), no_ids(wanted[key], {}), key)
    for key in ("result", "core_result"):
        expect_eq(seen[key]["result"], wanted[key]["result"], key)
    return "runs, events, results, core API: as with its own control plane and queue"


def row(name, version, what, run, order, needs, limit=150):
    return Row(name, "full", "LlamaDeploy", version, what, run, needs=needs, cached=llamadeploy.cached, limit=limit,
               order=order)


BOTH = "%(0.9)s, %(0.8)s" % llamadeploy.VERSIONS
ROWS = [
    row("llama-deploy-client-0.9", llamadeploy.VERSIONS["0.9"], "its client, with us and with its own server",
        lambda ctx: run_client(ctx, "0.9"), 92, [llamadeploy.venv09]),
    row("llama-deploy-client-0.8", llamadeploy.VERSIONS["0.8"], "its client, with us and with its own server",
        lambda ctx: run_client(ctx, "0.8"), 93, [llamadeploy.venv08]),
    row("llama-deploy-files", BOTH, "its clients, services that are workflow files", run_files, 94,
        [llamadeploy.venv09, llamadeploy.venv08]),
    row("llama-deploy-service", llamadeploy.VERSIONS["0.8"], "its workflow service, from our queue", run_service, 95,
        [llamadeploy.venv08]),
]
