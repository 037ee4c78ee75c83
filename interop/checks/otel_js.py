"""A parent from the OpenTelemetry SDK of JavaScript is continued, and the provider's side sees our child."""
import json
import os

from checks import Row, tree
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import clients, javascript

STATE = "vendor=x,far=1"


def ask(ctx, gateway, sink, trace_id, sampled):
    job = {"url": gateway.url, "key": sightline.KEY, "model": "up", "otlp": sink.http, "sampled": sampled,
           "state": STATE, "trace_id": trace_id}
    out = ctx.run([javascript.node(), os.path.join(sightline.CLIENTS, "otel_caller.mjs"), json.dumps(job)],
                  {"MODULES": javascript.install()})
    seen = json.loads(out)
    expect_eq((seen["status"], seen["content"]), (200, net.ANSWER), "answer that the caller got")
    return seen


def check_headers(provider, caller):
    """The provider sees the caller's trace, a span id that is not the caller's, and state and baggage unchanged."""
    got = provider.seen[-1]["headers"]
    trace_id, parent = tree.trace_id_of(provider.seen[-1])
    expect_eq(trace_id, caller["trace_id"], "trace id that the provider received")
    expect(parent != caller["span_id"], "the provider received the caller's own span id")
    expect_eq(got["traceparent"][-2:], caller["headers"]["traceparent"][-2:], "trace flags that the provider received")
    expect_eq(got.get("tracestate"), caller["headers"]["tracestate"], "tracestate that the provider received")
    expect_eq(got.get("baggage"), caller["headers"]["baggage"], "baggage that the provider received")
    return parent


def run_sampled(ctx):
    provider, sink, gateway = start(ctx)
    caller = ask(ctx, gateway, sink, "11" * 16, True)
    parent = check_headers(provider, caller)
    found = net.until("three spans in the receiver", 10, lambda: (
        lambda spans: spans if len(spans) >= 3 else None)(sink.spans(caller["trace_id"])))
    seen = tree.from_otlp(found)
    expect_eq(seen[caller["span_id"]]["service"], "js-caller", "service of the caller's span")
    ours = {i: span for i, span in seen.items() if i != caller["span_id"]}
    _, client = tree.check_chat(ours, "up", net.USAGE, parent=caller["span_id"])
    expect_eq(parent, client, "parent id that the provider received")
    server = next(span for span, _, _ in found if span.get("kind") == 2)
    expect_eq(server.get("traceState"), caller["headers"]["tracestate"], "traceState of the SERVER span")
    expect_eq(server.get("flags", 0) & 0x300, 0x300, "the SERVER span says that its parent is remote")
    return "one trace of %d spans over two services; tracestate and baggage go on" % len(seen)


def run_unsampled(ctx):
    """A caller that does not sample: we keep its decision, export nothing, and still pass everything on."""
    provider, sink, gateway = start(ctx)
    caller = ask(ctx, gateway, sink, "22" * 16, False)
    check_headers(provider, caller)
    marker = ask(ctx, gateway, sink, "33" * 16, True)
    net.until("the sampled trace in the receiver", 10, lambda: len(sink.spans(marker["trace_id"])) >= 3)
    expect_eq(len(sink.spans(caller["trace_id"])), 0, "spans exported of a trace that is not sampled")
    return "not sampled: nothing exported, context passed on"


def start(ctx):
    provider = ctx.own(net.Provider())
    sink = sightline.Sink(ctx)
    gateway = sightline.Gateway(ctx, {"up": (provider.url + "/v1", "up")},
                                sightline.traces_env("http/protobuf", sink.http))
    return provider, sink, gateway


def row(name, what, run, order):
    return Row(name, "quick", "OpenTelemetry SDK, JS", javascript.OTEL, what, run,
               needs=[javascript.install, clients.python], order=order)


ROWS = [
    row("otel-js-parent", "a W3C parent is continued, the provider sees our child", run_sampled, 50),
    row("otel-js-unsampled", "a parent that is not sampled", run_unsampled, 51),
]
