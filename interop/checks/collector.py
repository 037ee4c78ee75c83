"""Traces, metrics and logs in a real OpenTelemetry Collector: its file exporter's output, field by field."""
import json

from checks import Row, recorded, tree
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import clients, collector

REQUESTS = 4


def compare_recorded(ctx, peer, protocol, env):
    program = sightline.build_recorder(ctx)
    endpoint = peer.grpc if protocol == "grpc" else peer.http
    ids = json.loads(ctx.run([program], sightline.exporter_env(protocol, endpoint, **env)))

    def all_signals():
        found = peer.received()
        return found if len(found) == 3 else None
    return recorded.compare_all(net.until("all signals in the file", 15, all_signals, 0.3), ids)


def run_recorded(protocol, **env):
    def run(ctx):
        return compare_recorded(ctx, collector.Collector(ctx), protocol, env)
    return run


def run_mtls(protocol):
    """Both sides show certificates; one that the collector does not know gets nothing through."""
    def run(ctx):
        own = collector.Certificates(ctx)
        peer = collector.Collector(ctx, own)
        env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": own.path("ca.pem"),
               "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": own.path("client.pem"),
               "OTEL_EXPORTER_OTLP_CLIENT_KEY": own.path("client.key")}
        program = sightline.build_recorder(ctx)
        stranger = {"OTEL_EXPORTER_OTLP_CERTIFICATE": own.path("ca.pem"), "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
        endpoint = peer.grpc if protocol == "grpc" else peer.http
        ctx.run([program], sightline.exporter_env(protocol, endpoint, **stranger), ok=(1,))
        expect_eq(peer.received(), {}, "what arrived without a client certificate")
        return compare_recorded(ctx, peer, protocol, env) + "; without a client certificate nothing"
    return run


def spans_of(requests, trace_id):
    return [(span, s["scope"], r["resource"]) for q in requests for r in q.get("resourceSpans", [])
            for s in r.get("scopeSpans", []) for span in s.get("spans", []) if span["traceId"] == trace_id]


def check_traces(ctx, gateway, provider, found):
    """Each trace in the collector equals, span by span, what `sightline traces` shows."""
    for seen in provider.seen:
        trace_id, _ = tree.trace_id_of(seen)
        collected = tree.from_otlp(spans_of(found["traces"], trace_id))
        shown = tree.from_sightline(gateway.trace(trace_id))
        expect_eq(sorted(collected), sorted(shown), "span ids of a trace in the collector and in sightline traces")
        for span_id, span in shown.items():
            for field, value in span.items():
                expect_eq(collected[span_id][field], value, "span '%s', %s" % (span["name"], field))
        tree.check_chat(collected, "up", net.USAGE, stream=bool(seen["body"].get("stream")))


def last_points(requests, name):
    """Data points of the metric's last export, and the metric."""
    metrics = [m for q in requests for r in q.get("resourceMetrics", []) for s in r.get("scopeMetrics", [])
               for m in s.get("metrics", []) if m["name"] == name]
    expect(metrics, "no metric %s in the collector" % name)
    return metrics[-1], metrics[-1]["histogram"]["dataPoints"]


def check_metrics(found):
    metric, points = last_points(found["metrics"], "gen_ai.client.operation.duration")
    expect_eq(metric.get("unit"), "s", "unit of gen_ai.client.operation.duration")
    expect_eq(sum(int(p["count"]) for p in points), REQUESTS, "count of gen_ai.client.operation.duration")
    expect_eq(points[0]["explicitBounds"], [0.01 * 2**n for n in range(14)], "bounds of the duration")
    expect_eq(sum(sum(int(c) for c in p["bucketCounts"]) for p in points), REQUESTS, "sum of all buckets")
    _, tokens = last_points(found["metrics"], "gen_ai.client.token.usage")
    by_type = {}
    for p in tokens:
        kind = recorded.attributes(p)["gen_ai.token.type"]["stringValue"]
        by_type[kind] = by_type.get(kind, 0) + p["sum"]
    expect_eq(by_type, {"input": REQUESTS * net.USAGE["prompt_tokens"],
                        "output": REQUESTS * net.USAGE["completion_tokens"]}, "token sums")


def check_logs(provider, found):
    """One access log record for each request, in the trace of the request."""
    wanted = {tree.trace_id_of(seen)[0] for seen in provider.seen}
    logs = [log for q in found["logs"] for r in q.get("resourceLogs", []) for s in r.get("scopeLogs", [])
            for log in s.get("logRecords", []) if log.get("traceId") in wanted]
    expect_eq(sorted(log["traceId"] for log in logs), sorted(wanted), "trace ids of the access log records")
    for log in logs:
        expect(log.get("spanId") and int(log["timeUnixNano"]) > 0, "access log record %s" % log)
        expect_eq((log.get("severityNumber"), log.get("severityText")), (9, "INFO"), "severity of the access log")


def arrived(peer, provider):
    """What the collector has, once all traces, all counts and all access logs are there."""
    wanted = {tree.trace_id_of(seen)[0] for seen in provider.seen}

    def probe():
        found = peer.received()
        if len(found) < 3 or any(len(spans_of(found["traces"], t)) < 2 for t in wanted):
            return None
        _, points = last_points(found["metrics"], "gen_ai.client.operation.duration")
        return found if sum(int(p["count"]) for p in points) >= REQUESTS else None
    return net.until("the gateway's traces, metrics and logs in the collector", 20, probe, 0.5)


def run_gateway(ctx):
    peer = collector.Collector(ctx)
    provider = ctx.own(net.Provider())
    gateway = sightline.Gateway(ctx, {"up": (provider.url + "/v1", "up")},
                                sightline.exporter_env("grpc", peer.grpc))
    for n in range(REQUESTS):
        gateway.chat("up", stream=n % 2 == 1)
    found = arrived(peer, provider)
    check_traces(ctx, gateway, provider, found)
    check_metrics(found)
    check_logs(provider, found)
    return "%d requests: traces equal the terminal's view, metrics and access logs exact" % REQUESTS


def row(name, what, run, order):
    return Row(name, "full", "OpenTelemetry Collector", collector.VERSION, what, run,
               needs=[collector.install, clients.python], cached=collector.cached, order=order)


ROWS = [
    row("collector-grpc", "everything recorded, over gRPC, field by field", run_recorded("grpc"), 40),
    row("collector-http-gzip", "the same over HTTP protobuf with gzip",
        run_recorded("http/protobuf", OTEL_EXPORTER_OTLP_COMPRESSION="gzip"), 41),
    row("collector-http-json", "the same over HTTP JSON", run_recorded("http/json"), 42),
    row("collector-grpc-mtls", "the same over gRPC with certificates on both sides", run_mtls("grpc"), 44),
    row("collector-http-mtls", "the same over HTTPS with certificates on both sides", run_mtls("http/protobuf"), 45),
    row("collector-gateway", "traces, metrics and logs of the gateway", run_gateway, 43),
]
