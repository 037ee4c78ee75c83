"""Llama Stack: its server 0.7.3 in front of any OpenAI-compatible upstream, and its client 0.7.5."""
import os

from peers import python_venv

SERVER = python_venv.pinned("llamastack", "llama-stack")
CLIENT = python_venv.pinned("llamastack", "llama-stack-client")

CONFIG = """version: 2
distro_name: minimal
apis: [inference]
providers:
  inference:
  - {provider_id: vllm, provider_type: "remote::vllm", config: {base_url: "%(upstream)s", api_token: fake, max_tokens: 4096}}
registered_resources:
  models: [{model_id: %(model)s, provider_id: vllm, provider_model_id: %(model)s, model_type: llm}]
storage:
  backends: {kv_default: {type: kv_sqlite, db_path: %(dir)s/kv.db}, sql_default: {type: sql_sqlite, db_path: %(dir)s/sql.db}}
  stores:
    metadata: {namespace: registry, backend: kv_default}
    inference: {table_name: inference_store, backend: sql_default, max_write_queue_size: 10000, num_writers: 1}
    conversations: {table_name: conv, backend: sql_default}
    prompts: {namespace: prompts, backend: kv_default}
server: {port: %(port)d, host: 127.0.0.1}
"""


def venv():
    """Its environment. The package needs Python 3.12 or newer; older ones get a server of another generation."""
    return python_venv.install("llamastack", 12, 12)


def python():
    return os.path.join(venv(), "bin", "python")


def start(ctx, upstream, model):
    """Starts the server in front of `upstream` (with /v1); returns its base URL."""
    port = ctx.free_port()
    folder = ctx.folder("llamastack")
    path = os.path.join(folder, "run.yaml")
    with open(path, "w") as f:
        f.write(CONFIG % {"upstream": upstream, "model": model, "dir": folder, "port": port})
    base = "http://127.0.0.1:%d" % port
    ctx.start("llamastack", [os.path.join(venv(), "bin", "llama"), "stack", "run", path, "--port", str(port)],
              env={"HOME": folder, "LLAMA_STACK_CONFIG_DIR": folder, "SQLITE_STORE_DIR": folder})
    ctx.wait_http(base + "/v1/health", 120)
    return base
