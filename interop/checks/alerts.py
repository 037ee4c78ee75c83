"""The rules and dashboards of deploy/ live: Sightline's metrics, a real Prometheus, a real Alertmanager, a webhook.

The rules are the committed ones but for their waiting times, which are cut to a second.
"""
import glob
import json
import os
import re
import threading

from checks import Row, prometheus
from checks.flow_trees import create
from lib import flow, net, sightline
from lib.context import expect, expect_eq
from peers import alertmanager, prometheus2

CONFIG = """global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["%(rules)s/*.yml"]
alerting: {alertmanagers: [{static_configs: [{targets: ["%(alertmanager)s"]}]}]}
scrape_configs:
- {job_name: orchestrator, static_configs: [{targets: ["%(flow)s"]}]}
- {job_name: llamastack, static_configs: [{targets: ["%(gateway)s", "%(dead)s"]}]}
- {job_name: llama-deploy-apiserver, static_configs: [{targets: ["%(apiserver)s"]}]}
- {job_name: kubernetes, static_configs: [{targets: ["%(containers)s"]}]}
"""
# What the guides promise: alert, severity.
ALERTS = {("DeploymentDown", "critical"), ("HighErrorRate", "warning"), ("WorkflowTimeout", "critical"),
          ("LLMProviderDown", "critical"), ("HighWorkflowLatency", "warning"), ("LlamaStackDown", "critical"),
          ("HighLatency", "warning"), ("HighMemoryUsage", "warning")}
SLOW_MS, SLOW, FAILED = 3000, 24, 60
LLAMA = "llamacpp"  # those of llama.cpp have a check of their own, with a real server


class Containers(net.Server):
    """What a Kubernetes node says of a container that is nearly out of memory."""

    def __init__(self):
        class Handler(net.Quiet):
            def do_GET(self):
                self.answer(200, b"container_memory_usage_bytes{pod=\"p\"} 95\n"
                                 b"container_spec_memory_limit_bytes{pod=\"p\"} 100\n"
                                 b"container_cpu_usage_seconds_total{pod=\"p\"} 7\n", "text/plain; version=0.0.4")
        super().__init__(Handler)


def impatient_rules(ctx):
    folder = ctx.folder("rules")
    paths = [p for p in sorted(glob.glob(os.path.join(ctx.source, "deploy", "prometheus", "*.rules.yml"))) if LLAMA not in p]
    expect(len(paths) == 3, "rule files: %s" % paths)
    for path in paths:
        with open(path) as f:
            text = re.sub(r"^( +(for|interval)): \w+$", r"\1: 1s", f.read(), flags=re.M)
        with open(os.path.join(folder, os.path.basename(path)), "w") as f:
            f.write(text)
    return folder


DEPLOYMENT = b"""name: %s
default-service: works
services:
  works: {name: Works, source: {type: local, location: src}, import-path: "src/works.yaml"}
  other: {name: Other, source: {type: local, location: src}, import-path: "src/%s.yaml"}
"""
STEPS = "name: %s\nsteps:\n  - {id: only, type: llm, provider: openai, model: %s, prompt: hello, max_tokens: 8, output: [text]}\n"


class ApiServer:
    """A flow server with a deployment that runs, one of its services failing, and one that could not come up again."""

    def __init__(self, ctx, provider):
        ctx.folder("src")
        ctx.write("src/works.yaml", STEPS % ("works", "up"))
        ctx.write("src/fails.yaml", STEPS % ("fails", "fail-400"))
        ctx.write("src/gone.yaml", STEPS % ("gone", "up"))
        env = flow.provider_env(provider.url)
        before = flow.Server(ctx, env=env)
        create(before.url, DEPLOYMENT % (b"rag", b"fails"), ctx.dir)
        create(before.url, DEPLOYMENT % (b"broken", b"gone"), ctx.dir)
        before.process.terminate()
        expect_eq(before.process.wait(20), 0, "exit status of the server")
        for path in ("src/gone.yaml", "flow.ready"):
            os.remove(os.path.join(ctx.dir, path))
        self.server = flow.Server(ctx, env=env)

    def tasks(self, rounds):
        for n in range(rounds):
            for service, status in (("works", 200), ("other", 500)):
                reply = net.post(self.server.url + "/deployments/rag/tasks/run",
                                 {"input": json.dumps({"n": n}), "service_id": service})
                expect_eq(reply.status, status, "a task of %s: %s" % (service, reply.text()[:200]))


