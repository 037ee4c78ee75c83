"""One thousand tasks at once give one thousand trees: one trace id each, no orphan, across API server, queue, two worker
processes and gateway; read from the OTLP files that the processes wrote, and from a real Jaeger."""
import asyncio
import glob
import json
import os
import time
import urllib.parse

from checks import Row, tree
from checks.flow_llamadeploy import start_worker, wait_services
from lib import flow, net, sightline
from lib.context import Failure, expect, expect_eq
from peers import jaeger

TASKS = 1000
WORKERS = 2
DEPLOYMENT = """name: Trees
default-service: echo
services:
  echo: {name: Echo, source: {type: local, location: src}, import-path: "src/wf:echo"}
  file: {name: File, source: {type: local, location: src}, import-path: "src/file.yaml"}
  far: {name: Far, source: {type: local, location: src}, import-path: "src/wf:far"}
"""
WORKFLOW = """name: %(name)s
steps:
  - {id: first, type: llm, provider: openai, model: up, prompt: "{{ message }}", max_tokens: 8, output: [text]}
  - {id: second, type: llm, provider: openai, model: up, prompt: "{{ steps.first.text }}", max_tokens: 8, depends_on: [first], output: [text]}
"""
WORKER_NAMES = ("control_plane.add_task_to_session", "message_queue.publish", "control_plane.handle_service_completion")
STEP_NAMES = WORKER_NAMES + ("workflow.process_call", "workflow.run", "step.execute:first", "step.execute:second")
# Service of the deployment, who runs it, spans that every tree has, requests at the gateway.
KINDS = (("echo", "Python workers", WORKER_NAMES, 1),
         ("file", "server", STEP_NAMES + ("workflow.execute:file",), 2),
         ("far", "flow workers", STEP_NAMES + ("workflow.execute:far",), 2))


async def one_request(url, path, body):
    parts = urllib.parse.urlsplit(url)
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                 b"Connection: close\r\n\r\n" % (path.encode(), parts.netloc.encode(), len(data)) + data)
    await writer.drain()
    reply = await reader.read()
    writer.close()
    head, _, text = reply.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), text


def all_at_once(url, service):
    """Every task's answer; each is asked for on a connection of its own before the first has ended."""
    async def go():
        path = "/deployments/Trees/tasks/run"
        bodies = [{"input": json.dumps({"message": "task %d" % n}), "service_id": service} for n in range(TASKS)]
        return await asyncio.gather(*(one_request(url, path, b) for b in bodies))
    return asyncio.run(go())


def grouped(records):
    """{trace id: [(span, scope, resource)]} of all files."""
    traces = {}
    for path in records:
        for item in flow.read_spans(path):
            traces.setdefault(item[0]["traceId"], []).append(item)
    return traces


def check_traces(traces, names, calls):
    """`traces`: {id: tree}. Every one is whole and has what a task leaves."""
    expect_eq(len(traces), TASKS, "trace ids")
    ids = set()
    for trace_id, found in traces.items():
        lost = flow.orphans(found)
        expect(not lost, "trace %s has orphans: %s" % (trace_id, [found[i]["name"] for i in lost][:5]))
        roots = [s["name"] for s in found.values() if not s["parent"]]
        expect(len(roots) == 1 and roots[0].startswith("POST "), "trace %s: roots %s" % (trace_id, roots))
        here = [s["name"] for s in found.values()]
        for name in names:
            expect(name in here, "trace %s has no span '%s': %s" % (trace_id, name, sorted(set(here))))
        servers = [s for s in found.values() if s["name"] == tree.SERVER_NAME]
        expect_eq(len(servers), calls, "requests of trace %s at the gateway" % trace_id)
        ids.update(s["attributes"]["task.id"] for s in found.values()
                   if s["name"] == "control_plane.add_task_to_session")
    expect_eq(len(ids), TASKS, "task ids on the spans")
    return sum(len(t) for t in traces.values())


class Plant:
    """Mock, gateway, API server with its deployment, two workers."""

    def __init__(self, ctx, env=None):
        mock = sightline.start_mock(ctx, "--ttft", "0", "--itl", "0")
        self.records = [os.path.join(ctx.dir, "gateway.jsonl")]
        queues = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
        self.gateway = sightline.Gateway(ctx, {"up": (mock + "/v1", "up")},
                                         dict(queues, **(env or flow.file_env(self.records[0], "traces"))))
        provider = {"OPENAI_API_KEY": sightline.KEY, "OPENAI_BASE_URL": self.gateway.url + "/v1"}
        self.server = flow.Server(ctx, env=dict(queues, **provider, **(env or {})), more=("--flow-runs", "1000"))
        self.records.append(self.server.record)
        ctx.folder("src")
        for name in ("file", "far"):
            ctx.write("src/%s.yaml" % name, WORKFLOW % {"name": name})
        path = ctx.write("deployment.yml", DEPLOYMENT)
        self.workers = [start_worker(ctx, self.server, "echo", gateway=self.gateway.url, key=sightline.KEY, lease=60)
                        for _ in range(WORKERS)]
        for n in range(WORKERS):
            self.start_flow_worker(ctx, n, dict(queues, **provider, **(env or {})))
        wait_services(self.server, ("echo",))
        with open(path, "rb") as f:
            create(self.server.url, f.read(), ctx.dir)

    def start_flow_worker(self, ctx, number, env):
        record = os.path.join(ctx.dir, "worker-%d.jsonl" % number)
        ready = os.path.join(ctx.dir, "worker-%d.ready" % number)
        self.records.append(record)
        ctx.start("flow-worker-%d" % number, [
            ctx.sightline, "flow", "worker", os.path.join(ctx.dir, "src", "far.yaml"), "--queue", self.server.queue,
            "--concurrency", "50", "--ready-file", ready], dict(flow.file_env(record, "traces"), **env))
        ctx.wait_file(ready, 20)

    def run(self, service):
        """Returns the answers' values and how long all took."""
        begin = time.monotonic()
        answers = all_at_once(self.server.url, service)
        seconds = time.monotonic() - begin
        expect_eq({status for status, _ in answers}, {200}, "status of the answers")
        return [json.loads(text) for _, text in answers], seconds


