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

# As the guides have them: set, alert, expression, for, severity, summary, description.
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
    ("s3", "LlamaStackDown", 'up{job="llamastack"} == 0', "1m", "critical", "LlamaStack instance is down",
     "LlamaStack instance {{ $labels.instance }} has been down for more than 1 minute."),
    ("s3", "HighErrorRate", 'rate(llamastack_requests_total{status=~"5.."}[5m]) > 0.1', "5m", "warning",
     "High error rate detected", "Error rate is {{ $value }} errors per second."),
    ("s3", "HighLatency", "histogram_quantile(0.95, rate(llamastack_request_duration_seconds_bucket[5m])) > 2", "5m",
     "warning", "High latency detected", "95th percentile latency is {{ $value }} seconds."),
    ("s3", "HighMemoryUsage", "container_memory_usage_bytes / container_spec_memory_limit_bytes > 0.9", "5m", "warning",
     "High memory usage", "Memory usage is above 90%."),
]
GROUPS = {"s0": ("llama_deploy_alerts", None), "s1": ("llm_orchestrator_alerts", "30s"), "s3": ("llamastack.rules", None)}

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
KINDS = {"prometheus-rules": "prometheus", "dashboards": "grafana", "kubernetes": "kubernetes"}
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
                                              "s3": "llamastack.rules.yml"}),
                        ("dashboards", {n: n + ".json" for n in ("llama_deploy", "workflow_overview", "llm_provider",
                                                                 "llamastack")}),
                        ("kubernetes", {n: n + ".yaml" for n in ("llm-orchestrator", "llamastack")})):
        files = _committed(kind)
        lib.equal(set(files), set(names.values()), kind)
        whole = _gen(kind)
        for name, file in names.items():
            alone = _gen(kind, name)
            lib.equal(alone, files[file], name)
            if kind == "kubernetes":
                lib.contains(whole, alone, name)
        if kind == "dashboards":
            lib.equal(json.loads(whole), [json.loads(_gen(kind, n)) for n in names])


def test_wrong_usage():
    for args, words in ((["prometheus-rules", "s9"], ["s9", "s0, s1, s3"]), (["dashboards", "x"], ["llm_provider"]),
                        (["kubernetes", ""], ["llamastack"]), (["nonsense"], ["prometheus-rules", "gguf"])):
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
    files = {"s0": "llama_deploy.rules.yml", "s1": "llm_orchestrator.rules.yml", "s3": "llamastack.rules.yml"}
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
    lib.equal(len(uids), 4)


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
        names = [n for n in names if n not in ("sum", "rate", "by", "histogram_quantile")]
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
