"""What the checks of the flow plane share: an upstream whose answers follow from the request alone, runs of workflow
files by `sightline run`, and what the file exporter has written."""
import hashlib
import json
import os
import threading
import time

from lib import net, sightline
from lib.context import Failure

DIMENSIONS = 8


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def vector_of(text, size=DIMENSIONS):
    """A vector that every reader of JSON reads alike: multiples of 1/256."""
    raw = hashlib.sha256(text.encode()).digest() * (size // 32 + 1)
    return [(b - 128) / 256 for b in raw[:size]]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def verdict(prompt):
    """What model `judge` says: the word behind the last `verdict=` of the prompt."""
    return prompt.split("verdict=")[-1].split()[0] if "verdict=" in prompt else "fine"


def words(text):
    return max(1, len(text.split()))


class Upstream(net.Server):
    """OpenAI's and Anthropic's protocols under /v1 and Qdrant's search under /collections; keeps every request.

    The text of an answer follows from model, system text and prompt. Models of these names do more:
    `judge` gives one word (verdict), `flaky-STATUS-N` refuses the first N requests, `slow-SECONDS` takes its time,
    `drop` closes the connection.
    """

    def __init__(self, points=None):
        self.seen = []
        self.points = points or {}  # collection > list of {"id", "vector", "metadata"}
        self.failed = {}
        self.lock = threading.Lock()
        upstream = self

        class Handler(net.Quiet):
            def do_POST(self):
                body = json.loads(self.body())
                entry = {"path": self.path, "headers": net.lower(self.headers), "body": body,
                         "begin": time.monotonic()}
                with upstream.lock:
                    upstream.seen.append(entry)
                upstream.serve(self, body)
                entry["end"] = time.monotonic()

        super().__init__(Handler)
        self.httpd.handle_error = lambda *args: None  # clients that give up are a part of the checks

    def asked(self, part):
        """Bodies of the requests whose path has `part`, in the order they came."""
        return [s["body"] for s in self.seen if part in s["path"]]

    def reset(self):
        with self.lock:
            self.seen.clear()
            self.failed.clear()

    def serve(self, handler, body):
        model = body.get("model", "")
        if model.startswith("flaky-") and self.refuses(model):
            return handler.answer(int(model.split("-")[1]), {"error": {"message": "planned", "type": "interop_error"}})
        if model.startswith("slow-"):
            time.sleep(float(model[5:]))
        if model == "drop":
            handler.close_connection = True
            return handler.connection.close()
        if handler.path.endswith("/points/search"):
            return handler.answer(200, self.search(handler.path.split("/")[-3], body))
        if handler.path.endswith("/points/query"):  # what newer servers call it
            found = self.search(handler.path.split("/")[-3], dict(body, vector=body["query"]))
            return handler.answer(200, dict(found, result={"points": found["result"]}))
        if handler.path == "/v1/embeddings":
            return handler.answer(200, self.embeddings(body))
        if handler.path == "/v1/messages":
            return handler.answer(200, self.messages(body))
        return handler.answer(200, self.chat(body))

    def refuses(self, model):
        with self.lock:
            count = self.failed.get(model, 0)
            if count < int(model.split("-")[2]):
                self.failed[model] = count + 1
                return True
        return False

    @staticmethod
    def text(model, system, prompt):
        return verdict(prompt) if model == "judge" else "%s says %s" % (model, digest(system + "\n" + prompt))

    def chat(self, body):
        texts = {m["role"]: m["content"] for m in body["messages"]}
        prompt, system = texts["user"], texts.get("system", "")
        text = self.text(body["model"], system, prompt)
        used = [words(system + " " + prompt), words(text)]
        return {"id": "chatcmpl-" + digest(prompt), "object": "chat.completion", "created": net.CREATED,
                "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}}

    def messages(self, body):
        prompt = body["messages"][-1]["content"]
        system = body.get("system") or ""
        text = self.text(body["model"], system, prompt)
        return {"id": "msg_" + digest(prompt), "type": "message", "role": "assistant", "model": body["model"],
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": words(system + " " + prompt), "output_tokens": words(text)}}

    @staticmethod
    def embeddings(body):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        size = body.get("dimensions") or DIMENSIONS
        used = sum(words(t) for t in texts)
        return {"object": "list", "model": body["model"],
                "data": [{"object": "embedding", "index": i, "embedding": vector_of(t, size)}
                         for i, t in enumerate(texts)],
                "usage": {"prompt_tokens": used, "total_tokens": used}}

    def search(self, name, body):
        found = [dict(p, score=cosine(body["vector"], p["vector"])) for p in self.points.get(name, [])]
        found.sort(key=lambda p: -p["score"])
        return {"status": "ok", "time": 0.0, "result": [
            {"id": p["id"], "version": 1, "score": p["score"], "payload": p["metadata"] if body["with_payload"] else None,
             "vector": p["vector"] if body.get("with_vector") else None} for p in found[:body["limit"]]]}


def provider_env(base):
    """The variables by which providers' own clients find their address."""
    return {"OPENAI_API_KEY": "sk-interop", "OPENAI_BASE_URL": base + "/v1", "ANTHROPIC_API_KEY": "sk-interop",
            "ANTHROPIC_BASE_URL": base}


def file_env(path, *signals):
    """OTEL_* that send these signals to the file exporter."""
    env = {"SIGHTLINE_EXPORTER_FILE": path}
    for name in ("traces", "metrics", "logs"):
        env["OTEL_%s_EXPORTER" % name.upper()] = "file" if name in signals else "none"
    return env


class Run:
    """One `sightline run FILE`: `.report`, `.status` of the process, `.spans`, `.metrics` (name > points)."""

    def __init__(self, ctx, path, inputs, env, more=(), timeout=60, ok=(0, 1)):
        sightline.need_binary(ctx)
        record = os.path.join(ctx.dir, "run-%d.jsonl" % len(os.listdir(ctx.dir)))
        given = json.dumps(inputs)
        if len(given) > 100000:  # one argument holds no more than 128 KiB
            given = "@" + ctx.write("inputs.json", given)
        argv = [ctx.sightline, "run", path, "-i", given, "--format", "json", *more]
        begin = time.monotonic()
        text = ctx.run(argv, dict(file_env(record, "traces", "metrics"), **env), timeout, ok=ok)
        self.seconds = time.monotonic() - begin
        try:
            self.report = json.loads(text)
        except ValueError:
            raise Failure("sightline run printed no JSON: %s" % text[:300])
        self.spans = read_spans(record)
        self.metrics = read_metrics(record)

    def step(self, name):
        return next(s for s in self.report["steps"] if s["id"] == name)


def records(path, key):
    if not os.path.exists(path):
        return
    with open(path) as f:
        for line in f:
            if line.endswith("\n"):
                yield from json.loads(line).get(key, [])


def read_spans(path):
    """(span, scope, resource) of a file exporter's file, as sightline.Sink.spans() gives them."""
    return [(span, s.get("scope", {}), r.get("resource", {})) for r in records(path, "resourceSpans")
            for s in r.get("scopeSpans", []) for span in s.get("spans", [])]


def read_metrics(path):
    """{metric: {sorted attributes: last point}} of a file exporter's file."""
    found = {}
    for r in records(path, "resourceMetrics"):
        for s in r.get("scopeMetrics", []):
            for m in s.get("metrics", []):
                data = m.get("sum") or m.get("gauge") or m.get("histogram") or {}
                for point in data.get("dataPoints", []):
                    labels = tuple(sorted((a["key"], str(next(iter(a["value"].values())))) for a in
                                          point.get("attributes", [])))
                    found.setdefault(m["name"], {})[labels] = point
    return found


def value(point):
    """The number of a point; of a histogram its count."""
    for key, kind in (("asInt", int), ("asDouble", float), ("count", int)):
        if key in point:
            return kind(point[key])
    raise Failure("a point without a value: %s" % point)


def orphans(tree):
    """Ids of spans whose parent is not in the tree; `tree` as checks/tree.py has it."""
    return [i for i, span in tree.items() if span["parent"] and span["parent"] not in tree]


class Server:
    """A running `sightline flow server`: `.url` (API server), `.control`, `.queue`, `.metrics`, `.record` (its OTLP)."""

    def __init__(self, ctx, name="flow", env=None, more=()):
        sightline.need_binary(ctx)
        ready = os.path.join(ctx.dir, name + ".ready")
        self.record = os.path.join(ctx.dir, name + ".jsonl")
        argv = [ctx.sightline, "flow", "server", "--ready-file", ready, "--data-dir", ctx.folder(name + "-data"), *more]
        for part in ("api", "control", "queue", "metrics", "health", "admin"):
            argv += ["--%s-listen" % part, "127.0.0.1:0"]
        base = dict(file_env(self.record, "traces"), OTEL_BSP_SCHEDULE_DELAY="200")
        self.process = ctx.start(name, argv, dict(base, **(env or {})))
        where = ctx.wait_file(ready, 20)
        for key in ("api", "control", "queue", "metrics"):
            if key not in where:
                raise Failure("the ready file has no '%s': %s" % (key, where))
        self.url, self.control, self.queue = where["api"], where["control"], where["queue"]
        self.metrics, self.health, self.admin = where["metrics"] + "/metrics", where.get("health"), where.get("admin")