def create(url, text, base):
    """POST /deployments/create, as a browser would."""
    mark = b"----flow-trees"
    body = (b"--" + mark + b'\r\nContent-Disposition: form-data; name="config_file"; filename="d.yml"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + text + b"\r\n--" + mark + b"--\r\n")
    reply = net.post(url + "/deployments/create?base_path=" + urllib.parse.quote(base), body,
                     {"content-type": "multipart/form-data; boundary=" + mark.decode()})
    expect_eq(reply.status, 200, "POST /deployments/create: %s" % reply.text())


def settled(read, what):
    """What `read()` gives once it has been the same length for a second."""
    state = {"count": -1, "since": 0.0}

    def probe():
        found = read()
        count = sum(len(v) for v in found.values())
        if count != state["count"]:
            state.update(count=count, since=time.monotonic())
        return found if found and time.monotonic() - state["since"] > 1.0 else None
    return net.until(what, 40, probe, 0.3)


def dropped(folder):
    """What the processes say that they lost."""
    lines = []
    for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
        with open(path, errors="replace") as f:
            lines += ["%s: %s" % (os.path.basename(path), line.strip()) for line in f if "records dropped" in line]
    return "; ".join(lines[:5]) or "no process tells of a loss"


def checked(read, names, calls, folder, seconds=20):
    """Number of spans. What is missing has some time to come: whoever is late on a busy machine has lost nothing."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check_traces({k: tree.from_otlp(v) for k, v in read().items()}, names, calls)
        except Failure as e:
            if time.monotonic() > end:
                raise Failure("%s (%s)" % (e, dropped(folder)))
            time.sleep(0.5)


def tasks_of(records):
    """Traces that begin at the API server with a task."""
    found = {}
    for trace_id, items in grouped(records).items():
        if any(s["name"] == "control_plane.add_task_to_session" for s, _, _ in items):
            found[trace_id] = items
    return found


def run_files(ctx):
    plant, details = Plant(ctx), []
    for service, who, names, calls in KINDS:
        before = set(tasks_of(plant.records))
        answers, seconds = plant.run(service)
        if service == "echo":
            expect_eq(len({a["worker"]["pid"] for a in answers}), WORKERS, "worker processes that answered")

        def read():
            return {k: v for k, v in tasks_of(plant.records).items() if k not in before}
        settled(read, "traces of the tasks")
        spans = checked(read, names, calls, ctx.dir)
        details.append("%s %.1f s, %d spans" % (who, seconds, spans))
    for record in plant.records:
        expect(flow.read_spans(record), "%s holds no span" % os.path.basename(record))
    return "%d trees each: %s" % (TASKS, "; ".join(details))


def _is_border(span, warning):
    """Where a trace goes from one process to another: a message goes on when its sender has ended, and a server may note
    the end of its answer after the client has read it. Jaeger calls both clock skew, and says so of the spans below, too:
    the gateway's call of the model."""
    return warning.startswith("clock skew adjustment disabled") and span["operationName"].startswith(
        ("message_queue.", "POST ", "chat "))


def odd(span):
    return [w for w in span.get("warnings") or [] if not _is_border(span, w)]


def run_jaeger(ctx):
    peer = jaeger.Jaeger(ctx)
    plant = Plant(ctx, sightline.traces_env("http/protobuf", peer.http))
    plant.run("far")

    def read():
        reply = net.get("%s/api/traces?service=llama-deploy-apiserver&limit=%d&lookback=1h&operation=%s" % (
            peer.query, 2 * TASKS, "control_plane.add_task_to_session"), timeout=60)
        return {t["traceID"]: t["spans"] for t in reply.json()["data"]}, reply.json()["data"]
    settled(lambda: read()[0], "traces in Jaeger")
    found = read()[1]
    for one in found:
        for span in one["spans"]:
            expect(not odd(span), "Jaeger warns of %s: %s" % (span["operationName"], span.get("warnings")))
    spans = check_traces({t["traceID"]: tree.from_jaeger(t) for t in found}, KINDS[2][2], KINDS[2][3])
    return "%d trees, %d spans" % (len(found), spans)


ROWS = [
    Row("flow-trees", "quick", "OTLP files", "of this build", "1,000 tasks at once are 1,000 whole trees", run_files,
        limit=150, order=61),
    Row("flow-trees-jaeger", "full", "Jaeger", jaeger.VERSION, "the same in Jaeger", run_jaeger,
        needs=[jaeger.install], cached=jaeger.cached, limit=200, order=96),
]
