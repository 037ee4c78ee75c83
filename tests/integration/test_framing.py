#!/usr/bin/env python3
"""Framing on the wire, in both directions, as tables: what could be read in two ways is refused, closed, and goes nowhere."""
import contextlib
import socket
import threading
import urllib.parse

import lib
from framing import CHUNK, CHUNKED, GET, HOST, JSON, KEY, POST, REQUESTS, SECOND, WHOLE, answers, exchange


def pair(**options):
    mock = lib.mock(**options)
    return mock, lib.gateway(config=lib.config_for(mock.url("mock")))


def served(mock):
    return lib.get(mock.url("mock") + "/mock/ledger").json()["served"]


# ---- from the client ----

def test_ambiguous_requests_are_refused():
    mock, gateway = pair()
    faults = []
    for what, data, statuses in REQUESTS:
        received, closed = exchange(gateway.url("gateway"), data + SECOND)
        seen = answers(received)
        if len(seen) != 1 or seen[0] not in statuses or not closed:
            faults.append((what, seen, "closed" if closed else "left open"))
        elif b'"error"' not in received:
            faults.append((what, "no error body", received[-200:]))
    lib.equal(faults, [])
    lib.equal(served(mock), 0, "requests that went on")
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)


def test_no_matter_where_a_request_is_cut_in_two():
    mock, gateway = pair()
    parts = urllib.parse.urlsplit(gateway.url("gateway"))
    body = CHUNKED + b"5;ext=\"q\"\r\n" + JSON[:5] + b"\r\n%x\r\n" % (len(JSON) - 5) + JSON[5:] + b"\r\n0\r\nX-Trailer: t\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(1, len(body), 3):
            connection.sendall(body[:at])
            threading.Event().wait(0.001)
            connection.sendall(body[at:])
            seen = b""
            while b"\r\n\r\n" not in seen or len(seen.split(b"\r\n\r\n", 1)[1]) < int(seen.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
                piece = connection.recv(65536)
                assert piece, (at, seen)
                seen += piece
            assert seen.startswith(b"HTTP/1.1 200 "), (at, seen[:300])
    assert served(mock) == len(range(1, len(body), 3))


def test_pipelined_requests_are_answered_in_order():
    mock, gateway = pair(tokens=3)
    bad = POST + b"Content-Length: 1\r\n\r\n{"
    data = WHOLE + GET + b"\r\n" + bad + CHUNKED + CHUNK + b"0\r\n\r\n" + GET + b"Connection: close\r\n\r\n" + SECOND
    received, closed = exchange(gateway.url("gateway"), data)
    lib.equal((answers(received), closed), ([200, 200, 400, 200, 200], True))
    lib.equal(served(mock), 2)


def test_smuggling_pairs_reach_nobody():
    """Requests that two parsers could split differently: no request of the second kind may show upstream."""
    mock, gateway = pair()
    inner = WHOLE.replace(b"claude-haiku", b"smuggled-xyz").replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nX-Request-Id: smuggled\r\n", 1)
    pairs = [
        POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(inner)) + inner,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + inner,
        POST + b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner,
        POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner,
        POST + b"Content-Length: 0\r\n Content-Length: %d\r\n\r\n" % len(inner) + inner,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
        CHUNKED + b"0\r\nX: y\n\n" + inner,
        CHUNKED + b"1;a=\"\r\nx\r\n0\r\n\r\n" + inner + b"\"\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close, Content-Length\r\nContent-Length: 0\r\n\r\n" + inner,
    ]
    for data in pairs:
        received, closed = exchange(gateway.url("gateway"), data)
        lib.equal((len(answers(received)), closed), (1, True), repr(data[:200]))
    lib.equal([r["id"] for r in lib.get(mock.url("mock") + "/mock/ledger").json()["requests"]], [])


def test_expect_continue():
    mock, gateway = pair()
    parts = urllib.parse.urlsplit(gateway.url("gateway"))
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(JSON)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(JSON)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    # With its body at once there is nothing to wait for; refused at once there is nothing to continue with.
    lib.equal(answers(exchange(gateway.url("gateway"), head + JSON, timeout=0.5)[0])[-1], 200)
    lib.equal(answers(exchange(gateway.url("gateway"), head.replace(KEY, b""), timeout=1.5)[0]), [401])
    lib.equal(answers(exchange(gateway.url("gateway"), head.replace(b"100-continue", b"other") + JSON)[0]), [417])
    lib.equal(served(mock), 2)


