"""The attributes of a chat call equal those of the reference instrumentation; every difference is explained here.

The same requests go to the same provider twice: from OpenAI's client with the reference instrumentation, and through
the gateway. A difference that has no explanation below is a failure.
"""
import json
import os

from checks import Row, tree
from lib import net, sightline
from lib.context import Failure, expect, expect_eq
from peers import clients, genai

LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
CASES = ("unary", "stream", "error")

# What the reference has and we have under another name, or with another value: name -> (reason, what we must have).
DIFFERENT = {
    "gen_ai.openai.request.response_format":
        ("previous name; the current one is gen_ai.output.type", "gen_ai.output.type"),
    "openai.response.system_fingerprint":
        ("not read: gen_ai.response.model says which model answered", "gen_ai.response.model"),
    "gen_ai.openai.response.system_fingerprint":
        ("not read: gen_ai.response.model says which model answered", "gen_ai.response.model"),
    "error.type":
        ("the reference names the exception class of its client library; on the wire there is a status", "error.type"),
}
# What we have in addition: name or beginning of names -> reason.
ADDED = {
    "gen_ai.provider.name": "current name of gen_ai.system; both are on every span",
    "gen_ai.system": "previous name of gen_ai.provider.name; both are on every span",
    "gen_ai.output.type": "current name of gen_ai.openai.request.response_format",
    "gen_ai.response.finish_reasons": "the reference does not read them from streams",
    "gen_ai.request.stream": "required by current conventions on streamed calls",
    "gen_ai.response.time_to_first_chunk": "recommended by current conventions on streamed calls",
    "gen_ai.usage.": "detailed usage of current conventions, when the provider reports it",
    "openai.": "recommended for OpenAI by current conventions",
    "llm.": "names of the LiteLLM guide",
    "http.": "the HTTP exchange; the reference leaves it to another instrumentation",
    "network.": "the HTTP exchange; the reference leaves it to another instrumentation",
    "url.": "the HTTP exchange; the reference leaves it to another instrumentation",
    "user_agent.": "the HTTP exchange; the reference leaves it to another instrumentation",
    "sightline.": "how the gateway dealt with the call",
    "error.": "details of the refusal",
}
METRICS = ("gen_ai.client.operation.duration", "gen_ai.client.token.usage")
# Labels of the reference that we leave out, and the other way round.
LABELS_LEFT_OUT = {"gen_ai.openai.response.system_fingerprint": "a new series for each build of the provider's model",
                   "gen_ai.system": "previous name; every series would carry the same value twice"}
LABELS_ADDED = {"gen_ai.provider.name": "current name of gen_ai.system",
                "gen_ai.response.model": "the reference does not read it from streams"}


def reference(ctx, provider, env):
    job = {"base_url": provider.url + "/v1", "key": "none", "model": "up", "fail_model": "fail-429"}
    out = ctx.run([genai.python(), os.path.join(sightline.CLIENTS, "genai_reference.py"), json.dumps(job)], env)
    first = provider.seen[0]["body"]
    return json.loads(out), {k: v for k, v in first.items() if k not in ("model", "stream")}


def send(gateway, model, body):
    return net.post(gateway.url + "/v1/chat/completions", dict(body, model=model),
                    {"authorization": "Bearer " + sightline.KEY}).status


def ours(ctx, provider, request, env):
    """The CLIENT span of each case, and the receiver that has everything."""
    sink = sightline.Sink(ctx)
    models = {name: (provider.url + "/v1", name) for name in ("up", "fail-429")}
    gateway = sightline.Gateway(ctx, models, dict(sightline.exporter_env("http/protobuf", sink.http), **env))
    stream = dict(request, stream=True, stream_options={"include_usage": True})
    bodies = {"unary": ("up", request), "stream": ("up", stream), "error": ("fail-429", request)}
    spans = {}
    for case, (model, body) in bodies.items():
        expect_eq(send(gateway, model, body), 429 if case == "error" else 200, "status of the %s call" % case)
        trace_id, span_id = tree.trace_id_of(provider.seen[-1])

        def arrived():
            return tree.from_otlp(sink.spans(trace_id)).get(span_id)
        spans[case] = net.until("the CLIENT span of the %s call" % case, 10, arrived)
        spans[case]["status"] = next(s.get("status", {}).get("code", 0) for s, _, _ in sink.spans(trace_id)
                                     if s["spanId"] == span_id)
    return spans, sink


