"""llama-agents, the successor of LlamaDeploy: its workflow server 0.8.0 and client 0.4.1."""
import os

from peers import python_venv

LOCK = "llamaagents"
SERVER = python_venv.pinned(LOCK, "llama-agents-server")
CLIENT = python_venv.pinned(LOCK, "llama-agents-client")
CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


def venv():
    return python_venv.install(LOCK, 11, 13)


def cached():
    return python_venv.is_installed(LOCK)


def python():
    return os.path.join(venv(), "bin", "python")


def start(ctx):
    """Starts its server with the workflows of clients/llamaagents_server.py; returns its base URL."""
    port = ctx.free_port()
    ctx.start("llama-agents", [python(), os.path.join(CLIENTS, "llamaagents_server.py"), str(port)])
    url = "http://127.0.0.1:%d" % port
    ctx.wait_http(url + "/health", 30)
    return url
