#!/usr/bin/env python3
"""The reference: not stale, complete, in every form."""
import glob
import json
import os
import re
import shutil
import subprocess

import lib


def test_reference_is_not_stale():
    with open(os.path.join(lib.SOURCE, "docs/reference.md")) as file:
        assert file.read() == lib.run("docs").stdout, "docs/reference.md is stale: run `make docs` and commit it"


def test_every_section_alone_and_in_the_whole():
    whole = lib.run("docs").stdout
    for name in ("commands", "environment", "configuration", "workflow", "metrics", "attributes", "functions", "logs",
                 "errors", "prices", "limits"):
        done = lib.run("docs", "--section", name)
        lib.equal(done.returncode, 0, name)
        lib.contains(whole, done.stdout, name)


def test_json_has_what_the_markdown_has():
    text, tables = lib.run("docs").stdout, json.loads(lib.run("docs", "--format", "json").stdout)
    lib.equal(set(tables), {"commands", "environment", "configuration", "workflow", "metrics", "attributes",
                            "functions", "prices", "limits"})
    for name, rows in tables.items():
        assert rows, name
        for row in rows:
            word = row.get("name") or row["key"]
            lib.contains(text, word, name)
    names = [m["name"] for m in tables["metrics"]]
    for name in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token",
                 "gen_ai.server.time_per_output_token", "llamastack_requests_total", "sightline_build_info"):
        lib.contains(names, name)
    assert all(m["help"] and m["kind"] for m in tables["metrics"])
    names = [a["name"] for a in tables["attributes"]]
    for name in ("llm.model", "llm.provider", "llm.tokens.prompt", "llm.tokens.completion", "http.status_code"):
        lib.contains(names, name)


def test_manual_pages():
    for name in [None] + [c["name"] for c in json.loads(lib.run("docs", "--format", "json").stdout)["commands"]]:
        page = lib.run("docs", *(name.split() if name else []), "--format", "man").stdout
        for heading in (".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXIT STATUS"):
            lib.contains(page, heading, name)
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, text=True, capture_output=True)
            lib.equal((done.returncode, done.stderr), (0, ""), name)


def test_bash_completion():
    script = lib.run("docs", "--format", "bash").stdout
    asked = script + '\nCOMP_WORDS=(sightline lo) COMP_CWORD=1; _sightline; echo "${COMPREPLY[@]}"\n' \
                     'COMP_WORDS=(sightline load --conc) COMP_CWORD=2; _sightline; echo "${COMPREPLY[@]}"\n' \
                     'COMP_WORDS=(sightline load --format j) COMP_CWORD=3; _sightline; echo "${COMPREPLY[@]}"\n'
    done = subprocess.run(["bash"], input=asked, text=True, capture_output=True)
    lib.equal((done.stdout, done.stderr), ("load\n--concurrency\njson\n", ""))


def test_zsh_and_fish_completions():
    zsh, fish = lib.run("docs", "--format", "zsh").stdout, lib.run("docs", "--format", "fish").stdout
    lib.contains(zsh, "#compdef sightline")
    for name in ("gateway", "load"):
        assert re.search(rf'^    "{name}"\)$', zsh, re.M), name
        lib.contains(fish, f"-a {name} ")
    for shell, script in (("zsh", zsh), ("fish", fish)):
        if shutil.which(shell):
            done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
            lib.equal((done.returncode, done.stderr), (0, ""), shell)


def test_readme_names_only_options_that_exist():
    with open(os.path.join(lib.SOURCE, "README.md")) as file:
        text = file.read()
    tables = {c["name"]: {o["name"] for o in c["options"]} | {"help", "version"}
              for c in json.loads(lib.run("docs", "--format", "json").stdout)["commands"]}
    for command, rest in re.findall(r"sightline ([a-z]+)([^`\n|]*)", text):
        if command not in tables:
            continue
        for option in re.findall(r"(?<=\s)--([a-z-]+)", rest):
            assert option in tables[command], f"README.md: sightline {command} --{option}"


def _code(*folders):
    """The sources of these folders without their tests, by path."""
    found = {}
    for folder in folders:
        for path in glob.glob(os.path.join(lib.SOURCE, "src", folder, "**", "*.[ch]"), recursive=True):
            if not os.path.basename(path).startswith("test_"):
                with open(path) as file:
                    found[path] = file.read()
    return found