def explained(name, table):
    return any(name == key or (key.endswith(".") and name.startswith(key)) for key in table)


def compare_span(case, want, got):
    """Returns the names of the differences, all explained."""
    expect_eq((got["name"], got["kind"]), (want["name"], want["kind"]), "%s: name and kind of the span" % case)
    expect_eq(got["status"], 2 if want["status"] == "ERROR" else 0, "%s: status of the span" % case)
    differences = []
    for name, value in want["attributes"].items():
        seen = got["attributes"].get(name)
        if type(seen) is type(value) and seen == value:
            continue
        expect(name in DIFFERENT, "%s: attribute %s: the reference has %r, we have %r" % (case, name, value, seen))
        expect(DIFFERENT[name][1] in got["attributes"], "%s: attribute %s is missing" % (case, DIFFERENT[name][1]))
        differences.append(name)
    for name in got["attributes"]:
        if name not in want["attributes"]:
            expect(explained(name, ADDED), "%s: attribute %s is not in the reference" % (case, name))
            differences.append(name)
    return differences


def histogram(sink, name):
    """The last export of a histogram, or None."""
    found = [m for e in sink.requests("metrics") for r in e["request"].get("resourceMetrics", [])
             for s in r.get("scopeMetrics", []) for m in s.get("metrics", []) if m["name"] == name]
    return found[-1] if found else None


def compare_metric(name, want, sink, calls):
    def complete():
        m = histogram(sink, name)
        return m if m and sum(int(p["count"]) for p in m["histogram"]["dataPoints"]) >= calls else None
    got = net.until("metric " + name, 10, complete)
    points = got["histogram"]["dataPoints"]
    expect_eq(sum(int(p["count"]) for p in points), calls, "count of " + name)
    expect_eq(got.get("unit"), want["unit"], "unit of " + name)
    expect_eq(points[0]["explicitBounds"], [float(b) for b in want["bounds"]], "bounds of " + name)
    wanted = {key for p in want["points"] for key in p["attributes"]}
    seen = {pair["key"] for p in points for pair in p["attributes"]}
    for key in wanted - seen:
        expect(key in LABELS_LEFT_OUT, "label %s of %s is missing" % (key, name))
    for key in seen - wanted:
        expect(key in LABELS_ADDED, "label %s of %s is not in the reference" % (key, name))


def run(env):
    def check(ctx):
        provider = ctx.own(net.Provider())
        want, request = reference(ctx, provider, env)
        if sorted(want["spans"]) != sorted(CASES):
            raise Failure("the reference recorded only %s" % sorted(want["spans"]))
        spans, sink = ours(ctx, provider, request, env)
        differences = set()
        for case in CASES:
            differences.update(compare_span(case, want["spans"][case], spans[case]))
        if not env:
            compare_metric(METRICS[0], want["metrics"][METRICS[0]], sink, len(CASES))
            compare_metric(METRICS[1], want["metrics"][METRICS[1]], sink, 4)
        equal = sum(len(want["spans"][c]["attributes"]) for c in CASES)
        return "%d attributes of 3 calls compared; explained differences: %s" % (equal, ", ".join(sorted(differences)))
    return check


def row(name, what, env, order):
    return Row(name, "quick", "instrumentation-openai-v2", genai.VERSION, what, run(env),
               needs=[genai.python, clients.python], order=order)


ROWS = [
    row("genai-attributes", "attributes and metrics of a chat call equal the reference's", {}, 55),
    row("genai-attributes-latest", "the same with gen_ai_latest_experimental", LATEST, 56),
]
