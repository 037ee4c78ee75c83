"""Jaeger 2, built from its Go module (cmd/jaeger 2.13 = module v1.76.0)."""
import os

from lib import cache, gobuild, net

VERSION = "2.13 (module v1.76.0)"
MODULE = "github.com/jaegertracing/jaeger"
RELEASE = "v1.76.0"
REPLACES = ("github.com/Shopify/sarama=github.com/Shopify/sarama@v1.33.0",)


def _install():
    return cache.Install("jaeger2", "\n".join((MODULE, RELEASE) + REPLACES))


def cached():
    return _install().ready()


def install():
    """Returns the path of the binary."""
    def build(folder, log):
        gobuild.build_tool(folder, log, "jaeger2", MODULE + "/cmd/jaeger", RELEASE, REPLACES, go_sum_of=MODULE)
    return os.path.join(_install().ensure(build), "jaeger2")


CONFIG = """service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {receivers: [otlp, jaeger, zipkin], processors: [batch], exporters: [jaeger_storage_exporter]}
  telemetry: {metrics: {level: none}, logs: {level: warn}}
extensions:
  jaeger_query: {storage: {traces: mem}, http: {endpoint: "127.0.0.1:%(query)d"}, grpc: {endpoint: "127.0.0.1:%(query_grpc)d"}}
  jaeger_storage: {backends: {mem: {memory: {max_traces: 10000}}}}
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:%(grpc)d"}, http: {endpoint: "127.0.0.1:%(http)d"}}}
  jaeger: {protocols: {thrift_http: {endpoint: "127.0.0.1:%(thrift)d"}}}
  zipkin: {endpoint: "127.0.0.1:%(zipkin)d"}
processors: {batch: {timeout: 100ms}}
exporters: {jaeger_storage_exporter: {trace_storage: mem}}
"""


class Jaeger:
    """A running Jaeger: `.grpc` and `.http` take OTLP, `.thrift` (HOST:PORT) Thrift over HTTP, `.zipkin` Zipkin's JSON;
    `.trace(id)` reads back by its query API.
    """

    def __init__(self, ctx, grpc_port=0, thrift_port=0):
        ports = {name: ctx.free_port() for name in ("query", "query_grpc", "grpc", "http", "thrift", "zipkin")}
        ports["grpc"] = grpc_port or ports["grpc"]
        ports["thrift"] = thrift_port or ports["thrift"]
        config = ctx.write("jaeger.yaml", CONFIG % ports)
        ctx.start("jaeger", [install(), "--config", "file:" + config])
        self.query = "http://127.0.0.1:%d" % ports["query"]
        self.grpc = "http://127.0.0.1:%d" % ports["grpc"]
        self.http = "http://127.0.0.1:%d" % ports["http"]
        self.thrift = "127.0.0.1:%d" % ports["thrift"]
        self.zipkin = "http://127.0.0.1:%d/api/v2/spans" % ports["zipkin"]
        ctx.wait_http(self.query + "/api/services", 30)

    def trace(self, trace_id, spans, seconds=15):
        """The trace, once it has at least `spans` spans."""
        def probe():
            data = net.get("%s/api/traces/%s" % (self.query, trace_id)).json()["data"]
            return data[0] if data and len(data[0]["spans"]) >= spans else None
        return net.until("trace %s in Jaeger" % trace_id, seconds, probe)
