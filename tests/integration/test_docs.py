#!/usr/bin/env python3
"""The reference: not stale, complete, in every form."""
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
    for name in ("commands", "environment", "configuration", "metrics", "attributes", "logs", "errors", "limits"):
        done = lib.run("docs", "--section", name)
        lib.equal(done.returncode, 0, name)
        lib.contains(whole, done.stdout, name)


def test_json_has_what_the_markdown_has():
    text, tables = lib.run("docs").stdout, json.loads(lib.run("docs", "--format", "json").stdout)
    lib.equal(set(tables), {"commands", "environment", "configuration", "metrics", "attributes", "limits"})
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
        page = lib.run("docs", *([name] if name else []), "--format", "man").stdout
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
        assert re.search(rf"^    {name}\)$", zsh, re.M), name
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


lib.main(globals())
