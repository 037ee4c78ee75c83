#!/usr/bin/env python3
"""Bodies by chance through the gateway: what goes on is what came, to the byte, but for the model's name and the asked usage."""
import http.server
import json
import os
import random
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

ANSWER = json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"},
                                                                                      "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
FRAMES = b'data: {"choices":[{"index":0,"delta":{"content":"ok"}}]}\n\ndata: [DONE]\n\n'


class Upstream(http.server.BaseHTTPRequestHandler):
    """Keeps what it was sent: (path, fields, body)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, [(k.lower(), v) for k, v in self.headers.items()], body))
        streams = b'"stream"' in body and any(k == "stream" and v is True for k, v in json.loads(body, object_pairs_hook=list))
        answer = FRAMES if streams else ANSWER
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def started(models=("small", "a-much-longer-name-than-that-of-the-upstream"), extra=""):
    Upstream.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = "model_list:\n" + "".join(
        f"  - model_name: {model}\n    litellm_params:\n      model: openai/upstream-model\n      api_base: http://127.0.0.1:{server.server_port}/v1\n"
        f"      api_key: sk-upstream\n{extra}" for model in models) + "general_settings: {master_key: sk-test}\n"
    return server, lib.gateway(config=config)


def send(gateway, body, path="/v1/chat/completions", headers=None):
    return lib.request("POST", gateway.url("gateway") + path, body, {"Authorization": "Bearer sk-test", "Content-Type": "application/json", **(headers or {})})


# ---- bodies by chance ----


def blank(dice):
    return dice.choice(["", "", "", " ", "\n", "\t ", "\r\n"])


def string(dice, text):
    """A text in one of the ways that JSON has for it."""
    out = []
    for c in text:
        way = dice.random()
        if c in '"\\' or ord(c) < 32 or way < 0.15:
            units = c.encode("utf-16-be")
            form = "%04x" if dice.random() < 0.5 else "%04X"
            out += ["\\u" + form % int.from_bytes(units[i:i + 2], "big") for i in range(0, len(units), 2)]
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


TEXTS = ["", "a", "model", "stream", "stream_options", "small", 'say "hi"', "back\\slash", "\u00e4\u20ac\U0001f600", "\u2028", "\x00\x1f", "{}[],:", "</script>", "x" * 300]


def value(dice, depth):
    kind = dice.randrange(7 if depth else 4)
    if kind == 0:
        return dice.choice(["true", "false", "null"])
    if kind <= 2:
        return string(dice, dice.choice(TEXTS))
    if kind == 3:
        return dice.choice(["0", "-0", "1.50", "1e5", "-2E-3", "12345678901234567890", "0.1000000000000000055511151231257827"])
    if kind == 4:
        return "[" + ",".join(blank(dice) + value(dice, depth - 1) + blank(dice) for _ in range(dice.randrange(4))) + blank(dice) + "]"
    return "{" + ",".join(member(dice, dice.choice(TEXTS), value(dice, depth - 1)) for _ in range(dice.randrange(4))) + blank(dice) + "}"


def member(dice, name, text):
    return blank(dice) + string(dice, name) + blank(dice) + ":" + blank(dice) + text + blank(dice)


def body_of(dice, model, stream=None, options=None):
    """(text, the same with another model): members in any order; the model's name stands once at the top, and often below."""
    names = [n for n in TEXTS if n not in ("model", "stream", "stream_options")]
    rows = [(n, value(dice, 3)) for n in dice.sample(names, dice.randrange(5))]
    rows.append(("messages", '[{"role": "user", "content": ' + string(dice, dice.choice(TEXTS)) + ', "model": "small"}]'))
    if stream is not None:
        rows.append(("stream", stream))
    if options is not None:
        rows.append(("stream_options", options))
    dice.shuffle(rows)
    before = [member(dice, n, v) for n, v in rows]
    at = dice.randrange(len(before) + 1)
    head, foot = blank(dice) + "{", "}" + blank(dice)
    name = member(dice, "model", "@@MODEL@@")
    text = head + ",".join(before[:at] + [name] + before[at:]) + foot
    return (text.replace("@@MODEL@@", string(dice, model)).encode("utf-8", "surrogatepass"),
            text.replace("@@MODEL@@", '"upstream-model"').encode("utf-8", "surrogatepass"))


def test_bodies_go_on_to_the_byte():
    """However a body is written, only the value of the outermost "model" is another one."""
    server, gateway = started()
    dice = random.Random(1)
    for i in range(400):
        model = dice.choice(["small", "a-much-longer-name-than-that-of-the-upstream"])
        sent, wanted = body_of(dice, model, dice.choice([None, "false", "null"]))
        reply = send(gateway, sent)
        lib.equal(reply.status, 200, (i, sent, reply.text))
        assert Upstream.seen[-1][2] == wanted, (i, sent, Upstream.seen[-1][2], wanted)
    lib.equal(len(Upstream.seen), 400)
    server.shutdown()


