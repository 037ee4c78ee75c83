"""Traces of the gateway in a real Jaeger 2, over OTLP gRPC and HTTP, read back by Jaeger's own query API."""
from checks import Row, tree
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import jaeger

GUIDE_PORT = 4317


def check_gateway(ctx, peer, env):
    """One unary and one streamed request; both traces must be in Jaeger, whole and typed."""
    provider = ctx.own(net.Provider())
    gateway = sightline.Gateway(ctx, {"up": (provider.url + "/v1", "up")}, env)
    for stream in (False, True):
        gateway.chat("up", stream=stream)
        trace_id, provider_parent = tree.trace_id_of(provider.seen[-1])
        found = peer.trace(trace_id, 2)
        for span in found["spans"]:
            expect(not span.get("warnings"), "Jaeger warns about span %s: %s" % (
                span["operationName"], span.get("warnings")))
        seen = tree.from_jaeger(found)
        _, client = tree.check_chat(seen, "up", net.USAGE, stream=stream)
        expect_eq(provider_parent, client, "parent id that the provider received")
    services = net.get(peer.query + "/api/services").json()["data"]
    expect(tree.DEFAULT_SERVICE in services, "services in Jaeger: %s" % services)
    return "unary and streamed traces complete"


def run_grpc(ctx):
    """With the guide's variables alone when its port is free: port 4317 means gRPC without saying so."""
    guide = ctx.free_port(GUIDE_PORT)
    peer = jaeger.Jaeger(ctx, guide)
    if guide:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:%d" % GUIDE_PORT}
        return check_gateway(ctx, peer, env) + ", OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 alone"
    return check_gateway(ctx, peer, sightline.traces_env("grpc", peer.grpc)) + ", port 4317 was taken"


def run_http(ctx):
    peer = jaeger.Jaeger(ctx)
    return check_gateway(ctx, peer, sightline.traces_env("http/protobuf", peer.http))


def run_http_json(ctx):
    peer = jaeger.Jaeger(ctx)
    return check_gateway(ctx, peer, sightline.traces_env("http/json", peer.http))


def row(name, what, run, order):
    return Row(name, "full", "Jaeger", jaeger.VERSION, what, run, needs=[jaeger.install], cached=jaeger.cached,
               order=order)


ROWS = [
    row("jaeger-grpc", "gateway traces over OTLP gRPC", run_grpc, 30),
    row("jaeger-http", "gateway traces over OTLP HTTP protobuf", run_http, 31),
    row("jaeger-http-json", "gateway traces over OTLP HTTP JSON", run_http_json, 32),
]
