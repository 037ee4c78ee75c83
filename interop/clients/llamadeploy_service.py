"""A workflow of LlamaDeploy 0.8 as a service of a control plane that it did not start.

    llamadeploy_service.py HOST CONTROL_PORT SERVICE_PORT NAME

Streams two events for each task and answers `echo: MESSAGE`; `fail` raises.
"""
import asyncio
import sys

from llama_deploy import ControlPlaneConfig, WorkflowServiceConfig, deploy_workflow
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step


class Progress(Event):
    n: int


class Echo(Workflow):
    @step
    async def run_step(self, ctx: Context, ev: StartEvent) -> StopEvent:
        message = str(ev.get("message", ""))
        if message == "fail":
            raise ValueError("planned failure")
        for n in range(2):
            ctx.write_event_to_stream(Progress(n=n))
        return StopEvent(result="echo: " + message)


def main():
    host, control, port, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    asyncio.run(deploy_workflow(
        Echo(timeout=20), WorkflowServiceConfig(host=host, port=port, service_name=name),
        ControlPlaneConfig(host=host, port=control)))


main()
