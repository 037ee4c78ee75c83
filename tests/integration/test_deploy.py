#!/usr/bin/env python3
"""deploy/: what `sightline gen` prints is what is committed, what the guides say, and what Prometheus takes.

Each alert is shown to fire and not to fire by `promtool test rules`.
"""
import glob
import json
import os
import re
import shutil
import subprocess

import lib

# As the guides have them (s2: that guide only wished for some): set, alert, expression, for, severity, summary, description.
RULES = [
    ("s0", "DeploymentDown", 'llama_deploy_deployment_state{state="stopped"} > 0', "5m", "critical",
     "LlamaDeployment deployment is down", None),
    ("s1", "HighErrorRate", "rate(orchestrator_errors_total[5m]) > 0.05", "5m", "warning", "High error rate detected",
     "Error rate is {{ $value }} errors/sec"),
    ("s1", "WorkflowTimeout", 'rate(orchestrator_errors_total{error_type="timeout"}[5m]) > 0', "2m", "critical",
     "Workflow timeouts detected", "{{ $value }} timeouts/sec"),
    ("s1", "LLMProviderDown", 'rate(orchestrator_llm_requests_total{status="failure"}[5m]) / '
     'rate(orchestrator_llm_requests_total[5m]) > 0.5', "5m", "critical", "LLM provider failure rate > 50%",
     "Provider {{ $labels.provider }} failing"),
    ("s1", "HighWorkflowLatency", "histogram_quantile(0.99, rate(orchestrator_workflow_duration_seconds_bucket[5m]) ) > 60",
     "10m", "warning", "High workflow latency", "P99 latency is {{ $value }}s"),
    ("s2", "LlamaServerDown", 'up{job="llama-cpp"} == 0', "1m", "critical", "llama.cpp is down",
     "{{ $labels.instance }} has not answered for more than 1 minute."),
    ("s2", "LlamaNotSeen", "sightline_probe_hosts == 0", "5m", "critical", "No llama.cpp is running",
     "The command on {{ $labels.instance }} runs, but nothing in it uses llama.cpp: it has ended, or still waits for its "
     "model."),
    ("s2", "LlamaDecodeFailing",
     'sum by (model, result) (rate(llamacpp_decode_results_total{result=~"failed|invalid_batch"}[5m])) > 0', "1m",
     "critical", "Decoding fails", "{{ $value }} batches/sec of {{ $labels.model }} end with {{ $labels.result }}"),
    ("s2", "LlamaKvCacheFull", 'sum by (model) (rate(llamacpp_decode_results_total{result="no_kv_slot"}[5m])) > 0.1', "5m",
     "warning", "Batches find no room in the KV cache",
     "{{ $value }} batches/sec of {{ $labels.model }} are tried again in smaller parts, or given up"),
    ("s2", "LlamaContextNearlyFull", "llamacpp_context_usage_ratio > 0.9", "5m", "warning", "A context is nearly full",
     "The fullest sequence has used {{ $value | humanizePercentage }} of its context: answers will be cut, or their "
     "beginning forgotten"),
    ("s2", "LlamaQueueGrowing", "deriv(llamacpp_requests_deferred[10m]) * 600 > 5", "5m", "warning",
     "The queue of requests grows", "{{ $value }} more requests wait for a slot than ten minutes ago"),
    ("s2", "LlamaSlowFirstToken", "histogram_quantile(0.95, sum by (le, model) "
     "(rate(llamacpp_time_to_first_token_seconds_bucket[5m]))) > 5", "5m", "warning", "First tokens are slow",
     "95 % of the answers of {{ $labels.model }} begin within {{ $value }}s"),
    ("s2", "LlamaQuotaExceeded", "llamacpp_quota_exceeded > 0", "1m", "warning", "A quota is exceeded",
     "The quota {{ $labels.quota }} is exceeded"),
    ("s2", "LlamaEventsDropped", "increase(sightline_probe_events_dropped_total[10m]) > 0", "1m", "warning",
     "The probe loses events", "{{ $value }} events were lost ({{ $labels.reason }}): metrics and traces have gaps"),
    ("s3", "LlamaStackDown", 'up{job="llamastack"} == 0', "1m", "critical", "LlamaStack instance is down",
     "LlamaStack instance {{ $labels.instance }} has been down for more than 1 minute."),
    ("s3", "HighErrorRate", 'rate(llamastack_requests_total{status=~"5.."}[5m]) > 0.1', "5m", "warning",
     "High error rate detected", "Error rate is {{ $value }} errors per second."),
    ("s3", "HighLatency", "histogram_quantile(0.95, rate(llamastack_request_duration_seconds_bucket[5m])) > 2", "5m",
     "warning", "High latency detected", "95th percentile latency is {{ $value }} seconds."),
    ("s3", "HighMemoryUsage", "container_memory_usage_bytes / container_spec_memory_limit_bytes > 0.9", "5m", "warning",
     "High memory usage", "Memory usage is above 90%."),
]
GROUPS = {"s0": ("llama_deploy_alerts", None), "s1": ("llm_orchestrator_alerts", "30s"), "s2": ("llamacpp_alerts", None),
          "s3": ("llamastack.rules", None)}

