"""The rules and dashboards of deploy/ live: Sightline's metrics, a real Prometheus, a real Alertmanager, a webhook.

The rules are the committed ones but for their waiting times, which are cut to a second.
"""
import glob
import json
import math
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


def rule_files(ctx):
    paths = [p for p in sorted(glob.glob(os.path.join(ctx.source, "deploy", "prometheus", "*"))) if LLAMA not in p]
    expect(len(paths) == 3 and all(p.endswith(".rules.yml") for p in paths), "rule files: %s" % paths)
    return paths


def impatient_rules(ctx):
    folder = ctx.folder("rules")
    for path in rule_files(ctx):
        with open(path) as f:
            text = re.sub(r"^( +(for|interval)): \w+$", r"\1: 1s", f.read(), flags=re.M)
        with open(os.path.join(folder, os.path.basename(path)), "w") as f:
            f.write(text)
    return folder


class Rule:
    """An alert of the files, as it is written."""

    def __init__(self, name, severity, summary, description):
        self.name, self.severity, self.summary, self.description = name, severity, summary, description or ""
        parts = [re.escape(part) for part in re.split(r"{{.*?}}", self.description)]
        self.told = re.compile("[^{}]+".join(parts))

    def is_told(self, alert):
        """Whether an alert at the webhook is of this rule, its texts filled in."""
        texts = alert["annotations"]
        return (alert["status"] == "firing" and alert["labels"]["alertname"] == self.name and alert["labels"]["severity"] == self.severity
                and texts["summary"] == self.summary and self.told.fullmatch(texts.get("description", "")))

    def __repr__(self):
        return "%s (%s)" % (self.name, self.description)


def written(ctx):
    """Every alert of the files."""
    rules, count = [], 0
    for path in rule_files(ctx):
        with open(path) as f:
            text = f.read()
        rules += [Rule(*found) for found in re.findall(
            r"""^  - alert: (\w+)\n(?:    .*\n)*?      severity: (\w+)\n    annotations:\n      summary: "(.*)"\n(?:      description: "(.*)")?""",
            text, re.M)]
        count += text.count("alert:")
    expect_eq(len(rules), count, "alerts that were read")
    expect_eq({(rule.name, rule.severity) for rule in rules}, ALERTS, "alerts of the files, and of the guides")
    return rules


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


def check_alerts(ctx, world):
    """Every rule of the files fires, and is told to the webhook; no other is. Returns their number."""
    rules, told = written(ctx), world.alertmanager.webhook.alerts

    def all_are_told():
        missing = [rule for rule in rules if not any(rule.is_told(a) for a in list(told))]
        if missing:
            raise ValueError("missing: %s" % missing)
        return True
    net.until("all alerts at the webhook", 60, all_are_told)
    for alert in list(told):
        expect(alert["status"] != "firing" or any(rule.is_told(alert) for rule in rules), "an alert that is no rule's: %s" % alert)
    seen = [rule for group in world.prometheus.api("rules")["groups"] for rule in group["rules"]]
    expect_eq(sorted((r["name"], r["annotations"].get("description", ""), r["state"], r["health"]) for r in seen),
              sorted((rule.name, rule.description, "firing", "ok") for rule in rules), "rules as Prometheus has them")
    down = next(rule for rule in rules if rule.name == "LLMProviderDown")
    expect_eq({a["annotations"]["description"] for a in list(told) if down.is_told(a)}, {"Provider openai failing"}, "description")
    return len(rules)


def expressions(value):
    """Every PromQL expression in a dashboard, wherever it stands."""
    if isinstance(value, dict):
        return ([value["expr"]] if "expr" in value else []) + [e for v in value.values() for e in expressions(v)]
    return [e for v in value for e in expressions(v)] if isinstance(value, list) else []


def check_panels(ctx, world):
    """Every query of every dashboard but llama.cpp's gives data: numbers, not NaN. Returns (dashboards, queries)."""
    boards = count = 0
    for path in sorted(glob.glob(os.path.join(ctx.source, "deploy", "grafana", "*"))):
        if "llama_cpp" in path:
            continue
        with open(path) as f:
            board = json.load(f)
        queries = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]
        expect_eq(sorted(e for _, e in queries), sorted(expressions(board)), "queries of %s, and of its panels" % path)
        expect_eq(sorted({title for title, _ in queries}), sorted(p["title"] for p in board["panels"]), "panels with queries")
        for title, query in queries:
            net.until("%s, %s: data for %s" % (board["title"], title, query), 10,
                      lambda expr=query: any(not math.isnan(value) for _, value in world.prometheus.query(expr)))
        boards, count = boards + 1, count + len(queries)
    return boards, count


def run(ctx):
    world = World(ctx)
    alerts = check_alerts(ctx, world)
    return "%d alerts at the webhook, %d dashboards, %d queries with data" % (alerts, *check_panels(ctx, world))


ROWS = [Row("alertmanager", "quick", "Alertmanager", alertmanager.version, "alerts of the guides, and every dashboard query",
            run, needs=[prometheus2.install, alertmanager.install], order=22)]
