#!/usr/bin/env python3
"""The workflow files of examples/workflows, run as the documentation says: what comes out, what providers are asked,
the spans of a run and its metrics, all compared exactly."""
import hashlib
import http.server
import json
import os
import threading

import lib

EXAMPLES = os.path.join(lib.SOURCE, "examples", "workflows")
NAMES = sorted(os.listdir(EXAMPLES))
PAGES = [{"id": f"p{n}", "text": text} for n, text in enumerate(
    ["The key hangs behind the door.", "Fog horns sound every minute.", "Tides are in the blue book.", "Tea is at four."])]


def example(name):
    return os.path.join(EXAMPLES, name)


def vector(text, size=8):
    raw = hashlib.sha256(text.encode()).digest()
    return [(byte - 128) / 256 for byte in raw[:size]]


class Provider:
    """OpenAI's and Anthropic's protocols; the answer follows from the model and the prompt. `word`: what models that are
    asked for one word (max_tokens 5) say. `fails`: statuses of the next answers, before they are good."""

    def __init__(self, word="fine", fails=()):
        self.word, self.fails, self.seen = word, list(fails), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body})
                status = outer.fails.pop(0) if outer.fails else 200
                data = json.dumps(outer.answer(self.path, body) if status == 200 else {"error": {"message": "planned"}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path, body):
        if path == "/v1/embeddings":
            return {"object": "list", "model": body["model"], "data": [{"object": "embedding", "index": 0, "embedding": vector(body["input"], body["dimensions"])}],
                    "usage": {"prompt_tokens": 4, "total_tokens": 4}}
        text = self.word if body.get("max_tokens") == 5 else f"{body['model']} answers"
        if path == "/v1/messages":
            return {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [{"type": "text", "text": text}],
                    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 3}}
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}

    def prompts(self):
        return [entry["body"]["messages"][-1]["content"] for entry in self.seen if "messages" in entry["body"]]


class Run:
    """`sightline run` to its end: report, spans by id, metrics by name."""

    def __init__(self, path, inputs, base, *args, env=None):
        self.record = os.path.join(lib.tmp(), "telemetry.jsonl")
        variables = {"OPENAI_API_KEY": "sk-a", "OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_API_KEY": "sk-b", "ANTHROPIC_BASE_URL": base,
                     "OTEL_TRACES_EXPORTER": "file", "OTEL_METRICS_EXPORTER": "file", "OTEL_LOGS_EXPORTER": "none",
                     "SIGHTLINE_EXPORTER_FILE": self.record, **(env or {})}
        self.done = lib.run("run", path, "-i", json.dumps(inputs), "--format", "json", *args, env=variables)
        assert self.done.stdout.startswith("{"), (self.done.returncode, self.done.stdout, self.done.stderr)
        self.report = json.loads(self.done.stdout)
        self.statuses = {step["id"]: step["status"] for step in self.report["steps"]}
        self.spans, self.metrics = {}, {}
        with open(self.record) as file:
            for line in file:
                self._read(json.loads(line))

    def _read(self, request):
        for resource in request.get("resourceSpans", []):
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans[span["spanId"]] = dict(span, attributes=plain(span.get("attributes", [])), resource=plain(resource["resource"]["attributes"]))
        for resource in request.get("resourceMetrics", []):
            for scope in resource["scopeMetrics"]:
                for metric in scope["metrics"]:
                    data = metric.get("sum") or metric.get("gauge") or metric.get("histogram")
                    for point in data["dataPoints"]:
                        labels = tuple(sorted(plain(point.get("attributes", [])).items()))
                        self.metrics.setdefault(metric["name"], {})[labels] = number(point)

    def families(self):
        """The orchestrator_* metrics that have moved: {name: {labels as a dict's items: number}}."""
        return {name: {k: v for k, v in points.items() if v} for name, points in self.metrics.items()
                if name.startswith("orchestrator_") and any(points.values())}

    def tree(self):
        """Name > names of its children, from the root down, as nested lists sorted by start."""
        def below(parent):
            found = sorted((s for s in self.spans.values() if s.get("parentSpanId", "") == parent), key=lambda s: int(s["startTimeUnixNano"]))
            return [[s["name"]] + below(s["spanId"]) for s in found]
        return below("")

    def one_tree(self):
        """One trace, one root, no orphan; ends are not before starts."""
        lib.equal({s["traceId"] for s in self.spans.values()}, {self.report["trace_id"]}, "trace ids")
        roots = [s for s in self.spans.values() if not s.get("parentSpanId")]
        lib.equal(len(roots), 1, "roots")
        for span in self.spans.values():
            assert not span.get("parentSpanId") or span["parentSpanId"] in self.spans, f"orphan {span['name']}"
            assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]), span["name"]
        return roots[0]