# Panels of the guides: dashboard, panel, queries.
PANELS = [
    ("workflow_overview", "Workflow Execution Rate", "timeseries", ["rate(orchestrator_workflow_executions_total[5m])"]),
    ("workflow_overview", "Workflow Success Rate", "gauge",
     ['rate(orchestrator_workflow_executions_total{status="success"}[5m]) / rate(orchestrator_workflow_executions_total[5m])']),
    ("workflow_overview", "Active Workflows", "stat", ["orchestrator_active_workflows"]),
    ("workflow_overview", "P95 Workflow Duration", "timeseries",
     ["histogram_quantile(0.95, rate(orchestrator_workflow_duration_seconds_bucket[5m]))"]),
    ("llm_provider", "Request Rate by Provider", "timeseries", ["sum by (provider) (rate(orchestrator_llm_requests_total[5m]))"]),
    ("llm_provider", "Token Usage", "timeseries", ["sum by (provider, type) (rate(orchestrator_llm_tokens_total[5m]))"]),
    ("llm_provider", "Request Latency", "timeseries",
     ["histogram_quantile(0.95, rate(orchestrator_llm_request_duration_seconds_bucket[5m]))"]),
    ("llm_provider", "Error Rate", "timeseries", ['rate(orchestrator_llm_requests_total{status="failure"}[5m])']),
    ("llamastack", "Request Rate", "timeseries", ["rate(llamastack_requests_total[5m])"]),
    ("llamastack", "Response Time", "timeseries",
     ["histogram_quantile(0.95, rate(llamastack_request_duration_seconds_bucket[5m]))"]),
    ("llamastack", "Resource Usage", "timeseries",
     ["rate(container_cpu_usage_seconds_total[5m])", "container_memory_usage_bytes"]),
]
# Metrics of Prometheus itself and of Kubernetes, which the guides' queries name.
FOREIGN = {"up", "container_memory_usage_bytes", "container_spec_memory_limit_bytes", "container_cpu_usage_seconds_total"}
KINDS = {"prometheus-rules": "prometheus", "dashboards": "grafana", "kubernetes": "kubernetes", "compose": "compose"}
DEPLOY = os.path.join(lib.SOURCE, "deploy")


def _gen(*args):
    done = lib.run("gen", *args)
    lib.equal((done.returncode, done.stderr), (0, ""), args)
    return done.stdout


def _committed(kind):
    return {os.path.basename(p): open(p).read() for p in glob.glob(os.path.join(DEPLOY, KINDS[kind], "*"))}


def test_committed_files_are_not_stale():
    for kind in KINDS:
        folder = lib.tmp()
        _gen(kind, "--dir", folder)
        made = {name: open(os.path.join(folder, name)).read() for name in os.listdir(folder)}
        assert made, kind
        lib.equal(made, _committed(kind), f"deploy/{KINDS[kind]} is stale: run `make docs` and commit it")


def test_one_alone_is_what_the_folder_has():
    for kind, names in (("prometheus-rules", {"s0": "llama_deploy.rules.yml", "s1": "llm_orchestrator.rules.yml",
                                              "s2": "llamacpp.rules.yml", "s3": "llamastack.rules.yml"}),
                        ("dashboards", {n: n + ".json" for n in ("llama_deploy", "workflow_overview", "llm_provider",
                                                                 "llamastack", "llama_cpp")}),
                        ("kubernetes", {n: n + ".yaml" for n in ("llm-orchestrator", "llamastack")}),
                        ("compose", {"compose": "compose.yaml", "dockerfile": "Dockerfile",
                                     "dockerignore": "Dockerfile.dockerignore", "prometheus": "prometheus.yml",
                                     "datasources": "datasources.yaml", "dashboards": "dashboards.yaml"})):
        files = _committed(kind)
        lib.equal(set(files), set(names.values()), kind)
        whole = _gen(kind)
        for name, file in names.items():
            alone = _gen(kind, name)
            lib.equal(alone, files[file], name)
            if kind in ("kubernetes", "compose"):
                lib.contains(whole, alone, name)
        if kind == "dashboards":
            lib.equal(json.loads(whole), [json.loads(_gen(kind, n)) for n in names])


