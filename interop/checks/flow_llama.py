"""The example workflows on models that run: every file of examples/workflows against a genuine llama-server, chat and
embeddings through our gateway, Anthropic's protocol straight to it."""
import json
import os

from checks import Row, tree
from lib import flow, net, sightline
from lib.context import expect, expect_eq
from peers import llama_server

CHAT_MODELS = ("gpt-4o", "gpt-4o-mini")
EMBEDDER = "text-embedding-3-small"
PAGES = ("The key hangs behind the door.", "Fog horns sound every minute.", "Tides are in the blue book.")
# File: inputs, steps that may be skipped because a tiny model does not say the word.
RUNS = {
    "two_steps.yaml": ({"feature": "dark mode"}, ()),
    "handbook.yaml": ({"question": "Who has the key?"}, ()),
    "review_post.yaml": ({"post": "Hello all"}, ("publish", "hold", "explain", "notify")),
    "ticket_tone.yaml": ({"ticket": "It broke again!"}, ()),
    "rows.yaml": ({"here": [{"id": 1, "state": "open"}], "there": [{"id": 2, "state": "shut"}]}, ()),
    "every_step.yaml": ({"topics": ["tides", "fog"], "tone": "short"}, ()),
}


def check_tree(run, gateway_record, calls):
    """One trace from the workflow through the gateway; every chat span of OpenAI's provider has the gateway below it."""
    trace_id = run.report["trace_id"]

    def whole():
        spans = [s for s in run.spans + flow.read_spans(gateway_record) if s[0]["traceId"] == trace_id]
        found = tree.from_otlp(spans)
        servers = [s for s in found.values() if s["kind"] == "SERVER"]
        return found if len(servers) == calls and not flow.orphans(found) else None
    found = net.until("the trace of %s with %d requests at the gateway" % (run.report["workflow"], calls), 10, whole)
    roots = [s["name"] for s in found.values() if not s["parent"]]
    expect_eq(roots, ["workflow.execute:" + run.report["workflow"]], "roots")
    for span in found.values():
        if span["kind"] == "SERVER":
            above = found[span["parent"]]
            expect_eq(above["kind"], "CLIENT", "kind of the span above the gateway's")
            expect(found[above["parent"]]["name"].startswith("step.execute:"), "above it: %s" % above["name"])
    return len(found)


def run_all(ctx):
    model = sightline.tiny_model(ctx)
    chat = llama_server.start(ctx, model)
    vectors = llama_server.start(ctx, model, "llama-embeddings", ("--embeddings", "--pooling", "mean"))
    models = {name: (chat + "/v1", llama_server.MODEL) for name in CHAT_MODELS}
    models[EMBEDDER] = (vectors + "/v1", llama_server.MODEL)
    record = os.path.join(ctx.dir, "gateway.jsonl")
    gateway = sightline.Gateway(ctx, models, flow.file_env(record, "traces"))
    env = {"OPENAI_API_KEY": sightline.KEY, "OPENAI_BASE_URL": gateway.url + "/v1", "ANTHROPIC_API_KEY": "none",
           "ANTHROPIC_BASE_URL": chat}
    data = ctx.folder("flow-data")
    pages = ctx.write("pages.jsonl", "".join(json.dumps({"id": "p%d" % i, "text": t, "metadata": {"text": t}}) + "\n"
                                             for i, t in enumerate(PAGES)))
    ctx.run([ctx.sightline, "flow", "collection", "load", "handbook", pages, "--embed", "openai/" + EMBEDDER,
             "--data-dir", data], env)
    spans = tokens = 0
    for name, (inputs, loose) in RUNS.items():
        path = os.path.join(ctx.source, "examples", "workflows", name)
        run = flow.Run(ctx, path, inputs, env, ["--data-dir", data])
        expect_eq(run.report["status"], "succeeded", "%s: status (%s)" % (name, run.report["error"]))
        for step in run.report["steps"]:
            wanted = ("succeeded", "skipped") if step["id"] in loose else ("succeeded",)
            expect(step["status"] in wanted, "%s: step %s: %s" % (name, step["id"], step))
        calls = sum(1 for s, _, _ in run.spans if s.get("kind") == 3 and not any(
            a["key"] == "gen_ai.provider.name" and a["value"] == {"stringValue": "anthropic"} for a in s["attributes"]))
        spans += check_tree(run, record, calls)
        tokens += run.report["tokens"]["total"]
    expect(tokens > 0, "no tokens were counted")
    return "%d files, %d spans in whole trees, %d tokens of a real model" % (len(RUNS), spans, tokens)


ROWS = [Row("flow-llama-server", "quick", "llama-server", llama_server.VERSION, "the example workflows on a real model",
            run_all, needs=[lambda: llama_server.python_venv.install("llama_server")], limit=120, order=60)]
