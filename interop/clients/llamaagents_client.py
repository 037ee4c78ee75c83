"""Drives the client of llama-agents through every call it has; prints what it saw as JSON.

    llamaagents_client.py '{"url": URL}'

Each answer is kept with the statuses of the calls behind it: {"statuses": [200], "value": ...}; what a call raises is
kept as its class, status and text.
"""
import asyncio
import json
import sys

import httpx
from llama_agents.client import WorkflowClient
from workflows.events import Event, HumanResponseEvent, StartEvent

STATUSES = []


class Unheard(Event):
    text: str = "hi"


def plain(value):
    return json.loads(value.model_dump_json()) if hasattr(value, "model_dump_json") else value


async def note(response):
    STATUSES.append(response.status_code)


async def tried(call):
    """What an awaitable gives, or what it raises."""
    del STATUSES[:]
    out = {}
    try:
        out["value"] = plain(await call)
    except Exception as e:
        response = getattr(e, "response", None)
        text = response.text if response is not None else str(e)
        out["raised"] = [type(e).__name__, text]
    out["statuses"] = list(STATUSES)
    return out


async def raw(http, method, path, **more):
    """A call that the client does not make, or not so."""
    response = await http.request(method, path, **more)
    text = response.text
    try:
        return {"status": response.status_code, "body": json.loads(text) if text else None}
    except ValueError:
        return {"status": response.status_code, "text": text}


async def all_of(stream):
    return [dict(plain(event), sequence=stream.last_sequence) async for event in stream]


async def events_of(client, handler_id, **more):
    return await tried(all_of(client.get_workflow_events(handler_id, **more)))


async def read_workflows(client, out):
    out["health"] = await tried(client.is_healthy())
    out["list"] = await tried(client.list_workflows())
    for name in ("echo", "nobody"):
        out["schema_" + name] = await tried(client.get_workflow_schema(name))
        out["graph_" + name] = await tried(client.get_workflow_graph(name))
        out["events_schema_" + name] = await tried(client.get_workflow_events_schema(name))


async def run(client, http, out):
    out["run"] = await tried(client.run_workflow("echo", start_event=StartEvent(message="hi")))
    out["run_dict"] = await tried(client.run_workflow("echo", start_event={"message": "a dict"}))
    out["run_bare"] = await tried(client.run_workflow("echo"))
    out["run_unknown"] = await tried(client.run_workflow("nobody"))
    out["run_failing"] = await tried(client.run_workflow("failing", start_event=StartEvent(message="x")))
    out["run_context"] = await tried(client.run_workflow("echo", context={"version": 1, "state": {}}))
    out["run_kwargs"] = await raw(http, "POST", "/workflows/echo/run", json={"kwargs": {"message": "old"}})
    out["run_text"] = await raw(http, "POST", "/workflows/echo/run", json={"start_event": '{"message": "text"}'})
    out["nowait"] = await tried(client.run_workflow_nowait("echo", start_event=StartEvent(message="later")))
    handler = out["nowait"]["value"]["handler_id"]
    out["events"] = await events_of(client, handler)
    out["wait"] = await tried(client.wait_for_handler(handler, timeout=20, poll_interval=0.05))
    out["wait"]["statuses"] = out["wait"]["statuses"][-1:]
    out["handler"] = await tried(client.get_handler(handler))
    out["result"] = await raw(http, "GET", "/results/" + handler)
    last = out["events"]["value"][-1]["sequence"]
    out["events_after"] = await events_of(client, handler, after_sequence=last)
    out["events_now"] = await events_of(client, handler, after_sequence="now")
    out["events_internal"] = await events_of(client, handler, include_internal_events=True)
    out["events_ndjson"] = await ndjson(http, handler)
    out["nowait_unknown"] = await tried(client.run_workflow_nowait("nobody"))
    out["again"] = await tried(client.run_workflow("echo", handler_id=handler, start_event=StartEvent(message="two")))
    out["own_id"] = await tried(client.run_workflow("echo", handler_id="of-my-own", start_event={"message": "mine"}))
    out["send_late"] = await tried(client.send_event(handler, HumanResponseEvent(response="yes")))
    out["cancel_late"] = await tried(client.cancel_handler(handler))
    return handler


async def ndjson(http, handler):
    response = await http.get("/events/" + handler, params={
        "sse": "false", "after_sequence": "-1", "include_qualified_name": "false"})
    return {"status": response.status_code, "type": response.headers["content-type"].split(";")[0],
            "lines": [json.loads(line) for line in response.text.splitlines()]}


