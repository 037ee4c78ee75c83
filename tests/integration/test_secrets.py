#!/usr/bin/env python3
"""Planted secrets: keys and prompt text must come out of no sink; prompt text alone, when it is asked for."""
import gzip
import http.client
import http.server
import json
import os
import signal
import threading
import time

import lib

MASTER, UPSTREAM, WRONG, HEADER, PROMPT, ANSWERED = (f"planted-{name}-5c1e" for name in ("master", "upstream", "wrong", "header", "prompt", "mock"))
PLANTED = (MASTER, UPSTREAM, WRONG, HEADER, PROMPT)


def config(mock, path="/v1"):
    return (f"model_list:\n  - model_name: claude-haiku\n    litellm_params:\n      model: openai/mock\n      api_base: {mock}{path}\n"
            f"      api_key: os.environ/PLANTED_UPSTREAM\ngeneral_settings:\n  master_key: os.environ/PLANTED_MASTER\n")


def start(command_config, folder, extra=None):
    env = {"PLANTED_UPSTREAM": UPSTREAM, "PLANTED_MASTER": MASTER, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{HEADER}",
           "OTEL_TRACES_EXPORTER": "file", "OTEL_LOGS_EXPORTER": "file,console", "OTEL_METRICS_EXPORTER": "file",
           "SIGHTLINE_EXPORTER_FILE": folder + "/export.jsonl", "LOG_LEVEL": "DEBUG", "OTEL_LOG_LEVEL": "debug", "OTEL_METRIC_EXPORT_INTERVAL": "500",
           "OTEL_BSP_SCHEDULE_DELAY": "100", **(extra or {})}
    return lib.gateway(config=command_config, env=env), env


def provoke(gateway):
    """Requests of every fate; the texts of all answers."""
    base, seen = gateway.url("gateway"), []
    for stream in (False, True):
        seen.append(lib.chat(base, key=MASTER, content=PROMPT, stream=stream).text)
    for key in (WRONG, None):
        seen.append(lib.chat(base, key=key, content=PROMPT).text)
    seen.append(lib.chat(base, key=MASTER, model="no-such-" + PROMPT, content=PROMPT).text.replace("no-such-" + PROMPT, ""))
    seen.append(lib.post(base + "/v1/chat/completions", ('{"model": "claude-haiku", "x": "' + PROMPT).encode(),
                         headers={"Authorization": f"Bearer {MASTER}"}).text)
    seen.append(lib.post(base + f"/v1/chat/completions?api_key={MASTER}", {"model": "claude-haiku", "messages": []},
                         headers={"Authorization": f"Bearer {MASTER}", "Cookie": HEADER, "X-Api-Key": WRONG, "api-key": WRONG}).text)
    seen.append(lib.raw(base, f"GET /{WRONG} HTTP/1.1\r\nAuthorization: Bearer {MASTER}\r\nbad line {PROMPT}\r\n\r\n".encode(), timeout=2).decode())
    return seen


def sinks(gateway, env, folder):
    found = {}
    for key, paths in {"metrics": ["/metrics"], "admin": ["/traces?limit=100"], "health": ["/health", "/health/ready", "/health/readiness"]}.items():
        for path in paths:
            found[key + path] = lib.get(gateway.url(key) + path).text
    for row in json.loads(found["admin/traces?limit=100"]):
        found["trace " + row["trace_id"]] = lib.get(f"{gateway.url('admin')}/traces/{row['trace_id']}").text
    with open(gateway.ready_path) as file:
        found["ready file"] = file.read()
    for arguments in (["doctor", "--ready-file", gateway.ready_path, "-c", gateway.config_path], ["traces", "--url", gateway.url("admin")],
                      ["top", "--once", "--url", gateway.url("metrics") + "/metrics"], ["gateway", "--check", "-c", gateway.config_path]):
        done = lib.run(*arguments, env=env)
        found[" ".join(arguments[:2])] = done.stdout + done.stderr
    gateway.stop()
    found["log"] = gateway.output()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read().decode("utf-8", "replace")
    return found


def check(found, words):
    leaks = [f"{word} in {name}: …{text[max(0, text.find(word) - 80):text.find(word) + 60]}…" for name, text in found.items() for word in words
             if word in text]
    lib.equal(leaks, [])


def test_no_sink_shows_a_secret():
    folder = lib.tmp()
    mock = lib.mock()
    gateway, env = start(config(mock.url("mock")), folder)
    answers = provoke(gateway)
    found = lib.until(lambda: json.loads(lib.get(gateway.url("admin") + "/traces?limit=100").text) and True, 5) and sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)
    for word in ("gen_ai.request.model", "claude-haiku"):
        lib.contains(found["export.jsonl"], word, "the export is not empty")
    assert len(found["log"]) > 100