def test_wrong_usage():
    for args, words in ((["prometheus-rules", "s9"], ["s9", "s0, s1, s2, s3"]), (["dashboards", "x"], ["llm_provider"]),
                        (["kubernetes", ""], ["llamastack"]), (["compose", "x"], ["compose, dockerfile"]), (["nonsense"], ["prometheus-rules", "gguf"])):
        done = lib.run("gen", *args)
        lib.equal((done.returncode, done.stdout), (2, ""), args)
        for word in words:
            lib.contains(done.stderr, word, args)
    done = lib.run("gen", "dashboards", "--dir", "/nonexistent/folder")
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, "/nonexistent/folder/")
    done = subprocess.run(f"{lib.BINARY} gen dashboards > /dev/full", shell=True, stderr=subprocess.PIPE, text=True)
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, "No space left")


# ---- rules ----

def _read_rules(text):
    """The little YAML that is printed: {alert: (expression, for, severity, summary, description)}, groups."""
    rules, groups, alert = {}, [], None
    lines = text.split("\n")
    for n, line in enumerate(lines):
        if match := re.fullmatch(r"- name: (\S+)", line):
            groups.append([match[1], None])
        elif match := re.fullmatch(r"  interval: (\S+)", line):
            groups[-1][1] = match[1]
        elif match := re.fullmatch(r"  - alert: (\S+)", line):
            alert = rules.setdefault((groups[-1][0], match[1]), {})
        elif line == "    expr: |":
            end = next(i for i in range(n + 1, len(lines)) if not lines[i].startswith("      "))
            alert["expr"] = " ".join(" ".join(lines[n + 1:end]).split()).replace("( ", "(")
        elif match := re.fullmatch(r"    for: (\S+)", line):
            alert["for"] = match[1]
        elif match := re.fullmatch(r"      severity: (\S+)", line):
            alert["severity"] = match[1]
        elif match := re.fullmatch(r'      (summary|description): (".*")', line):
            alert[match[1]] = json.loads(match[2])
    return rules, [tuple(g) for g in groups]


def test_rules_are_the_guides():
    for name, group in GROUPS.items():
        rules, groups = _read_rules(_gen("prometheus-rules", name))
        lib.equal(groups, [group])
        wanted = {}
        for rule in [r for r in RULES if r[0] == name]:
            row = dict(zip(("expr", "for", "severity", "summary", "description"), rule[2:]))
            wanted[(group[0], rule[1])] = {k: v for k, v in row.items() if v is not None}
        lib.equal(rules, wanted)


def _promtool(*args, cwd=None):
    if not shutil.which("promtool"):
        raise lib.Skip("promtool is not installed")
    return subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_promtool_takes_the_rules():
    for path in sorted(glob.glob(os.path.join(DEPLOY, "prometheus", "*.yml"))):
        done = _promtool("check", "rules", path)
        lib.equal(done.returncode, 0, done.stdout + done.stderr)
    whole = os.path.join(lib.tmp(), "all.yml")
    with open(whole, "w") as file:
        file.write(_gen("prometheus-rules"))
    done = _promtool("check", "rules", "--lint=none", whole)
    lib.equal(done.returncode, 0, done.stdout + done.stderr)
    lib.contains(done.stdout, f"{len(RULES)} rules found")


ERRORS, WORKFLOWS = "orchestrator_errors_total", "orchestrator_workflow_duration_seconds_bucket"
LATENCY = "llamastack_request_duration_seconds_bucket"
DECODES, FIRST = "llamacpp_decode_results_total", "llamacpp_time_to_first_token_seconds_bucket"


def _buckets(name, labels, *bounds):
    """Cumulative buckets that grow as told at each step."""
    return [(f'{name}{{{labels},le="{le}"}}', values) for le, values in bounds]


