#!/usr/bin/env python3
"""Providers of workflows: both dialects against the mock's own ledger, models and prices of a configuration, the trace
that goes on to them, and keys that come out of no sink."""
import http.server
import json
import os
import threading

import lib

OPENAI, ANTHROPIC, PROMPT = "planted-openai-7d21", "planted-anthropic-7d21", "planted-prompt-7d21"


def workflow(*steps):
    path = os.path.join(lib.tmp(), "workflow.json")
    with open(path, "w") as file:
        json.dump({"name": "providers", "steps": list(steps)}, file)
    return path


def llm(name, provider, model, **more):
    return {"id": name, "type": "llm", "provider": provider, "model": model, "prompt": "Say {{ inputs.word }} to " + PROMPT, "output": ["text"], **more}


def run(path, env, *options, word="this"):
    """`sightline run` to its end: the process, its report, and what its exporter wrote."""
    exported = os.path.join(lib.tmp(), "export.jsonl")
    done = lib.run("run", path, "-i", json.dumps({"word": word}), "--format", "json", "--data-dir", lib.tmp(), *options, env={
        "OTEL_TRACES_EXPORTER": "file", "OTEL_LOGS_EXPORTER": "file", "OTEL_METRICS_EXPORTER": "file", "SIGHTLINE_EXPORTER_FILE": exported,
        "LOG_LEVEL": "TRACE", "OTEL_LOG_LEVEL": "debug", **env})
    with open(exported) if os.path.exists(exported) else open(os.devnull) as file:
        return done, json.loads(done.stdout), file.read()


def attributes(line_list):
    """Spans of an export by name: attributes, ids."""
    spans = {}
    for line in line_list.splitlines():
        for resource in json.loads(line).get("resourceSpans", []):
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    found = {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}
                    spans.setdefault(span["name"], []).append({**found, "span": span})
    return spans


def environment(url):
    return {"OPENAI_API_KEY": OPENAI, "OPENAI_BASE_URL": url + "/v1", "ANTHROPIC_API_KEY": ANTHROPIC, "ANTHROPIC_BASE_URL": url}


def test_tokens_are_those_of_the_providers_ledger():
    mock = lib.mock(tokens=9)
    steps = [llm(f"{provider}-{stream}", provider, model, stream=stream == "stream")
             for provider, model in (("openai", "gpt-4o"), ("anthropic", "claude-haiku-4-5")) for stream in ("whole", "stream")]
    steps.append({"id": "embed", "type": "embed", "provider": "openai", "model": "text-embedding-3-small", "input": ["a", "b c", "d"],
                  "batch_size": 2, "output": ["vectors"]})
    done, report, exported = run(workflow(*steps), environment(mock.url("mock")))
    lib.equal(done.returncode, 0, done.stderr)
    ledger = lib.get(mock.url("mock") + "/mock/ledger").json()
    entries = ledger if isinstance(ledger, list) else ledger["requests"]
    lib.equal(len(entries), 6, "4 chats and 2 batches")
    served = sum(e["prompt_tokens"] + e["completion_tokens"] for e in entries)
    lib.equal(sum(step["tokens"] for step in report["steps"]), served, "tokens of all steps")
    by_id = {step["id"]: step for step in report["steps"]}
    words = len(f"Say this to {PROMPT}".split())
    for provider, price in (("openai", (2.5, 10)), ("anthropic", (1, 5))):
        for stream in ("whole", "stream"):
            step = by_id[f"{provider}-{stream}"]
            lib.equal(step["tokens"], words + 9, step["id"])
            assert abs(step["cost_usd"] - (words * price[0] + 9 * price[1]) / 1e6) < 1e-12, step
    spans = attributes(exported)
    lib.equal(sorted(n for n in spans if n.startswith(("chat", "embeddings"))),
              ["chat claude-haiku-4-5", "chat gpt-4o", "embeddings text-embedding-3-small"])
    lib.equal([len(spans["chat gpt-4o"]), len(spans["embeddings text-embedding-3-small"])], [2, 2])
    for span in spans["chat claude-haiku-4-5"]:
        lib.equal([span["gen_ai.provider.name"], int(span["gen_ai.usage.output_tokens"])], ["anthropic", 9])
    for metric in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token"):
        lib.contains(exported, f'"{metric}"')