def plain(attributes):
    out = {}
    for pair in attributes:
        kind, value = next(iter(pair["value"].items()))
        out[pair["key"]] = int(value) if kind == "intValue" else value
    return out


def number(point):
    return int(point["count"]) if "count" in point else int(point["asInt"]) if "asInt" in point else float(point["asDouble"])


def labels(**pairs):
    return tuple(sorted(pairs.items()))


def handbook(base):
    """A data folder with the collection of the handbook."""
    folder = lib.tmp()
    path = os.path.join(folder, "handbook.jsonl")
    with open(path, "w") as file:
        for page in PAGES:
            file.write(json.dumps({"id": page["id"], "vector": vector(page["text"]), "metadata": {"text": page["text"]}}) + "\n")
    done = lib.run("flow", "collection", "load", "handbook", path, "--data-dir", folder)
    lib.equal(done.returncode, 0, done.stderr)
    return folder


# ---- the files ----

def test_every_example_is_valid():
    for name in NAMES:
        done = lib.run("validate", example(name), "--format", "json")
        lib.equal(done.returncode, 0, done.stdout + done.stderr)
        told = json.loads(done.stdout)
        lib.equal((told["valid"], told["errors"]), (True, 0), name)
    lib.equal(len(NAMES), 6)


def test_two_steps_against_the_mock():
    """Report, the mock's own ledger, spans and the metrics say the same."""
    mock = lib.mock(tokens=6)
    run = Run(example("two_steps.yaml"), {"feature": "dark mode"}, mock.url("mock"))
    lib.equal((run.done.returncode, run.report["status"]), (0, "succeeded"), run.done.stderr)
    lib.equal(run.statuses, {"draft": "succeeded", "tighten": "succeeded"})
    book = lib.get(mock.url("mock") + "/mock/ledger").json()
    lib.equal(book["served"], 2)
    sums = [sum(r[key] for r in book["requests"]) for key in ("prompt_tokens", "completion_tokens")]
    tokens = run.report["tokens"]
    lib.equal([tokens["input"], tokens["output"], tokens["total"]], sums + [sum(sums)], "tokens of the report")
    lib.contains(run.report["outputs"]["draft"]["note"].lower(), "mock")
    assert run.report["cost_usd"] > 0, run.report
    lib.equal(run.tree(), [["workflow.execute:release-note", ["step.execute:draft", ["chat gpt-4o-mini"]], ["step.execute:tighten", ["chat gpt-4o-mini"]]]])
    model = {"model": "gpt-4o-mini", "provider": "openai"}
    lib.equal(run.families(), {
        "orchestrator_workflow_executions_total": {labels(status="success", workflow_name="release-note"): 1},
        "orchestrator_workflow_duration_seconds": {labels(workflow_name="release-note"): 1},
        "orchestrator_llm_requests_total": {labels(status="success", **model): 2},
        "orchestrator_llm_tokens_total": {labels(type="input", **model): sums[0], labels(type="output", **model): sums[1]},
        "orchestrator_llm_request_duration_seconds": {labels(**model): 2},
        "orchestrator_step_executions_total": {labels(status="success", step_type="llm"): 2},
        "orchestrator_step_duration_seconds": {labels(step_type="llm"): 2},
        "orchestrator_cost_usd_total": run.families().get("orchestrator_cost_usd_total"),
        "orchestrator_circuit_breaker_state": {labels(provider="openai", state="closed"): 1},
    }, "families that moved")
    lib.equal(run.metrics["orchestrator_active_workflows"], {(): 0}, "workflows at the end")
    lib.equal(mock.stop(), 0)