# Set, alert, series (a sample every 30 s), minute, and the labels and annotations of what fires; None: nothing does.
CASES = [
    ("s0", "DeploymentDown", [('llama_deploy_deployment_state{deployment_name="d",state="stopped"}', "1x40")], 5,
     ({"deployment_name": "d", "state": "stopped"}, {})),
    ("s0", "DeploymentDown", [('llama_deploy_deployment_state{deployment_name="d",state="stopped"}', "1x40")], 4, None),
    ("s0", "DeploymentDown", [('llama_deploy_deployment_state{deployment_name="d",state="stopped"}', "0x40"),
                              ('llama_deploy_deployment_state{deployment_name="d",state="running"}', "1x40")], 15, None),
    ("s1", "HighErrorRate", [(ERRORS + '{error_type="provider_error",component="provider"}', "0+7.5x40")], 10,
     ({"error_type": "provider_error", "component": "provider"}, {"description": "Error rate is 0.25 errors/sec"})),
    ("s1", "HighErrorRate", [(ERRORS + '{error_type="provider_error",component="provider"}', "0+1x40")], 15, None),
    ("s1", "WorkflowTimeout", [(ERRORS + '{error_type="timeout",component="executor"}', "0+7.5x40")], 5,
     ({"error_type": "timeout", "component": "executor"}, {"description": "0.25 timeouts/sec"})),
    ("s1", "WorkflowTimeout", [(ERRORS + '{error_type="provider_error",component="executor"}', "0+7.5x40"),
                               (ERRORS + '{error_type="timeout",component="executor"}', "9x40")], 15, None),
    ("s1", "LLMProviderDown", [('orchestrator_llm_requests_total{provider="openai",model="m",status="failure"}', "0+9x40")], 10,
     ({"provider": "openai", "model": "m", "status": "failure"}, {"description": "Provider openai failing"})),
    ("s1", "LLMProviderDown", [('orchestrator_llm_requests_total{provider="openai",model="m",status="success"}', "0+9x40"),
                               ('orchestrator_llm_requests_total{provider="openai",model="m",status="failure"}', "3x40")],
     15, None),
    ("s1", "HighWorkflowLatency", _buckets(WORKFLOWS, 'workflow_name="w"', ("60", "0x60"), ("120", "0+100x60"),
                                           ("+Inf", "0+100x60")), 15,
     ({"workflow_name": "w"}, {"description": "P99 latency is 119.4s"})),
    ("s1", "HighWorkflowLatency", _buckets(WORKFLOWS, 'workflow_name="w"', ("60", "0x60"), ("120", "0+100x60"),
                                           ("+Inf", "0+100x60")), 9, None),
    ("s1", "HighWorkflowLatency", _buckets(WORKFLOWS, 'workflow_name="w"', ("30", "0+99x60"), ("60", "0+100x60"),
                                           ("+Inf", "0+100x60")), 25, None),
    ("s2", "LlamaServerDown", [('up{job="llama-cpp",instance="i:1"}', "0x40")], 1,
     ({"job": "llama-cpp", "instance": "i:1"}, {"description": "i:1 has not answered for more than 1 minute."})),
    ("s2", "LlamaServerDown", [('up{job="llama-cpp",instance="i:1"}', "1x40"), ('up{job="x",instance="i:2"}', "0x40")], 9, None),
    ("s2", "LlamaNotSeen", [('sightline_probe_hosts{instance="i:1"}', "0x40")], 5,
     ({"instance": "i:1"}, {"description": "The command on i:1 runs, but nothing in it uses llama.cpp: it has ended, or still "
                                           "waits for its model."})),
    ("s2", "LlamaNotSeen", [('sightline_probe_hosts{instance="i:1"}', "0x8 1x32")], 15, None),
    ("s2", "LlamaDecodeFailing", [(DECODES + '{model="m",result="failed"}', "0+7.5x40")], 5,
     ({"model": "m", "result": "failed"}, {"description": "0.25 batches/sec of m end with failed"})),
    ("s2", "LlamaDecodeFailing", [(DECODES + '{model="m",result="invalid_batch"}', "0+7.5x40")], 5,
     ({"model": "m", "result": "invalid_batch"}, {"description": "0.25 batches/sec of m end with invalid_batch"})),
    ("s2", "LlamaDecodeFailing", [(DECODES + '{model="m",result="ok"}', "0+300x40"), (DECODES + '{model="m",result="aborted"}', "0+9x40"),
                                  (DECODES + '{model="m",result="failed"}', "3x40")], 15, None),
    ("s2", "LlamaKvCacheFull", [(DECODES + '{model="m",result="no_kv_slot"}', "0+7.5x40")], 10,
     ({"model": "m"}, {"description": "0.25 batches/sec of m are tried again in smaller parts, or given up"})),
    ("s2", "LlamaKvCacheFull", [(DECODES + '{model="m",result="no_kv_slot"}', "0+1x40")], 15, None),
    ("s2", "LlamaContextNearlyFull", [("llamacpp_context_usage_ratio", "0.95x40")], 5,
     ({}, {"description": "The fullest sequence has used 95% of its context: answers will be cut, or their beginning forgotten"})),
    ("s2", "LlamaContextNearlyFull", [("llamacpp_context_usage_ratio", "0.9x40")], 15, None),
    ("s2", "LlamaQueueGrowing", [("llamacpp_requests_deferred", "0+1x60")], 16,
     ({}, {"description": "20 more requests wait for a slot than ten minutes ago"})),
    ("s2", "LlamaQueueGrowing", [("llamacpp_requests_deferred", "40x60")], 25, None),
    ("s2", "LlamaSlowFirstToken", _buckets(FIRST, 'model="m"', ("5", "0x60"), ("10", "0+100x60"), ("+Inf", "0+100x60")), 12,
     ({"model": "m"}, {"description": "95 % of the answers of m begin within 9.75s"})),
    ("s2", "LlamaSlowFirstToken", _buckets(FIRST, 'model="m"', ("5", "0+100x60"), ("10", "0+101x60"), ("+Inf", "0+101x60")), 25,
     None),
    ("s2", "LlamaQuotaExceeded", [('llamacpp_quota_exceeded{quota="queue"}', "1x40")], 2,
     ({"quota": "queue"}, {"description": "The quota queue is exceeded"})),
    ("s2", "LlamaQuotaExceeded", [('llamacpp_quota_exceeded{quota="queue"}', "0x40")], 15, None),
    ("s2", "LlamaEventsDropped", [('sightline_probe_events_dropped_total{reason="ring_full"}', "0x10 10x60")], 8,
     ({"reason": "ring_full"}, {"description": "10 events were lost (ring_full): metrics and traces have gaps"})),
    ("s2", "LlamaEventsDropped", [('sightline_probe_events_dropped_total{reason="ring_full"}', "7x60")], 15, None),
    ("s3", "LlamaStackDown", [('up{job="llamastack",instance="i:1"}', "0x40")], 1,
     ({"job": "llamastack", "instance": "i:1"},
      {"description": "LlamaStack instance i:1 has been down for more than 1 minute."})),
    ("s3", "LlamaStackDown", [('up{job="llamastack",instance="i:1"}', "1x40"), ('up{job="x",instance="i:2"}', "0x40")], 9, None),
    ("s3", "HighErrorRate", [('llamastack_requests_total{method="POST",endpoint="/e",status="503"}', "0+7.5x40")], 10,
     ({"method": "POST", "endpoint": "/e", "status": "503"}, {"description": "Error rate is 0.25 errors per second."})),
    ("s3", "HighErrorRate", [('llamastack_requests_total{method="POST",endpoint="/e",status="404"}', "0+7.5x40")], 15, None),
    ("s3", "HighLatency", _buckets(LATENCY, 'method="POST",endpoint="/e"', ("1", "0x40"), ("5", "0+100x40"), ("+Inf", "0+100x40")),
     10, ({"method": "POST", "endpoint": "/e"}, {"description": "95th percentile latency is 4.8 seconds."})),
    ("s3", "HighLatency", _buckets(LATENCY, 'method="POST",endpoint="/e"', ("1", "0+100x40"), ("5", "0+100x40"),
                                   ("+Inf", "0+100x40")), 15, None),
    ("s3", "HighMemoryUsage", [('container_memory_usage_bytes{pod="p"}', "95x40"),
                               ('container_spec_memory_limit_bytes{pod="p"}', "100x40")], 5, ({"pod": "p"}, {})),
    ("s3", "HighMemoryUsage", [('container_memory_usage_bytes{pod="p"}', "89x40"),
                               ('container_spec_memory_limit_bytes{pod="p"}', "100x40")], 15, None),
]