def test_models_and_prices_of_a_configuration():
    mock = lib.mock(tokens=5)
    config = os.path.join(lib.tmp(), "config.yaml")
    with open(config, "w") as file:
        file.write(f"model_list:\n  - model_name: house-model\n    model_info: {{input_cost_per_token: 0.001, output_cost_per_token: 0.01}}\n"
                   f"    litellm_params:\n      model: openai/real-name\n      api_base: {mock.url('mock')}/v1\n      api_key: {OPENAI}\n")
    steps = [llm("by-name", "house-model", "house-model"), llm("by-provider", "openai", "house-model"), llm("other", "openai", "unpriced")]
    done, report, _ = run(workflow(*steps), {}, "-c", config)
    lib.equal(done.returncode, 0, done.stderr)
    ledger = lib.get(mock.url("mock") + "/mock/ledger").json()
    entries = ledger if isinstance(ledger, list) else ledger["requests"]
    lib.equal(sorted(e["model"] for e in entries), ["real-name", "real-name", "unpriced"])
    costs = {step["id"]: step.get("cost_usd") for step in report["steps"]}
    for name in ("by-name", "by-provider"):
        assert abs(costs[name] - (4 * 0.001 + 5 * 0.01)) < 1e-9, costs
    lib.equal(costs["other"], None, "a cost that is not known is not 0")
    done, report, _ = run(workflow(llm("a", "cohere", "command-r")), {}, "-c", config)
    lib.equal([done.returncode, report["status"]], [1, "failed"])
    lib.contains(report["steps"][0]["error"], "provider cohere: not configured; add a model to model_list")


class Rude(http.server.BaseHTTPRequestHandler):
    """Sends back all that it was told, with a refusal."""
    protocol_version = "HTTP/1.1"
    seen = []

    def log_message(self, *args):
        pass

    def do_POST(self):
        told = self.rfile.read(int(self.headers["Content-Length"])).decode()
        Rude.seen.append(dict(self.headers))
        words = f"key {self.headers.get('Authorization') or self.headers.get('x-api-key')} said {json.loads(told)['messages'][0]['content']}"
        body = json.dumps({"error": {"type": "invalid_request_error", "message": words}}).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_keys_come_out_of_no_sink():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        done, report, exported = run(workflow(llm("a", "openai", "m"), llm("b", "anthropic", "m", stream=True)), environment(url))
    finally:
        server.shutdown()
    lib.equal([done.returncode, report["status"], len(Rude.seen)], [1, "failed", 2])
    for step in report["steps"]:
        lib.contains(step["error"], "[REDACTED]")
        lib.equal(step["attempts"], 1, "a refusal is not tried again")
    for sink, text in (("stdout", done.stdout), ("stderr", done.stderr), ("exports", exported)):
        for secret in (OPENAI, ANTHROPIC):
            assert secret not in text, f"{secret} in {sink}: {text[:2000]}"
    lib.contains(exported, '"chat m"')
    for line in exported.splitlines():  # what the provider quotes of the prompt is told to the caller, not to the exporters' spans
        if "resourceSpans" in line:
            for span in attributes(line).get("chat m", []):
                assert PROMPT not in json.dumps(span), span


def test_the_trace_goes_on_to_the_provider():
    Rude.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        _, report, exported = run(workflow(llm("a", "openai", "m")), environment(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
    span = attributes(exported)["chat m"][0]["span"]
    parent = attributes(exported)["step.execute:a"][0]["span"]
    lib.equal(span["parentSpanId"], parent["spanId"])
    lib.equal(Rude.seen[0]["traceparent"].split("-")[1:3], [report["trace_id"], span["spanId"]])


lib.main(globals())
