"""OTLP in one form for comparison: what the official protobuf classes make of it, as OTLP JSON.

As a program: reads lines `{"resourceSpans"|"resourceMetrics"|"resourceLogs": …}` of OTLP JSON (the collector's file
exporter) and prints a line {signal, request} for each.

OTLP JSON differs from protobuf's own JSON in one thing: trace and span ids are hexadecimal, not base64.
"""
import base64
import json
import sys

from google.protobuf import json_format
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

IDS = ("traceId", "spanId", "parentSpanId")
BY_KEY = {"resourceSpans": ("traces", trace_service_pb2.ExportTraceServiceRequest),
          "resourceMetrics": ("metrics", metrics_service_pb2.ExportMetricsServiceRequest),
          "resourceLogs": ("logs", logs_service_pb2.ExportLogsServiceRequest)}


def walk(value, change):
    if isinstance(value, dict):
        return {k: change(v) if k in IDS else walk(v, change) for k, v in value.items()}
    if isinstance(value, list):
        return [walk(v, change) for v in value]
    return value


def check_names(value):
    """OTLP JSON has lowerCamelCase names, integers for enums and strings for 64-bit integers."""
    if isinstance(value, dict):
        for name, item in value.items():
            if "_" in name:
                raise ValueError("name '%s' is not lowerCamelCase" % name)
            if name in ("kind", "code", "aggregationTemporality", "severityNumber") and not isinstance(item, int):
                raise ValueError("'%s' is not an integer: %r" % (name, item))
            if (name.endswith("UnixNano") or name in ("intValue", "asInt", "count")) and not isinstance(item, str):
                raise ValueError("'%s' is not a string: %r" % (name, item))
            check_names(item)
    if isinstance(value, list):
        for item in value:
            check_names(item)


def from_json(kind, value, strict=False):
    if strict:
        check_names(value)
    fixed = walk(value, lambda v: base64.b64encode(bytes.fromhex(v)).decode())
    return json_format.ParseDict(fixed, kind())


def to_json(message):
    value = json_format.MessageToDict(message, use_integers_for_enums=True)
    return walk(value, lambda v: base64.b64decode(v).hex())


def unknown_fields(message, path=""):
    """Paths of the fields, anywhere in the message, that its schema does not know."""
    found = ["%s#%d" % (path or message.DESCRIPTOR.name, f.field_number) for f in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        items = value if field.is_repeated else [value]
        for item in items:
            found += unknown_fields(item, path + "/" + field.name)
    return found


def main():
    for line in sys.stdin:
        value = json.loads(line)
        for key, (signal, kind) in BY_KEY.items():
            if key in value:
                print(json.dumps({"signal": signal, "request": to_json(from_json(kind, value))}))


if __name__ == "__main__":
    main()