def test_http_1_0_and_half_closed_clients():
    mock, gateway = pair(itl=10, tokens=5)
    old = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    received, closed = exchange(gateway.url("gateway"), old)
    lib.equal((answers(received), closed), ([200], True))
    stream = JSON[:-1] + b',"stream":true}'
    request = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(stream) + stream
    received, closed = exchange(gateway.url("gateway"), request)
    assert closed and b"transfer-encoding" not in received.lower() and received.endswith(b"data: [DONE]\n\n"), received[-300:]
    for data in (WHOLE, request.replace(b"HTTP/1.0", b"HTTP/1.1")):
        received, closed = exchange(gateway.url("gateway"), data, half_close=True)
        lib.equal((answers(received)[-1], closed), (200, True), "a client that has shut down its side is served")
    lib.equal(served(mock), 4)


def test_hop_by_hop_fields_stay():
    upstream = Upstream(OK + b"Content-Length: 2\r\nConnection: close, X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=9\r\n"
                             b"Proxy-Authenticate: Basic\r\nX-Public: 1\r\n\r\n{}")
    gateway = lib.gateway(config=lib.config_for(upstream.url))
    fields = (b"Connection: X-Nominated, keep-alive\r\nX-Nominated: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n"
              b"Trailer: X\r\nUpgrade: websocket\r\nX-Sightline-Anything: 1\r\nCookie: a=b\r\nX-Api-Key: k\r\nX-Kept: 1\r\n")
    received, _ = exchange(gateway.url("gateway"), WHOLE.replace(KEY, KEY + fields), timeout=0.5)
    lib.equal(answers(received), [200])
    seen = upstream.requests[0].lower()
    for name in (b"x-nominated", b"keep-alive:", b"proxy-authorization", b"\nte:", b"trailer:", b"upgrade", b"x-sightline", b"cookie", b"x-api-key"):
        assert name not in seen, (name, seen)
    assert b"x-kept: 1" in seen
    for name in (b"x-internal", b"proxy-authenticate", b"timeout=9"):
        assert name not in received.lower(), (name, received)
    assert b"x-public: 1" in received.lower()


