"""A llama.cpp that somebody builds statically with -DLLAMA_OTEL_ENABLE=ON: under `sightline exec`, and on its own."""
from checks import Row, probe_server
from lib import llama_load, net, probe, sightline
from lib.context import expect, expect_eq
from peers import llama_static

COUNT, CLIENTS = 200, 8
SERIES = ("prompt_tokens_total", "tokens_predicted_total", "n_decode_total", "kv_cache_tokens")


def argv(ctx, binary, port):
    return [binary, "-m", sightline.tiny_model(ctx), "--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "4",
            "-t", "1", "--metrics", "--slots"]


def send(base, sink, seed):
    requests = llama_load.random_prompts(COUNT, seed)
    llama_load.send_all(base, requests, CLIENTS)
    expect_eq([r.error for r in requests if not r.succeeded()], [], "answers")
    for r in requests:  # this server's timings do not say what came from the cache: the rest of the prompt
        tokens = net.post(base + "/tokenize", {"content": r.body["prompt"], "add_special": True}).json()["tokens"]
        r.cached = len(tokens) - r.prompt
    _, kinds = probe_server.compare(sink, requests, "random prompts")
    return kinds


def check_metrics(server):
    theirs = probe.parse_page(net.get(server.base + "/metrics").text())

    def settled():
        ours = server.page()
        return ours if all(ours.get("llamacpp:" + n) == theirs["llamacpp:" + n] for n in SERIES) else None
    try:
        ours = net.until("equal metrics", 5, settled)
    except TimeoutError:
        ours = server.page()
    for name in SERIES:
        expect_eq(ours.get("llamacpp:" + name), theirs["llamacpp:" + name], name)
    expect_eq(probe.total(ours, "sightline_probe_hosts"), 1, "hosts")


def run(ctx):
    binary = llama_static.link(ctx)
    sink = sightline.Sink(ctx)
    port = ctx.free_port()
    server = probe.Server(ctx, "server", argv(ctx, binary, port), port, probe.export_env(sink))
    kinds = send(server.base, sink, 1)
    check_metrics(server)
    # This server of its time dies of SIGTERM, with the probe and without: it is left to the end.
    port = ctx.free_port()
    ctx.start("alone", argv(ctx, binary, port), probe.export_env(sink))
    base = "http://127.0.0.1:%d" % port
    ctx.wait_http(base + "/health", 60)
    alone_kinds = send(base, sink, 2)
    expect(kinds and alone_kinds, "nothing was seen")
    return "%d requests under exec (%s), %d without a parent (%s)" % (
        COUNT, ", ".join("%d %s" % (v, k) for k, v in sorted(kinds.items())), COUNT,
        ", ".join("%d %s" % (v, k) for k, v in sorted(alone_kinds.items())))


ROWS = [Row("probe-static", "full", "llama-server", llama_static.VERSION, "a static build with LLAMA_OTEL_ENABLE=ON", run,
            needs=[llama_static.install], cached=llama_static.cached, limit=300, order=66)]
