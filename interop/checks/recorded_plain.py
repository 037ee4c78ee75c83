"""What examples/record_everything.c records, as Jaeger and Zipkin give it back, field by field.

Both cut times to microseconds. Jaeger keeps the types of values but for arrays and maps, which are JSON texts; in Zipkin
every value is a text, and an event is one text with its attributes.
"""
import json

from checks import recorded, tree
from lib.context import expect, expect_eq

SERVICE = "record-everything"
SCOPE_TAGS = {"otel.scope.name": recorded.SCOPE, "otel.scope.version": "1.2.3", "otel.library.name": recorded.SCOPE,
              "otel.library.version": "1.2.3", "scope.attr": "s"}
RESOURCE_TAGS = {"test.suite": "interop", "test.run": 7}
NAMES = ("", "", "server", "client", "producer", "consumer")


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def flat(value):
    """A value of OTLP JSON as a tag of Jaeger: arrays and maps are texts."""
    plain = tree.plain(value)
    return compact(plain) if "arrayValue" in value or "kvlistValue" in value else plain


def text(value):
    """The same as a tag of Zipkin."""
    plain = flat(value)
    return plain if isinstance(plain, str) else compact(plain)


def duration_us(want):
    ns = want["end"] - want["start"]
    return ns // 1000 or (1 if ns else 0)


def dropped_tags(want):
    names = ("attributes", "events", "links")
    return {"otel.dropped_%s_count" % k: n for k, n in zip(names, want["dropped"]) if n}


# ---- Jaeger ----

def jaeger_tags(want):
    tags = dict(SCOPE_TAGS, **dropped_tags(want))
    code, message = want["status"]
    if NAMES[want["kind"]]:
        tags["span.kind"] = NAMES[want["kind"]]
    if code:
        tags["otel.status_code"] = ("", "OK", "ERROR")[code]
    if code == recorded.ERROR:
        tags["error"] = True
    if message:
        tags["otel.status_description"] = message
    if want["traceState"]:
        tags["w3c.tracestate"] = want["traceState"]
    tags.update({k: flat(v) for k, v in want["attributes"].items()})
    return tags


def jaeger_logs(want):
    logs = [(want["start"] // 1000, dict({k: flat(v) for k, v in attributes.items()}, event="link", trace_id=trace,
                                         span_id=span))
            for trace, span, _state, attributes in want["links"] if attributes]
    return logs + [(ns // 1000, dict({k: flat(v) for k, v in attributes.items()}, event=name))
                   for ns, name, attributes in want["events"]]


def jaeger_references(want):
    parent = [("CHILD_OF", want["traceId"], want["parentSpanId"])] if want["parentSpanId"] else []
    return parent + [("FOLLOWS_FROM", trace, span) for trace, span, _state, _attributes in want["links"]]


def pairs(tags):
    found = {t["key"]: tree.typed(t) for t in tags}
    expect_eq(len(found), len(tags), "tags, each of another name")
    return found


def check_jaeger_span(span, want, process):
    name = "span " + want["name"]
    expect_eq((span["traceID"], span["startTime"], span["duration"]),
              (want["traceId"], want["start"] // 1000, duration_us(want)), name)
    expect_eq(pairs(span["tags"]), jaeger_tags(want), name + ", tags")
    expect_eq([(r["refType"], r["traceID"], r["spanID"]) for r in span["references"]], jaeger_references(want),
              name + ", references")
    expect_eq([(log["timestamp"], pairs(log["fields"])) for log in span["logs"]], jaeger_logs(want), name + ", logs")
    expect(not any("duration" in w.lower() for w in span.get("warnings") or []), "%s: %s" % (name, span["warnings"]))
    expect_eq(process["serviceName"], SERVICE, name + ", service")
    tags = pairs(process["tags"])
    expect_eq({k: tags.get(k) for k in RESOURCE_TAGS}, RESOURCE_TAGS, name + ", tags of the process")
    expect("service.name" not in tags, "the service's name is a tag too")


def compare_jaeger(peer, ids):
    """Returns the number of spans compared."""
    wanted = recorded.expected_spans(ids)
    for name, want in wanted.items():
        count = sum(1 for other in wanted.values() if other["traceId"] == want["traceId"])
        trace = peer.trace(want["traceId"], count)
        expect_eq(len(trace["spans"]), count, "spans of the trace of '%s'" % name)
        span = next(s for s in trace["spans"] if s["spanID"] == want["spanId"])
        expect_eq(span["operationName"], name, "name")
        check_jaeger_span(span, want, trace["processes"][span["processID"]])
    return len(wanted)


# ---- Zipkin ----

def zipkin_tags(want):
    code, message = want["status"]
    tags = dict(SCOPE_TAGS, **{k: str(n) for k, n in dropped_tags(want).items()})
    tags.update({k: text(recorded.i(v) if isinstance(v, int) else recorded.s(v)) for k, v in RESOURCE_TAGS.items()})
    if code:
        tags["otel.status_code"] = ("", "OK", "ERROR")[code]
    if code == recorded.ERROR:
        tags["error"] = message
    if want["traceState"]:
        tags["w3c.tracestate"] = want["traceState"]
    for n, (trace, span, state, attributes) in enumerate(want["links"]):
        plain = {k: tree.plain(v) for k, v in attributes.items()}
        tags["otlp.link.%d" % n] = "|".join((trace, span, state, compact(plain), "0"))
    tags.update({k: text(v) for k, v in want["attributes"].items()})
    return tags


def zipkin_annotations(want):
    return [(ns // 1000, "%s:%s" % (compact(name), compact({k: tree.plain(v) for k, v in attributes.items()}))
             if attributes else name) for ns, name, attributes in want["events"]]


def same_text(seen, wanted):
    """Numbers may be written in several ways."""
    if seen == wanted:
        return True
    try:
        return float(seen) == float(wanted)
    except (TypeError, ValueError):
        return False


def check_zipkin_span(span, want):
    name = "span " + want["name"]
    kind = NAMES[want["kind"]].upper() or None
    expect_eq((span["traceId"], span.get("parentId", ""), span["name"], span.get("kind"), span["timestamp"]),
              (want["traceId"], want["parentSpanId"], want["name"], kind, want["start"] // 1000), name)
    expect_eq(span.get("duration"), duration_us(want), name + ", duration")
    expect_eq(span["localEndpoint"]["serviceName"], SERVICE, name + ", service")
    expect_eq([(a["timestamp"], a["value"]) for a in span.get("annotations", [])], zipkin_annotations(want),
              name + ", annotations")
    tags, of_resource = span["tags"], ("telemetry.", "host.", "process.", "service.")
    seen = {k: v for k, v in tags.items() if not k.startswith(of_resource)}
    wanted = zipkin_tags(want)
    expect_eq(sorted(seen), sorted(wanted), name + ", names of the tags")
    for key, value in wanted.items():
        expect(same_text(seen[key], value), "%s, tag %s: expected %s, saw %s" % (name, key, value, seen[key]))
    expect(tags.get("telemetry.sdk.name") == "sightline", name + ": no telemetry.sdk.name")


def compare_zipkin(peer, ids):
    """Returns the number of spans compared."""
    wanted = recorded.expected_spans(ids)
    for name, want in wanted.items():
        count = sum(1 for other in wanted.values() if other["traceId"] == want["traceId"])
        spans = peer.trace(want["traceId"], count)
        expect_eq(len(spans), count, "spans of the trace of '%s'" % name)
        check_zipkin_span(next(s for s in spans if s["id"] == want["spanId"]), want)
    return len(wanted)
