"""Tasks over HTTP beside a real LlamaDeploy of both generations, and runs of workflow files beside the published LLM
Orchestrator library. The peers are those of interop/, pinned and cached; they are measured in the same run."""
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request

from lib import ROOT, free_port, wait_port
from record import build_programs, one

INTEROP = os.path.join(ROOT, "interop")
TASKS = "/deployments/QuickStart/tasks/run"
TASK = json.dumps({"input": json.dumps({"message": "hi"})})
WORKFLOW = """name: echo
steps:
  - {id: say, type: transform, function: template, template: "echo: {{ message }}", output: [text]}
"""
OURS = """name: QuickStart
default-service: echo
services:
  echo: {name: Echo, source: {type: local, location: .}, import-path: "echo.yaml"}
"""
THEIRS = """try:
    from workflows import Workflow, step
    from workflows.events import StartEvent, StopEvent
except ImportError:
    from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step


class Echo(Workflow):
    @step
    async def run_step(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="echo: " + str(ev.get("message", "")))


echo = failing = Echo(timeout=20)
"""


class Missing(Exception):
    """The peer cannot be had here; the text says why."""


def interop(code):
    """The value of an expression over interop's peers: in a process of its own, as its packages have names of ours."""
    text = ("import json\nfrom lib import cache\nfrom peers import llamadeploy, orchestrator\n"
            "try:\n    print(json.dumps({'value': %s}))\n"
            "except cache.Missing as why:\n    print(json.dumps({'missing': str(why)}))\n" % code)
    done = subprocess.run([sys.executable, "-c", text], cwd=INTEROP, stdout=subprocess.PIPE, check=True, timeout=3600)
    answer = json.loads(done.stdout.decode().strip().split("\n")[-1])
    if "missing" in answer:
        raise Missing(answer["missing"])
    return answer["value"]


def or_skipped(case):
    """A peer that cannot be installed leaves a row that says so."""
    def run(bench, title):
        try:
            case(bench, title)
        except Missing as why:
            bench.row(title, "-", None, {}, None, "skipped", None, str(why)[:300])
    return run


# ---- tasks ----

