"""The exporters jaeger and zipkin against the real ones: what was recorded is what they give back."""
import json

from checks import Row, recorded_plain, tree
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import jaeger, zipkin

GUIDE_PORT = 14268
NO_OTHERS = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def jaeger_env(peer):
    return dict(NO_OTHERS, OTEL_TRACES_EXPORTER="jaeger", OTEL_EXPORTER_JAEGER_ENDPOINT=peer.thrift)


def zipkin_env(url):
    return dict(NO_OTHERS, OTEL_TRACES_EXPORTER="zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT=url)


def record(ctx, env):
    return json.loads(ctx.run([sightline.build_recorder(ctx)], env))


def run_jaeger_recorded(ctx):
    peer = jaeger.Jaeger(ctx)
    return "%d spans equal" % recorded_plain.compare_jaeger(peer, record(ctx, jaeger_env(peer)))


def run_zipkin_recorded(ctx):
    peer = zipkin.Zipkin(ctx)
    return "%d spans equal" % recorded_plain.compare_zipkin(peer, record(ctx, zipkin_env(peer.spans)))


def chats(ctx, env):
    """A unary and a streamed request through a gateway; yields (trace id, parent that the provider saw, streamed)."""
    provider = ctx.own(net.Provider())
    gateway = sightline.Gateway(ctx, {"up": (provider.url + "/v1", "up")}, env)
    for stream in (False, True):
        gateway.chat("up", stream=stream)
        yield *tree.trace_id_of(provider.seen[-1]), stream


def run_jaeger_guide(ctx):
    """LlamaDeploy's variables as its guide has them, on its port when that is free."""
    guide = ctx.free_port(GUIDE_PORT)
    peer = jaeger.Jaeger(ctx, thrift_port=guide)
    env = {"LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "jaeger",
           "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT": "localhost:%d" % guide if guide else peer.thrift}
    for trace_id, parent, stream in chats(ctx, env):
        seen = tree.from_jaeger(peer.trace(trace_id, 2))
        service = next(iter(seen.values()))["service"]
        _, client = tree.check_chat(seen, "up", net.USAGE, stream=stream, service=service)
        expect_eq(parent, client, "parent id that the provider received")
    return "unary and streamed traces complete" + ("" if guide else ", port %d was taken" % GUIDE_PORT)


def from_zipkin(spans):
    """In the shape of checks/tree.py. Zipkin keeps names in lower case and every value as a text."""
    found = {}
    for span in spans:
        tags = {k: int(v) if v.lstrip("-").isdigit() else v for k, v in span["tags"].items()}
        name = span["name"].replace("post ", "POST ", 1)
        events = [a["value"] for a in span.get("annotations", [])]
        found[span["id"]] = {"name": name, "kind": span.get("kind", ""), "parent": span.get("parentId", ""),
                             "start_ns": span["timestamp"] * 1000, "duration_ns": span["duration"] * 1000,
                             "service": span["localEndpoint"]["serviceName"], "attributes": tags, "events": events}
    return found


def run_zipkin_gateway(ctx):
    peer = zipkin.Zipkin(ctx)
    for trace_id, parent, stream in chats(ctx, zipkin_env(peer.spans)):
        spans = peer.trace(trace_id, 2)
        _, client = tree.check_chat(from_zipkin(spans), "up", net.USAGE, stream=stream)
        expect_eq(parent, client, "parent id that the provider received")
        remote = next(s for s in spans if s["id"] == client).get("remoteEndpoint", {})
        expect(remote, "the CLIENT span has no remote endpoint")
    services = net.get(peer.base + "/api/v2/services").json()
    expect(tree.DEFAULT_SERVICE in services, "services in Zipkin: %s" % services)
    return "unary and streamed traces complete"


def run_zipkin_into_jaeger(ctx):
    """Jaeger's Zipkin receiver makes links of our tags again."""
    peer = jaeger.Jaeger(ctx)
    ids = record(ctx, zipkin_env(peer.zipkin))
    client = ids["client"]
    trace = peer.trace(client["trace_id"], 2)
    span = next(s for s in trace["spans"] if s["spanID"] == client["span_id"])
    expect_eq([(r["refType"], r["traceID"], r["spanID"]) for r in span["references"]],
              [("CHILD_OF", client["trace_id"], ids["server"]["span_id"]), ("FOLLOWS_FROM", "ab" * 16, "cd" * 8)],
              "references")
    tags = {t["key"]: tree.typed(t) for t in span["tags"]}  # the receiver adds the scope a second time
    expect_eq((tags.get("otel.status_code"), tags.get("error")), ("ERROR", True), "status")
    return "parents, links, statuses"


def row(name, what, run, order, peer="Jaeger", module=jaeger):
    return Row(name, "full", peer, module.VERSION, what, run, needs=[module.install], cached=module.cached, order=order)


ROWS = [
    row("jaeger-thrift", "the jaeger exporter: every field that Thrift can hold", run_jaeger_recorded, 33),
    row("jaeger-thrift-guide", "gateway traces by LlamaDeploy's variables", run_jaeger_guide, 34),
    row("jaeger-zipkin", "the zipkin exporter into Jaeger's receiver", run_zipkin_into_jaeger, 35),
    row("zipkin", "the zipkin exporter: every field that its JSON can hold", run_zipkin_recorded, 36, "Zipkin", zipkin),
    row("zipkin-gateway", "gateway traces by the zipkin exporter", run_zipkin_gateway, 37, "Zipkin", zipkin),
]
