"""Our OTLP, decoded by the official classes of Python, equals what was recorded: gRPC, HTTP protobuf, HTTP JSON."""
import json

from checks import Row, recorded
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import clients


def complete(sink):
    """The requests by signal, once all three signals are there."""
    by_signal = {}
    for entry in sink.requests():
        by_signal.setdefault(entry["signal"], []).append(entry)
    return by_signal if len(by_signal) == 3 else None


def record(ctx, protocol, **env):
    """Runs the recording program against a receiver; returns (ids, entries by signal)."""
    program = sightline.build_recorder(ctx)
    sink = sightline.Sink(ctx)
    endpoint = sink.grpc if protocol == "grpc" else sink.http
    ids = json.loads(ctx.run([program], sightline.exporter_env(protocol, endpoint, **env)))
    return ids, net.until("all three signals", 10, lambda: complete(sink))


def check(protocol, content_type, compression, **env):
    def run(ctx):
        ids, by_signal = record(ctx, protocol, **env)
        for signal, entries in by_signal.items():
            for entry in entries:
                expect_eq(entry["content_type"], content_type, "Content-Type of %s" % signal)
                if protocol != "grpc":
                    expect_eq(entry["compression"], compression, "Content-Encoding of %s" % signal)
                agent = entry["headers"].get("user-agent", "")
                expect("OTel-OTLP-Exporter-" in agent, "User-Agent of %s is '%s'" % (signal, agent))
                expect_eq(entry["headers"].get("x-interop"), "a b", "a header of OTEL_EXPORTER_OTLP_HEADERS")
        return recorded.compare_all({k: [e["request"] for e in v] for k, v in by_signal.items()}, ids)
    return run


HEADERS = {"OTEL_EXPORTER_OTLP_HEADERS": "x-interop=a%20b"}
GZIP = dict(HEADERS, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
VERSION = "opentelemetry-proto %s" % clients.PROTO


def row(name, what, run):
    return Row(name, "quick", "OTLP protobuf of Python", VERSION, what, run, needs=[clients.python], order=10)


ROWS = [
    row("otlp-python-http", "HTTP protobuf, every field equals what was recorded",
        check("http/protobuf", "application/x-protobuf", "", **HEADERS)),
    row("otlp-python-http-gzip", "the same with gzip",
        check("http/protobuf", "application/x-protobuf", "gzip", **GZIP)),
    row("otlp-python-json", "HTTP JSON, every field and the JSON rules of OTLP",
        check("http/json", "application/json", "", **HEADERS)),
    row("otlp-python-grpc", "gRPC (grpcio %s), every field" % clients.GRPC,
        check("grpc", "application/grpc", "", **HEADERS)),
    row("otlp-python-grpc-gzip", "the same with gzip",
        check("grpc", "application/grpc", "", **GZIP)),
]
