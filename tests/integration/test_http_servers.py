#!/usr/bin/env python3
"""The rules of HTTP/1.1 for every server the program has, not the gateway alone: framing, heads, methods, connections."""
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402
from framing import REQUESTS, SECOND, answers, exchange  # noqa: E402

FREE = [word for name in ("gateway", "metrics", "health", "admin", "api", "control", "queue") for word in (f"--{name}-listen", "127.0.0.1:0")]

# A path that answers 200 to a GET without a key, and one that takes a POST.
SERVERS = {"metrics": ("/metrics", "/metrics"), "health": ("/health", "/health"), "admin": ("/traces", "/traces"),
           "api": ("/workflows", "/workflows"), "control": ("/services", "/services/register"), "queue": ("/queues", "/queues/x/messages"),
           "mock": ("/mock/ledger", "/v1/chat/completions")}


def started():
    """Every server there is: name to URL."""
    up = lib.Process("up", *FREE, "--data-dir", lib.tmp(), "--drain-timeout", "5")
    return {**{name: up.url(name) for name in SERVERS if name != "mock"}, "mock": lib.mock().url("mock")}


def host_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def of_server(name, data):
    get, post = SERVERS[name]
    return data.replace(b"/v1/models", get.encode()).replace(b"/v1/chat/completions", post.encode())


def get(name, version="1.1", fields=b"", path=None):
    return f"GET {path or SERVERS[name][0]} HTTP/{version}\r\nHost: h\r\n".encode() + fields + b"\r\n"


def head_of(received):
    return {k.strip().lower(): v.strip() for k, _, v in (line.partition(b":") for line in received.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])}


# ---- framing ----


def test_what_could_be_read_in_two_ways_is_refused_by_all():
    """One answer, a refusal, and the connection closed; the request behind it is never answered."""
    servers = started()
    faults = []
    for name, url in servers.items():
        for what, data, _ in REQUESTS:
            if what == "Authorization twice":
                continue  # where no key is asked for nobody reads it
            received, closed = exchange(url, of_server(name, data) + of_server(name, SECOND))
            try:
                seen = answers(received)
            except (ValueError, IndexError):
                seen = [received[:80]]
            if len(seen) != 1 or not isinstance(seen[0], int) or not 400 <= seen[0] <= 505 or not closed:
                faults.append((name, what, seen, "closed" if closed else "left open"))
    lib.equal(faults, [])
    for name, url in servers.items():
        lib.equal(lib.get(url + SERVERS[name][0]).status, 200, name)


