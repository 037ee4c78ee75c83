"""Real llama-servers under `sightline exec`: what the probe says of 1,000 concurrent requests equals what the server says.

For every request: the slot, the prompt tokens that were processed and those from the cache, the generated tokens; taken
from the server's own answers. Where prompts are identical the probe may be unsure, but then says so.
"""
import collections
import os
import re
import threading
import time

from checks import Row
from lib import llama_load, net, probe, sightline
from lib.context import expect, expect_eq
from peers import llama_build, llama_server, python_venv

SLOTS, CONTEXT = 4, 8192
SURE = ("exact", "single")


class Peer:
    """A kind of llama-server: argv and environment for a port."""

    def __init__(self, binary, env=None):
        self.binary, self.env = binary, env or {}

    def argv(self, model, port, *more):
        return [self.binary, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-c", str(CONTEXT), "-np",
                str(SLOTS), "-t", "1", "--slots", "--metrics", "--alias", llama_server.MODEL, *more]


def old_peer():
    return Peer(os.path.join(python_venv.install("llama_server"), "bin", "llama-server-vulkan"))


def new_peer():
    bins = llama_build.install()
    return Peer(os.path.join(bins, "llama-server"), {"LD_LIBRARY_PATH": bins})


def start(ctx, peer, sink, *options):
    model = sightline.tiny_model(ctx)
    port = ctx.free_port()
    return probe.Server(ctx, "server", peer.argv(model, port), port, dict(probe.export_env(sink), **peer.env), options)


def status_of(span):
    return span["attributes"].get("http.response.status_code")


def one_request(told, request, wrong):
    """Compares one request with its spans; returns its correlation. What differs goes into `wrong`."""
    spans = told.by_trace.get(request.trace, {})
    answered = [(i, s) for i, s in spans.items() if s["kind"] == "SERVER" and status_of(s)]
    dropped = [s for s in spans.values() if s["kind"] == "SERVER" and not status_of(s)]
    if len(answered) != 1 or len(dropped) >= request.sent:
        wrong.append("request %d, sent %d times: %d SERVER spans with an answer, %d without" % (
            request.number, request.sent, len(answered), len(dropped)))
        return "missing"
    span_id, span = answered[0]
    a = span["attributes"]
    seen = {"name": span["name"], "parent": span["parent"],
            "status": status_of(span)}
    wanted = {"name": "POST " + request.path, "parent": request.parent, "status": request.status}
    if request.succeeded():
        prompt = probe.children(spans, span_id, "process_prompt")
        generate = probe.children(spans, span_id, "generate_tokens")
        of = (prompt[0] if len(prompt) == 1 else {"attributes": {}})["attributes"]
        seen.update(prompt=of.get("prompt.tokens"), cached=of.get("prompt.tokens_cached"), slot=a.get("slot.id"),
                    generated=(generate[0]["attributes"] if len(generate) == 1 else {}).get("completion.tokens"))
        wanted.update(request.truth())
        if request.slot < 0:
            del wanted["slot"], seen["slot"]
    correlation = a.get("llama.correlation", "none")
    if seen != wanted:
        wrong.append("request %d (%s, %s): server %s, probe %s" % (
            request.number, correlation, "streamed" if request.body.get("stream") else "unary",
            {k: v for k, v in wanted.items() if seen[k] != v}, {k: v for k, v in seen.items() if wanted[k] != v}))
        if correlation == "ambiguous":
            return "ambiguous and wrong"
    return correlation


def compare(sink, requests, what, twins=False):
    """All requests with all spans; only what is marked as ambiguous may differ, and only where prompts are identical."""
    wanted = {r.trace for r in requests}

    def complete():
        told = probe.Told(sink)
        have = sum(any(s["kind"] == "SERVER" and status_of(s) for s in told.by_trace.get(t, {}).values()) for t in wanted)
        return told if have >= len(wanted) else None
    try:
        told = net.until("spans of all requests", 30, complete, 1)
    except TimeoutError:
        told = probe.Told(sink)
    wrong, kinds = [], collections.Counter()
    for request in requests:
        before = len(wrong)
        kinds[one_request(told, request, wrong)] += 1
        if twins and len(wrong) > before and "(ambiguous" in wrong[-1]:
            wrong.pop()
    expect(not wrong, "%s: %d of %d requests are wrong: %s" % (what, len(wrong), len(requests), "; ".join(wrong[:4])))
    if not twins:
        odd = {k: v for k, v in kinds.items() if k not in SURE}
        failed = sum(not r.succeeded() for r in requests)
        expect(sum(odd.values()) <= failed, "%s: correlation %s" % (what, dict(kinds)))
    return told, kinds


