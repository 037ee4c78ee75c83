"""An OTLP receiver on the official protobuf classes and grpcio.

    otlp_sink.py OUT.jsonl READY.json

Listens on two free loopback ports, gRPC and HTTP (protobuf and JSON, gzip in both), and appends one line for each
request: {signal, transport, content_type, compression, headers, items, request} with the request as OTLP JSON, or
{signal, …, error} when it is not what the official classes accept: unknown fields count as errors.
"""
import base64
import gzip
import json
import os
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import canon
import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SIGNALS = {
    "traces": (trace_service_pb2.ExportTraceServiceRequest, trace_service_pb2.ExportTraceServiceResponse),
    "metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics_service_pb2.ExportMetricsServiceResponse),
    "logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse),
}
lock = threading.Lock()
out = open(sys.argv[1], "a", buffering=1)


def keep(entry):
    with lock:
        out.write(json.dumps(entry) + "\n")


def keep_message(entry, message):
    unknown = canon.unknown_fields(message)
    if unknown:
        keep(dict(entry, error="unknown fields: " + ", ".join(unknown)))
    else:
        keep(dict(entry, request=canon.to_json(message)))


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data, size = b"", 1
        while size:
            size = int(self.rfile.readline().split(b";")[0], 16)
            data += self.rfile.read(size)
            self.rfile.readline()
        return data

    def do_POST(self):
        data = self.body()
        signal = self.path.rsplit("/", 1)[-1]
        kind = self.headers.get("content-type", "").split(";")[0]
        entry = {"signal": signal, "transport": "http", "path": self.path, "content_type": kind,
                 "compression": self.headers.get("content-encoding", ""), "bytes": len(data),
                 "headers": {k.lower(): v for k, v in self.headers.items()}}
        status, answer = 200, b""
        try:
            if self.path not in ("/v1/traces", "/v1/metrics", "/v1/logs"):
                raise ValueError("path " + self.path)
            if entry["compression"] == "gzip":
                data = gzip.decompress(data)
            request, response = SIGNALS[signal]
            if kind == "application/json":
                message = canon.from_json(request, json.loads(data), strict=True)
                answer = b"{}"
            elif kind == "application/x-protobuf":
                message = request.FromString(data)
                answer = response().SerializeToString()
            else:
                raise ValueError("Content-Type " + kind)
            keep_message(entry, message)
        except Exception as e:
            status = 400
            keep(dict(entry, error="%s: %s" % (type(e).__name__, e)))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def servicer(signal, base):
    class Service(base):
        def Export(self, request, context):
            meta = {k: v if isinstance(v, str) else base64.b64encode(v).decode()
                    for k, v in context.invocation_metadata()}
            keep_message({"signal": signal, "transport": "grpc", "content_type": "application/grpc",
                          "compression": "", "headers": meta}, request)
            return SIGNALS[signal][1]()
    return Service()


def serve_grpc():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
        servicer("traces", trace_service_pb2_grpc.TraceServiceServicer), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
        servicer("metrics", metrics_service_pb2_grpc.MetricsServiceServicer), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
        servicer("logs", logs_service_pb2_grpc.LogsServiceServicer), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main():
    server, grpc_port = serve_grpc()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    httpd.daemon_threads = True
    ready = {"http": "http://127.0.0.1:%d" % httpd.server_address[1], "grpc": "http://127.0.0.1:%d" % grpc_port}
    with open(sys.argv[2] + ".tmp", "w") as f:
        json.dump(ready, f)
    os.replace(sys.argv[2] + ".tmp", sys.argv[2])
    httpd.serve_forever()
    server.stop(0)


if __name__ == "__main__":
    main()
