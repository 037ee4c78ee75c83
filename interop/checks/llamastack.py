"""Llama Stack on both sides: its server as our upstream, its client in front of us."""
import json
import os

from checks import Row, tree
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import clients, llamastack

MODEL = "up"
USAGE = [net.USAGE[k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")]


def run(ctx):
    """Llama Stack's client > our gateway > Llama Stack's server > a provider that records."""
    provider = ctx.own(net.Provider())
    base = llamastack.start(ctx, provider.url + "/v1", MODEL)
    sink = sightline.Sink(ctx)
    gateway = sightline.Gateway(ctx, {"stack": (base + "/v1", "vllm/" + MODEL)},
                                sightline.traces_env("http/protobuf", sink.http))
    job = {"base_url": gateway.url, "key": sightline.KEY, "model": "stack"}
    out = ctx.run([llamastack.python(), os.path.join(sightline.CLIENTS, "llamastack_client.py"), json.dumps(job)])
    seen = json.loads(out)
    expect_eq(seen["models"], ["stack"], "models.list()")
    expect_eq(seen["unary"], {"content": net.ANSWER, "finish": "stop", "usage": USAGE}, "unary answer")
    for name in ("stream", "stream_usage"):
        expect_eq((seen[name]["content"], seen[name]["finish"]), (net.ANSWER, "stop"), "text of %s" % name)
    expect_eq(seen["stream"]["usage"], None, "usage in the stream that did not ask for it")
    expect_eq(seen["stream_usage"]["usage"], USAGE, "usage of the stream that asked for it")
    expect_eq(seen["wrong_key"], ["AuthenticationError", 401], "error for a wrong key")
    asked = [s["body"]["model"] for s in provider.seen if s["method"] == "POST"]
    expect_eq(asked, [MODEL] * 3, "models that reached the provider behind Llama Stack")
    check_spans(sink)
    return "models, unary, 2 streams, wrong key; tokens of all calls on the spans"


def check_spans(sink):
    def three():
        spans = [s for s in tree.from_otlp(sink.spans()).values() if s["kind"] == "CLIENT"]
        return spans if len(spans) >= 3 else None
    spans = net.until("three CLIENT spans", 10, three)
    expect_eq(len(spans), 3, "CLIENT spans")
    for span in spans:
        tokens = [span["attributes"].get("gen_ai.usage." + k) for k in ("input_tokens", "output_tokens")]
        expect_eq(tokens, USAGE[:2], "tokens on span '%s'" % span["name"])
    expect(all(s["name"].startswith("chat ") for s in spans), "names of the CLIENT spans")


ROWS = [Row("llamastack", "full", "Llama Stack server, client", "%s, %s" % (llamastack.SERVER, llamastack.CLIENT),
            "its server as upstream, its client in front", run, needs=[llamastack.venv, clients.python],
            limit=240, order=80)]