def test_spans_carry_what_the_guide_names():
    with Provider() as provider:
        run = Run(example("two_steps.yaml"), {"feature": "dark mode"}, provider.url)
        root = run.one_tree()
        lib.equal(root["attributes"]["workflow_name"], "release-note")
        assert root["attributes"]["workflow_id"], root
        lib.equal(root["resource"]["service.name"], "llm-orchestrator")
        steps = [s for s in run.spans.values() if s["name"].startswith("step.execute:")]
        lib.equal(sorted((s["attributes"]["step_id"], s["attributes"]["step_type"], s["attributes"]["attempts"]) for s in steps),
                  [("draft", "llm", 1), ("tighten", "llm", 1)])
        clients = {s["spanId"]: s for s in run.spans.values() if s["name"].startswith("chat ")}
        for entry in provider.seen:
            version, trace_id, parent, flags = entry["headers"]["traceparent"].split("-")
            lib.equal((trace_id, int(flags, 16) & 1), (run.report["trace_id"], 1))
            lib.equal(clients.pop(parent)["attributes"]["gen_ai.usage.output_tokens"], 2)
        lib.equal(clients, {})


def test_all_nine_families_move():
    """A run that fails moves the ninth."""
    with Provider(fails=[503, 400]) as provider:
        path = os.path.join(lib.tmp(), "fails.yaml")
        with open(path, "w") as file:
            file.write("""name: fails
steps:
  - {id: shaky, type: llm, provider: openai, model: m, prompt: one, retry: {max_attempts: 2, initial_delay_ms: 10}, output: [t]}
  - {id: after, type: llm, provider: openai, model: m, prompt: "{{ steps.shaky.t }}", depends_on: [shaky], output: [t]}
  - {id: never, type: action, action: log, message: x, condition: "false"}
""")
        run = Run(path, {}, provider.url)
    lib.equal((run.done.returncode, run.report["status"]), (1, "failed"))
    lib.equal(run.statuses, {"shaky": "failed", "after": "cancelled", "never": "skipped"})
    shaky = next(s for s in run.report["steps"] if s["id"] == "shaky")
    lib.equal(shaky["attempts"], 2)
    assert shaky["error"], shaky
    found = run.families()
    model = {"model": "m", "provider": "openai"}
    lib.equal(found["orchestrator_workflow_executions_total"], {labels(status="failure", workflow_name="fails"): 1})
    lib.equal(found["orchestrator_llm_requests_total"], {labels(status="failure", **model): 2})
    lib.equal({k: v for k, v in found["orchestrator_step_executions_total"].items() if dict(k)["status"] != "skipped"}, {labels(status="failure", step_type="llm"): 1})
    lib.equal(found["orchestrator_step_executions_total"][labels(status="skipped", step_type="action")], 1)
    kinds = {dict(k)["error_type"] for k in found["orchestrator_errors_total"]}
    assert kinds >= {"provider_refused"}, found["orchestrator_errors_total"]
    lib.equal(set(dict(next(iter(found["orchestrator_errors_total"])))), {"error_type", "component"})
    run.one_tree()
    events = [e["name"] for s in run.spans.values() if s["name"] == "step.execute:shaky" for e in s.get("events", [])]
    lib.equal(events.count("retry"), 1, "events of the step")


