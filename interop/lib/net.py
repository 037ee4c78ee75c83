"""HTTP without libraries: requests with time limits, and a provider that records what it is sent."""
import http.client
import json
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode("utf-8", "replace")


def connection(url, timeout):
    """To the server of a URL. A server with TLS is one of the check's own: whose certificate it has is not asked."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=ssl._create_unverified_context())
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def request(method, url, body=None, headers=None, timeout=15):
    """One HTTP request on a connection of its own. `body`: bytes, or anything that is sent as JSON."""
    parts = urllib.parse.urlsplit(url)
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
    conn = connection(url, timeout)
    try:
        conn.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers)
        answer = conn.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        conn.close()


def get(url, headers=None, timeout=15):
    return request("GET", url, None, headers, timeout)


def post(url, body, headers=None, timeout=30):
    return request("POST", url, body, headers, timeout)


def until(what, seconds, probe, pause=0.1):
    """Calls `probe` until it returns something true, and returns that; TimeoutError names `what` and the last error."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = probe()
            if value:
                return value
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as e:
            last = e
        if time.monotonic() > end:
            raise TimeoutError("%s: not within %g s%s" % (what, seconds, " (%s)" % last if last else ""))
        time.sleep(pause)


class Server:
    """A small HTTP server on a free loopback port, in a thread of its own."""

    def __init__(self, handler_class):
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler_class)
        self.httpd.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.httpd.server_address[1]
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *args):
        pass

    def body(self):
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status, body, content_type="application/json", headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ANSWER = "The line of sight is clear."
TOOL_ARGUMENTS = '{"city":"Z\\u00fcrich","days":3}'
CREATED = 1700000000


def tool_call():
    return {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": TOOL_ARGUMENTS}}


def completion(model, tools):
    message = {"role": "assistant", "content": None if tools else ANSWER}
    if tools:
        message["tool_calls"] = [tool_call()]
    return {"id": "chatcmpl-interop", "object": "chat.completion", "created": CREATED, "model": model,
            "system_fingerprint": "fp_interop",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}],
            "usage": USAGE}


def chunks(model, tools, with_usage):
    """The frames of a streamed answer, as JSON values."""
    def frame(choices, **more):
        return dict({"id": "chatcmpl-interop", "object": "chat.completion.chunk", "created": CREATED, "model": model,
                     "choices": choices}, **more)

    def delta(part, reason=None):
        return frame([{"index": 0, "delta": part, "finish_reason": reason}])
    yield delta({"role": "assistant", "content": None if tools else ""})
    if tools:
        half = len(TOOL_ARGUMENTS) // 2
        yield delta({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                     "function": {"name": "weather", "arguments": ""}}]})
        for part in (TOOL_ARGUMENTS[:half], TOOL_ARGUMENTS[half:]):
            yield delta({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    else:
        for word in ANSWER.split(" "):
            yield delta({"content": word if word == "The" else " " + word})
    yield delta({}, "tool_calls" if tools else "stop")
    if with_usage:
        yield frame([], usage=USAGE)


class Provider(Server):
    """An OpenAI-compatible provider that keeps every request: list of {method, path, headers, body}.

    Models decide the answer: `fail-STATUS` is refused with that status and an OpenAI error body.
    """

    def __init__(self):
        seen = self.seen = []

        class Handler(Quiet):
            def do_GET(self):
                seen.append({"method": "GET", "path": self.path, "headers": lower(self.headers), "body": None})
                self.answer(200, {"object": "list", "data": [{"id": "up", "object": "model", "created": CREATED,
                                                              "owned_by": "interop"}]})

            def do_POST(self):
                raw = self.body()
                body = json.loads(raw)
                seen.append({"method": "POST", "path": self.path, "headers": lower(self.headers), "body": body,
                             "raw": raw})
                model = body.get("model", "")
                if model.startswith("fail-"):
                    return self.answer(int(model[5:]), {"error": {
                        "message": "planned failure " + model[5:], "type": "interop_error", "param": None,
                        "code": "planned"}}, headers={"x-request-id": "req_interop"})
                if not body.get("stream"):
                    return self.answer(200, completion(model, body.get("tools")))
                return self.stream(body)

            def stream(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                usage = (body.get("stream_options") or {}).get("include_usage")
                frames = [json.dumps(c) for c in chunks(body["model"], body.get("tools"), usage)] + ["[DONE]"]
                for text in frames:
                    data = ("data: %s\n\n" % text).encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                    time.sleep(0.002)
                self.wfile.write(b"0\r\n\r\n")

        super().__init__(Handler)


def lower(headers):
    return {k.lower(): v for k, v in headers.items()}


class ScrapeRelay(Server):
    """Stands between a Prometheus and a target: asks for one exposition format and keeps the last Content-Type."""

    def __init__(self, target, accept):
        self.content_type = None
        self.body = b""
        relay = self

        class Handler(Quiet):
            def do_GET(self):
                reply = get(target, {"accept": accept} if accept else {"accept": self.headers.get("accept", "")})
                relay.content_type = reply.headers.get("content-type", "")
                relay.body = reply.body
                self.answer(reply.status, reply.body, relay.content_type)

        super().__init__(Handler)
