"""The probe in every kind of host: six releases of libllama in C, Python by ctypes, JavaScript, llama-server's router."""
import json
import os
import shutil

from checks import Row
from lib import llama_load, net, probe, sightline
from lib.context import expect, expect_eq
from peers import javascript, llama_python, llama_releases, llama_server, python_venv

STEPS = ["facts", "run", "sampler", "run", "fail", "memory", "state"]


def wait_for_total(sink, name, wanted, service=None):
    """The spans, once `wanted` of a name have arrived."""
    def enough():
        told = probe.Told(sink, service)
        return told if len(batches(told) if name == "llama_decode" else told.named(name)) >= wanted else None
    try:
        return net.until("%d spans %s" % (wanted, name), 10, enough)
    except TimeoutError:
        return probe.Told(sink, service)


def attribute_sum(spans, name):
    return sum(s["attributes"].get(name, 0) for s in spans)


def batches(told):
    """A span of each batch; one with several sequences is in the trace of each."""
    return list({(a["context.id"], a["batch.number"], a["llama.result"]): s for s in told.named("llama_decode")
                 for a in [s["attributes"]]}.values())


def check_release(ctx, host, sink):
    """What the probe told of a run equals what the host itself counted."""
    what = "%s, %s" % (host.release, host.how)
    service = "%s-%s" % (host.release, host.how)
    argv = host.argv + host.first + STEPS
    plain = probe.run(ctx, argv, host.env)
    seen = probe.run(ctx, probe.exec_argv(ctx, argv, "--decode-span-every", "1"),
                     dict(probe.export_env(sink, OTEL_SERVICE_NAME=service), **host.env))
    seen.same_as(plain, what)
    facts, totals = plain.step("facts"), plain.step("total")
    told = wait_for_total(sink, "llama_decode", totals["decodes"], service)
    decodes = batches(told)
    expect_eq(len(decodes), totals["decodes"], "%s: spans llama_decode" % what)
    expect_eq(attribute_sum(decodes, "batch.n_tokens"), totals["prompt"] + totals["generated"],
              "%s: tokens of all batches" % what)
    failed = [s for s in decodes if s["attributes"].get("llama.result", 0) != 0]
    expect_eq([s["attributes"]["llama.result"] for s in failed], [-1], "%s: results of failed batches" % what)
    expect_eq(attribute_sum(told.named("process_prompt"), "prompt.tokens"), totals["prompt"], "%s: prompt" % what)
    generated = attribute_sum(told.named("generate_tokens"), "completion.tokens")
    expect(generated in (totals["generated"], totals["generated"] + 4), "%s: generated tokens: host %d, probe %d" % (
        what, totals["generated"], generated))  # 4 sequences: the library made one more token than the host took
    check_facts(told, facts, host, what)


def check_facts(told, facts, host, what):
    loads = told.named("llama_model_load")
    expect_eq(len(loads), 1, "%s: spans llama_model_load" % what)
    a = loads[0]["attributes"]
    wanted = {"model.path": host.argv[host.argv.index("--model") + 1], "n_params": facts["n_params"],
              "model.size_bytes": facts["size"]}
    expect_eq({k: a.get(k) for k in wanted}, wanted, "%s: model" % what)
    contexts = told.named("llama_new_context_with_model")
    expect_eq(len(contexts), 1, "%s: spans llama_new_context_with_model" % what)
    a = contexts[0]["attributes"]
    wanted = {"context.n_ctx": facts["n_ctx"], "context.n_batch": facts["n_batch"],
              "context.kv_bytes": facts["n_ctx"] * probe.KV_BYTES_PER_TOKEN}
    expect_eq({k: a.get(k) for k in wanted}, wanted, "%s: context" % what)


def run_releases(ctx):
    model = sightline.tiny_model(ctx)
    sink, releases = sightline.Sink(ctx), []
    for host in probe.hosts(ctx, model):
        check_release(ctx, host, sink)
        releases.append(host.release)
    return "%s; each by dlsym on a handle, by dlsym on the program, and linked" % ", ".join(dict.fromkeys(releases))


def server_spans(told, trace):
    return {i: s for i, s in told.by_trace.get(trace, {}).items() if s["kind"] == "SERVER"}


def send(base, requests, clients=1):
    llama_load.send_all(base, requests, clients)
    for r in requests:
        expect_eq(r.status, 200, "status of request %d (%s)" % (r.number, r.error))


def wait_for_traces(sink, requests, spans=1):
    def complete():
        told = probe.Told(sink)
        return told if all(len(server_spans(told, r.trace)) >= spans for r in requests) else None
    return net.until("SERVER spans of %d requests" % len(requests), 15, complete)


