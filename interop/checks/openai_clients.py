"""The official OpenAI clients of Python and JavaScript through the gateway: to our mock, to a genuine llama-server,
and to a provider that records what it is sent (errors, tools, and what must not go on)."""
import json
import os

from checks import Row
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import clients, javascript, llama_server

FAILURES = {"fail-400": "BadRequestError", "fail-429": "RateLimitError", "fail-500": "InternalServerError",
            "fail-503": "InternalServerError"}
MOCK_TOKENS = 6


def python_client(ctx, job):
    return ctx.run([clients.python(), os.path.join(sightline.CLIENTS, "openai_client.py"), job])


def javascript_client(ctx, job):
    return ctx.run([javascript.node(), os.path.join(sightline.CLIENTS, "openai_client.mjs"), job],
                   {"MODULES": javascript.install()})


def call(ctx, client, base, model, *cases, key=sightline.KEY):
    job = {"base_url": base + "/v1", "key": key, "model": model, "cases": cases}
    return json.loads(client(ctx, json.dumps(job)))


def check_streams(seen, content, usage):
    """Both kinds of streams carry the same text; the frame with usage is seen only by the one that asked."""
    for name in ("stream", "stream_usage"):
        expect_eq(seen[name]["content"], content, "text of %s" % name)
    expect_eq((seen["stream"]["empty"], seen["stream"]["usage"]), (0, None),
              "frames without choices, and usage, in a stream that did not ask for usage")
    expect_eq((seen["stream_usage"]["empty"], seen["stream_usage"]["usage"]), (1, usage),
              "frames without choices, and usage, in a stream that asked for it")


def run_mock(client):
    def run(ctx):
        mock = sightline.start_mock(ctx, "--ttft", "2", "--itl", "1", "--tokens", str(MOCK_TOKENS))
        gateway = sightline.Gateway(ctx, {"mock": (mock + "/v1", "mock")})
        seen = call(ctx, client, gateway.url, "mock", "models", "unary", "stream", "stream_usage", "wrong_key",
                    "no_model")
        expect_eq(seen["models"], ["mock"], "models.list()")
        one = seen["unary"]
        expect(one["content"] and one["finish"] in ("stop", "length"), "unary answer %s" % one)
        expect_eq(one["usage"][1], MOCK_TOKENS, "completion tokens of the mock")
        expect_eq(one["usage"][2], one["usage"][0] + one["usage"][1], "total tokens")
        check_streams(seen, seen["stream"]["content"], seen["stream_usage"]["usage"])
        expect_eq(seen["stream_usage"]["usage"], one["usage"], "usage of the stream and of the unary answer")
        expect(seen["stream"]["chunks"] > MOCK_TOKENS, "the stream came in %d chunks" % seen["stream"]["chunks"])
        expect_eq((seen["wrong_key"]["class"], seen["wrong_key"]["status"]), ("AuthenticationError", 401),
                  "error for a wrong key")
        expect(seen["no_model"]["class"] in ("NotFoundError", "BadRequestError"),
               "error for an unknown model: %s" % seen["no_model"])
        expect(seen["no_model"]["message"] and "no-such-model" in seen["no_model"]["message"],
               "the error does not name the unknown model: %s" % seen["no_model"])
        return "models, unary, 2 streams, 2 errors"
    return run


def run_llama(client):
    def run(ctx):
        base = llama_server.start(ctx, sightline.tiny_model(ctx))
        gateway = sightline.Gateway(ctx, {"tiny": (base + "/v1", llama_server.MODEL)})
        cases = ("unary", "stream", "stream_usage")
        seen = call(ctx, client, gateway.url, "tiny", *cases)
        direct = call(ctx, client, base, llama_server.MODEL, *cases, key="none")
        one = seen["unary"]
        expect(one["content"] and one["content"].strip(), "no text from llama-server: %s" % one)
        expect_eq((one["content"], one["usage"], one["finish"]),
                  tuple(direct["unary"][k] for k in ("content", "usage", "finish")),
                  "answer through the gateway and without it")
        expect_eq(one["usage"][1], 8, "completion tokens")
        check_streams(seen, one["content"], one["usage"])
        expect_eq(seen["stream_usage"], direct["stream_usage"], "stream through the gateway and without it")
        return "unary and 2 streams equal those without the gateway"
    return run