def test_every_byte_may_come_alone():
    for name, url in started().items():
        with socket.create_connection(host_of(url), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in get(name, fields=b"X-Slow: yes\r\nConnection: close\r\n"):
                connection.send(bytes([byte]))
                time.sleep(0.0005)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        lib.equal(answers(received), [200], name)


def test_connections_are_kept_and_closed_as_asked():
    """HTTP/1.1 keeps, `close` closes; 1.0 closes; several at once are answered in their order."""
    for name, url in started().items():
        three = get(name) * 2 + get(name, fields=b"Connection: close\r\n") + get(name)
        received, closed = exchange(url, three)
        lib.equal((answers(received), closed), ([200, 200, 200], True), name)
        received, closed = exchange(url, get(name, "1.0") + get(name))
        lib.equal((answers(received), closed), ([200], True), f"{name} HTTP/1.0")
        received, closed = exchange(url, get(name, fields=b"Connection: Close, X\r\n"))
        lib.equal((answers(received), closed), ([200], True), f"{name} a list with close")
        received, closed = exchange(url, get(name), half_close=True)
        lib.equal((answers(received), closed), ([200], True), f"{name} half closed")


def test_answers_say_how_long_they_are():
    """Either a length that is right or chunks, never both, never neither; and what they are."""
    for name, url in started().items():
        for path, status in ((None, 200), ("/no/such/path", 404)):
            received, _ = exchange(url, get(name, fields=b"Connection: close\r\n", path=path))
            fields = head_of(received)
            lib.equal(answers(received), [status], (name, path))
            assert (b"content-length" in fields) != (b"transfer-encoding" in fields), (name, fields)
            assert b"content-type" in fields, (name, path, fields)
            if b"content-length" in fields:
                lib.equal(len(received.split(b"\r\n\r\n", 1)[1]), int(fields[b"content-length"]), (name, path))


def test_head_is_get_without_its_body():
    """RFC 9110, 9.3.2; where HEAD is not served it is refused, and never followed by a body."""
    for name, url in started().items():
        received, _ = exchange(url, get(name, fields=b"Connection: close\r\n").replace(b"GET", b"HEAD", 1))
        status = int(received.split(b" ")[1])
        assert status in (200, 405, 501), (name, status)
        if status == 200:
            lib.equal(received.split(b"\r\n\r\n", 1)[1], b"", name)


def test_methods_that_are_not_served():
    """405 with Allow for a path that is there; the connection goes on."""
    for name, url in started().items():
        request = get(name).replace(b"GET", b"DELETE", 1)
        received, _ = exchange(url, request + get(name, fields=b"Connection: close\r\n"))
        seen = answers(received)
        lib.equal((len(seen), seen[-1]), (2, 200), (name, seen))
        assert seen[0] in (404, 405), (name, seen)
        if seen[0] == 405:
            assert b"allow" in head_of(received), (name, received[:300])


def test_the_gateway_names_its_methods_too():
    gateway = lib.gateway(config=lib.config_for("http://127.0.0.1:9"))
    for path, method, allowed in (("/v1/chat/completions", "GET", "POST"), ("/v1/embeddings", "PUT", "POST"), ("/v1/models", "POST", "GET, HEAD"),
                                  ("/v1/models/claude-haiku", "DELETE", "GET, HEAD")):
        reply = lib.request(method, gateway.url("gateway") + path, None, {"Authorization": "Bearer sk-test"})
        lib.equal((reply.status, reply.headers.get("allow")), (405, allowed), (method, path))
        lib.equal(reply.json()["error"]["code"], "method_not_allowed", path)
    lib.equal(lib.request("POST", gateway.url("gateway") + "/v1/nope", b"{}", {"Authorization": "Bearer sk-test"}).status, 404)


def test_paths_that_are_not_there():
    for name, url in started().items():
        for path in ("/nope", "/%00", "/a/../../etc/passwd", "/" + "x" * 2000, SERVERS[name][0] + "/x/y/z", "/%zz", "/\xe4".encode().decode("latin-1")):
            data = b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            received, closed = exchange(url, data)
            seen = answers(received)
            assert len(seen) == 1 and seen[0] in (400, 404, 405, 422) and closed, (name, path, seen)
            assert b"passwd" not in received.split(b"\r\n\r\n", 1)[1] or b"root:" not in received, (name, path)


def test_queries_are_no_part_of_the_path():
    for name, url in started().items():
        for query in ("?", "?x", "?x=1&y=%20", "?a=/../b", "?" + "x=1&" * 200):
            lib.equal(lib.get(url + SERVERS[name][0] + query).status in (200, 400, 422), True, (name, query))


# ---- limits ----


def test_heads_have_limits():
    """32 KiB and 100 fields are taken, more is 431, wherever; and nothing of it stays in the way."""
    for name, url in started().items():
        good = get(name, fields=b"".join(b"X-%d: 1\r\n" % i for i in range(60)) + b"Connection: close\r\n")
        lib.equal(answers(exchange(url, good)[0]), [200], name)
        for fields in (b"".join(b"X-%d: 1\r\n" % i for i in range(400)), b"X: " + b"a" * 70000 + b"\r\n"):
            received, closed = exchange(url, get(name, fields=fields))
            assert closed and answers(received)[0] in (400, 431), (name, received[:100])


def test_bodies_have_limits_where_there_are_bodies():
    """A length beyond every limit is refused before a byte of it comes."""
    for name, url in started().items():
        data = f"POST {SERVERS[name][1]} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n".encode()
        received, closed = exchange(url, data + b"x" * 1000)
        seen = answers(received)
        assert len(seen) == 1 and seen[0] in (400, 404, 405, 413) and closed, (name, seen, closed)


def test_a_body_that_nobody_wants_does_not_become_a_request():
    """Of a refused request the body is read or the connection closed: it is not taken for the next one."""
    inner = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    for name, url in started().items():
        for path in ("/nope", SERVERS[name][0]) if name != "mock" else ("/nope",):
            data = f"PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(inner)}\r\n\r\n".encode() + inner
            received, _ = exchange(url, data + get(name, fields=b"Connection: close\r\n"), timeout=2)
            seen = answers(received)
            assert seen[0] in (404, 405) and seen[1:] in ([], [200]), (name, path, seen)


def test_many_connections_at_once():
    """200 idle ones do not keep another one waiting."""
    for name, url in started().items():
        held = [socket.create_connection(host_of(url), timeout=10) for _ in range(200)]
        try:
            for connection in held[:100]:
                connection.sendall(b"GET / HT")
            begun = time.monotonic()
            lib.equal(lib.get(url + SERVERS[name][0]).status, 200, name)
            assert time.monotonic() - begun < 2 * lib.SLOW, name
        finally:
            for connection in held:
                connection.close()


def test_requests_beside_one_another():
    """Each connection gets its own answers, while others come and go in the middle of theirs."""
    for name, url in started().items():
        faults = []

        def ask(number, name=name, url=url, faults=faults):
            for i in range(20):
                if (number + i) % 7 == 0:
                    with socket.create_connection(host_of(url), timeout=10) as connection:
                        connection.sendall(get(name)[:-3])
                    continue
                reply = lib.get(url + SERVERS[name][0])
                if reply.status != 200:
                    faults.append(reply.status)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lib.equal(faults, [], name)


# ---- what they say ----


def test_errors_have_a_body_that_can_be_read():
    """JSON with a reason, whoever answers; never the path of a file or a line of code."""
    for name, url in started().items():
        for method, path, body in (("GET", "/no/such/path", None), ("POST", "/no/such/path", b"{}"), ("POST", SERVERS[name][1], b"{not json")):
            if name == "queue" and path != "/no/such/path":
                continue  # a message may be anything
            reply = lib.request(method, url + path, body, {"Content-Type": "application/json"} if body else None)
            assert 400 <= reply.status < 500, (name, method, path, reply.status)
            lib.contains(reply.headers.get("content-type", ""), "json", (name, method, path))
            told = json.loads(reply.body)
            assert re.search(r"[a-z]{3,}", json.dumps(told)), told
            assert not re.search(r"\.c:\d|/src/", reply.text), reply.text


def test_nothing_tells_which_file_serves():
    """No Server field with a version, and no cookie."""
    for name, url in started().items():
        fields = lib.get(url + SERVERS[name][0]).headers
        assert "set-cookie" not in fields and not re.search(r"\d", fields.get("server", "")), (name, fields)


lib.main(globals())