# ---- from the upstream ----

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Upstream:
    """Gives `answer` to each request it gets; keeps its connections open, and tells whether one was used twice."""

    def __init__(self, answer, close=False):
        self.answer, self.close = answer, close
        self.requests, self.connections = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while True:
                data = b""
                while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < self._length(data):
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                self.requests.append(data)
                connection.sendall(self.answer)
                if self.close:
                    return

    @staticmethod
    def _length(data):
        return int(data.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


# What an upstream may not answer. 502 for the client, and the connection is not used again.
ANSWERS = [
    ("length with coding", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ("length twice", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n"),
    ("length twice alike", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    ("length list", OK + b"Content-Length: 2, 2\r\n\r\n{}"),
    ("length with a sign", OK + b"Content-Length: +2\r\n\r\n{}"),
    ("length that overflows", OK + b"Content-Length: 18446744073709551618\r\n\r\n{}"),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ("unknown coding", OK + b"Transfer-Encoding: xchunked\r\n\r\n{}"),
    ("coding in HTTP/1.0", OK.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ("folded value", OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"),
    ("bare LF", (OK + b"Content-Length: 2\r\n\r\n{}").replace(b"\r\n", b"\n")),
    ("blank before the colon", OK + b"Content-Length : 2\r\n\r\n{}"),
    ("NUL in a value", OK + b"X: \0\r\nContent-Length: 2\r\n\r\n{}"),
    ("bare CR in a value", OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}"),
    ("no name", OK + b": a\r\nContent-Length: 2\r\n\r\n{}"),
    ("HTTP/0.9", b"{}"),
    ("HTTP/2.0", OK.replace(b"1.1", b"2.0") + b"Content-Length: 2\r\n\r\n{}"),
    ("other protocol", b"ICY 200 OK\r\n\r\n"),
    ("status of four digits", OK.replace(b"200", b"2000") + b"Content-Length: 2\r\n\r\n{}"),
    ("status 600", OK.replace(b"200", b"600") + b"Content-Length: 2\r\n\r\n{}"),
    ("switching protocols unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("hundreds of fields", OK + b"".join(b"X-%d: 1\r\n" % i for i in range(300)) + b"Content-Length: 2\r\n\r\n{}"),
    ("a head of 70 kB", OK + b"X: " + b"a" * 70000 + b"\r\nContent-Length: 2\r\n\r\n{}"),
]

# Broken within the body: the client has its head and must see that the answer is cut, or gets 502 where nothing had gone out.
BROKEN = [
    ("junk behind a chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n2g\r\n{}\r\n0\r\n\r\n", False),
    ("bare LF behind a chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", False),
    ("chunk longer than its size", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}!\r\n0\r\n\r\n", False),
    ("chunks without end", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", True),
    ("final CRLF missing", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", True),
    ("shorter than its length", OK + b"Content-Length: 20\r\n\r\n{}", True),
]


def test_ambiguous_answers_are_refused():
    for what, answer in ANSWERS:
        upstream = Upstream(answer)
        gateway = lib.gateway(config=lib.config_for(upstream.url))
        for turn in (1, 2):
            reply = lib.chat(gateway.url("gateway"))
            lib.equal(reply.status, 502, what)
            assert isinstance(reply.json()["error"]["message"], str), what
            lib.equal(upstream.connections, turn, f"{what}: connections")
        gateway.process.kill()


def test_broken_bodies_are_seen_to_be_broken():
    for what, answer, close in BROKEN:
        upstream = Upstream(answer, close)
        gateway = lib.gateway(config=lib.config_for(upstream.url))
        for turn in (1, 2):
            received, closed = exchange(gateway.url("gateway"), WHOLE.replace(KEY, KEY + b"Connection: close\r\n"))
            assert closed, what
            if not received.startswith(b"HTTP/1.1 502 "):
                try:
                    whole = answers(received) == [200] and (b"\r\n0\r\n\r\n" in received or b"content-length: 2\r\n" in received.lower())
                except (ValueError, IndexError):
                    whole = False
                assert not whole, f"{what}: looks complete: {received!r}"
            lib.equal(upstream.connections, turn, f"{what}: connections")
        gateway.process.kill()


def test_surplus_bytes_end_the_connection():
    """An answer that is longer than it says is passed as long as it says, and what is too much never becomes another's answer."""
    upstream = Upstream(OK + b"Content-Length: 2\r\n\r\n{}" + OK + b"Content-Length: 8\r\n\r\n{\"x\": 1}")
    gateway = lib.gateway(config=lib.config_for(upstream.url))
    for turn in (1, 2, 3):
        reply = lib.chat(gateway.url("gateway"))
        lib.equal((reply.status, reply.body), (200, b"{}"))
        lib.equal(upstream.connections, turn)


def test_good_answers_keep_their_connection():
    for what, answer in (("length", OK + b"Content-Length: 2\r\n\r\n{}"), ("chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
                         ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"),
                         ("reason left out", OK.replace(b" OK", b" ") + b"Content-Length: 2\r\n\r\n{}")):
        upstream = Upstream(answer)
        gateway = lib.gateway(config=lib.config_for(upstream.url))
        for _ in range(3):
            reply = lib.chat(gateway.url("gateway"))
            lib.equal((reply.status, reply.body), (200, b"{}"), what)
        lib.equal(upstream.connections, 1, what)
        gateway.process.kill()
    upstream = Upstream(OK.replace(b"1.1", b"1.0") + b"\r\n{}", close=True)
    gateway = lib.gateway(config=lib.config_for(upstream.url))
    lib.equal(lib.chat(gateway.url("gateway")).body, b"{}", "a body until the end of the connection")


def test_a_connection_that_was_closed_meanwhile():
    """The upstream closes idle connections: the next request goes out on a new one, and the client sees nothing of it."""
    upstream = Upstream(OK + b"Content-Length: 2\r\n\r\n{}", close=True)
    gateway = lib.gateway(config=lib.config_for(upstream.url))
    for _ in range(20):
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    lib.equal(len(upstream.requests), 20)


lib.main(globals())