def _rule_test(case):
    """One test of `promtool test rules`; JSON is YAML."""
    name, alert, series, minute, fires = case
    rule = next(r for r in RULES if r[:2] == (name, alert))
    expected = []
    if fires:
        annotations = dict({"summary": rule[5]}, **({"description": rule[6]} if rule[6] else {}), **{})
        annotations.update(fires[1])
        expected = [{"exp_labels": dict(fires[0], severity=rule[4]), "exp_annotations": annotations}]
    return {"interval": "30s", "input_series": [{"series": s, "values": v} for s, v in series],
            "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}]}


def test_every_alert_fires_and_does_not_fire():
    files = {"s0": "llama_deploy.rules.yml", "s1": "llm_orchestrator.rules.yml", "s2": "llamacpp.rules.yml",
             "s3": "llamastack.rules.yml"}
    lib.equal({(c[0], c[1]) for c in CASES if c[4]}, {r[:2] for r in RULES}, "alerts that are shown to fire")
    lib.equal({(c[0], c[1]) for c in CASES if not c[4]}, {r[:2] for r in RULES}, "alerts that are shown not to fire")
    for name, file in files.items():
        folder = lib.tmp()
        suite = {"rule_files": [os.path.join(DEPLOY, "prometheus", file)], "evaluation_interval": "30s",
                 "tests": [_rule_test(c) for c in CASES if c[0] == name]}
        with open(os.path.join(folder, "test.yml"), "w") as out:
            json.dump(suite, out)
        done = _promtool("test", "rules", "test.yml", cwd=folder)
        lib.equal(done.returncode, 0, done.stdout + done.stderr)


# ---- dashboards and queries ----

def _dashboards():
    return {os.path.splitext(name)[0]: json.loads(text) for name, text in _committed("dashboards").items()}


def test_panels_are_the_guides():
    boards = _dashboards()
    seen = [(name, p["title"], p["type"], [t["expr"] for t in p["targets"]]) for name in
            ("workflow_overview", "llm_provider", "llamastack") for p in boards[name]["panels"]]
    lib.equal(seen, PANELS)
    stacked = [p for p in boards["llm_provider"]["panels"] if p["title"] == "Token Usage"][0]
    lib.equal(stacked["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"], "normal")
    share = [p for p in boards["workflow_overview"]["panels"] if p["type"] == "gauge"][0]["fieldConfig"]["defaults"]
    lib.equal((share["min"], share["max"], share["unit"]), (0, 1, "percentunit"))


def test_panels_of_llama_cpp():
    """Those that the llama.cpp guide's fork has, and what its users ask for besides."""
    titles = [p["title"] for p in _dashboards()["llama_cpp"]["panels"]]
    for title in ("Token Generation Time", "Tokens per Second", "Memory", "Active Requests", "CPU", "Request Latency",
                  "Time to First Token", "KV Cache", "Batch Size", "Decodes by Result", "Quotas Used"):
        lib.contains(titles, title)


def test_dashboards_are_whole():
    uids = set()
    for name, board in _dashboards().items():
        assert board["title"] and board["panels"], name
        uids.add(board["uid"])
        places = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            places.add((place["x"], place["y"]))
            assert place["x"] + place["w"] <= 24, (name, place)
            lib.equal(panel["datasource"]["uid"], "${datasource}")
            lib.equal([t["refId"] for t in panel["targets"]], ["A", "B", "C"][:len(panel["targets"])])
        lib.equal(len(places), len(board["panels"]), "panels that lie on each other")
        lib.equal(len({p["id"] for p in board["panels"]}), len(board["panels"]))
    lib.equal(len(uids), 5)


def _queries():
    for name, board in _dashboards().items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]
    for rule in RULES:
        yield f"{rule[0]}: {rule[1]}", rule[2]