def test_handbook():
    with Provider() as provider:
        data = handbook(provider.url)
        question = "Who has the key?"
        run = Run(example("handbook.yaml"), {"question": question}, provider.url, "--data-dir", data)
        lib.equal(run.report["status"], "succeeded", run.done.stdout)
        asked = vector(question)
        def score(page):
            own = vector(page["text"])
            return sum(a * b for a, b in zip(asked, own)) / (sum(a * a for a in asked) * sum(b * b for b in own)) ** 0.5
        best = sorted(PAGES, key=score, reverse=True)[:3]
        lib.equal([p["id"] for p in run.report["outputs"]["find_pages"]["pages"]], [p["id"] for p in best])
        page = run.report["outputs"]["find_pages"]["pages"][0]
        lib.equal((sorted(page), page["vector"]), (["id", "metadata", "score", "vector"], None), "a result")
        prompt = provider.prompts()[0]
        for number, page in enumerate(best):
            lib.contains(prompt, f"Page {number} (")
            lib.contains(prompt, page["text"])
        lib.equal(provider.seen[-1]["body"]["system"], "Answer from the pages. Say so when they do not tell.")
        lib.equal(run.report["outputs"]["answer"], dict(run.report["outputs"]["answer"], answered_by="claude-3-5-sonnet-20241022", tokens=14))
        run.one_tree()
        lib.equal(len([s for s in run.spans.values() if s["name"].startswith("embeddings ")]), 1)
        kinds = {dict(k)["step_type"]: v for k, v in run.families()["orchestrator_step_executions_total"].items()}
        lib.equal(kinds, {"embed": 1, "vector_search": 1, "llm": 1})


def test_every_way_of_a_post():
    ways = {"fine": {"publish"}, "unsure": {"hold"}, "refused": {"explain", "notify"}}
    for word, wanted in ways.items():
        with Provider(word) as provider:
            run = Run(example("review_post.yaml"), {"post": "Hello all"}, provider.url)
        lib.equal((run.done.returncode, run.report["status"]), (0, "succeeded"), run.done.stdout)
        lib.equal({i for i, s in run.statuses.items() if s == "succeeded"}, wanted | {"judge"}, word)
        lib.equal({s for i, s in run.statuses.items() if i not in wanted and i != "judge"}, {"skipped"})
        lib.contains(provider.prompts()[0], "Hello all")
        run.one_tree()


def test_tone_of_a_ticket():
    with Provider("worried") as provider:
        run = Run(example("ticket_tone.yaml"), {"ticket": "It broke again!"}, provider.url)
        lib.equal(run.report["status"], "succeeded", run.done.stdout)
        lib.contains(provider.prompts()[1], "The writer is worried.")
        lib.contains(run.done.stdout + run.done.stderr, "tone worried, reply claude-3-5-sonnet-20241022 answers", "the logged line")


def test_rows():
    run = Run(example("rows.yaml"), {"here": [{"id": 1, "state": "open"}, {"id": 2, "state": "shut"}], "there": [{"id": 3, "state": "open"}]}, "http://127.0.0.1:9")
    lib.equal(run.report["status"], "succeeded", run.done.stdout)
    lib.equal(run.report["outputs"]["keep_open"]["open_ones"], [{"id": 1, "state": "open"}, {"id": 3, "state": "open"}])
    lib.equal(run.report["tokens"]["total"], 0)


def test_every_type_of_step():
    mock = lib.mock(tokens=6)
    data = handbook(mock.url("mock"))
    run = Run(example("every_step.yaml"), {"topics": ["tides", "fog"], "tone": "short"}, mock.url("mock"), "--data-dir", data)
    lib.equal(run.report["status"], "succeeded", run.done.stdout)
    lib.equal(set(run.statuses.values()), {"succeeded"}, run.statuses)
    lib.equal(run.report["outputs"]["words"]["line"], "tides, fog")
    root = run.one_tree()
    names = sorted(s["name"] for s in run.spans.values())
    lib.equal(names.count("step.execute:ask"), 2, "rounds of the loop")
    assert "step.execute:cut" in names and "step.execute:stretch" not in names, names
    below = {s["spanId"] for s in run.spans.values() if s.get("parentSpanId") == root["spanId"]}
    lib.equal(sorted(run.spans[i]["name"] for i in below),
              sorted("step.execute:" + i for i in ("words", "both", "search", "each_topic", "style", "rest", "report")))
    book = lib.get(mock.url("mock") + "/mock/ledger").json()
    lib.equal(book["served"], 4)
    lib.equal(mock.stop(), 0)


if __name__ == "__main__":
    lib.main(globals())
