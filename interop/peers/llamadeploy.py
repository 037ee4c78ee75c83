"""LlamaDeploy: its last release 0.9.2 and the generation with a control plane, 0.8.1; client, server, workflow service."""
import os

from peers import python_venv

LOCKS = {"0.9": "llamadeploy09", "0.8": "llamadeploy08"}
VERSIONS = {generation: python_venv.pinned(lock, "llama-deploy") for generation, lock in LOCKS.items()}
CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


def venv09():
    return python_venv.install(LOCKS["0.9"], 11, 12)


def venv08():
    return python_venv.install(LOCKS["0.8"], 11, 12)


def cached():
    return all(python_venv.is_installed(lock) for lock in LOCKS.values())


def python(generation):
    return os.path.join(venv09() if generation == "0.9" else venv08(), "bin", "python")


# A deployment of each generation. %(path)s is where the service is: a workflow of Python, or a workflow file.
DEPLOYMENT = {
    "0.9": """name: QuickStart
default-service: echo
services:
  echo: {name: Echo, source: {type: local, location: src}, import-path: "%(echo)s"}
  failing: {name: Failing, source: {type: local, location: src}, import-path: "%(failing)s"}
""",
    "0.8": """name: QuickStart
control-plane: {port: %(control)d}
message-queue: {type: simple, port: %(queue)d}
default-service: echo
services:
  echo: {name: Echo, source: {type: local, name: src}, path: "%(echo)s", host: 127.0.0.1, port: %(port1)d}
  failing: {name: Failing, source: {type: local, name: src}, path: "%(failing)s", host: 127.0.0.1, port: %(port2)d}
"""}


class Server:
    """A running LlamaDeploy API server; in 0.8 its deployment starts a control plane and a queue too."""

    def __init__(self, ctx, generation):
        self.ports = {name: ctx.free_port() for name in ("api", "control", "queue", "metrics", "port1", "port2")}
        env = {"LLAMA_DEPLOY_APISERVER_PORT": str(self.ports["api"]),
               "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT": str(self.ports["metrics"]),
               "LLAMA_DEPLOY_APISERVER_RC_PATH": ctx.folder("rc" + generation),
               "LLAMA_DEPLOY_APISERVER_DEPLOYMENTS_PATH": ctx.folder("deployments" + generation),
               "CONTROL_PLANE_PORT": str(self.ports["control"]), "SIMPLE_MESSAGE_QUEUE_PORT": str(self.ports["queue"])}
        self.process = ctx.start("llamadeploy" + generation, [python(generation), "-W", "ignore", "-m",
                                                              "llama_deploy.apiserver"], env)
        self.url = "http://127.0.0.1:%d" % self.ports["api"]
        self.control = "http://127.0.0.1:%d" % self.ports["control"]
        ctx.wait_http(self.url + "/status/", 60)
