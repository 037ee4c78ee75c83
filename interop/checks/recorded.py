"""What examples/record_everything.c records, as OTLP JSON, and its comparison with what arrived, field by field."""
from lib.context import Failure, expect, expect_eq

T0 = 1700000000000000000
MS = 1000000
REMOTE_TRACE = "0af7651916cd43dd8448eb211c80319c"
REMOTE_SPAN = "b7ad6b7169203331"
STATE = "vendor=value,other=1"
SCOPE = "interop"
SCHEMA = "https://example.org/schema/1"
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
OK, ERROR = 1, 2


# Values as OTLP JSON writes them.
def s(text):
    return {"stringValue": text}


def i(number):
    return {"intValue": str(number)}


def d(number):
    return {"doubleValue": number}


def b(flag):
    return {"boolValue": flag}


def array(*items):
    return {"arrayValue": {"values": list(items)} if items else {}}


def kv(**items):
    return {"kvlistValue": {"values": [{"key": k, "value": v} for k, v in items.items()]}}


RETRY = {"attempt": i(2), "why": s("slow")}
VALUES = {
    "text": s("grüß dich ✓"), "text.empty": s(""), "true": b(True), "false": b(False), "zero": i(0),
    "minus": i(-42), "max": i(2**63 - 1), "min": i(-2**63), "half": d(0.5), "big": d(-1e300),
    "bytes": {"bytesValue": "AP8Q"}, "words": array(s("one"), s("zwölf"), s("")), "nothing": array(),
    "map": kv(inner=kv(deep=array(i(1), s("two"), d(3.5), {}), yes=b(True)), n=i(-1)),
    "later": s("second"),
}


def attributes(item):
    """Attributes as a dict; a key that occurs twice is a failure."""
    found = {}
    for pair in item.get("attributes", []):
        expect(pair["key"] not in found, "attribute '%s' occurs twice" % pair["key"])
        found[pair["key"]] = pair.get("value", {})
    return found


def expected_spans(ids):
    """By name: every field that a span of OTLP has."""
    def span(name, kind, start, end, parent="", state="", **more):
        base = {"name": name, "kind": kind, "start": T0 + start, "end": T0 + end, "traceId": ids[name]["trace_id"],
                "spanId": ids[name]["span_id"], "parentSpanId": parent, "traceState": state, "attributes": {},
                "dropped": (0, 0, 0), "events": [], "links": [], "status": (0, ""), "w3c": ids[name]["flags"],
                "remote": None if not parent else False}
        base.update(more)
        return base
    server = ids["server"]["span_id"]
    linked = ("ab" * 16, "cd" * 8, "linked=1", {"attempt": i(2)})
    produced = (ids["producer"]["trace_id"], ids["producer"]["span_id"], "", {})
    spans = [
        span("values", INTERNAL, 0, 5 * MS, attributes=VALUES),
        span("limits", INTERNAL, 0, 1, attributes={"key.%03d" % n: i(n) for n in range(128)}, dropped=(2, 0, 0)),
        span("server", SERVER, MS, 10 * MS, REMOTE_SPAN, STATE, traceId=REMOTE_TRACE, remote=True),
        span("client", CLIENT, 2 * MS, 6 * MS, server, STATE, traceId=REMOTE_TRACE,
             events=[(T0 + 3 * MS, "retry", RETRY), (T0 + 4 * MS, "first token", {})], links=[linked],
             status=(ERROR, "upstream is gone")),
        span("producer", PRODUCER, 0, 9 * MS),
        span("consumer", CONSUMER, 7 * MS, 8 * MS, links=[produced], status=(OK, "")),
    ]
    return {one["name"]: one for one in spans}


def seen_span(span, scope):
    """A received span in the shape of expected_spans."""
    expect(scope.get("name") == SCOPE, "span in scope %s" % scope)
    return {
        "name": span["name"], "kind": span.get("kind", 0), "start": int(span["startTimeUnixNano"]),
        "end": int(span["endTimeUnixNano"]), "traceId": span["traceId"], "spanId": span["spanId"],
        "parentSpanId": span.get("parentSpanId", ""), "traceState": span.get("traceState", ""),
        "attributes": attributes(span),
        "dropped": tuple(span.get("dropped%sCount" % k, 0) for k in ("Attributes", "Events", "Links")),
        "events": [(int(e["timeUnixNano"]), e.get("name", ""), attributes(e)) for e in span.get("events", [])],
        "links": [(k["traceId"], k["spanId"], k.get("traceState", ""), attributes(k)) for k in span.get("links", [])],
        "status": (span.get("status", {}).get("code", 0), span.get("status", {}).get("message", "")),
        "w3c": span.get("flags", 0) & 0xff, "flags": span.get("flags", 0),
    }


