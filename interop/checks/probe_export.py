"""What the probe tells, where people look at it: one tree from OpenAI's client down to the batches, in `sightline
traces` and in Jaeger; every OTLP protocol into a Collector; dashboards and alarm rules on a real Prometheus.
"""
import glob
import json
import os
import re

from checks import Row, prometheus, tree
from checks.openai_clients import call, python_client
from lib import llama_load, net, probe, sightline
from lib.context import expect, expect_eq
from peers import collector, jaeger, llama_server, prometheus2, python_venv

PROBE_SERVICE = "llama-cpp"
QUOTAS = "resident_memory=8GiB,context=0.9,queue=16,tokens_per_second=500"
PROTOCOLS = ("grpc", "http/protobuf", "http/json")


def server_binary():
    return os.path.join(python_venv.install("llama_server"), "bin", "llama-server-vulkan")


def start_server(ctx, env, *options, view="off", name="server"):
    port = ctx.free_port()
    argv = [server_binary(), "-m", sightline.tiny_model(ctx), "--host", "127.0.0.1", "--port", str(port), "-c", "4096",
            "-np", "2", "-t", "1", "--alias", llama_server.MODEL, "--metrics"]
    return probe.Server(ctx, name, argv, port, env, options, view=view)


def check_line(seen, gateway_service=tree.DEFAULT_SERVICE):
    """SERVER (gateway) > CLIENT > SERVER (llama-server) > process_prompt and generate_tokens; returns the last three."""
    name = "POST /v1/chat/completions"
    servers = {s["service"]: (i, s) for i, s in seen.items() if s["kind"] == "SERVER" and s["name"] == name}
    expect_eq(sorted(servers), sorted([gateway_service, PROBE_SERVICE]), "services with a SERVER span: %s" % [
        (s["name"], s["service"]) for s in seen.values()])
    outer, inner = servers[gateway_service], servers[PROBE_SERVICE]
    client = [i for i, s in seen.items() if s["kind"] == "CLIENT" and s["parent"] == outer[0]]
    expect_eq(len(client), 1, "CLIENT spans of the gateway")
    expect_eq(inner[1]["parent"], client[0], "parent of llama-server's span")
    prompt = probe.children(seen, inner[0], "process_prompt")
    generate = probe.children(seen, inner[0], "generate_tokens")
    expect_eq((len(prompt), len(generate)), (1, 1), "prompt and generation spans: %s" % [
        s["name"] for s in seen.values()])
    for span in prompt + generate:
        expect(inner[1]["start_ns"] <= span["start_ns"], "%s begins before its request" % span["name"])
    return inner, prompt[0], generate[0]


def run_tree(ctx):
    """OpenAI's Python client > gateway > llama-server under exec, unary and streamed."""
    peer = jaeger.Jaeger(ctx)
    port = ctx.free_port()
    gateway = sightline.Gateway(ctx, {"tiny": ("http://127.0.0.1:%d/v1" % port, llama_server.MODEL)},
                                sightline.traces_env("grpc", peer.grpc))
    env = dict(sightline.traces_env("grpc", peer.grpc), OTEL_BSP_SCHEDULE_DELAY="200")
    argv = [server_binary(), "-m", sightline.tiny_model(ctx), "--host", "127.0.0.1", "--port", str(port), "-c", "4096",
            "-np", "2", "-t", "1", "--alias", llama_server.MODEL]
    probe.Server(ctx, "server", argv, port, env, ("--decode-span-every", "1"), view=gateway.admin)
    seen = call(ctx, python_client, gateway.url, "tiny", "unary", "stream_usage")
    listed = json.loads(ctx.run([ctx.sightline, "traces", "--url", gateway.admin, "--format", "json"]))
    roots = [t["trace_id"] for t in listed if t["root"] == "POST /v1/chat/completions"]
    expect_eq(len(roots), 2, "traces of chat requests: %s" % [(t["root"], t["service"]) for t in listed])
    usages = sorted(u["usage"] for u in seen.values())
    told = []
    for trace_id in roots:
        def whole():
            shown = tree.from_sightline(gateway.trace(trace_id))
            return shown if any(s["name"] == "generate_tokens" for s in shown.values()) else None
        shown = net.until("generate_tokens in sightline traces", 5, whole)
        _, prompt, generate = check_line(shown)
        a = prompt["attributes"]
        told.append([a["prompt.tokens"] + a.get("prompt.tokens_cached", 0), generate["attributes"]["completion.tokens"]])
        check_line(tree.from_jaeger(peer.trace(trace_id, len(shown))))
    expect_eq(sorted(told), [u[:2] for u in usages], "prompt and completion tokens: client's usage and spans")
    return "unary and streamed: one tree each, in sightline traces and in Jaeger"


def check_collected(peer, service, requests, what):
    """All signals of a host are in the Collector."""
    def whole():
        found = peer.received()
        spans = [(s, r) for q in found.get("traces", []) for r in q.get("resourceSpans", [])
                 if probe.service_of(r["resource"]) == service for c in r["scopeSpans"] for s in c["spans"]]
        names = [s["name"] for s, _ in spans]
        metrics = {m["name"] for q in found.get("metrics", []) for r in q.get("resourceMetrics", [])
                   if probe.service_of(r["resource"]) == service for c in r["scopeMetrics"] for m in c["metrics"]}
        enough = names.count("generate_tokens") >= len(requests) and metrics
        return (names, metrics) if enough else None
    names, metrics = net.until("%s: spans and metrics in the Collector" % what, 15, whole, 0.3)
    expect_eq((names.count("process_prompt"), names.count("generate_tokens")), (len(requests), len(requests)),
              "%s: prompts and generations" % what)
    expect("llama_model_load" in names and "llama_new_context_with_model" in names, "%s: spans %s" % (
        what, sorted(set(names))))
    expect(any("time_to_first_token" in m for m in metrics), "%s: metrics %s" % (what, sorted(metrics)))