def test_queries_are_promql():
    path = os.path.join(lib.tmp(), "queries.yml")
    with open(path, "w") as out:
        json.dump({"groups": [{"name": "q", "rules": [{"record": f"q:{n}", "expr": q}
                                                      for n, (_, q) in enumerate(_queries())]}]}, out)
    done = _promtool("check", "rules", path)
    lib.equal(done.returncode, 0, done.stdout + done.stderr)


def _metrics():
    """Prometheus names and their labels, from the tables."""
    found = {}
    for row in json.loads(lib.run("docs", "--format", "json").stdout)["metrics"]:
        labels = {re.sub(r"[^a-zA-Z0-9_]", "_", w.rstrip("?")) for w in row["labels"]}
        names = [row["prometheus"] + s for s in ("_bucket", "_sum", "_count")] if row["kind"] == "histogram" else [row["prometheus"]]
        for name in names:
            found[name] = labels | {"le", "instance", "job"}
    return found


def test_queries_name_only_metrics_and_labels_of_the_tables():
    metrics = _metrics()
    for where, query in _queries():
        names = re.findall(r"(?<![\w\"])([a-z_:][a-z0-9_:]*)(?=\{|\[| |$|\))", re.sub(r"by \([^)]*\)|\"[^\"]*\"", "", query))
        names = [n for n in names if n not in ("sum", "rate", "by", "histogram_quantile", "deriv", "increase")]
        assert names, where
        for name in names:
            assert name in metrics or name in FOREIGN, f"{where}: {name} is in no table"
        for name, labels in re.findall(r"([a-z_:]+)\{([^}]*)\}", query):
            for label in re.findall(r"(\w+)(?==)", re.sub(r"\"[^\"]*\"", "", labels)):
                assert name in FOREIGN or label in metrics[name], f"{where}: {name} has no label {label}"
        known = set().union(*(metrics.get(n, set()) for n in names))
        for labels in re.findall(r"by \(([^)]*)\)", query):
            for label in labels.split(", "):
                assert label in known, f"{where}: no metric of it has the label {label}"