def compare_spans(requests, ids):
    """Returns the number of fields compared."""
    wanted = expected_spans(ids)
    found = {}
    for resource, scope, span in items(requests, "resourceSpans", "scopeSpans", "spans"):
        check_resource(resource)
        check_scope(scope)
        one = seen_span(span, scope["scope"])
        expect(one["name"] not in found, "span '%s' arrived twice" % one["name"])
        found[one["name"]] = one
    expect_eq(sorted(found), sorted(wanted), "names of the spans")
    count = 0
    for name, want in wanted.items():
        for field, value in want.items():
            if field != "remote":
                expect_eq(found[name][field], value, "span %s, %s" % (name, field))
                count += 1
        check_remote_flags(name, found[name]["flags"], want["remote"])
    return count


def check_remote_flags(name, flags, remote):
    """OTLP span flags, bits 8 and 9: whether the parent is remote. A root span may leave them out."""
    if remote is None:
        expect(not flags & IS_REMOTE, "root span %s says that its parent is remote" % name)
    else:
        expect(flags & HAS_IS_REMOTE, "span %s does not say whether its parent is remote (flags %#x)" % (name, flags))
        expect_eq(bool(flags & IS_REMOTE), remote, "span %s, parent is remote" % name)


def items(requests, outer, middle, inner):
    """(resource, scope item, item) of everything in the scopes of the recording program."""
    for request in requests:
        for r in request.get(outer, []):
            for scoped in r.get(middle, []):
                if scoped.get("scope", {}).get("name") == SCOPE:
                    for item in scoped.get(inner, []):
                        yield r, scoped, item


def check_resource(resource):
    found = attributes(resource.get("resource", {}))
    for key, value in {"service.name": s("record-everything"), "test.suite": s("interop"), "test.run": i(7)}.items():
        expect_eq(found.get(key), value, "resource attribute %s" % key)
    for key in ("telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"):
        expect(found.get(key, {}).get("stringValue"), "resource attribute %s is missing" % key)


def check_scope(scoped):
    scope = scoped["scope"]
    expect_eq((scope.get("name"), scope.get("version")), (SCOPE, "1.2.3"), "scope")
    expect_eq(attributes(scope), {"scope.attr": s("s")}, "attributes of the scope")
    expect_eq(scoped.get("schemaUrl"), SCHEMA, "schema URL of the scope")


def expected_metrics(ids):
    """By name: (description, unit, kind, monotonic, [(attributes, value)])."""
    a, bb, called = {"k": s("a")}, {"k": s("b")}, {"from": s("callback")}
    histogram = {"count": "5", "sum": 556.5, "min": 0.5, "max": 500.0, "explicitBounds": [1.0, 10.0, 100.0],
                 "bucketCounts": ["2", "1", "1", "1"],
                 "exemplars": [(50.0, REMOTE_TRACE, ids["server"]["span_id"])]}
    return {
        "test.counter": ("Items counted.", "{item}", "sum", True, [(a, {"asInt": "12"}), (bb, {"asInt": "1"})]),
        "test.seconds": ("", "s", "sum", True, [({}, {"asDouble": 3.75})]),
        "test.updown": ("", "", "sum", False, [({}, {"asInt": "-3"})]),
        "test.gauge": ("", "Cel", "gauge", None, [({}, {"asDouble": 36.5})]),
        "test.gauge.int": ("", "", "gauge", None, [({}, {"asInt": "-17"})]),
        "test.histogram": ("How long it took.", "ms", "histogram", None, [(a, histogram)]),
        "test.async.counter": ("", "{item}", "sum", True, [(called, {"asInt": "9"})]),
        "test.async.gauge": ("", "m", "gauge", None, [(called, {"asDouble": 2.5})]),
    }


def seen_metric(metric):
    kind = next((k for k in ("sum", "gauge", "histogram") if k in metric), None)
    expect(kind, "metric %s has no data of a known kind: %s" % (metric.get("name"), sorted(metric)))
    data = metric[kind]
    if kind != "gauge":
        expect_eq(data.get("aggregationTemporality"), 2, "temporality of %s (cumulative)" % metric["name"])
    monotonic = data.get("isMonotonic", False) if kind == "sum" else None
    points = []
    for p in data.get("dataPoints", []):
        check_times(metric["name"], p, kind)
        points.append((attributes(p), seen_point(p, kind)))
    points.sort(key=lambda p: repr(p[0]))
    return metric.get("description", ""), metric.get("unit", ""), kind, monotonic, points


