"""A llama.cpp that somebody builds statically: with -DLLAMA_OTEL_ENABLE=ON, under `sightline exec` and on its own; and
without, looked at from outside. And a server that runs already."""
import re
import time

from checks import Row, probe_server
from lib import cache, llama_load, net, probe, sightline
from lib.context import expect, expect_eq
from peers import llama_server, llama_static, python_venv

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


def their_page(base):
    return probe.parse_page(net.get(base + "/metrics").text())


def check_metrics(server, unseen=0):
    theirs = their_page(server.base)
    theirs["llamacpp:tokens_predicted_total"] -= unseen

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


def need_uprobes(ctx):
    said = ctx.run([ctx.sightline, "doctor"], ok=(0, 1, 2))
    found = re.search(r"[^\n]*from outside[^\n]*", said)
    if not found or "can be looked at" not in found[0]:
        raise cache.Missing(found[0].strip() if found else "doctor says nothing of looking from outside")


def plain_load(base, seed):
    requests = llama_load.random_prompts(COUNT, seed)
    llama_load.send_all(base, requests, CLIENTS)
    return requests


def single_tokens(requests):
    """Answers of one token: it is sampled from the prompt's batch, and who sees batches alone does not see it."""
    return sum(r.generated == 1 for r in requests)


def run_outside(ctx):
    need_uprobes(ctx)
    binary = llama_static.link(ctx, with_probe=False)
    sink = sightline.Sink(ctx)
    port = ctx.free_port()
    server = probe.Server(ctx, "server", argv(ctx, binary, port), port, probe.export_env(sink))
    requests = plain_load(server.base, 1)
    check_metrics(server, single_tokens(requests))
    expect_eq(probe.total(server.page(), "llamacpp_context_size_tokens"), 4096, "size of the context")
    return "%d answers: tokens, batches, KV cache as the server counts them" % sum(r.succeeded() for r in requests)


def run_running(ctx):
    need_uprobes(ctx)
    peer, port = probe_server.old_peer(), ctx.free_port()
    process = ctx.start("server", peer.argv(sightline.tiny_model(ctx), port), peer.env)
    base = "http://127.0.0.1:%d" % port
    ctx.wait_http(base + "/health", 60)
    plain_load(base, 1)
    before = their_page(base)
    ready = ctx.dir + "/attached.ready"
    pid = ctx.run(["pgrep", "-P", str(process.pid)], ok=(0, 1)).split() or [str(process.pid)]  # behind a launcher
    attached = ctx.start("attached", [ctx.sightline, "exec", "--metrics-listen", "127.0.0.1:0", "--view", "off", "--ready-file",
                                      ready, "--pid", pid[0]], {})
    url = ctx.wait_file(ready, 20)["metrics"] + "/metrics"
    requests = plain_load(base, 2)
    theirs = their_page(base)
    theirs["llamacpp:tokens_predicted_total"] -= single_tokens(requests)
    time.sleep(1.5)  # a batch whose end was missed is told within a second
    ours = probe.parse_page(net.get(url).text())
    names = ["llamacpp:" + name for name in SERIES[:3]]
    expect_eq({n: ours.get(n) for n in names}, {n: theirs[n] - before[n] for n in names}, "counts")
    ctx.stop(attached)
    expect(any(r.succeeded() for r in plain_load(base, 3)), "the server answers no more")
    return "%d answers: tokens and batches as the server counts them; it runs on afterwards" % sum(
        r.succeeded() for r in requests)


ROWS = [Row("probe-static", "full", "llama-server", llama_static.VERSION, "a static build with LLAMA_OTEL_ENABLE=ON", run,
            needs=[llama_static.install], cached=llama_static.cached, limit=300, order=66),
        Row("probe-outside", "full", "llama-server", llama_static.VERSION, "a static build without the probe, by uprobes",
            run_outside, needs=[llama_static.install], cached=llama_static.cached, limit=300, order=67),
        Row("probe-running", "quick", "llama-server", llama_server.VERSION, "exec --pid of a server that runs", run_running,
            needs=[lambda: python_venv.install("llama_server")], limit=300, order=68)]
