"""The span tree of one chat request, in one shape whatever backend it is read from, and what must be in it.

A tree is {span_id: {"name", "kind", "parent", "start_ns", "duration_ns", "service", "attributes": {name: plain value},
"events": [name]}}.
"""
from lib.context import expect, expect_eq

SERVER_NAME = "POST /v1/chat/completions"
DEFAULT_SERVICE = "litellm-gateway"


def one(tree, kind, name):
    found = [(i, span) for i, span in tree.items() if span["kind"] == kind and span["name"] == name]
    expect(len(found) == 1, "expected one %s span '%s', saw %s" % (
        kind, name, sorted("%s %s" % (s["kind"], s["name"]) for s in tree.values())))
    return found[0]


def check_chat(tree, model, usage, parent="", stream=False, service=DEFAULT_SERVICE, status=200):
    """SERVER span > CLIENT span, with the attributes that the guides and the conventions promise.

    Returns (id of the SERVER span, id of the CLIENT span).
    """
    server_id, server = one(tree, "SERVER", SERVER_NAME)
    client_id, client = one(tree, "CLIENT", "chat " + model)
    expect_eq(server["parent"], parent, "parent of the SERVER span")
    expect_eq(client["parent"], server_id, "parent of the CLIENT span")
    for span in tree.values():
        expect_eq(span["service"], service, "service of span '%s'" % span["name"])
    expect(0 < client["duration_ns"] <= server["duration_ns"], "durations: SERVER %d ns, CLIENT %d ns" % (
        server["duration_ns"], client["duration_ns"]))
    expect(client["start_ns"] >= server["start_ns"], "the CLIENT span starts before the SERVER span")
    a = client["attributes"]
    for name, value in {"gen_ai.operation.name": "chat", "gen_ai.request.model": model,
                        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
                        "gen_ai.usage.output_tokens": usage["completion_tokens"]}.items():
        expect_eq(a.get(name), value, "attribute %s of the CLIENT span" % name)
    check_guide_attributes(server["attributes"], a, usage, status)
    if stream:
        names = [n for span in (server, client) for n in span["events"]]
        expect(any("first" in n for n in names), "no event for the first token: %s" % names)
        expect(any("last" in n for n in names), "no event for the last token: %s" % names)
    return server_id, client_id


def check_guide_attributes(server, client, usage, status):
    """Names of the LiteLLM guide; they may stand on either span, but must not contradict each other."""
    for name, value in {"llm.tokens.prompt": usage["prompt_tokens"],
                        "llm.tokens.completion": usage["completion_tokens"], "http.status_code": status}.items():
        values = [a[name] for a in (server, client) if name in a]
        expect(values and all(v == value for v in values), "attribute %s: expected %r, saw %r" % (name, value, values))
    for name in ("llm.model", "llm.provider"):
        expect(any(a.get(name) for a in (server, client)), "attribute %s is missing" % name)


# Readers of backends.
def from_jaeger(trace):
    """A trace of Jaeger's query API."""
    tree = {}
    for span in trace["spans"]:
        tags = {t["key"]: typed(t) for t in span["tags"]}
        parents = [r["spanID"] for r in span.get("references", []) if r["refType"] == "CHILD_OF"]
        tree[span["spanID"]] = {
            "name": span["operationName"], "kind": str(tags.get("span.kind", "")).upper(),
            "parent": parents[0] if parents else "", "start_ns": span["startTime"] * 1000,
            "duration_ns": max(span["duration"] * 1000, 1),
            "service": trace["processes"][span["processID"]]["serviceName"], "attributes": tags,
            "events": [f["value"] for log in span.get("logs", []) for f in log["fields"] if f["key"] == "event"]}
    return tree


def typed(tag):
    if tag["type"] == "int64":
        return int(tag["value"])
    if tag["type"] == "float64":
        return float(tag["value"])
    return tag["value"]


KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def plain(value):
    """An AnyValue of OTLP JSON as a plain value."""
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [plain(v) for v in value["arrayValue"].get("values", [])]
    if "kvlistValue" in value:
        return {p["key"]: plain(p.get("value", {})) for p in value["kvlistValue"].get("values", [])}
    return next(iter(value.values()), None)


def from_otlp(found):
    """Spans as sightline.Sink.spans() gives them."""
    tree = {}
    for span, _scope, resource in found:
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        of_resource = {p["key"]: plain(p["value"]) for p in resource.get("attributes", [])}
        expect(span["spanId"] not in tree, "span %s arrived twice" % span["spanId"])
        tree[span["spanId"]] = {
            "name": span["name"], "kind": KINDS[span.get("kind", 0)], "parent": span.get("parentSpanId", ""),
            "start_ns": start, "duration_ns": end - start, "service": of_resource.get("service.name"),
            "attributes": {p["key"]: plain(p.get("value", {})) for p in span.get("attributes", [])},
            "events": [e.get("name", "") for e in span.get("events", [])]}
    return tree


def from_sightline(trace):
    """A trace of `sightline traces ID --format json`; `events` only where it prints them."""
    tree = {}
    for s in trace["spans"]:
        tree[s["span_id"]] = {
            "name": s["name"], "kind": s["kind"], "parent": s.get("parent_span_id") or "",
            "start_ns": int(s["start_ns"]), "duration_ns": int(s["duration_ns"]), "service": s["service"],
            "attributes": s["attributes"]}
        if "events" in s:
            tree[s["span_id"]]["events"] = [e.get("name") for e in s["events"]]
    return tree


def trace_id_of(provider_request):
    """Trace and span id of the `traceparent` that a provider received."""
    parts = provider_request["headers"].get("traceparent", "").split("-")
    expect(len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16,
           "the provider received the traceparent '%s'" % provider_request["headers"].get("traceparent"))
    return parts[1], parts[2]