def check_load(sink, server, requests, clients, what, twins=False):
    llama_load.send_all(server.base, requests, clients)
    answered = [r for r in requests if r.status]
    expect_eq(len(answered), len(requests), "%s: answers (%s)" % (what, [r.error for r in requests if r.error][:2]))
    good = [r for r in requests if r.succeeded()]
    expect(len(good) >= 0.9 * len(requests), "%s: %d of %d succeeded: %s" % (
        what, len(good), len(requests), [r.error for r in requests if r.error][:2]))
    told, kinds = compare(sink, requests, what, twins)
    return told, "%s %d (%s)" % (what, len(requests), ", ".join("%d %s" % (v, k) for k, v in sorted(kinds.items())))


def check_model(told, server):
    """Model and context as the server tells them."""
    props = net.get(server.base + "/props").json()
    loads = [s for s in told.named("llama_model_load") if not s["attributes"].get("llama.dry_run")]
    expect(loads, "no span llama_model_load")
    a = loads[-1]["attributes"]
    expect_eq((a.get("model.path"), a.get("n_params")), (props["model_path"], probe.PARAMETERS), "model")
    contexts = [s for s in told.named("llama_new_context_with_model")
                if s["attributes"].get("context.kv_bytes")]
    expect(contexts, "no span llama_new_context_with_model with memory: %s" % [
        s["attributes"] for s in told.named("llama_new_context_with_model")])
    a = contexts[-1]["attributes"]
    expect_eq((a.get("context.n_ctx"), a.get("context.kv_bytes")), (CONTEXT, CONTEXT * probe.KV_BYTES_PER_TOKEN),
              "context")


# The server's own series, and ours of the same name; the server leaves warm-up and what /metrics itself does out.
SERIES = ("prompt_tokens_total", "tokens_predicted_total", "prompt_tokens_cached_total", "n_tokens_max")
# Only newer servers have these.
DRAFTS = ("spec_decode_num_drafts_total", "spec_decode_num_draft_tokens_total", "spec_decode_num_accepted_tokens_total")


def check_metrics(server, requests):
    theirs = probe.parse_page(net.get(server.base + "/metrics").text())
    names = SERIES + tuple(n for n in DRAFTS if "llamacpp:" + n in theirs)

    def settled():
        ours = server.page()
        return ours if all(ours.get("llamacpp:" + n) == theirs.get("llamacpp:" + n) for n in names) else None
    try:
        ours = net.until("equal metrics", 5, settled)
    except TimeoutError:
        ours = server.page()
    for name in names:
        expect_eq(ours.get("llamacpp:" + name), theirs.get("llamacpp:" + name), "llamacpp:" + name)
    expect_eq(ours.get("llamacpp_" + SERIES[0]), ours.get("llamacpp:" + SERIES[0]), "the name with an underscore")
    answered = sum(r.generated for r in requests if r.succeeded())
    expect(0.95 * theirs["llamacpp:tokens_predicted_total"] <= answered <= theirs["llamacpp:tokens_predicted_total"],
           "generated tokens: the server's metrics %g, its answers %d" % (theirs["llamacpp:tokens_predicted_total"],
                                                                       answered))
    decodes = abs(ours["llamacpp:n_decode_total"] - theirs["llamacpp:n_decode_total"])
    expect(decodes <= 0.01 * theirs["llamacpp:n_decode_total"] + 4, "n_decode_total: server %g, probe %g" % (
        theirs["llamacpp:n_decode_total"], ours["llamacpp:n_decode_total"]))
    expect_eq(ours.get("llamacpp:requests_processing"), 0, "requests_processing when idle")


def check_slots(server):
    """After the load: what the slots hold."""
    page = server.page()
    for slot in net.get(server.base + "/slots").json():
        held = probe.total(page, "llamacpp_sequence_tokens", sequence=slot["id"])
        expect(held is not None and held <= slot["n_ctx"], "tokens of slot %d: %s" % (slot["id"], held))


