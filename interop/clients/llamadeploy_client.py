"""Drives LlamaDeploy's own Python client, 0.8 or 0.9, through a deployment's whole life; prints what it saw as JSON.

    llamadeploy_client.py '{"url": …, "control": …, "file": DEPLOYMENT.YML, "base": FOLDER, "service": …}'

What a call raises is kept as {"raised": [class, text]}: two calls of the 0.9 client cannot read their own server.
"""
import asyncio
import json
import sys
import time

import llama_deploy.client as package
from llama_deploy.types import TaskDefinition


def plain(value):
    return json.loads(value.model_dump_json()) if hasattr(value, "model_dump_json") else value


async def tried(call):
    """What an awaitable gives, or what it raises."""
    try:
        return plain(await call)
    except Exception as e:
        response = getattr(e, "response", None)
        text = response.text if response is not None else str(e)
        return {"raised": [type(e).__name__, getattr(response, "status_code", None), text[:400]]}


async def all_of(events):
    return [event async for event in events]


def task(message, **more):
    return TaskDefinition(input=json.dumps(message), **more)


async def use_api(client, job, out):
    api = client.apiserver
    out["status_before"] = await tried(api.status())
    with open(job["file"], "rb") as f:
        out["created"] = (await api.deployments.create(f, base_path=job["base"])).id
    with open(job["file"], "rb") as f:
        out["created_twice"] = await tried(api.deployments.create(f, base_path=job["base"]))
    out["status"] = await tried(api.status())
    out["list"] = await tried(api.deployments.list())
    out["get_none"] = await tried(api.deployments.get("nobody"))
    deployment = await api.deployments.get(out["created"])
    tasks, sessions = deployment.tasks, deployment.sessions
    await asyncio.sleep(job.get("pause", 0))
    out["run"] = await tried(tasks.run(task({"message": "hi there"})))
    out["run_named"] = await tried(tasks.run(task({"message": "by name"}, service_id=job["service"])))
    out["run_unknown"] = await tried(tasks.run(task({"message": "x"}, service_id="nope")))
    out["run_failing"] = await tried(tasks.run(task({"message": "fail"}, service_id=job["failing"])))
    await use_sessions(job, out, tasks, sessions)
    seconds = []
    for _ in range(9):
        begin = time.monotonic()
        await tasks.run(task({"message": "timed"}))
        seconds.append(time.monotonic() - begin)
    out["seconds"] = sorted(seconds)[4]


async def use_sessions(job, out, tasks, sessions):
    session = await sessions.create()
    out["session"] = plain(session)
    created = await tasks.create(task({"message": "second"}, session_id=session.session_id))
    out["task"] = {"id": created.id, "session_id": created.session_id}
    out["events"] = await tried(all_of(created.events()))
    for _ in range(200):
        out["result"] = await tried(created.results())
        if out["result"]:
            break
        await asyncio.sleep(0.05)
    failing = await tasks.create(task({"message": "fail"}, service_id=job["failing"]))
    out["failing_events"] = await tried(all_of(failing.events()))
    out["failing_result"] = await tried(failing.results())
    out["tasks"] = await tried(tasks.list())
    out["sessions"] = [plain(s) for s in await sessions.list()]
    out["deleted"] = await tried(sessions.delete(session.session_id))
    out["sessions_after"] = [plain(s) for s in await sessions.list()]


async def use_core(client, job, out):
    """The control plane, in clients that know one (0.8)."""
    core = client.core
    out["services"] = [s.id for s in await core.services.list()]
    session = await core.sessions.create()
    out["core_session"] = session.id
    out["core_run"] = await tried(session.run(job["service"], message="core"))
    task_id = await session.run_nowait(job["service"], message="later")
    out["core_stream"] = await tried(all_of(session.get_task_result_stream(task_id)))
    out["core_result"] = await tried(session.get_task_result(task_id))
    out["core_result"]["own_id"] = out["core_result"].get("task_id") == task_id
    out["core_tasks"] = [plain(t) for t in await session.get_tasks()]
    out["core_sessions"] = [s.id for s in await core.sessions.list()]
    out["core_deleted"] = await tried(core.sessions.delete(session.id))
    out["core_get"] = await tried(core.sessions.get(session.id))


async def drive(job, out):
    client = package.Client(api_server_url=job["url"], timeout=30.0, poll_interval=0.05)
    if hasattr(client, "control_plane_url"):
        client.control_plane_url = job["control"]
    await use_api(client, job, out)
    if hasattr(client, "control_plane_url"):
        await use_core(client, job, out)


def main():
    job, out = json.loads(sys.argv[1]), {}
    asyncio.run(drive(job, out))
    client = package.Client(api_server_url=job["url"], timeout=30.0)
    out["sync_run"] = client.sync.apiserver.deployments.get(out["created"]).tasks.run(task({"message": "sync"}))
    print(json.dumps(out))


main()
