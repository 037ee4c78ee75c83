"""Requests to a real llama-server, many at once, with what the server itself says of each: the truth for the probe."""
import http.client
import json
import random
import socket
import ssl
import threading
import urllib.parse

from lib import net

WORDS = ("time year people way day man thing woman life child world school state family student group country problem "
         "hand part place case week company system program question work number night point home water room mother "
         "area money story fact month lot right study book eye job word business issue side kind head house").split()


class Request:
    """One request and its truth: `slot` (-1: not told), `prompt`, `cached`, `generated` tokens, `status`, times `sent`."""

    def __init__(self, number, kind, body, seed):
        rnd = random.Random(seed * 1000003 + number)
        self.number, self.kind, self.body = number, kind, body
        self.trace = "%032x" % rnd.getrandbits(128)
        self.parent = "%016x" % rnd.getrandbits(64)
        self.path = {"completion": "/completion", "chat": "/v1/chat/completions"}[kind]
        self.slot = self.prompt = self.cached = self.generated = -1
        self.sent = 0
        self.status, self.timings, self.usage, self.error = 0, {}, None, ""

    def succeeded(self):
        return self.status == 200 and bool(self.timings)

    def truth(self):
        return {"slot": self.slot, "prompt": self.prompt, "cached": self.cached, "generated": self.generated}

    def take_answer(self, answers):
        """`answers`: the JSON objects of the reply, one for a unary reply."""
        for a in answers:
            self.timings = a.get("timings") or self.timings
            self.usage = a.get("usage") or self.usage
            if a.get("id_slot", -1) >= 0:
                self.slot = a["id_slot"]
        self.prompt = self.timings.get("prompt_n", -1)
        self.cached = self.timings.get("cache_n", -1)
        self.generated = self.timings.get("predicted_n", -1)


def text(rnd, low, high):
    return " ".join(rnd.choice(WORDS) for _ in range(rnd.randint(low, high)))


def random_prompts(count, seed=1):
    """Prompts that all differ, half of the answers streamed."""
    rnd = random.Random(seed)
    return [Request(n, "completion", {"prompt": "%d %s" % (n, text(rnd, 2, 24)), "n_predict": rnd.randint(1, 24),
                                      "stream": n % 2 == 1, "temperature": 0}, seed) for n in range(count)]


def shared_prefix(count, seed=2):
    """A long common beginning, taken from the server's prompt cache, and ends that differ."""
    rnd = random.Random(seed)
    prefix = text(rnd, 60, 60)
    return [Request(n, "completion", {"prompt": "%s %d %s" % (prefix, n, text(rnd, 1, 8)),
                                      "n_predict": rnd.randint(1, 16), "stream": n % 2 == 1, "cache_prompt": True,
                                      "temperature": 0}, seed) for n in range(count)]


def chats(count, seed=3):
    """Chat completions, half of them streamed; their answers do not tell the slot."""
    rnd = random.Random(seed)
    out = []
    for n in range(count):
        body = {"messages": [{"role": "system", "content": "be brief"},
                             {"role": "user", "content": "%d %s" % (n, text(rnd, 2, 20))}],
                "max_tokens": rnd.randint(1, 16), "stream": n % 2 == 1, "temperature": 0}
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        out.append(Request(n, "chat", body, seed))
    return out


def pinned_chats(count, slots, seed=5):
    """Chat completions that ask for a slot. For one client: asked for a busy slot, llama-server puts another prompt's
    memory under the answer that is being written there."""
    out = chats(count, seed)
    for n, request in enumerate(out):
        request.body["id_slot"] = request.slot = (n * 7) % slots
    return out


def twins(count, seed=4):
    """The same prompt again and again: what cannot always be told apart."""
    return [Request(n, "completion", {"prompt": "the same words each time", "n_predict": 4 + n % 7,
                                      "stream": n % 2 == 1, "temperature": 0}, seed) for n in range(count)]


def twin_chats(count, warm, same_length, seed=12):
    """The same question again and again, half of the answers streamed; `warm`: by chance the answers differ."""
    return [Request(n, "chat", {"messages": [{"role": "user", "content": "the same words each time"}],
                                "max_tokens": 8 if same_length else 3 + n % 6, "stream": n % 2 == 1, "ignore_eos": True,
                                "temperature": 1.0 if warm else 0}, seed) for n in range(count)]


def _answers(body, stream):
    if not stream:
        return [json.loads(body)]
    return [json.loads(line[6:]) for line in body.decode().split("\n")
            if line.startswith("data: ") and line[6:].strip() != "[DONE]"]


def _send(connection, request):
    headers = {"content-type": "application/json", "traceparent": "00-%s-%s-01" % (request.trace, request.parent)}
    request.sent += 1
    connection.request("POST", request.path, json.dumps(request.body), headers)
    reply = connection.getresponse()
    body = reply.read()
    request.status = reply.status
    if reply.status == 200:
        request.take_answer(_answers(body, request.body.get("stream")))
    if not request.timings:  # refused, or broken off in the midst of a stream
        request.error = body.decode("utf-8", "replace")[:200]


def _send_again(connection, request):
    """The server ends some connections after an answer, at times with the next request in its hands: it is sent anew."""
    try:
        _send(connection, request)
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
        connection.close()
        _send(connection, request)


def break_off(base, request, chunks=1):
    """Sends a streamed request and goes away after some chunks, as a user does who closes the window."""
    host = urllib.parse.urlsplit(base)
    body = json.dumps(request.body).encode()
    head = ("POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            "traceparent: 00-%s-%s-01\r\n\r\n" % (request.path, len(body), request.trace, request.parent))
    with socket.create_connection((host.hostname, host.port), 20) as s:
        s.sendall(head.encode() + body)
        seen = b""
        while seen.count(b"data: ") < chunks:
            part = s.recv(65536)
            if not part:
                break
            seen += part


def send_all(base, requests, clients):
    """Sends them over `clients` connections that stay open; every request is filled in afterwards."""
    queue = list(reversed(requests))
    lock = threading.Lock()

    def work():
        connection = net.connection(base, 60)
        while True:
            with lock:
                if not queue:
                    break
                request = queue.pop()
            try:
                _send_again(connection, request)
            except (OSError, http.client.HTTPException, ValueError) as e:
                request.error = "%s: %s" % (type(e).__name__, e)
                connection.close()
        connection.close()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return requests
