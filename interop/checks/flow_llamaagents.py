"""The client of llama-agents in front of our API server; every answer is compared with that of its own server, which
has the same three workflows, written in Python."""
import contextlib
import json
import os

from checks import Row
from lib import flow, net
from lib.context import Failure, expect, expect_eq
from peers import llamaagents

WORKFLOWS = ["""name: echo
description: Says what it was told.
steps:
  - {id: say, type: transform, function: template, template: "echo: {{ message }}", output: [text]}
""", """name: failing
steps:
  - {id: open, type: transform, function: json, inputs: [message], output: [value]}
""", """name: slow
steps:
  - {id: wait, type: action, action: sleep, seconds: 60}
"""]


def client(ctx, url):
    text = ctx.run([llamaagents.python(), os.path.join(llamaagents.CLIENTS, "llamaagents_client.py"),
                    json.dumps({"url": url})], timeout=90)
    return json.loads(text.strip().split("\n")[-1])


def theirs(ctx):
    """Their server ends a connection behind some of its 500s, at times while the client asks on it: asked anew then."""
    for _ in range(4):
        with contextlib.suppress(Failure):
            return client(ctx, llamaagents.start(ctx))
    return client(ctx, llamaagents.start(ctx))


def ours(ctx):
    server = flow.Server(ctx)
    for text in WORKFLOWS:
        expect_eq(net.post(server.url + "/workflows", text.encode()).status, 201, "a workflow is added")
    return client(ctx, server.url)


# ---- what may differ ----

def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


PLAIN = {"handler_id": "handler", "run_id": "run", "started_at": "time", "updated_at": "time", "completed_at": "time",
         "elapsed_seconds": "seconds", "exception_type": "class", "sequence": "number", "exception_message": "text",
         "error": "text"}


def plain(value, ids):
    """Without ids, times and texts of failures."""
    if isinstance(value, str):
        for name in ids:
            value = value.replace(name, "handler")
        return value.replace("StopEvent, StartEvent", "StartEvent, StopEvent")  # a set of theirs, in any order
    if isinstance(value, list):
        return [plain(v, ids) for v in value]
    if isinstance(value, dict):
        return {k: PLAIN[k] if k in PLAIN and v is not None else plain(v, ids) for k, v in value.items()}
    return value


def is_own(event):
    """What a run of ours says of its steps: events that its own server does not have."""
    return event["type"] in ("RunStartedEvent", "StepStartedEvent", "StepEndedEvent")


def without_own(answer):
    for key in ("value", "lines"):
        if isinstance(answer.get(key), list):
            answer = dict(answer, **{key: [e for e in answer[key] if not is_own(e)]})
    return answer


def normal(answer, ids):
    if "raised" in answer:
        answer = dict(answer, raised=[answer["raised"][0], parsed(answer["raised"][1])])
    return plain(without_own(answer), ids)


def detail_of(answer):
    body = answer.get("body") or parsed(answer["raised"][1])
    return body["detail"]


def in_other_words(ours, theirs):
    """A refusal with the same status and a reason in our own words."""
    same = [(a.get("status"), a.get("statuses")) for a in (ours, theirs)]
    return same[0] == same[1] and isinstance(detail_of(ours), str) and len(detail_of(ours)) > 10


def same_schema(ours, theirs):
    """Classes are the same; ours knows the inputs, theirs are in its code."""
    seen, wanted = ours["value"], theirs["value"]
    return ([seen[k]["title"] for k in ("start", "stop")] == [wanted[k]["title"] for k in ("start", "stop")] and
            list(seen["start"]["properties"]) == ["message"])


def same_events(ours, theirs):
    titles = [[e["title"] for e in a["value"]["events"]] for a in (ours, theirs)]
    return set(titles[0][:2]) == set(titles[1]) and len(titles[0]) > 2


def graph(answer):
    found = answer["value"]["graph"]
    keys = sorted((n["id"], n["label"], n["node_type"], sorted(n)) for n in found["nodes"])
    made = [n["produced_by"] for n in found["nodes"] if n["id"] == "StopEvent"]
    return keys, made, sorted((e["source"], e["target"], e["label"]) for e in found["edges"]), found["description"]


def same_steps(ours, theirs):
    """Internal events: the same steps in the same states."""
    def states(answer):
        return [(e["type"], e["types"], e["value"].get("name"), e["value"].get("step_state"), sorted(e["value"]))
                for e in without_own(answer)["value"]]
    return states(ours) == states(theirs)


ON_PURPOSE = {
    "list": lambda o, t: set(o["value"]["workflows"]) == set(t["value"]["workflows"]),
    "schema_echo": same_schema,
    "events_schema_echo": same_events,
    "graph_echo": lambda o, t: graph(o) == graph(t),
    "events_internal": same_steps,
    "send_list": lambda o, t: (o["status"], t["status"]) == (400, 500) and "required" in o["body"]["detail"],
}
# Their words are Python's, or have a placeholder that is not filled in.
for name in ("run_context", "send_no_json", *("wrong_%s_%s" % (verb, what) for verb in ("run", "run-nowait") for what in
                                              ("no_json", "list", "event_untyped", "event_null"))):
    ON_PURPOSE[name] = in_other_words


def handler_ids(seen):
    return sorted({h["handler_id"] for h in seen["handlers"]["value"]["handlers"]} |
                  {seen["slow"]["value"]["handler_id"]}, key=len, reverse=True)


def check_own(seen):
    """What only we say, and what must hold beyond shapes."""
    types = [e["type"] for e in seen["events"]["value"]]
    expect_eq(types, ["RunStartedEvent", "StepStartedEvent", "StepEndedEvent", "StopEvent"], "events of a run")
    numbers = [e["sequence"] for e in seen["events_internal"]["value"]]
    expect(numbers == sorted(set(numbers)), "numbers of events: %s" % numbers)
    expect_eq([e["sequence"] for e in seen["events"]["value"]], [
        e["sequence"] for e in seen["events_internal"]["value"] if e["types"] != ["InternalDispatchEvent"]],
        "numbers with and without internal events")
    expect_eq(seen["again"]["value"]["handler_id"], seen["nowait"]["value"]["handler_id"], "handler of a second run")
    expect(seen["again"]["value"]["run_id"] != seen["nowait"]["value"]["run_id"], "a second run is no run of its own")


def run(ctx):
    wanted = theirs(ctx)
    seen = ours(ctx)
    expect_eq(sorted(seen), sorted(wanted), "the calls")
    ids = [handler_ids(wanted), handler_ids(seen)]
    for key in wanted:
        if key in ON_PURPOSE:
            expect(ON_PURPOSE[key](seen[key], wanted[key]), "%s: saw %s, theirs %s" % (key, seen[key], wanted[key]))
        else:
            expect_eq(normal(seen[key], ids[1]), normal(wanted[key], ids[0]), key)
    check_own(seen)
    return "%d answers: statuses and shapes as its own server gives them, %d of them in our own words" % (
        len(wanted), len(ON_PURPOSE))


ROWS = [Row("llama-agents", "quick", "llama-agents", "server %s, client %s" % (llamaagents.SERVER, llamaagents.CLIENT),
            "its client, with us and with its own server", run, needs=[llamaagents.venv], order=96)]
