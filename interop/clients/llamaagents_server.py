"""A workflow server of llama-agents with the three workflows that the check runs: llamaagents_server.py PORT."""
import asyncio
import sys

from llama_agents.server import WorkflowServer
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Echo(Workflow):
    """Says what it was told."""

    @step
    async def say(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={"say": {"text": "echo: %s" % ev.get("message", "")}})


class Failing(Workflow):
    @step
    async def open(self, ev: StartEvent) -> StopEvent:
        raise ValueError("planned failure")


class Slow(Workflow):
    @step
    async def wait(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(60)
        return StopEvent(result={"wait": {}})


async def main():
    server = WorkflowServer()
    server.add_workflow("echo", Echo(timeout=30))
    server.add_workflow("failing", Failing(timeout=30))
    server.add_workflow("slow", Slow(timeout=90))
    await server.serve("127.0.0.1", int(sys.argv[1]))


asyncio.run(main())