# ---- compose ----

def _scalar(text):
    """A value on one line: quoted, a flow list of quoted ones, {} or plain."""
    return json.loads(text) if text[:1] in '"[{' else {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def _yaml(text):
    """As much of YAML as our files have: maps and lists by indentation, one value a line. Refuses anything else."""
    lines = [(len(line) - len(line.lstrip()), line.strip()) for line in text.split("\n") if line.strip() and not line.startswith("#")]

    def block(at, depth):
        is_list = lines[at][1].startswith("- ")
        out = [] if is_list else {}
        while at < len(lines) and lines[at][0] == depth and lines[at][1].startswith("- ") == is_list:
            line = lines[at][1]
            if is_list:
                rest = line[2:]
                if re.match(r"\w+:( |$)", rest):  # a map whose first key stands behind the dash
                    lines[at] = (depth + 2, rest)
                    value, at = block(at, depth + 2)
                else:
                    value, at = _scalar(rest), at + 1
                out.append(value)
                continue
            match = re.fullmatch(r"([\w-]+):(?: (.+))?", line)
            assert match and match[1] not in out, line
            if match[2]:
                out[match[1]], at = _scalar(match[2]), at + 1
            else:
                assert lines[at + 1][0] > depth, line
                out[match[1]], at = block(at + 1, lines[at + 1][0])
        assert at == len(lines) or lines[at][0] < depth, lines[at]
        return out, at
    return block(0, 0)[0]


# The part of the Compose specification that the file uses: keys, and the type of each.
SERVICE = {"build": dict, "image": str, "command": list, "environment": dict, "ports": list, "volumes": list,
           "depends_on": list, "restart": str}
BUILD = {"context": str, "dockerfile": str}
SERVICE_OF = {"llama-server": {"8080", "9464"}, "jaeger": {"16686"}, "prometheus": {"9090"}, "grafana": {"3000"}}


def _keys(value, allowed, where):
    for key, part in value.items():
        assert key in allowed and isinstance(part, allowed[key]), (where, key, part)


def test_compose_file_by_the_specification():
    files = _committed("compose")
    compose = _yaml(files["compose.yaml"])
    lib.equal(set(compose), {"name", "services", "volumes"})
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", compose["name"])
    lib.equal({name: {p.split(":")[0] for p in s["ports"]} for name, s in compose["services"].items()}, SERVICE_OF)
    folder, named, used = os.path.join(DEPLOY, "compose"), compose["volumes"], set()
    for name, service in compose["services"].items():
        _keys(service, SERVICE, name)
        lib.equal(("build" in service) + ("image" in service), 1, name)
        assert "image" not in service or re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+", service["image"]), service["image"]
        assert service["restart"] in ("no", "always", "on-failure", "unless-stopped"), name
        for port in service["ports"]:
            assert re.fullmatch(r"\d{1,5}:\d{1,5}", port), port
        for other in service.get("depends_on", []):
            assert other in compose["services"] and other != name, (name, other)
        assert all(isinstance(v, str) for v in service.get("environment", {}).values()), name
        for volume in service.get("volumes", []):
            match = re.fullmatch(r"(\$\{\w+:-[^}]+\}|[^:]+):(/[^:]+)(:ro)?", volume)
            assert match, volume
            if match[1].startswith("."):
                assert os.path.isfile(os.path.join(folder, match[1])), volume
            elif not match[1].startswith("$"):
                used.add(match[1])
    lib.equal(used, set(named))
    build = compose["services"]["llama-server"]["build"]
    _keys(build, BUILD, "build")
    context = os.path.normpath(os.path.join(folder, build["context"]))
    lib.equal(context, os.path.normpath(lib.SOURCE))
    assert os.path.isfile(os.path.join(context, build["dockerfile"]))


def test_compose_file_fits_what_it_starts():
    """Variables that are read, hosts and ports that exist, an entry point that a start takes."""
    files = _committed("compose")
    services = _yaml(files["compose.yaml"])["services"]
    known = {row["name"] for row in json.loads(lib.run("docs", "--format", "json").stdout)["environment"]}
    options = lib.run("exec", "--help").stdout
    for name in services["llama-server"]["environment"]:
        assert name in known or name in options, name
    config = _yaml(files["prometheus.yml"])
    scrape, = config["scrape_configs"]
    lib.equal(scrape["job_name"], "llama-cpp", "the job that the rules name")
    for target in scrape["static_configs"][0]["targets"]:
        host, port = target.split(":")
        lib.contains(SERVICE_OF[host], port)
    mounts = dict(re.match(r"(\S+?):(/\S+?)(?::ro)?$", v).groups() for v in services["prometheus"]["volumes"] + services["grafana"]["volumes"])
    lib.equal(mounts["./prometheus.yml"], "/etc/prometheus/prometheus.yml")
    for rules in config["rule_files"]:
        lib.contains(mounts.values(), "/etc/prometheus/" + rules)
    sources = _yaml(files["datasources.yaml"])["datasources"]
    for source in sources:
        host, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()
        lib.contains(SERVICE_OF[host], port)
    uids = {source["uid"] for source in sources}
    lib.contains(uids, sources[0]["jsonData"]["exemplarTraceIdDestinations"][0]["datasourceUid"])
    folder = _yaml(files["dashboards.yaml"])["providers"][0]["options"]["path"]
    lib.contains(mounts.values(), folder + "/llama_cpp.json")
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", files["Dockerfile"], re.M)[1])
    lib.equal(entry[1:3], ["exec", "--"])
    lib.contains(re.search(r"^EXPOSE (.*)$", files["Dockerfile"], re.M)[1].split(), "9464")


def test_prometheus_takes_the_configuration():
    folder = lib.tmp()
    for name in ("prometheus.yml",):
        shutil.copy(os.path.join(DEPLOY, "compose", name), folder)
    shutil.copy(os.path.join(DEPLOY, "prometheus", "llamacpp.rules.yml"), folder)
    done = _promtool("check", "config", "prometheus.yml", cwd=folder)
    lib.equal(done.returncode, 0, done.stdout + done.stderr)


def test_the_yaml_reader_refuses_what_it_does_not_know():
    lib.equal(_yaml("a: 1\nb:\n  - x: y\n    z: \"q\"\n  - x: {}\nc:\n  - [\"1\"]\n"),
              {"a": 1, "b": [{"x": "y", "z": "q"}, {"x": {}}], "c": [["1"]]})
    for text in ("a: 1\na: 2\n", "a\n", "a: 1\n  b: 2\n", "a:\nb: 1\n", "- 1\na: 1\n", "a b: 1\n"):
        try:
            _yaml(text)
        except (AssertionError, IndexError, ValueError):
            continue
        raise AssertionError(f"{text!r} was read")


# ---- manifests ----

def test_probes_are_the_guides():
    files = _committed("kubernetes")
    for text, live, ready in (
            (files["llm-orchestrator.yaml"], ("/health/live", {"initialDelaySeconds": 5, "periodSeconds": 10}),
             ("/health/ready", {"initialDelaySeconds": 10, "periodSeconds": 5})),
            (files["llamastack.yaml"],
             ("/health", {"initialDelaySeconds": 30, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}),
             ("/ready", {"initialDelaySeconds": 5, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3}))):
        for name, (path, times) in (("livenessProbe", live), ("readinessProbe", ready)):
            match = re.search(rf"^        {name}:\n          httpGet:\n            path: (\S+)\n            port: 8080\n((?:          \w+: \d+\n)*)",
                              text, re.M)
            assert match, name
            lib.equal(match[1], path)
            lib.equal({k: int(v) for k, v in re.findall(r"(\w+): (\d+)", match[2])}, times)
    monitor = files["llamastack.yaml"].split("---\n")[-1]
    for line in ("kind: ServiceMonitor", "  name: llamastack-monitor", "      app: llamastack", "  - port: metrics",
                 "    interval: 30s", "    path: /metrics"):
        lib.contains(monitor.split("\n"), line)


def test_arguments_of_the_manifests_start_the_program():
    """The container's command, with the configuration of the ConfigMap, is one that a start takes."""
    for name, text in _committed("kubernetes").items():
        arguments = re.findall(r"^        - (\S+)$", re.search(r"        args:\n((?:        - \S+\n)+)", text)[1], re.M)
        config = os.path.join(lib.tmp(), "config.yaml")
        with open(config, "w") as out:
            out.write(re.sub(r"^    ", "", re.search(r"  config.yaml: \|\n((?:    .*\n)+)", text)[1], flags=re.M))
        arguments = [a.replace("/etc/sightline/config.yaml", config).replace("/var/lib/sightline", lib.tmp()) for a in arguments]
        done = lib.run(*arguments, "--check", env={"LITELLM_MASTER_KEY": "sk-test"})
        lib.equal(done.returncode, 0, (name, done.stderr))


lib.main(globals())