def test_nor_when_everything_fails():
    folder = lib.tmp()
    mock = lib.mock("--fault", "500=0.4", "--fault", "reset=0.3", "--fault", "badjson=0.3")
    gateway, env = start(config(mock.url("mock")), folder)
    answers = [text for _ in range(3) for text in provoke(gateway)]
    found = sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)


def test_nor_when_the_upstream_is_dead():
    folder = lib.tmp()
    gateway, env = start(config("http://127.0.0.1:1"), folder)
    answers = provoke(gateway)
    found = sinks(gateway, env, folder)
    found["answers"] = "\n".join(answers)
    check(found, PLANTED)


def children(gateway):
    with open(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def test_nor_when_processes_crash():
    """Every child is killed by SIGSEGV amid a request: what it, its successors and the metric files say afterwards."""
    folder, shared = lib.tmp(), lib.tmp()
    mock = lib.mock("--fault", "hang=1")
    gateway, env = start(config(mock.url("mock")), folder, {"PROMETHEUS_MULTIPROC_DIR": shared, "OTEL_EXPORTER_OTLP_TIMEOUT": "500",
                                                                  **lib.sanitizer_options("handle_segv=0")})
    answers = []

    def ask():
        try:
            answers.append(lib.chat(gateway.url("gateway"), key=MASTER, content=PROMPT).text)
        except (OSError, http.client.HTTPException) as error:
            answers.append(repr(error))
    asking = threading.Thread(target=ask)
    asking.start()
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight") == 1, 5, "a request in flight")
    crashed = children(gateway)
    for pid in crashed:
        os.kill(pid, signal.SIGSEGV)
    asking.join(20 * lib.SLOW)
    lib.post(mock.url("mock") + "/mock/reset")
    lib.until(lambda: len(set(children(gateway)) - set(crashed)) == len(crashed), 10, "successors")
    lib.until(lambda: answered(gateway), 10, "an answer of a successor")
    answers.append(lib.chat(gateway.url("gateway"), key=WRONG, content=PROMPT).text)
    lib.until(lambda: json.loads(lib.get(gateway.url("admin") + "/traces").text), 5, "a trace")
    found = sinks(gateway, env, folder)
    for name in os.listdir(shared):
        with open(os.path.join(shared, name), "rb") as file:
            found["metric file " + name] = file.read().decode("utf-8", "replace")
    found["answers"] = "\n".join(answers)
    assert any(name.startswith("metric file ") for name in found), found.keys()
    check(found, PLANTED)


def answered(gateway):
    """Whether gateway, metrics and admin answer again."""
    try:
        return all(lib.get(gateway.url(key) + path).status for key, path in (("gateway", "/v1/models"), ("metrics", "/metrics"), ("admin", "/traces")))
    except (OSError, http.client.HTTPException):
        return False


class Parrot:
    """An upstream whose errors say everything that it was sent: in the body, in headers, in the reason."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = f"Incorrect API key provided: {self.headers['Authorization']}; asked {json.dumps(asked['messages'])}"
                body = json.dumps({"error": {"message": said, "type": said, "code": said, "param": said}}).encode()
                self.send_response(401, said)
                for name, value in (("Content-Type", "application/json"), ("X-Said", said), ("Content-Length", len(body))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def test_nor_what_an_upstream_repeats():
    folder = lib.tmp()
    gateway, env = start(config(Parrot().url), folder)
    for stream in (False, True):
        reply = lib.chat(gateway.url("gateway"), key=MASTER, content=PROMPT, stream=stream)
        lib.equal(reply.status, 401)
        lib.contains(reply.text, PROMPT, "the answer goes through as it is")
        assert MASTER not in reply.text
    lib.until(lambda: len(json.loads(lib.get(gateway.url("admin") + "/traces").text)) == 2, 5, "two traces")
    found = sinks(gateway, env, folder)
    lib.contains(found["export.jsonl"], "claude-haiku")
    check(found, PLANTED)


class Receiver:
    """Takes OTLP over HTTP: every byte of path, headers and body."""

    def __init__(self):
        self.bodies = {}
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                receiver.bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def sinks(self):
        return {path: b"".join(bodies).decode("utf-8", "replace") for path, bodies in self.bodies.items()}


def over_otlp(**extra):
    """A gateway that exports to a receiver over HTTP, used in every way, and ended: everything that came out of it."""
    receiver, folder = Receiver(), lib.tmp()
    mock = lib.mock()
    gateway, env = start(config(mock.url("mock")), folder, {
        "OTEL_TRACES_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp,console", "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "LOG_LEVEL": "TRACE", **extra})
    data = gateway.args[gateway.args.index("--data-dir") + 1]
    answers = provoke(gateway)
    time.sleep(0.3)
    found = sinks(gateway, env, folder)
    found.update(receiver.sinks())
    for where, _, names in os.walk(data):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                found["data " + name] = file.read().decode("utf-8", "replace")
    assert found.keys() >= {"/v1/traces", "/v1/metrics", "/v1/logs"}, found.keys()
    lib.contains(found["/v1/traces"], "claude-haiku")
    return found, answers


def test_no_secret_over_otlp_nor_in_logs_of_either_form():
    for extra in ({"LOG_FORMAT": "text"}, {"LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}):
        found, answers = over_otlp(**extra)
        found["answers"] = "\n".join(answers)
        check(found, PLANTED)


def test_prompts_when_they_are_asked_for():
    """LOG_QUERIES: in logs and spans. The other: in spans. Keys never; and not without end."""
    for variable, in_logs in (("LOG_QUERIES", True), ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", False)):
        found, _ = over_otlp(**{variable: "true"})
        lib.contains(found["/v1/traces"], PROMPT, f"{variable}: the prompt in spans")
        lib.equal(PROMPT in found["log"], in_logs, f"{variable}: the prompt in the log")
        lib.equal(PROMPT in found["/v1/logs"], in_logs, f"{variable}: the prompt in log records")
        assert PROMPT not in found["metrics/metrics"] and PROMPT not in found["/v1/metrics"], variable
        check(found, (MASTER, UPSTREAM, WRONG, HEADER))
        found, _ = over_otlp(**{variable: "false"})
        check(found, PLANTED)


def test_a_prompt_is_cut_and_masked():
    mock = lib.mock()
    gateway = lib.gateway(config=lib.config_for(mock.url("mock")), env={"LOG_QUERIES": "true"})
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    content = "begin my key is sk-abcdefghijklmnopqrstuvwxyz0123456789 " + "\u00e9" * 20000 + "the-very-end"
    lib.equal(lib.chat(gateway.url("gateway"), content=content, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}).status, 200)
    reply = lib.until(lambda: (lambda r: r if r.status == 200 and len(r.json()["spans"]) == 2 else None)(
        lib.get(f"{gateway.url('admin')}/traces/{trace}")), 3, "the trace")
    prompt = next(s for s in reply.json()["spans"] if s["kind"] == "CLIENT")["attributes"]["gen_ai.prompt"]
    lib.contains(prompt, "begin my key is")
    assert "sk-abcdefgh" not in prompt and len(prompt.encode()) < 5000, prompt[:200]
    for text in (reply.text, gateway.output()):
        assert "the-very-end" not in text and "sk-abcdefgh" not in text


def test_a_faulty_configuration_shows_no_secret():
    path = os.path.join(lib.tmp(), "bad.yaml")
    with open(path, "w") as file:
        file.write(f"model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/x\n      api_base: http://user:{UPSTREAM}@h/v1\n"
                   f"      api_key: [{UPSTREAM}]\ngeneral_settings:\n  master_key: {{a: {MASTER}}}\n")
    for command in ("gateway", "up", "doctor"):
        done = lib.run(command, "--check", "-c", path)
        lib.equal(done.returncode, 2, command)
        check({command: done.stdout + done.stderr}, (UPSTREAM, MASTER))


def test_an_address_with_a_password_is_not_repeated():
    """Where it is refused the message shows the address, but not who may come; by option and by variable, for every protocol."""
    flow = os.path.join(lib.tmp(), "flow.yaml")
    with open(flow, "w") as file:
        file.write("name: f\nsteps:\n  - {id: a, type: action, action: log, message: x}\n")
    for address in ("http://user:planted-s3cret@h:99999", "https://user:planted-s3cret@[::", "user:planted-s3cret@h:4318",
                    "https://x:p@planted-s3cret@h"):
        for protocol in ("http/protobuf", "grpc", "http/json"):
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
            for command in (["up", "--check"], ["doctor", "--offline"], ["exec", "--check", "--", "true"], ["flow", "worker", flow, "--check"],
                            ["run", flow, "--check"]):
                done = lib.run(*command, env=env)
                assert "planted" not in done.stdout + done.stderr and "s3cret" not in done.stdout + done.stderr, (command, address, done.stderr)
        for command in (["traces", "--url", address], ["load", "--url", address, "-n", "1"], ["top", "--url", address],
                        ["exec", "--view", address, "--check", "--", "true"], ["run", "--view", address, "--check", flow],
                        ["flow", "worker", "--queue", address, "--check", flow]):
            done = lib.run(*command, timeout=20)
            assert "planted" not in done.stdout + done.stderr and "s3cret" not in done.stdout + done.stderr, (command, address, done.stderr)
    done = lib.run("up", "--check", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:planted-s3cret@h:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "http://[REDACTED]@h:1/v1/traces")


lib.main(globals())