def test_streams_ask_for_their_usage_and_for_nothing_else():
    """stream_options.include_usage is put in where nothing is said; a client's no stays, as do all other members in their order."""
    server, gateway = started()
    dice = random.Random(2)
    for i in range(300):
        options = dice.choice([None, None, "{}", '{ "include_usage" : false }', '{"include_usage":true}', '{"x":[1,{"include_usage":0}]}', '{"include_usage": null, "y": 1}',
                               "null"])
        sent, wanted = body_of(dice, "small", "true", options)
        reply = send(gateway, sent)
        lib.equal(reply.status, 200, (i, sent, reply.text))
        seen = json.loads(Upstream.seen[-1][2], object_pairs_hook=list)
        expected = json.loads(wanted, object_pairs_hook=list)
        rest = [row for row in seen if row[0] != "stream_options"]
        lib.equal(rest, [row for row in expected if row[0] != "stream_options"], (i, sent))
        given = dict(dict(seen)["stream_options"])
        before = dict(dict(expected).get("stream_options") or [])
        if before.get("include_usage") is not False:
            before["include_usage"] = True
        lib.equal(given, before, (i, sent[:200]))
    server.shutdown()


def test_bodies_that_no_two_readers_would_read_alike():
    """A name that stands twice at the top is refused where it decides: which one would the upstream take?"""
    server, gateway = started()
    for body in ('{"model":"small","model":"small","messages":[]}', '{"model":"small","messages":[],"mod\\u0065l":"other"}',
                 '{"model":"small","stream":false,"messages":[],"stream":true}'):
        reply = send(gateway, body.encode())
        if reply.status == 200:  # then at least both would have taken the same
            seen = json.loads(Upstream.seen[-1][2], object_pairs_hook=list)
            names = [v for k, v in seen if k == "model"]
            assert set(names) == {"upstream-model"}, (body, seen)
        else:
            lib.equal(reply.status, 400, (body, reply.text))
            lib.contains(reply.json()["error"]["message"], "twice" if "twice" in reply.text else "model" if "model" in reply.text else "stream", body)
    server.shutdown()


def test_bodies_that_are_refused():
    """OpenAI's shape, the right status, the parameter's name; and nothing went on."""
    server, gateway = started()
    refused = [(b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"x"', 400), (b"{}", 400), (b'{"model":5}', 400), (b'{"model":null}', 400),
               (b'{"model":""}', 400), (b'{"model":["small"]}', 400), (b'{"model":"small"', 400), (b'{"model":"small"}x', 400), (b'{"model":"small",}', 400),
               (b"{'model':'small'}", 400), (b'\xef\xbb\xbf{"model":"small"}', 400), (b'{"model":"\xff"}', 400), (b'{"model":"small","a":01}', 400),
               (b'{"model":"sm\nall"}', 400), (b'{"model":"small","a":' + b"[" * 500 + b"]" * 500 + b"}", 400), (b'{"model":"unknown-model"}', 404),
               (b'{"model":"Small"}', 404), (b'{"model":"small "}', 404), (b'{"model":"' + b"m" * 5000 + b'"}', 404), (b'{"model":"small","stream":"true"}', 400),
               (b'{"model":"small","stream":1}', 400)]
    for body, status in refused:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            before = len(Upstream.seen)
            reply = send(gateway, body, path)
            if reply.status == 200 and b'"stream"' in body:
                continue  # the upstream may judge it
            assert reply.status in (status, 400, 404) and 400 <= reply.status < 500, (path, body[:60], reply.status, reply.text)
            error = reply.json()["error"]
            assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"], error
            lib.equal(len(Upstream.seen), before, (path, body[:60]))
    server.shutdown()


# ---- fields ----


def test_fields_that_go_on_and_fields_that_stay():
    """End-to-end fields go on as they are; those of the connection, of proxies and the client's key never do."""
    server, gateway = started()
    on = {"X-Custom": "a, b;c=\"d\"", "User-Agent": "my client/1.0", "OpenAI-Organization": "org", "X-Request-Id": "req-1", "Accept": "text/event-stream;q=0.5"}
    stay = {"Connection": "keep-alive, X-Gone", "X-Gone": "1", "Keep-Alive": "timeout=5", "TE": "trailers", "Proxy-Authorization": "Basic eDp5",
            "Proxy-Connection": "keep-alive", "Upgrade": "websocket", "Cookie": "a=b"}
    reply = send(gateway, b'{"model":"small","messages":[]}', headers={**on, **stay})
    lib.equal(reply.status, 200, reply.text)
    fields = Upstream.seen[-1][1]
    names = [k for k, _ in fields]
    for name in ("authorization", "host", "content-length", "content-type"):
        lib.equal(names.count(name), 1, fields)
    lib.equal(dict(fields)["authorization"], "Bearer sk-upstream")
    assert "sk-test" not in str(fields), fields
    for name in ("x-gone", "keep-alive", "te", "proxy-authorization", "proxy-connection", "upgrade"):
        assert name not in names, (name, fields)
    lib.equal(dict(fields).get("x-custom"), on["X-Custom"])
    lib.equal(dict(fields)["host"], "127.0.0.1:%d" % server.server_port)
    server.shutdown()


def test_paths_and_queries_go_on():
    """The upstream's base path in front, nothing of the client's query lost."""
    server, gateway = started()
    for path in ("/v1/chat/completions", "/chat/completions"):
        for query in ("", "?a=b", "?a=%2F&b=%20&c", "?" + urllib.parse.urlencode({"x": "\u00e4 &="})):
            reply = send(gateway, b'{"model":"small","messages":[]}', path + query)
            lib.equal(reply.status, 200, (path, query, reply.text))
            lib.equal(Upstream.seen[-1][0].split("?")[0], "/v1/chat/completions", (path, query))
    server.shutdown()


lib.main(globals())