def chat(gateway, model):
    return net.post(gateway.url + "/v1/chat/completions",
                    {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2},
                    {"authorization": "Bearer " + sightline.KEY}).status


def drive(gateway):
    """Requests that fail and requests that take long, side by side."""
    slow = [threading.Thread(target=chat, args=(gateway, "slow"), daemon=True) for _ in range(SLOW)]
    for thread in slow:
        thread.start()
    for _ in range(FAILED):
        expect_eq(chat(gateway, "broken"), 503, "status of a provider that fails")
    for thread in slow:
        thread.join(60)


class World:
    """Everything that is needed, running."""

    def __init__(self, ctx):
        port = ctx.free_port()
        ctx.start("flow_load", [sightline.build_program(ctx, os.path.join("interop", "clients", "flow_load.c"))],
                  {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
                   "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
                   "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"})
        ctx.wait_http("http://127.0.0.1:%d/metrics" % port, 20)
        mock = sightline.start_mock(ctx, "--ttft", str(SLOW_MS), "--tokens", "2")
        provider = ctx.own(net.Provider())
        self.gateway = sightline.Gateway(ctx, {"slow": (mock + "/v1", "mock"), "broken": (provider.url + "/v1", "fail-503")})
        self.alertmanager = alertmanager.Alertmanager(ctx)
        apiserver = ApiServer(ctx, provider)
        config = CONFIG % {"apiserver": apiserver.server.metrics[7:-len("/metrics")], "rules": impatient_rules(ctx),
                           "alertmanager": self.alertmanager.address, "flow": "127.0.0.1:%d" % port, "gateway": self.gateway.metrics[7:-len("/metrics")],
                           "dead": "127.0.0.1:%d" % ctx.free_port(), "containers": ctx.own(Containers()).url[7:]}
        chat(self.gateway, "broken")  # a series counts from its second sample on
        apiserver.tasks(1)
        self.prometheus = prometheus.Prometheus(ctx, prometheus2.install(), config)
        for series in ('llamastack_requests_total{status="503"}', "sightline_queue_wait_seconds_count"):
            net.until(series, 20, lambda name=series: self.prometheus.query(name))
        apiserver.tasks(5)
        drive(self.gateway)


def check_alerts(world):
    webhook = world.alertmanager.webhook
    net.until("alerts at the webhook (%s are missing)" % sorted(a for a, _ in ALERTS - set(webhook.firing())), 60,
              lambda: set(webhook.firing()) >= ALERTS)
    firing = webhook.firing()
    expect_eq(set(firing), ALERTS, "alerts that fire")
    for (name, _severity), annotations in firing.items():
        expect(annotations.get("summary"), "%s has no summary" % name)
        expect("{{" not in json.dumps(annotations), "%s: %s" % (name, annotations))
    expect_eq(firing[("LLMProviderDown", "critical")]["description"], "Provider openai failing", "description")
    errors = [a["annotations"]["description"] for a in webhook.alerts if a["labels"]["alertname"] == "HighErrorRate"]
    for unit in ("errors/sec", "errors per second."):
        expect(any(unit in text for text in errors), "no HighErrorRate in %s: %s" % (unit, errors))


def check_panels(ctx, world):
    """Every query of every dashboard but llama.cpp's gives data. Returns their number."""
    count = 0
    for path in sorted(glob.glob(os.path.join(ctx.source, "deploy", "grafana", "*.json"))):
        if "llama_cpp" in path:
            continue
        with open(path) as f:
            board = json.load(f)
        for panel in board["panels"]:
            for target in panel["targets"]:
                net.until("%s, %s: data for %s" % (board["title"], panel["title"], target["expr"]), 10,
                          lambda expr=target["expr"]: world.prometheus.query(expr))
                count += 1
    return count


def run(ctx):
    world = World(ctx)
    check_alerts(world)
    return "%d alerts at the webhook, %d dashboard queries with data" % (len(ALERTS) + 1, check_panels(ctx, world))


ROWS = [Row("alertmanager", "quick", "Alertmanager", alertmanager.version, "alerts of the guides, and every dashboard query",
            run, needs=[prometheus2.install, alertmanager.install], order=22)]