def seen_point(p, kind):
    if kind != "histogram":
        return {k: p[k] for k in ("asInt", "asDouble") if k in p}
    found = {k: p.get(k) for k in ("count", "sum", "min", "max", "explicitBounds", "bucketCounts")}
    found["exemplars"] = [(e.get("asDouble"), e.get("traceId"), e.get("spanId")) for e in p.get("exemplars", [])]
    return found


def check_times(name, p, kind):
    now, start = int(p.get("timeUnixNano", 0)), int(p.get("startTimeUnixNano", 0))
    expect(now > T0, "metric %s: time %d" % (name, now))
    if kind != "gauge":
        expect(T0 < start <= now, "metric %s: start time %d, time %d" % (name, start, now))


def compare_metrics(requests, ids):
    """Compares the last state of each metric; returns the number of data points compared."""
    found = {}
    for resource, scope, metric in items(requests, "resourceMetrics", "scopeMetrics", "metrics"):
        check_resource(resource)
        check_scope(scope)
        found[metric["name"]] = seen_metric(metric)
    wanted = expected_metrics(ids)
    expect_eq(sorted(found), sorted(wanted), "names of the metrics")
    for name, want in wanted.items():
        for part, seen, value in zip(("description", "unit", "kind", "monotonic", "points"), found[name], want):
            expect_eq(seen, value, "metric %s, %s" % (name, part))
    return sum(len(want[4]) for want in wanted.values())


LEVELS = ((1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "CRITICAL"))


def expected_logs(ids):
    """By time: every field that a log record of OTLP has but the time of observation."""
    pairs = [("workflow_name", s("rag-pipeline")), ("step", i(3))]
    logs = []
    for n, (number, text) in enumerate(LEVELS):
        inside = n >= 3
        logs.append({"time": T0 + n * MS, "severityNumber": number, "severityText": text, "body": s("a message"),
                     "attributes": dict(pairs[:n % 3]), "eventName": "", "dropped": 0,
                     "traceId": REMOTE_TRACE if inside else "", "spanId": ids["server"]["span_id"] if inside else "",
                     "flags": ids["server"]["flags"] if inside else 0})
    logs.append({"time": T0 + 10 * MS, "severityNumber": 9, "severityText": "INFO",
                 "body": kv(role=s("user"), score=d(0.25)), "attributes": {}, "eventName": "test.event",
                 "dropped": 0, "traceId": "", "spanId": "", "flags": 0})
    return {log["time"]: log for log in logs}


def compare_logs(requests, ids):
    """Returns the number of fields compared."""
    found = {}
    for resource, scope, log in items(requests, "resourceLogs", "scopeLogs", "logRecords"):
        check_resource(resource)
        check_scope(scope)
        expect(int(log.get("observedTimeUnixNano", 0)) > T0, "a log record has no time of observation")
        time = int(log["timeUnixNano"])
        expect(time not in found, "a log record arrived twice")
        found[time] = {"time": time, "severityNumber": log.get("severityNumber", 0),
                       "severityText": log.get("severityText", ""), "body": log.get("body", {}),
                       "attributes": attributes(log), "eventName": log.get("eventName", ""),
                       "dropped": log.get("droppedAttributesCount", 0), "traceId": log.get("traceId", ""),
                       "spanId": log.get("spanId", ""), "flags": log.get("flags", 0) & 0xff}
    wanted = expected_logs(ids)
    expect_eq(sorted(found), sorted(wanted), "times of the log records")
    for time, want in wanted.items():
        for field, value in want.items():
            expect_eq(found[time][field], value, "log record %s, %s" % (want["severityText"], field))
    return sum(len(want) for want in wanted.values())


def compare_all(by_signal, ids):
    """`by_signal`: {"traces": [request…], …}. Returns a summary for the table."""
    for signal in ("traces", "metrics", "logs"):
        if not by_signal.get(signal):
            raise Failure("no %s have arrived" % signal)
    spans = compare_spans(by_signal["traces"], ids)
    points = compare_metrics(by_signal["metrics"], ids)
    logs = compare_logs(by_signal["logs"], ids)
    return "%d span fields, %d data points, %d log fields equal" % (spans, points, logs)