async def fail(client, http, out):
    started = plain(await client.run_workflow_nowait("failing", start_event=StartEvent(message="x")))
    out["failing_events"] = await events_of(client, started["handler_id"])
    out["failing_handler"] = await tried(client.get_handler(started["handler_id"]))
    out["failing_result"] = await raw(http, "GET", "/results/" + started["handler_id"])


async def cancel(client, http, out):
    out["slow"] = await tried(client.run_workflow_nowait("slow"))
    handler = out["slow"]["value"]["handler_id"]
    reader = asyncio.create_task(all_of(client.get_workflow_events(handler)))
    await asyncio.sleep(0.3)
    out["slow_handler"] = await tried(client.get_handler(handler))
    out["slow_result"] = await raw(http, "GET", "/results/" + handler)
    out["slow_again"] = await tried(client.run_workflow("slow", handler_id=handler))
    out["slow_running"] = await tried(client.get_handlers(status=["running"]))
    out["slow_wait"] = await tried(client.wait_for_handler(handler, timeout=0.2, poll_interval=0.1))
    out["slow_wait"]["statuses"] = out["slow_wait"]["statuses"][:1]
    out["send_unheard"] = await tried(client.send_event(handler, Unheard()))
    out["send_nothing"] = await raw(http, "POST", "/events/" + handler, json={})
    out["send_list"] = await raw(http, "POST", "/events/" + handler, content=b"[1]")
    out["send_no_json"] = await raw(http, "POST", "/events/" + handler, content=b"{")
    out["cancel"] = await tried(client.cancel_handler(handler))
    out["cancel_events"] = {"value": await asyncio.wait_for(reader, 10)}
    out["cancelled_handler"] = await tried(client.get_handler(handler))
    out["cancel_twice"] = await tried(client.cancel_handler(handler))
    out["send_cancelled"] = await tried(client.send_event(handler, Unheard()))
    out["purge"] = await tried(client.cancel_handler(handler, purge=True))
    out["purged_handler"] = await tried(client.get_handler(handler))
    started = plain(await client.run_workflow_nowait("slow"))
    out["purge_running"] = await tried(client.cancel_handler(started["handler_id"], purge=True))
    out["purged_running"] = await tried(client.get_handler(started["handler_id"]))


async def wrong(client, http, out):
    out["handler_unknown"] = await tried(client.get_handler("nobody"))
    out["result_unknown"] = await raw(http, "GET", "/results/nobody")
    out["events_unknown"] = await events_of(client, "nobody")
    out["send_unknown"] = await tried(client.send_event("nobody", Unheard()))
    out["cancel_unknown"] = await tried(client.cancel_handler("nobody"))
    for name, content in (("no_json", b"{"), ("list", b"[]"), ("event_list", b'{"start_event": [1]}'),
                          ("event_text", b'{"start_event": "x"}'), ("event_other", b'{"start_event": {"type": "Nope", '
                           b'"value": {}}}'), ("event_untyped", b'{"start_event": {"value": {}}}'),
                          ("event_null", b'{"start_event": {"type": "StartEvent", "value": null}}'),
                          ("event_stop", b'{"start_event": {"type": "StopEvent", "value": {}}}')):
        for verb in ("run", "run-nowait"):
            out["wrong_%s_%s" % (verb, name)] = await raw(http, "POST", "/workflows/echo/" + verb, content=content)
    out["wrong_after"] = await raw(http, "GET", "/events/of-my-own", params={"after_sequence": "x"})
    out["wrong_method"] = await raw(http, "DELETE", "/handlers/of-my-own")


async def lists(client, out):
    out["handlers"] = await tried(client.get_handlers())
    out["handlers_failed"] = await tried(client.get_handlers(status=["failed"]))
    out["handlers_two"] = await tried(client.get_handlers(status=["failed", "completed"]))
    out["handlers_echo"] = await tried(client.get_handlers(workflow_name=["echo"]))
    out["handlers_both"] = await tried(client.get_handlers(status=["completed"], workflow_name=["failing"]))
    out["handlers_none"] = await tried(client.get_handlers(workflow_name=["nobody"]))
    out["handlers_odd"] = await tried(client.get_handlers(status=["odd"]))


async def main():
    out = {}
    async with httpx.AsyncClient(base_url=json.loads(sys.argv[1])["url"], timeout=30,
                                 event_hooks={"response": [note]}) as http:
        client = WorkflowClient(httpx_client=http)
        await read_workflows(client, out)
        await run(client, http, out)
        await fail(client, http, out)
        await cancel(client, http, out)
        await wrong(client, http, out)
        await lists(client, out)
    print(json.dumps(out))


asyncio.run(main())