def _tables():
    return json.loads(lib.run("docs", "--format", "json").stdout)


def test_every_variable_that_is_read_is_in_the_reference():
    text = lib.run("docs").stdout
    for path, code in _code("").items():
        for name in re.findall(r'\bgetenv\("([A-Za-z_]+)"\)', code):
            assert f"`{name}`" in text, f"{path} reads {name}"


def test_every_variable_of_the_table_is_read():
    code = "\n".join(_code("").values())
    pasted = set(re.findall(r"##(\w+)", code))  # SL_VAR_OTEL_EXPORTER_OTLP_##prefix##TIMEOUT and the like
    for row in _tables()["environment"]:
        name = row["name"]
        tail = re.sub(r"^OTEL_EXPORTER_OTLP_((TRACES|METRICS|LOGS)_)?", "", name)
        assert re.search(rf'\bSL_VAR_{name}\b|"{name}"', code) or tail in pasted, f"nothing reads {name}"


def test_every_attribute_that_is_set_is_in_the_reference_and_back():
    tables = _tables()
    code = _code("gateway", "telemetry", "net", "llm", "queue", "flow", "probe")
    attributes = {row["name"] for row in tables["attributes"]}
    labels = {label.rstrip("?") for row in tables["metrics"] for label in row["labels"]}
    # Names that are of something else: scopes, and events with what they hold.
    others = {"sightline.gateway", "gen_ai.first_token", "gen_ai.last_token"}
    for path, text in code.items():
        if "/gateway/" not in path:
            continue
        for name in re.findall(r'"((?:http|url|client|server|network|gen_ai|llm|openai|error|user_agent|sightline)(?:\.\w+)+)"', text):
            assert name in attributes | labels | others, f"{path} sets {name}"
    whole = "\n".join(code.values())
    for name in sorted(attributes):
        assert f'"{name}"' in whole, f"nothing sets {name}"


def test_every_metric_of_the_table_is_recorded():
    code = "\n".join(_code("").values())
    with open(os.path.join(lib.SOURCE, "src/telemetry/vocab_metrics.def")) as file:
        rows = re.findall(r"^SL_(METRIC|LLAMACPP)_ROW\((\w+)", file.read(), re.M)
    names = [name for _, name in rows]
    pairs = sum(kind == "LLAMACPP" for kind, _ in rows)  # each is two metrics
    lib.equal(len(names) + pairs, len(_tables()["metrics"]))
    for name in names:
        assert re.search(rf"\bSL_METRIC_{name}\b|\b{name}\b", code), f"nothing records {name}"


def test_what_a_running_gateway_shows_is_in_the_reference():
    """Metric families, span attributes and fields of the access log, of good and bad requests."""
    tables = _tables()
    attributes = {row["name"] for row in tables["attributes"]}
    metrics = {row["prometheus"] for row in tables["metrics"]}
    mock = lib.mock()
    gateway = lib.gateway(config=lib.config_for(mock.url("mock")), env={"LOG_FORMAT": "json"})
    base = gateway.url("gateway")
    for stream in (False, True):
        lib.equal(lib.chat(base, stream=stream, temperature=0.5, stop=["x"], n=1, seed=3).status, 200)
    lib.equal(lib.chat(base, model="nobody").status, 404)
    lib.equal(lib.chat(base, key="wrong").status, 401)
    admin = gateway.url("admin")
    lib.until(lambda: len(json.loads(lib.get(admin + "/traces").body)) >= 4, what="four traces")
    seen = set()
    for trace in json.loads(lib.get(admin + "/traces").body):
        for span in json.loads(lib.get(f"{admin}/traces/{trace['trace_id']}").body)["spans"]:
            seen |= set(span["attributes"])
    assert len(seen) > 20, seen
    lib.equal(seen - attributes, set(), "attributes that the reference lacks")
    page = lib.get(gateway.url("metrics") + "/metrics").text
    families = set(re.findall(r"^# TYPE (\S+)", page, re.M))
    assert len(families) > 10, families
    lib.equal({f for f in families if f != "target_info"} - metrics, set(), "metrics that the reference lacks")


lib.main(globals())