def create(port, path, base):
    """Posts a deployment file; both sides take the same form."""
    with open(path, "rb") as file:
        text = file.read()
    body = (b"--bench\r\nContent-Disposition: form-data; name=\"config_file\"; filename=\"upload\"\r\n"
            b"Content-Type: application/octet-stream\r\n\r\n" + text + b"\r\n--bench--\r\n")
    url = f"http://127.0.0.1:{port}/deployments/create?reload=false&local=false&base_path={base}"
    request = urllib.request.Request(url, body, {"Content-Type": "multipart/form-data; boundary=bench"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200, answer.status


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def start_ours(bench):
    """A flow server on the disk that holds the build; the port of its API."""
    folder = os.path.join(bench.build, "bench-tasks-%d" % os.getpid())
    subprocess.run(["rm", "-rf", folder], check=True)
    write(folder, "echo.yaml", WORKFLOW)
    path = write(folder, "deployment.yml", OURS)
    command = [bench.sightline, "flow", "server", "--data-dir", os.path.join(folder, "data")]
    for name in ("api", "control", "queue", "metrics", "health", "admin"):
        command += [f"--{name}-listen", "127.0.0.1:0"]
    _, ready = bench.start_ready(command)
    port = int(ready["api"].rsplit(":", 1)[1])
    create(port, path, folder)
    return port, folder


def start_theirs(bench, generation):
    """LlamaDeploy's API server with its deployment up; the port of its API."""
    found = interop("{'python': llamadeploy.python('%s'), 'file': llamadeploy.DEPLOYMENT['%s'], 'version': "
                    "llamadeploy.VERSIONS['%s']}" % (generation, generation, generation))
    folder = os.path.join(bench.dir, "llamadeploy" + generation)
    ports = {name: free_port() for name in ("api", "control", "queue", "metrics", "port1", "port2")}
    write(folder, "src/wf.py", THEIRS)
    path = write(folder, "deployment.yml", found["file"] % dict(ports, echo="src/wf:echo", failing="src/wf:failing"))
    env = {"LLAMA_DEPLOY_APISERVER_PORT": str(ports["api"]), "LLAMA_DEPLOY_APISERVER_RC_PATH": folder + "/rc",
           "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT": str(ports["metrics"]),
           "LLAMA_DEPLOY_APISERVER_DEPLOYMENTS_PATH": folder + "/data",
           "CONTROL_PLANE_PORT": str(ports["control"]), "SIMPLE_MESSAGE_QUEUE_PORT": str(ports["queue"])}
    bench.start([found["python"], "-W", "ignore", "-m", "llama_deploy.apiserver"], env)
    wait_port(ports["api"], 60)
    create(ports["api"], path, folder)
    time.sleep(2)  # a run right behind the creation is refused
    return ports["api"], found["version"]


def ask(bench, port, connections, rate, seconds):
    return one(os.path.join(build_programs(bench), "bench_tasks"), "127.0.0.1", str(port), TASKS, TASK,
               str(connections), str(rate), str(seconds))["tasks"]


def sync_us(bench, folder):
    return one(os.path.join(build_programs(bench), "bench_queue"), folder, "floor", "500")["floor"]["sync_p50_us"]


def latency(bench, title):
    """Tasks through the API server at 1,000 a second, each from its due moment to its answer; run and message synced."""
    port, folder = start_ours(bench)
    rows, floors = [], []
    for _ in range(bench.rounds):
        rows.append(ask(bench, port, 64, 1000, 5))
        floors.append(sync_us(bench, folder))
    bench.stop_all()
    subprocess.run(["rm", "-rf", folder], check=True)
    bench.absolute(title, "us p50", [row["p50_us"] for row in rows], "< 2000 us", 2000, statistics.median(floors),
                   f"POST .../tasks/run at {rows[-1]['tasks_per_s']:.0f} tasks/s; p99 "
                   f"{statistics.median(row['p99_us'] for row in rows):.0f} us; the floor is one sync of this disk")


def llamadeploy(bench, titles):
    """One client asks for a task, waits for its answer, asks again; then four do. All three servers are up meanwhile.
    0.8 has a control plane and a queue, as we have; 0.9 calls the workflow in its own process, and keeps nothing."""
    ours, folder = start_ours(bench)
    ports, queued = {"ours": ours}, None
    for generation in ("0.9", "0.8"):
        port, version = start_theirs(bench, generation)
        queued = "LlamaDeploy " + version
        ports[queued] = port
    alone, crowd = {name: [] for name in ports}, {name: [] for name in ports}
    for _ in range(min(bench.rounds, 3)):
        for name, port in ports.items():
            alone[name].append(ask(bench, port, 1, 0, 4)["p50_us"])
            crowd[name].append(ask(bench, port, 4, 0, 6)["tasks_per_s"])
    bench.stop_all()
    subprocess.run(["rm", "-rf", folder], check=True)
    bench.compare(titles[0], "us p50", alone, f"<= 0.05x {queued}", 0.05, peer=queued,
                  note="one task after the other; 0.9 has no queue and keeps nothing on disk")
    medians = {name: statistics.median(values) for name, values in crowd.items()}
    ours, best = medians.pop("ours"), max(v for name, v in medians.items() if name != "ours")
    bench.row(titles[1], "tasks/s", round(ours), {k: round(v, 1) for k, v in medians.items()}, round(ours / best, 2),
              ">= 1x the best LlamaDeploy", ours >= best,
              f"4 clients, each one task after the other; {ours / medians[queued]:.0f} times {queued}")


def llamadeploy_case(bench, title):
    llamadeploy(bench, (title, title + "_rate"))


# ---- runs ----

def spent_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def orchestrator(name, inputs, rounds):
    """Runs of a file one after the other in one process, against the same mock. The time of a run is mostly that of two
    processes waking each other, the CPU is the library's own."""
    def case(bench, title):
        program = interop("orchestrator.install()")
        path = os.path.join(INTEROP, "workflows", name)
        _, ready = bench.start_ready([bench.sightline, "mock", "--listen", "127.0.0.1:0", "--ttft", "0", "--itl", "0"])
        env = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": ready["mock"] + "/v1", "ANTHROPIC_API_KEY": "k",
               "ANTHROPIC_BASE_URL": ready["mock"]}
        wall, cpu = {"ours": [], "orchestrator": []}, {"ours": [], "orchestrator": []}
        for _ in range(bench.rounds):
            begun = spent_s()
            done = subprocess.run([program, path, json.dumps(inputs), ready["mock"], str(rounds)],
                                  stdout=subprocess.PIPE, check=True, timeout=300)
            report = json.loads(done.stdout)
            assert report["ok"] and all(s["status"] == "Completed" for s in report["steps"].values()), report
            wall["orchestrator"].append(report["seconds"] / rounds * 1e6)
            cpu["orchestrator"].append((spent_s() - begun) / rounds * 1e6)
            done = subprocess.run([os.path.join(build_programs(bench), "bench_flow"), path, "on", str(rounds),
                                   json.dumps(inputs)], stdout=subprocess.PIPE, check=True, timeout=300, env=env)
            row = json.loads(done.stdout)
            assert row["failed"] == 0, row
            wall["ours"].append(row["wall_us"])
            cpu["ours"].append(row["cpu_us"])
        took = {key: statistics.median(values) for key, values in wall.items()}
        bench.compare(title, "us CPU/run", cpu, "<= 0.5x orchestrator", 0.5,
                      note=f"{name}, telemetry on; a run took: ours {took['ours']:.0f} us, orchestrator "
                           f"{took['orchestrator']:.0f} us, {took['ours'] / took['orchestrator']:.2f} of it")
    return case


INPUTS = {"name": "Ada", "age": 36, "topic": "tides"}
CASES = [("flow_task_latency", latency), ("flow_llamadeploy", or_skipped(llamadeploy_case)),
         ("flow_orchestrator_chain", or_skipped(orchestrator("chain.yaml", INPUTS, 300))),
         ("flow_orchestrator_fan", or_skipped(orchestrator("fan.json", INPUTS, 300)))]