def run_python(ctx, scheme="http", more=()):
    """llama-cpp-python's server: one request at a time, counts by its own usage."""
    sink = sightline.Sink(ctx)
    port = ctx.free_port()
    argv = llama_python.command(sightline.tiny_model(ctx), port) + list(more)
    server = probe.Server(ctx, "llama-cpp-python", argv, port, probe.export_env(sink), ready="/v1/models", scheme=scheme)
    requests = llama_load.chats(24)
    send(server.base, requests)
    told = wait_for_traces(sink, requests)
    for r in requests:
        (span_id, span), = server_spans(told, r.trace).items()
        expect_eq((span["name"], span["parent"], span["attributes"]["url.scheme"]),
                  ("POST /v1/chat/completions", r.parent, scheme), "SERVER span")
        if not r.usage:  # a streamed answer of this server has none
            continue
        spans = told.by_trace[r.trace]
        prompt = probe.children(spans, span_id, "process_prompt")
        generate = probe.children(spans, span_id, "generate_tokens")
        expect_eq((len(prompt), len(generate)), (1, 1), "prompt and generation spans of request %d" % r.number)
        a = prompt[0]["attributes"]
        expect_eq(a["prompt.tokens"] + a.get("prompt.tokens_cached", 0), r.usage["prompt_tokens"], "prompt tokens")
        made = generate[0]["attributes"]["completion.tokens"]
        expect(r.usage["completion_tokens"] <= made <= r.usage["completion_tokens"] + 1,
               "completion tokens: server %d, probe %d" % (r.usage["completion_tokens"], made))
    expect(sum(bool(r.usage) for r in requests) >= 12, "too few answers with usage")
    return "%d requests" % len(requests)


def run_python_tls(ctx):
    """asyncio has libssl work on memory: no descriptor tells whose bytes they are."""
    key, certificate = probe.certificate(ctx)
    return run_python(ctx, "https", ["--ssl_keyfile", key, "--ssl_certfile", certificate])


def run_node(ctx):
    """node-llama-cpp loads its addon RTLD_LOCAL: the calls are bound to its own copy of the library."""
    sink = sightline.Sink(ctx)
    model = sightline.tiny_model(ctx)
    env = dict(probe.export_env(sink), MODULES=llama_releases.install())
    argv = [javascript.node(), os.path.join(sightline.CLIENTS, "llama_node.mjs"), model]
    plain = probe.run(ctx, argv, env)
    expect_eq(plain.status, 0, "node without the probe: %s" % plain.err[-300:])
    seen = probe.run(ctx, probe.exec_argv(ctx, argv, "--decode-span-every", "1"), env)
    seen.same_as(plain, "node")
    truth = json.loads(plain.out)
    told = wait_for_total(sink, "process_prompt", len(truth["prompts"]))
    prompt = attribute_sum(told.named("process_prompt"), "prompt.tokens")
    generated = attribute_sum(told.named("generate_tokens"), "completion.tokens")
    tokens = attribute_sum(batches(told), "batch.n_tokens")
    expect_eq((prompt, len(told.named("process_prompt"))), (sum(truth["prompts"]), 2), "prompt tokens and spans")
    expect(sum(truth["generated"]) <= generated <= sum(truth["generated"]) + 2, "generated tokens: host %d, probe %d" % (
        sum(truth["generated"]), generated))
    expect(tokens >= prompt + generated - 4, "tokens of all batches: %d" % tokens)
    contexts = [s["attributes"].get("context.n_ctx") for s in told.named("llama_new_context_with_model")]
    expect(truth["size"] in contexts, "context.n_ctx %s, host %d" % (contexts, truth["size"]))
    return "%d prompt tokens, %d generated" % (prompt, generated)


def run_router(ctx):
    """A router starts a server for each model: it inherits the probe, and the caller's trace goes on to it."""
    sink = sightline.Sink(ctx)
    folder = ctx.folder("models")
    shutil.move(sightline.tiny_model(ctx), os.path.join(folder, "tiny.gguf"))
    port = ctx.free_port()
    binary = os.path.join(python_venv.install("llama_server"), "bin", "llama-server-vulkan")
    server = probe.Server(ctx, "router", [binary, "--models-dir", folder, "--host", "127.0.0.1", "--port", str(port),
                                          "-c", "2048", "-t", "1"], port, probe.export_env(sink))
    requests = llama_load.chats(12)
    for r in requests:
        r.body["model"] = "tiny"
    send(server.base, requests, 2)
    told = wait_for_traces(sink, requests)
    for r in requests:
        both = server_spans(told, r.trace)
        working = [i for i in both if probe.children(told.by_trace[r.trace], i, "process_prompt")]
        expect_eq(len(working), 1, "SERVER spans with a prompt, of %d" % len(both))
        a = probe.children(told.by_trace[r.trace], working[0], "process_prompt")[0]["attributes"]
        expect_eq(a["prompt.tokens"], r.prompt, "prompt tokens")
    hosts = {s["attributes"].get("process.pid") for s in told.spans.values() if s["attributes"].get("process.pid")}
    return "%d requests, %d instrumented processes" % (len(requests), max(len(hosts), 1))


ROWS = [
    Row("probe-releases", "quick", "libllama", llama_releases.VERSION,
        "models, contexts, batches and tokens as the host counted them", run_releases, needs=[llama_releases.install],
        order=63, limit=300),
    Row("probe-node", "quick", "node-llama-cpp", llama_releases.NODE_VERSION, "a host in JavaScript", run_node,
        needs=[llama_releases.install], order=66),
    Row("probe-router", "quick", "llama-server", llama_server.VERSION, "router mode: servers that a server starts",
        run_router, needs=[lambda: python_venv.install("llama_server")], order=67),
    Row("probe-python", "full", "llama-cpp-python", llama_python.VERSION, "a host in Python, by ctypes", run_python,
        needs=[llama_python.install], cached=llama_python.cached, order=68),
    Row("probe-python-tls", "full", "llama-cpp-python", llama_python.VERSION, "TLS that a host moves itself (asyncio)",
        run_python_tls, needs=[llama_python.install], cached=llama_python.cached, order=68),
]