def check_sent(provider, reference):
    """What the provider received: the bytes as they were but for the model's name; the gateway's key, not the client's.

    `reference` is the same unary request with tools, sent by the client without the gateway.
    """
    for seen in provider.seen:
        if seen["method"] != "POST":
            continue
        expect_eq(seen["headers"].get("authorization"), "Bearer sk-upstream-key", "authorization sent upstream")
        expect(sightline.KEY not in json.dumps(seen["headers"]) + seen["raw"].decode(),
               "the client's key has gone upstream")
        if "stream" in seen["body"]:
            expect_eq(seen["body"].get("stream_options"), {"include_usage": True}, "stream_options sent upstream")
    with_tools = [s for s in provider.seen if s["body"] and s["body"].get("tools")]
    expect_eq(len(with_tools), 2, "requests with tools that reached the provider")
    wanted = reference["raw"].replace(b'"reference"', b'"upstream-name"')
    for seen in with_tools:
        rest = {k: v for k, v in seen["body"].items() if k not in ("stream", "stream_options")}
        expect_eq(rest, json.loads(wanted), "body that reached the provider")
        if not seen["body"].get("stream"):
            expect_eq(seen["raw"].decode(), wanted.decode(), "bytes that reached the provider")


def run_provider(client):
    def run(ctx):
        provider = ctx.own(net.Provider())
        models = {name: (provider.url + "/v1", name) for name in FAILURES}
        models["alias"] = (provider.url + "/v1", "upstream-name")
        gateway = sightline.Gateway(ctx, models)
        seen = call(ctx, client, gateway.url, "alias", "unary", "stream", "stream_usage", "tools", "tools_stream",
                    *FAILURES)
        usage = [net.USAGE[k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")]
        expect_eq((seen["unary"]["content"], seen["unary"]["usage"]), (net.ANSWER, usage), "unary answer")
        check_streams(seen, net.ANSWER, usage)
        calls = [["call_1", "weather", net.TOOL_ARGUMENTS]]
        for name in ("tools", "tools_stream"):
            expect_eq((seen[name]["calls"], seen[name]["finish"]), (calls, "tool_calls"), "tool calls of %s" % name)
        for name, kind in FAILURES.items():
            got = seen[name]
            expect_eq((got["class"], got["status"], got["code"], got["type"]),
                      (kind, int(name[5:]), "planned", "interop_error"), "error for %s" % name)
        direct = call(ctx, client, provider.url, "reference", "tools")
        expect_eq(direct["tools"]["calls"], calls, "tool calls without the gateway")
        check_sent(provider, provider.seen.pop())
        return "unary, 2 streams, tools in both, %d errors; body, key and model as they must be" % len(FAILURES)
    return run


def rows(language, client, version, need, order):
    name = "openai-" + language
    peer = "OpenAI client, " + {"python": "Python", "js": "JavaScript"}[language]

    def row(suffix, what, run, n, extra=(), seen_version=version):
        return Row(name + suffix, "quick", peer, seen_version, what, run, needs=[need, *extra], order=order + n)
    return [
        row("-mock", "unary, streamed, errors, through the gateway to the mock", run_mock(client), 0),
        row("-provider", "errors and tools passed through, nothing else changed", run_provider(client), 1),
        row("-llama-server", "unary and streamed to a genuine llama-server", run_llama(client), 2,
            [lambda: llama_server.python_venv.install("llama_server")],
            "%s, llama-server %s" % (version, llama_server.VERSION)),
    ]


ROWS = rows("python", python_client, clients.OPENAI, clients.python, 60) + \
    rows("js", javascript_client, javascript.OPENAI, javascript.install, 70)