# What else a server is asked: name, path, body. Answers tell what was done for them, in one of three ways.
SHAPES = (
    ("prompts in a list", "/completion", {"prompt": ["the first house", "a second longer word week", "third"],
                                          "n_predict": 5}),
    ("a prompt of tokens", "/completion", {"prompt": [1, 300, 301, 302, 303], "n_predict": 5}),
    ("a prompt of tokens and text", "/completion", {"prompt": [1, "text here", 300], "n_predict": 5}),
    ("two answers", "/v1/completions", {"prompt": "the second world", "max_tokens": 6, "n": 2}),
    ("three answers", "/v1/chat/completions", {"messages": [{"role": "user", "content": "three of them"}],
                                               "max_tokens": 6, "n": 3}),
    ("completions", "/v1/completions", {"prompt": "once again", "max_tokens": 4}),
    ("completions of a list", "/v1/completions", {"prompt": ["aa one", "bb two"], "max_tokens": 4}),
    ("messages", "/v1/messages", {"model": "tiny", "max_tokens": 5,
                                  "messages": [{"role": "user", "content": "hello there"}]}),
    ("responses", "/v1/responses", {"model": "tiny", "max_output_tokens": 5, "input": "hello there again"}),
    ("one token", "/completion", {"prompt": "nothing more", "n_predict": 1}),
)


def told_by_answer(body, reply):
    """(prompts with slot, prompt and cached tokens where the answer has them, prompt tokens, generated tokens)."""
    parts = reply if isinstance(reply, list) else [reply]
    slots = sorted((p["id_slot"], p["timings"]["prompt_n"], p["timings"]["cache_n"]) for p in parts if "id_slot" in p)
    usage = parts[0].get("usage")
    if slots:
        return slots, sum(n + cached for _, n, cached in slots), sum(p["timings"]["predicted_n"] for p in parts)
    cached = usage.get("cache_read_input_tokens", 0)  # Anthropic's input tokens are those that were processed
    many = body.get("n", 1)
    prompts = [body["prompt"]] if isinstance(body.get("prompt"), str) else body.get("prompt", [0])
    if len(prompts) > 1:  # usage of the first of them only
        return None, None, len(prompts) * body["max_tokens"]
    return (None, usage.get("prompt_tokens", usage.get("input_tokens")) + cached,
            many * usage.get("completion_tokens", usage.get("output_tokens")))


def check_shape(told, trace, name, slots, prompt, generated):
    spans = told.by_trace[trace]
    (span_id, _), = [(i, s) for i, s in spans.items() if s["kind"] == "SERVER"]
    prompts = probe.children(spans, span_id, "process_prompt")
    seen = sorted((s["attributes"]["slot.id"], s["attributes"]["prompt.tokens"],
                   s["attributes"].get("prompt.tokens_cached", 0)) for s in prompts)
    made = sum(s["attributes"]["completion.tokens"] for s in probe.children(spans, span_id, "generate_tokens"))
    if slots is not None:
        expect_eq(seen, slots, "%s: slot, prompt and cached tokens" % name)
    if prompt is not None:
        expect_eq(sum(n + cached for _, n, cached in seen), prompt, "%s: prompt tokens" % name)
    expect_eq(made, generated, "%s: generated tokens" % name)


def check_shapes(sink, server):
    sent = []
    for n, (name, path, body) in enumerate(SHAPES):
        trace = "%032x" % (0x5ade0000 + n)
        body = dict(body, temperature=0)  # what a tiny model says by chance the server cannot always read
        reply = net.post(server.base + path, body, {"traceparent": "00-%s-%016x-01" % (trace, n + 1)})
        expect_eq(reply.status, 200, "%s: status (%s)" % (name, reply.text()[:200]))
        sent.append((trace, name, *told_by_answer(body, reply.json())))

    def complete():
        told = probe.Told(sink)
        return told if all(any(s["kind"] == "SERVER" for s in told.by_trace.get(t[0], {}).values())
                           for t in sent) else None
    told = net.until("spans of all shapes", 15, complete)
    for one in sent:
        check_shape(told, *one)
    expect(not told.named("llama.generate"), "generations without a request: %d" % len(told.named("llama.generate")))
    return "%d other kinds of requests" % len(sent)


