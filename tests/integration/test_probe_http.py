#!/usr/bin/env python3
"""What the probe tells of a host's HTTP server: every way of reading and writing, threads and loops, TLS, children."""
import contextlib
import glob
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time

import lib

# Hosts that have a sanitizer get the library that has it.
LIBRARY = os.path.join(os.path.dirname(lib.BINARY), "libsightline-llama%s.so" % ("-sanitized" if lib.SANITIZERS else ""))
PROBE = os.path.join(lib.SOURCE, "tests", "probe")
KINDS = ("request", "request_end", "tokenize", "post", "answer", "frame", "answer_end")
BUILT = {}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def compile(name, *args):
    subprocess.run([lib.need("cc"), "-D_GNU_SOURCE", "-O1", "-g", "-w", *lib.SANITIZER_FLAGS, *args, "-o", os.path.join(BUILT["folder"], name)], check=True)
    return os.path.join(BUILT["folder"], name)


def source(name, *args, text):
    """The same for a text; libraries stand behind what needs them."""
    path = os.path.join(BUILT["folder"], name)
    with open(path + ".c", "w") as file:
        file.write(text)
    return compile(name, path + ".c", *args)


def built():
    """The host, a libllama for it, and what prints rings: compiled once."""
    if "host" in BUILT:
        return BUILT
    BUILT["folder"] = folder = os.path.join(lib._state_home(), "probe-http")
    os.makedirs(folder, exist_ok=True)
    compile("libllama.so", "-shared", "-fPIC", os.path.join(PROBE, "http_llama.c"))
    base = [f for f in glob.glob(os.path.join(lib.SOURCE, "src", "base", "*.c")) if "/test_" not in f]
    compile("ring_dump", "-DSL_VERSION_STRING=\"\"", "-I" + lib.SOURCE, "-I" + os.path.join(lib.SOURCE, "include"),
            os.path.join(PROBE, "ring_dump.c"), os.path.join(lib.SOURCE, "src", "probe", "ring.c"), os.path.join(lib.SOURCE, "src", "probe", "process_seen.c"),
            os.path.join(lib.SOURCE, "src", "probe", "event.c"), *base, "-lpthread", "-lm")
    host = [os.path.join(PROBE, "http_host.c"), "-L" + folder, "-lllama", "-lpthread", "-Wl,-rpath," + folder]
    compile("http_host_tls", "-DWITH_TLS", *host, "-lssl", "-lcrypto")
    BUILT["host"] = compile("http_host", *host)
    return BUILT


