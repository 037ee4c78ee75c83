"""For tests of the flow plane that talk to the addresses of a server: workflows, runs, deployments, and what is sent."""
import contextlib
import json
import os
import socket
import subprocess

import lib

ECHO = """name: echo
steps:
  - id: shout
    type: transform
    function: template
    inputs: [message]
    template: "echo: {{ inputs.message }}"
    output: [text]
"""
SLEEP = """name: sleepy
steps:
  - id: first
    type: transform
    function: template
    template: "first"
    output: [text]
  - id: nap
    type: action
    action: sleep
    depends_on: [first]
    seconds: %s
  - id: last
    type: transform
    depends_on: [nap]
    function: template
    template: "{{ steps.first.text }} and last"
    output: [text]
"""
FAIL = """name: broken
steps:
  - id: call
    type: llm
    provider: openai
    model: m
    prompt: hello
    output: [text]
"""
FLOW = ("--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
        "--control-listen", "127.0.0.1:0", "--queue-listen", "127.0.0.1:0", "--drain-timeout", "5")
DEPLOYMENT = """name: QuickStart
default-service: echo
services:
  echo: {name: Echo, source: {type: local, location: src}, import-path: src/echo.yaml}
  broken: {name: Broken, source: {type: local, location: src}, import-path: broken.yaml}
  remote: {name: Remote, source: {type: local, location: src}, import-path: "src/wf:flow"}
"""


def server(*args, data=None, env=None):
    return lib.Process("flow", "server", *FLOW, "--data-dir", data or lib.tmp(), *args,
                       env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "sk-none", **(env or {})})


def add(api, *texts):
    """Workflows; the answer to the last one."""
    for text in texts:
        reply = lib.request("POST", api + "/workflows", text.encode())
        if reply.status not in (200, 201):
            raise AssertionError(reply.text)
    return reply


def start(api, name, inputs=None, **extra):
    reply = lib.post(f"{api}/workflows/{name}/runs", {"inputs": inputs or {}, **extra})
    lib.equal(reply.status, 202, reply.text)
    return reply.json()["run_id"]


def ended(api, run):
    def look():
        answer = lib.get(f"{api}/runs/{run}").json()
        return answer if answer["status"] in ("succeeded", "failed", "cancelled") else None
    return lib.until(look, what=f"the end of {run}")


def status(api, run):
    return lib.get(f"{api}/runs/{run}").json()["status"]


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def audited(data):
    """(action, object) of the audit log of a server that has ended."""
    with open(data + "/audit.jsonl") as file:
        return [(entry["action"], entry["object"]) for entry in map(json.loads, file)]


def requests(process, method, route, status):
    """How many of them the metrics have."""
    return lib.total(lib.metrics(process.url("metrics")), "http_server_request_duration_seconds_count", http_route=route,
                     http_request_method=method, http_response_status_code=status)


def form(text):
    edge = "edge-of-the-form"
    body = (f"--{edge}\r\nContent-Disposition: form-data; name=\"config_file\"; filename=\"upload\"\r\n"
            f"Content-Type: application/octet-stream\r\n\r\n{text}\r\n--{edge}--\r\n").encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def post_deployment(api, text, **query):
    body, headers = form(text)
    path = "&".join(f"{k}={v}" for k, v in query.items())
    return lib.request("POST", f"{api}/deployments/create?{path}", body, headers)


def deployment_folder():
    folder = lib.tmp()
    os.mkdir(folder + "/src")
    for name, text in (("echo", ECHO), ("broken", FAIL)):
        with open(f"{folder}/src/{name}.yaml", "w") as file:
            file.write(text)
    return folder


def deploy(api, folder, text=DEPLOYMENT, **query):
    return post_deployment(api, text, base_path=folder, **query)


def task(message="hi", **extra):
    return {"input": json.dumps({"message": message}), "task_id": "t1", "session_id": None, "service_id": None, **extra}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def worker(queue, *texts, args=()):
    """`sightline flow worker` for workflow files, at the address of a queue."""
    paths = []
    for number, text in enumerate(texts):
        paths.append(os.path.join(lib.tmp(), f"{number}.yaml"))
        with open(paths[-1], "w") as file:
            file.write(text)
    return lib.Process("flow", "worker", "--queue", queue, *args, *paths)


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def broker():
    """A nats-server with JetStream; its URL."""
    program, port, folder = lib.need("nats-server"), free_port(), lib.tmp()
    process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        lib.until(lambda: can_connect(port), what="the broker")
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