def run_server(peer, count):
    def run(ctx):
        sink = sightline.Sink(ctx)
        server = start(ctx, peer(), sink)
        details, requests = [], []
        for what, batch, clients in (("random prompts", llama_load.random_prompts(count), 8),
                                     ("a shared prefix", llama_load.shared_prefix(count), 8),
                                     ("chats", llama_load.chats(count * 2 // 5), 8),
                                     ("chats on given slots", llama_load.pinned_chats(count // 25, SLOTS), 1),
                                     ("identical prompts", llama_load.twins(count * 2 // 5), 8)):
            requests += batch
            told, detail = check_load(sink, server, batch, clients, what, what == "identical prompts")
            details.append(detail)
        check_model(told, server)
        check_metrics(server, requests)
        details.append(check_shapes(sink, server))
        check_slots(server)
        return "; ".join(details)
    return run


# Settings that change how prompts and tokens come to llama_decode. MODEL stands for the model's path.
SETTINGS = (
    ("small batches", ["-b", "32", "-ub", "32"]),
    ("one memory for all sequences", ["--kv-unified"]),
    ("no continuous batching", ["--no-cont-batching"]),
    ("a draft model", ["-md", "MODEL", "--spec-type", "draft-simple", "--spec-draft-n-max", "4"]),
    ("drafts from the prompt", ["--spec-type", "ngram-simple"]),
    ("no cache of prompts", ["--cache-ram", "0", "--no-cache-prompt"]),
)


def run_settings(ctx):
    """A server for each setting; random prompts and a shared prefix."""
    peer, model = new_peer(), sightline.tiny_model(ctx)
    sink = sightline.Sink(ctx)
    for n, (name, options) in enumerate(SETTINGS):
        port = ctx.free_port()
        argv = peer.argv(model, port, *[model if o == "MODEL" else o for o in options])
        server = probe.Server(ctx, "server-%d" % n, argv, port, dict(probe.export_env(sink), **peer.env))
        requests = llama_load.shared_prefix(120, 20 + n) + llama_load.random_prompts(120, 40 + n)
        check_load(sink, server, requests, 8, name)
        check_metrics(server, requests)
        server.stop()
        ctx.processes.remove(server.process)
    return "; ".join(name for name, _ in SETTINGS)


def run_broken_off(ctx):
    """Clients go away in the midst of their answers; the answers of all others are told as exactly as ever."""
    sink = sightline.Sink(ctx)
    server = start(ctx, old_peer(), sink)
    requests = llama_load.random_prompts(120, 7)
    gone = [r for r in llama_load.random_prompts(60, 8)]
    for r in gone:
        r.body.update(stream=True, n_predict=400, ignore_eos=True)
    leave = threading.Thread(target=lambda: [llama_load.break_off(server.base, r, 1 + r.number % 5) for r in gone])
    leave.start()
    _, detail = check_load(sink, server, requests, 4, "others")
    leave.join()

    def told():
        found = probe.Told(sink)
        return found if all(found.by_trace.get(r.trace) for r in gone) else None
    found = net.until("spans of requests that were broken off", 20, told)
    for r in gone:
        (span_id, span), = [(i, s) for i, s in found.by_trace[r.trace].items() if s["kind"] == "SERVER"]
        said_all = span["attributes"].get("gen_ai.usage.output_tokens") == 400  # before the client was gone: nothing was broken off
        expect_eq(span["attributes"].get("error.type"), None if said_all else "client_disconnected",
                  "error.type of a request broken off after %s tokens" % span["attributes"].get("gen_ai.usage.output_tokens"))
        made = probe.children(found.by_trace[r.trace], span_id, "generate_tokens")
        expect_eq(len(made), 1, "generate_tokens of a request broken off")
        expect(0 < made[0]["attributes"]["completion.tokens"] <= 400, "its tokens")
    page = net.until("an idle server", 10, lambda: (lambda p: p if p["llamacpp:requests_processing"] == 0 else None)(
        server.page()))
    expect_eq(page["llamacpp:requests_deferred"], 0, "requests_deferred when idle")
    return "%s; %d broken off" % (detail, len(gone))


def logged_slots(log):
    """What the server's log says of each answer: {(prompt tokens, ms, generated tokens, ms): slots}."""
    slots, prompt = collections.defaultdict(set), {}
    line = re.compile(r"id +(\d+) \| task (\d+) \| +(prompt )?eval time = +([\d.]+) ms / +(\d+) tokens")
    for slot, task, is_prompt, ms, tokens in line.findall(log):
        if is_prompt:
            prompt[slot, task] = (int(tokens), ms)
        else:
            slots[prompt[slot, task] + (int(tokens), ms)].add(int(slot))
    return slots


def log_of(server):
    with open(server.process.log, encoding="utf-8", errors="replace") as file:
        return file.read()


def run_twins(peer):
    """The same question from 8 clients at once: the answers tell no slot, but the server's log does. What the probe
    calls certain is so, and where answers have different lengths that is nearly all."""
    def run(ctx):
        sink, details = sightline.Sink(ctx), []
        server = start(ctx, peer(), sink)
        for n, (warm, same) in enumerate(((False, False), (True, False), (False, True), (True, True))):
            requests = llama_load.twin_chats(200, warm, same, 12 + n)
            llama_load.send_all(server.base, requests, 8)
            time.sleep(1)  # the log is behind
            slots = logged_slots(log_of(server))
            for r in requests:
                t = r.timings
                key = (r.prompt, "%.2f" % t["prompt_ms"], r.generated, "%.2f" % t["predicted_ms"]) if t else None
                r.slot = min(slots[key]) if t and len(slots[key]) == 1 else -1
            expect(sum(r.slot >= 0 for r in requests) >= 150, "answers in the log: %d" % sum(r.slot >= 0 for r in requests))
            what = "%s answers of %s" % ("warm" if warm else "cold", "one length" if same else "some lengths")
            _, kinds = compare(sink, requests, what, twins=True)
            sure = sum(kinds[k] for k in SURE)
            failed = sum(not r.succeeded() for r in requests)
            expect(sure + failed >= (60 if same else 180), "%s: %s" % (what, dict(kinds)))
            details.append("%s: %s" % (what, ", ".join("%d %s" % (v, k) for k, v in sorted(kinds.items()))))
        return "; ".join(details)
    return run


def run_tls(ctx):
    """The server speaks TLS itself: requests are told by what libssl reads and writes, as exactly as without it."""
    peer, sink = new_peer(), sightline.Sink(ctx)
    key, certificate = probe.certificate(ctx)
    port = ctx.free_port()
    argv = peer.argv(sightline.tiny_model(ctx), port, "--ssl-key-file", key, "--ssl-cert-file", certificate)
    server = probe.Server(ctx, "server", argv, port, dict(probe.export_env(sink), **peer.env), scheme="https")
    details, requests = [], []
    for what, batch, clients in (("random prompts", llama_load.random_prompts(240, 9), 8),
                                 ("chats", llama_load.chats(120, 10), 8),
                                 ("chats on given slots", llama_load.pinned_chats(40, SLOTS, 11), 1)):
        requests += batch
        told, detail = check_load(sink, server, batch, clients, what)
        details.append(detail)
    for r in requests:
        for span in told.by_trace[r.trace].values():
            if span["kind"] == "SERVER" and status_of(span):
                expect_eq((span["attributes"].get("url.scheme"), "gen_ai.first_token" in span["events"]), ("https", r.succeeded()),
                          "url.scheme of request %d, and whether its first token was seen" % r.number)
    check_metrics(server, requests)
    return "; ".join(details)


ROWS = [
    Row("probe-server-old", "quick", "llama-server", llama_server.VERSION,
        "1,000 concurrent requests: slots, tokens, memory and metrics as the server tells them",
        run_server(old_peer, 1000), needs=[lambda: python_venv.install("llama_server")], limit=400, order=64),
    Row("probe-server-new", "full", "llama-server", llama_build.VERSION,
        "the same on a server that uses llama_process", run_server(new_peer, 1000),
        needs=[llama_build.install], cached=llama_build.cached, limit=400, order=65),
    Row("probe-server-twins-old", "quick", "llama-server", llama_server.VERSION,
        "the same question from several clients at once: what is called certain is", run_twins(old_peer),
        needs=[lambda: python_venv.install("llama_server")], limit=400, order=65),
    Row("probe-server-twins-new", "full", "llama-server", llama_build.VERSION,
        "the same on a server that uses llama_process", run_twins(new_peer), needs=[llama_build.install],
        cached=llama_build.cached, limit=400, order=65),
    Row("probe-server-settings", "full", "llama-server", llama_build.VERSION,
        "the same under settings that change the batches", run_settings, needs=[llama_build.install],
        cached=llama_build.cached, limit=400, order=65),
    Row("probe-server-tls", "full", "llama-server", llama_build.VERSION,
        "requests within TLS that the server speaks itself", run_tls, needs=[llama_build.install],
        cached=llama_build.cached, order=65),
    Row("probe-server-broken-off", "quick", "llama-server", llama_server.VERSION,
        "clients that go away in the midst of an answer", run_broken_off,
        needs=[lambda: python_venv.install("llama_server")], order=65),
]