def run_protocols(ctx):
    """Under the parent every protocol; without it OTLP over HTTP from within the host."""
    peer = collector.Collector(ctx)
    for protocol in PROTOCOLS:
        service = "exec-" + protocol.replace("/", "-")
        env = sightline.exporter_env(protocol, peer.grpc if protocol == "grpc" else peer.http,
                                     OTEL_SERVICE_NAME=service, OTEL_METRIC_EXPORT_INTERVAL="500")
        server = start_server(ctx, env, name=service)
        requests = llama_load.send_all(server.base, llama_load.random_prompts(6), 2)
        check_collected(peer, service, [r for r in requests if r.status == 200], protocol)
        server.stop()
    for protocol in PROTOCOLS[1:]:
        run_bare(ctx, peer, protocol)
    return "gRPC, HTTP protobuf and HTTP JSON under exec, the latter two from within the host"


def run_bare(ctx, peer, protocol):
    service = "bare-" + protocol.replace("/", "-")
    port = ctx.free_port()
    env = sightline.exporter_env(protocol, peer.http, OTEL_SERVICE_NAME=service, LD_PRELOAD=probe.library(ctx),
                                 OTEL_METRIC_EXPORT_INTERVAL="500", OTEL_BSP_SCHEDULE_DELAY="200")
    p = ctx.start(service, [server_binary(), "-m", sightline.tiny_model(ctx), "--host", "127.0.0.1", "--port",
                            str(port), "-c", "2048", "-np", "2", "-t", "1"], env)
    base = "http://127.0.0.1:%d" % port
    ctx.wait_http(base + "/health", 30)
    requests = llama_load.send_all(base, llama_load.random_prompts(6), 2)
    check_collected(peer, service, [r for r in requests if r.status == 200], "preload alone, " + protocol)
    expect_eq(ctx.stop(p), 0, "exit status of llama-server after TERM")
    ctx.processes.remove(p)


SCRAPE = """global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs: [{job_name: llama-cpp, static_configs: [{targets: ["%s"]}]}]
"""


def pasted(ctx):
    """The probe's dashboards and rule files."""
    boards = [p for p in sorted(glob.glob(os.path.join(ctx.source, "deploy", "grafana", "*.json")))
              if "llamacpp" in open(p).read()]
    rules = [p for p in sorted(glob.glob(os.path.join(ctx.source, "deploy", "prometheus", "*.rules.yml")))
             if "llamacpp" in open(p).read()]
    expect(boards and rules, "no dashboard or no rules of llama.cpp in deploy/: %s %s" % (boards, rules))
    return boards, rules


def selectors(path):
    """Names of the series that a rule file's expressions read."""
    with open(path) as f:
        text = f.read()
    exprs = re.findall(r"^ *expr: *[|>]?-?\n?((?:.|\n)*?)(?=^ *(?:for|labels|annotations|- alert|record|keep_firing_for):)",
                       text, re.M)
    return sorted(set(re.findall(r"\b(?:llamacpp|llama|sightline|process)[_:][a-z_:]+", "\n".join(exprs)))) or exprs


def run_prometheus(ctx):
    """Prometheus scrapes the probe while the server works; every query of the dashboards gives data."""
    server = start_server(ctx, {"OTEL_TRACES_EXPORTER": "none"}, "--quotas", QUOTAS)
    boards, rules = pasted(ctx)
    page = prometheus.Prometheus(ctx, prometheus2.install(), SCRAPE % server.metrics[7:-len("/metrics")])
    for n in range(6):
        llama_load.send_all(server.base, llama_load.random_prompts(40, n), 6)
    net.until("llamacpp_prompt_tokens_total", 15, lambda: page.query("llamacpp_prompt_tokens_total"))
    count = 0
    for path in boards:
        with open(path) as f:
            board = json.load(f)
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "5s").replace("$__range", "30s")

                def data(expr=expr, n=count):
                    llama_load.send_all(server.base, llama_load.random_prompts(12, 100 + n), 6)
                    return page.query(expr)
                net.until("%s, %s: data for %s" % (board["title"], panel["title"], expr), 12, data)
                count += 1
    series = {name for path in rules for name in selectors(path)}
    known = set(page.api("label/__name__/values"))
    missing = sorted(s for s in series if s not in known)
    expect(not missing, "series that the rules read and nobody gives: %s" % missing)
    ctx.run([prometheus2.promtool(), "check", "rules", *rules])
    return "%d dashboard queries with data, %d series of the rules" % (count, len(series))


def wheel():
    return python_venv.install("llama_server")


ROWS = [
    Row("probe-prometheus", "quick", "Prometheus", prometheus2.version, "dashboards and rules of llama.cpp",
        run_prometheus, needs=[prometheus2.install, wheel], order=69, limit=300),
    Row("probe-otlp", "full", "OpenTelemetry Collector", collector.VERSION,
        "every OTLP protocol under exec, OTLP over HTTP from a bare preload", run_protocols,
        needs=[collector.install, wheel], cached=collector.cached, order=70),
    Row("probe-tree", "full", "Jaeger", jaeger.VERSION,
        "OpenAI's client, gateway, llama-server, prompt and tokens in one tree", run_tree,
        needs=[jaeger.install, wheel], cached=jaeger.cached, order=71),
]
