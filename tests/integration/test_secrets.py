#!/usr/bin/env python3
"""Planted secrets: keys and prompt text must come out of no sink."""
import json
import os

import lib

MASTER, UPSTREAM, WRONG, HEADER, PROMPT, ANSWERED = (f"planted-{name}-5c1e" for name in ("master", "upstream", "wrong", "header", "prompt", "mock"))
PLANTED = (MASTER, UPSTREAM, WRONG, HEADER, PROMPT)


def config(mock, path="/v1"):
    return (f"model_list:\n  - model_name: claude-haiku\n    litellm_params:\n      model: openai/mock\n      api_base: {mock}{path}\n"
            f"      api_key: os.environ/PLANTED_UPSTREAM\ngeneral_settings:\n  master_key: os.environ/PLANTED_MASTER\n")


def start(command_config, folder, extra=None):
    env = {"PLANTED_UPSTREAM": UPSTREAM, "PLANTED_MASTER": MASTER, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{HEADER}",
           "OTEL_TRACES_EXPORTER": "file", "OTEL_LOGS_EXPORTER": "file,console", "OTEL_METRICS_EXPORTER": "file",
           "SIGHTLINE_EXPORTER_FILE": folder + "/export.jsonl", "LOG_LEVEL": "DEBUG", "OTEL_LOG_LEVEL": "debug", "OTEL_METRIC_EXPORT_INTERVAL": "500",
           "OTEL_BSP_SCHEDULE_DELAY": "100", **(extra or {})}
    return lib.gateway(config=command_config, env=env), env


def provoke(gateway):
    """Requests of every fate; the texts of all answers."""
    base, seen = gateway.url("gateway"), []
    for stream in (False, True):
        seen.append(lib.chat(base, key=MASTER, content=PROMPT, stream=stream).text)
    for key in (WRONG, None):
        seen.append(lib.chat(base, key=key, content=PROMPT).text)
    seen.append(lib.chat(base, key=MASTER, model="no-such-" + PROMPT, content=PROMPT).text.replace("no-such-" + PROMPT, ""))
    seen.append(lib.post(base + "/v1/chat/completions", ('{"model": "claude-haiku", "x": "' + PROMPT).encode(),
                         headers={"Authorization": f"Bearer {MASTER}"}).text)
    seen.append(lib.post(base + f"/v1/chat/completions?api_key={MASTER}", {"model": "claude-haiku", "messages": []},
                         headers={"Authorization": f"Bearer {MASTER}", "Cookie": HEADER, "X-Api-Key": WRONG, "api-key": WRONG}).text)
    seen.append(lib.raw(base, f"GET /{WRONG} HTTP/1.1\r\nAuthorization: Bearer {MASTER}\r\nbad line {PROMPT}\r\n\r\n".encode(), timeout=2).decode())
    return seen


def sinks(gateway, env, folder):
    found = {}
    for key, paths in {"metrics": ["/metrics"], "admin": ["/traces?limit=100"], "health": ["/health", "/health/ready", "/health/readiness"]}.items():
        for path in paths:
            found[key + path] = lib.get(gateway.url(key) + path).text
    for row in json.loads(found["admin/traces?limit=100"]):
        found["trace " + row["trace_id"]] = lib.get(f"{gateway.url('admin')}/traces/{row['trace_id']}").text
    with open(gateway.ready_path) as file:
        found["ready file"] = file.read()
    for arguments in (["doctor", "--ready-file", gateway.ready_path, "-c", gateway.config_path], ["traces", "--url", gateway.url("admin")],
                      ["top", "--once", "--url", gateway.url("metrics") + "/metrics"], ["gateway", "--check", "-c", gateway.config_path]):
        done = lib.run(*arguments, env=env)
        found[" ".join(arguments[:2])] = done.stdout + done.stderr
    gateway.stop()
    found["log"] = gateway.output()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read().decode("utf-8", "replace")
    return found


def check(found, words):
    leaks = [f"{word} in {name}: …{text[max(0, text.find(word) - 80):text.find(word) + 60]}…" for name, text in found.items() for word in words
             if word in text]
    lib.equal(leaks, [])


def test_no_sink_shows_a_secret():
    folder = lib.tmp()
    mock = lib.mock()
    gateway, env = start(config(mock.url("mock")), folder)
    answers = provoke(gateway)
    found = lib.until(lambda: json.loads(lib.get(gateway.url("admin") + "/traces?limit=100").text) and True, 5) and sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)
    for word in ("gen_ai.request.model", "claude-haiku"):
        lib.contains(found["export.jsonl"], word, "the export is not empty")
    assert len(found["log"]) > 100


def test_nor_when_everything_fails():
    folder = lib.tmp()
    mock = lib.mock("--fault", "500=0.4", "--fault", "reset=0.3", "--fault", "badjson=0.3")
    gateway, env = start(config(mock.url("mock")), folder)
    answers = [text for _ in range(3) for text in provoke(gateway)]
    found = sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)


def test_nor_when_the_upstream_is_dead():
    folder = lib.tmp()
    gateway, env = start(config("http://127.0.0.1:1"), folder)
    answers = provoke(gateway)
    found = sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)


def test_a_faulty_configuration_shows_no_secret():
    path = os.path.join(lib.tmp(), "bad.yaml")
    with open(path, "w") as file:
        file.write(f"model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/x\n      api_base: http://user:{UPSTREAM}@h/v1\n"
                   f"      api_key: [{UPSTREAM}]\ngeneral_settings:\n  master_key: {{a: {MASTER}}}\n")
    for command in ("gateway", "up", "doctor"):
        done = lib.run(command, "--check", "-c", path)
        lib.equal(done.returncode, 2, command)
        check({command: done.stdout + done.stderr}, (UPSTREAM, MASTER))


lib.main(globals())
