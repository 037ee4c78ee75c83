"""Requests that could be read in two ways, and what reads answers strictly: shared by the tests of every server."""
import socket
import urllib.parse

import lib

HOST = b"Host: h\r\n"
KEY = b"Authorization: Bearer sk-test\r\n"
JSON = b'{"model":"claude-haiku","messages":[{"role":"user","content":"x"}]}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + KEY + b"Content-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + KEY
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(JSON), JSON)

# What a client may not send: (what, bytes, statuses). Behind each stands a second, innocent request, which must not be answered.
REQUESTS = [
    ("bare LF everywhere", WHOLE.replace(b"\r\n", b"\n"), {400}),
    ("bare LF behind a field", POST + b"X: a\nContent-Length: %d\r\n\r\n" % len(JSON) + JSON, {400}),
    ("bare LF as the last line", GET + b"\n", {400}),
    ("bare CR in a value", GET + b"X: a\rb\r\n\r\n", {400}),
    ("CR alone between fields", GET + b"X: a\rContent-Length: 5\r\n\r\n", {400}),
    ("folded value", GET + b"X: a\r\n b\r\n\r\n", {400}),
    ("folded with a tab", GET + b"X: a\r\n\tb\r\n\r\n", {400}),
    ("folded Transfer-Encoding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", {400}),
    ("blank before the colon", POST + b"Content-Length : %d\r\n\r\n" % len(JSON) + JSON, {400}),
    ("tab before the colon", POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", {400}),
    ("blank in a name", GET + b"X Y: a\r\n\r\n", {400}),
    ("blank before a name", b"GET /v1/models HTTP/1.1\r\n Host: h\r\n\r\n", {400}),
    ("no colon", GET + b"X\r\n\r\n", {400}),
    ("no name", GET + b": a\r\n\r\n", {400}),
    ("NUL in a value", GET + b"X: a\0b\r\n\r\n", {400}),
    ("control byte in a value", GET + b"X: a\x0bb\r\n\r\n", {400}),
    ("DEL in a value", GET + b"X: \x7f\r\n\r\n", {400}),
    ("no Host", b"GET /v1/models HTTP/1.1\r\n" + KEY + b"\r\n", {400}),
    ("Host twice", GET + HOST + b"\r\n", {400}),
    ("two different hosts", GET + b"Host: other\r\n\r\n", {400}),
    ("empty Host", b"GET /v1/models HTTP/1.1\r\nHost:\r\n" + KEY + b"\r\n", {400}),
    ("Host unlike the target", b"GET http://b/v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {400}),
    ("HTTP/0.9", b"GET /v1/models\r\n\r\n", {400}),
    ("HTTP/1.2", b"GET /v1/models HTTP/1.2\r\n" + HOST + KEY + b"\r\n", {400, 505}),
    ("HTTP/2.0", b"GET /v1/models HTTP/2.0\r\n" + HOST + KEY + b"\r\n", {505}),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 501, 505}),
    ("version with junk", b"GET /v1/models HTTP/1.1x\r\n" + HOST + b"\r\n", {400}),
    ("two blanks", b"GET  /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("blank in the target", b"GET /v1/ models HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("lower-case method", b"get /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {400, 501}),
    ("unknown method", b"BREW /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {501}),
    ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 405, 501}),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    ("length with coding", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("coding with length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", {400}),
    ("length twice", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", {400}),
    ("length twice alike", POST + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(JSON), len(JSON)) + JSON, {400}),
    ("length list", POST + b"Content-Length: 5, 5\r\n\r\nhello", {400}),
    ("length with a sign", POST + b"Content-Length: +5\r\n\r\nhello", {400}),
    ("negative length", POST + b"Content-Length: -5\r\n\r\nhello", {400}),
    ("hex length", POST + b"Content-Length: 0x5\r\n\r\nhello", {400}),
    ("empty length", POST + b"Content-Length:\r\n\r\nhello", {400}),
    ("length that overflows", POST + b"Content-Length: 18446744073709551617\r\n\r\nh", {400, 413}),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("chunked in two fields", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("identity", POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", {400, 501}),
    ("unknown coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("vertical tab before chunked", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", {400}),
    ("coding in HTTP/1.0", POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", {400}),
    ("Authorization twice", GET + KEY + b"\r\n", {400}),
    ("hundreds of fields", GET + b"".join(b"X-%d: 1\r\n" % i for i in range(300)) + b"\r\n", {431}),
    ("a head of 40 kB", GET + b"X: " + b"a" * 40000 + b"\r\n\r\n", {431}),
    ("a target of 40 kB", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414, 431}),
    ("junk behind a chunk size", CHUNKED + b"5g\r\nhello\r\n0\r\n\r\n", {400}),
    ("blank behind a chunk size", CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", {400}),
    ("sign before a chunk size", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", {400}),
    ("0x before a chunk size", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", {400}),
    ("huge chunk size", CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", {400, 413}),
    ("bare LF behind a chunk size", CHUNKED + b"5\nhello\r\n0\r\n\r\n", {400}),
    ("bare LF in an extension", CHUNKED + b"5;a\nhello\r\n0\r\n\r\n", {400}),
    ("chunk longer than its size", CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n", {400}),
    ("chunk without its CRLF", CHUNKED + b"5\r\nhello0\r\n\r\n", {400}),
    ("chunked body without its final CRLF", CHUNKED + CHUNK + b"0\r\nGET ", {400}),
    ("folded trailer", CHUNKED + CHUNK + b"0\r\nX: a\r\n b\r\n\r\n", {400}),
]

SECOND = GET + b"X-Second: 1\r\n\r\n"


def exchange(url, data, timeout=3, half_close=False):
    """All bytes until the peer closes; (bytes, whether it closed)."""
    parts = urllib.parse.urlsplit(url)
    received, closed = b"", False
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout * lib.SLOW) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while True:
                piece = connection.recv(65536)
                if not piece:
                    closed = True
                    break
                received += piece
        except socket.timeout:
            pass
        except ConnectionError:
            closed = True
    return received, closed


def answers(received):
    """Statuses of the answers in a byte stream, read strictly by their lengths."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines[1:])}
        status = int(lines[0].split(b" ")[1])
        found.append(status)
        if fields.get(b"transfer-encoding") == b"chunked":
            while True:
                size, _, rest = rest.partition(b"\r\n")
                rest = rest[int(size, 16) + 2:]
                if int(size, 16) == 0:
                    break
        elif status >= 200:
            rest = rest[int(fields.get(b"content-length", 0)):]
        received = rest
    return found