class Host:
    """http_host under the probe. As a context: ends it, and checks that it had nothing to say."""

    def __init__(self, *words, program="http_host", env=None):
        built()
        self.folder = lib.tmp()
        port_file = os.path.join(self.folder, "port")
        os.mkdir(os.path.join(self.folder, "rings"))
        self.tls = "tls" in words
        self.process = subprocess.Popen(
            [os.path.join(BUILT["folder"], program), port_file, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=lib.environment({"LD_PRELOAD": LIBRARY, "SIGHTLINE_PROBE_DIR": os.path.join(self.folder, "rings"), **(env or {})}))
        deadline = time.monotonic() + 20
        while not os.path.exists(port_file):
            assert self.process.poll() is None and time.monotonic() < deadline, "the host does not listen"
            time.sleep(0.005)
        with open(port_file) as file:
            self.port = int(file.read())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
            self.process.wait()
        else:
            self.end()

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if not self.tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)

    def http(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.sock = self.connect()
        return connection

    def end(self):
        if self.process.poll() is None:
            time.sleep(0.1)  # an answer is told after it was sent
            ask(self.http(), "/end")
            output, _ = self.process.communicate(timeout=20)
            assert self.process.returncode == 0 and output == "", output

    def rings(self):
        return glob.glob(os.path.join(self.folder, "rings", "*.ring"))

    def events(self, ring=None):
        """Ends the host; what was told of everything but that."""
        self.end()
        rings = [ring] if ring else self.rings()
        assert len(rings) == 1, rings
        text = subprocess.run([os.path.join(BUILT["folder"], "ring_dump"), rings[0]], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert "SECRET" not in text, text
        events = [json.loads(line) for line in text.splitlines()]
        assert events[-1]["kind"] == "ring" and events[-1]["dropped"] == 0 and events[-1]["bad"] == 0
        events = [e for e in events if e["kind"] in KINDS]
        last = [e["request"] for e in events if e["kind"] == "request" and e["texts"][0].startswith("GET /end")]
        return [e for e in events if number(e) not in last]


def number(event):
    return event["id"] if event["kind"] == "post" else event["request"]


def ask(connection, target, body=None, headers=None):
    connection.request("POST" if body is not None else "GET", target, body, headers or {})
    reply = connection.getresponse()
    return reply.status, reply.read()


def told(events, request=None):
    """Short words for events, of one request or all: kind, number, and what matters of it."""
    words = []
    for e in events:
        if request not in (None, number(e)):
            continue
        more = {"answer": e.get("status"), "answer_end": e["flags"], "frame": e.get("bytes"), "request_end": e.get("bytes"),
                "tokenize": e.get("n_tokens")}.get(e["kind"])
        words.append(e["kind"] + ("" if more is None else ":%d" % more))
    return words


def told_length(events, request):
    return next(e["bytes"] for e in events if e["kind"] == "request_end" and e["request"] == request)


UNARY = ["request", "request_end:0", "answer:200", "answer_end:1"]


def conversation(host):
    """All that a server does, over one connection that is kept."""
    c = host.http()
    for path in ("/length?key=SECRET", "/empty", "/chunks", "/nothing"):
        ask(c, path, headers={"traceparent": TRACE, "Authorization": "Bearer SECRET", "Cookie": "SECRET", "User-Agent": "test"})
    ask(c, "/tokens", b"SECRET" * 100, {"Content-Type": "text/plain"})
    ask(c, "/until-close")


def check_conversation(events, flags=0):
    assert told(events, 1) == UNARY, told(events, 1)
    assert told(events, 2) == ["request", "request_end:0", "answer:204", "answer_end:1"]
    assert told(events, 3) == ["request", "request_end:0", "answer:200", "frame:3", "frame:21", "frame:21", "frame:21",
                              "answer_end:1"], told(events, 3)
    assert told(events, 4) == ["request", "request_end:0", "answer:404", "answer_end:1"]
    assert told(events, 5) == ["request", "request_end:600", "tokenize:600", "post", "answer:200", "answer_end:1"], told(events, 5)
    assert told(events, 6) == ["request", "request_end:0", "answer:200", "frame:7", "answer_end:1"], told(events, 6)
    first, head = events[0], events[0]["texts"][0]
    assert first["flags"] == flags and len({e["connection"] for e in events if e["kind"] == "request"}) == 1
    assert head.startswith("GET /length?key=\n") and "traceparent: %s\n" % TRACE in head and "user-agent: test\n" in head, head
    assert [e["flags"] for e in events if e["kind"] == "frame"] == [1, 0, 0, 0, 0]
    tokens = [e["tokens"] for e in events if e["kind"] == "tokenize"]
    assert tokens == [[ord(c) for c in "SECRET"] * 100]
    tails = [e["texts"][0] for e in events if e["kind"] == "answer_end"]
    assert tails[0] == '{"content":"","usage":{"n":1}}' and tails[4] == '{"content":"", "tokens": 12 }\n', tails
    assert tails[2] == ':\n\n' + 'data: {"a":""}\n' * 3, tails
    times = [e["time"] for e in events]
    assert times == sorted(times) or max(a - b for a, b in zip(times, times[1:])) < 1000000


# ---- ways of reading and writing ----

def test_recv_and_send():
    with Host() as host:
        conversation(host)
        check_conversation(host.events())


def test_other_calls():
    for reads, writes in (("read", "write"), ("readv", "writev"), ("recvmsg", "sendmsg"), ("recvfrom", "sendto")):
        with Host(reads, writes) as host:
            conversation(host)
            check_conversation(host.events())


def test_one_thread_for_all():
    with Host("loop", "read", "write") as host:
        conversation(host)
        check_conversation(host.events())


def test_fortified_calls():
    built()
    name = "http_host_fortified"
    compile(name, "-O2", "-D_FORTIFY_SOURCE=3", os.path.join(PROBE, "http_host.c"), "-L" + BUILT["folder"], "-lllama", "-lpthread",
            "-Wl,-rpath," + BUILT["folder"])
    with Host("read", program=name) as host:
        conversation(host)
        check_conversation(host.events())


def test_a_host_with_a_sanitizer_of_its_own():
    """Its runtime takes the same functions' places, in front of the probe."""
    if lib.SANITIZERS:
        raise lib.Skip("every host of this file has one, and so has the probe")
    built()
    try:
        compile("http_host_asan", "-fsanitize=address", "-static-libasan", os.path.join(PROBE, "http_host.c"), "-L" + BUILT["folder"],
                "-lllama", "-lpthread", "-Wl,-rpath," + BUILT["folder"])
    except subprocess.CalledProcessError:
        raise lib.Skip("no runtime of the sanitizer to link statically")
    with Host("read", "writev", program="http_host_asan", env={"ASAN_OPTIONS": "detect_leaks=0"}) as host:
        conversation(host)
        check_conversation(host.events())


def test_sendfile():
    with Host() as host:
        ask(host.http(), "/file")
        events = host.events()
        assert told(events) == UNARY and events[-1]["bytes"] == 10


def certificate():
    path = os.path.join(lib.tmp(), "both.pem")
    subprocess.run([lib.need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", path, "-out", path + ".crt"], check=True, stderr=subprocess.DEVNULL)
    with open(path, "a") as both, open(path + ".crt") as crt:
        both.write(crt.read())
    return path


def test_tls():
    for words in (("read",), ("recv",), ("read", "one")):
        with Host("tls", certificate(), *words, program="http_host_tls") as host:
            conversation(host)
            check_conversation(host.events(), flags=1)


def test_tls_on_memory():
    """libssl knows no descriptor: its object stands for the connection, and is no more when it is freed."""
    for reads in ("read", "recv"):
        with Host("tls", certificate(), "memory", reads, program="http_host_tls") as host:
            conversation(host)
            check_conversation(host.events(), flags=1)
    with Host("tls", certificate(), "memory", program="http_host_tls") as host:
        many = [host.http() for _ in range(20)]
        for i, c in enumerate(many):
            c.request("POST", "/tokens", b"x" * (i + 2))
        for c in many:
            c.getresponse().read()
            c.close()
        for _ in range(20):
            ask(host.http(), "/length")
        leaves = host.connect()
        leaves.sendall(b"POST /tokens HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        leaves.unwrap().close()
        time.sleep(0.2)
        events = host.events()
        requests = [e for e in events if e["kind"] == "request"]
        assert len(requests) == 41 and len({e["connection"] for e in requests}) == 41, len(requests)
        assert all(told(events, n)[0:1] + told(events, n)[2:] == ["request", "tokenize:%d" % told_length(events, n), "post", "answer:200",
                                                                 "answer_end:1"] for n in range(1, 21))
        assert all(told(events, n) == UNARY for n in range(21, 41)) and told(events, 41) == ["request", "answer_end:6"], told(events, 41)


def test_each_caller_has_its_own_libssl():
    """Two versions of a library in one process: whoever is linked to one is served by that one."""
    built()
    folder = os.path.join(BUILT["folder"], "two")
    os.makedirs(folder, exist_ok=True)
    link = ["-L" + folder, "-Wl,-rpath," + folder]
    for name, answer in (("one", 1), ("two", 2)):
        source("two/libssl_%s.so" % name, "-shared", "-fPIC", text="""
            int SSL_read(void *s, void *b, int n) { return %d; }
            int SSL_write(void *s, const void *b, int n) { return 10 + %d; }
            int SSL_get_fd(const void *s) { return -1; }""" % (answer, answer))
        source("two/libuser_%s.so" % name, "-shared", "-fPIC", *link, "-lssl_" + name, text="""
            int SSL_read(void *, void *, int), SSL_write(void *, const void *, int);
            int user_%s(void) { char b[8]; return 100 * SSL_read(0, b, 8) + SSL_write(0, b, 8); }""" % name)
    program = source("two/program", *link, "-L" + BUILT["folder"], "-lllama", "-Wl,-rpath," + BUILT["folder"], "-ldl", text="""
        #include <dlfcn.h>
        #include <stdio.h>
        void llama_backend_init(void);
        int main(void)
        {
            for (int i = 0; i < 4; i++) {
                int (*one)(void) = dlsym(dlopen("FOLDER/libuser_one.so", RTLD_NOW | RTLD_LOCAL), "user_one");
                int (*two)(void) = dlsym(dlopen("FOLDER/libuser_two.so", RTLD_NOW | RTLD_LOCAL), "user_two");
                printf("%d %d\\n", one(), two());
                if (i == 1)
                    llama_backend_init();
            }
            return 0;
        }""".replace("FOLDER", folder))
    expected = "111 212\n" * 4
    plain = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert plain == expected, plain
    probed = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True,
                            env=lib.environment({"LD_PRELOAD": LIBRARY, "SIGHTLINE_PROBE_DIR": lib.tmp()})).stdout
    assert probed == expected, probed


# ---- connections ----

def test_several_connections_each_with_their_own():
    with Host() as host:
        many = [host.http() for _ in range(20)]
        for i, c in enumerate(many):
            c.request("POST", "/tokens", b"x" * (i + 2))
        for c in many:
            c.getresponse().read()
        events = host.events()
        for e in [e for e in events if e["kind"] == "request"]:
            length = next(x["bytes"] for x in events if x["kind"] == "request_end" and x["request"] == e["request"])
            assert told(events, e["request"]) == ["request", "request_end:%d" % length, "tokenize:%d" % length, "post", "answer:200",
                                                  "answer_end:1"], told(events, e["request"])
        assert len({e["connection"] for e in events if e["kind"] == "request"}) == 20


def test_a_loop_that_serves_several_at_once_serves_none_for_certain():
    with Host("loop") as host:
        slow, quick = host.connect(), host.http()
        slow.sendall(b"POST /tokens HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
        time.sleep(0.1)
        ask(quick, "/tokens", b"12345")
        slow.sendall(b"bc")
        assert b"200 OK" in slow.recv(1000)
        ask(quick, "/tokens", b"1234")
        events = host.events()
        assert told(events, 1) == ["request", "request_end:3", "tokenize:3", "post", "answer:200", "answer_end:1"], told(events, 1)
        assert told(events, 2) == ["request", "request_end:5", "answer:200", "answer_end:1"], told(events, 2)
        assert [e["tokens"] for e in events if e["kind"] == "tokenize" and e["request"] == 0] == [[]]
        assert told(events, 3) == ["request", "request_end:4", "tokenize:4", "post", "answer:200", "answer_end:1"], told(events, 3)


def test_pipelined_requests():
    with Host() as host:
        c = host.connect()
        c.sendall(b"GET /length HTTP/1.1\r\n\r\n" * 3 + b"POST /tokens HTTP/1.1\r\nContent-Length: 2\r\n\r\nab")
        got = b""
        while got.count(b"HTTP/1.1 200") < 4:
            got += c.recv(10000)
        events = host.events()
        for request in (1, 2, 3):
            assert told(events, request) == UNARY
        assert told(events, 4) == ["request", "request_end:2", "tokenize:2", "post", "answer:200", "answer_end:1"], told(events, 4)


def test_clients_that_leave():
    with Host() as host:
        c = host.connect()
        c.sendall(b"GET /chunks HTTP/1.1\r\n\r\n")
        c.recv(10)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.close()
        c = host.connect()
        c.sendall(b"POST /tokens HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        c.close()
        c = host.connect()
        c.sendall(b"POST /tok")
        c.close()
        host.connect().close()
        time.sleep(0.2)
        events = host.events()
        by_path = {e["texts"][0].split()[1]: told(events, e["request"]) for e in events if e["kind"] == "request"}
        assert by_path["/chunks"][-1] == "answer_end:6" and by_path["/tokens"] == ["request", "answer_end:6"], by_path


def test_what_is_not_http():
    with Host() as host:
        for text in (b"\x16\x03\x01\x00\x05hello", b"HELO example.org\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\0" * 5000):
            c = host.connect()
            c.sendall(text)
            c.close()
        ask(host.http(), "/length")
        events = told(host.events())
        assert events == UNARY, events


def test_bytes_that_are_thrown_away_unread():
    with Host() as host:
        c = host.http()
        c.sock.sendall(b"GET /trunc HTTP/1.1\r\n\r\n")
        time.sleep(0.1)
        c.sock.sendall(b"abcde")
        assert b"200 OK" in c.sock.recv(1000)
        ask(c, "/length")
        events = host.events()
        assert told(events, 1) == ["request", "request_end:0", "answer_end:2"] and told(events, 2) == UNARY, told(events)


def test_a_connection_from_before_libllama_was_seen():
    with Host("late") as host:
        early = host.http()
        ask(early, "/length")
        assert host.rings() == []
        ask(host.http(), "/begin")
        ask(early, "/length")
        ask(early, "/tokens", b"abc")
        events = host.events()
        assert told(events) == UNARY + ["request", "request_end:3", "tokenize:3", "post", "answer:200", "answer_end:1"], told(events)


def test_a_host_that_never_calls_libllama_has_no_ring():
    with Host("never") as host:
        ask(host.http(), "/length")
        host.end()
        assert host.rings() == []


def test_children_that_close_what_they_inherit():
    for path in ("/vfork", "/fork"):
        with Host() as host:
            c = host.http()
            assert ask(c, path)[0] == 200
            ask(c, "/length")
            events = host.events()
            assert told(events) == UNARY + UNARY, told(events)


def test_a_child_that_is_a_host_itself():
    with Host() as host:
        c = host.http()
        ask(c, "/length")
        assert ask(c, "/worker")[0] == 200
        rings = {int(os.path.basename(r).split("-")[0]): r for r in host.rings()}
        parent = rings.pop(host.process.pid)
        assert told(host.events(parent)) == UNARY + UNARY
        (child,) = rings.values()
        events = host.events(child)
        assert told(events) == UNARY and events[0]["connection"] == 1 and events[0]["request"] == 1, events


def test_off():
    with Host(env={"SIGHTLINE_PROBE": "off"}) as host:
        conversation(host)
        host.end()
        assert host.rings() == []


def test_more_connections_than_are_watched():
    """Those beyond the bound are served as ever, and seen when they ask again later."""
    lib.need_descriptors(6000)
    with contextlib.ExitStack() as stack, Host() as host:
        many = [stack.enter_context(host.connect()) for _ in range(2200)]
        for c in many[::100] + many[-1:]:
            c.sendall(b"GET /length HTTP/1.1\r\n\r\n")
            assert b"200 OK" in c.recv(1000)
        for c in many[:2100]:
            c.close()
        time.sleep(0.3)
        many[-1].sendall(b"GET /length HTTP/1.1\r\n\r\n")
        assert b"200 OK" in many[-1].recv(1000)
        stack.close()
        events = host.events()
        assert told(events).count("request") >= 20 and told(events)[-4:] == UNARY, told(events)


if __name__ == "__main__":
    lib.main(globals())
