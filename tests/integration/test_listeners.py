#!/usr/bin/env python3
"""Each listener is HOST:PORT, PORT or off; a default one whose port is taken is left out, one that was asked for is not."""
import contextlib
import os
import re
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

DEFAULTS = {"gateway": 4000, "metrics": 9000, "health": 8080, "admin": 4001, "api": 4501, "control": 8000, "queue": 8001}
OPS = ("metrics", "health", "admin")
FLOW = ("api", "control", "queue")
ECHO = """name: echo
steps:
  - id: ask
    type: llm
    provider: claude-haiku
    model: claude-haiku
    prompt: "say {{ inputs.what }}"
    output: [text]
"""


def options(**changes):
    """Options that give every listener a free port, but for those said otherwise; None: the default."""
    words = []
    for name in DEFAULTS:
        value = changes.get(name, "127.0.0.1:0")
        if value is not None:
            words += [f"--{name}-listen", value]
    return words


def up(**changes):
    return lib.Process("up", *options(**changes), "--data-dir", lib.tmp(), "--drain-timeout", "5")


def listeners(process):
    return set(process.ready) - {"pid"}


@contextlib.contextmanager
def taken(port=0):
    """A port that a program has; that somebody else has it already is just as good."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", port))
            holder.listen()
        yield port or holder.getsockname()[1]


def free_port():
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        return finder.getsockname()[1]


def test_each_listener_can_be_off():
    """What is off is not in the ready file; all others are, and answer."""
    for name in DEFAULTS:
        process = up(**{name: "off"})
        lib.equal(listeners(process), set(DEFAULTS) - {name}, name)
        for other in OPS:
            if other != name:
                lib.equal(lib.get(process.url(other) + "/health/ready").status, 200, (name, other))
        lib.equal(process.stop(), 0, name)


def test_off_in_every_letter_case_and_from_everywhere():
    lib.equal(listeners(up(metrics="OFF", api="Off")), set(DEFAULTS) - {"metrics", "api"})
    path = os.path.join(lib.tmp(), "config.yaml")
    for text in ("off", "'off'", '"OFF"'):
        with open(path, "w") as file:
            file.write(f"sightline:\n  listen:\n    gateway: {text}\n    queue: {text}\n")
        process = lib.Process("up", "-c", path, *options(gateway=None, queue=None, admin=None), "--data-dir", lib.tmp(),
                              env={"SIGHTLINE_ADMIN_LISTEN": "off"})
        lib.equal(listeners(process), set(DEFAULTS) - {"gateway", "queue", "admin"}, text)
        process.stop()


def test_a_port_alone_is_on_loopback():
    port = free_port()
    process = up(metrics=str(port))
    lib.equal(process.url("metrics"), f"http://127.0.0.1:{port}")
    path = os.path.join(lib.tmp(), "config.yaml")
    with open(path, "w") as file:
        file.write(f"sightline:\n  listen:\n    health: {free_port()}\n")
    process = lib.Process("up", "-c", path, *options(health=None), "--data-dir", lib.tmp())
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", process.url("health")), process.ready


def test_a_default_that_is_taken_is_left_out():
    """One warning for each, with the port and the option that changes it; everything else is there."""
    for name, port in DEFAULTS.items():
        with taken(port):
            process = up(**{name: None})
            lib.equal(listeners(process), set(DEFAULTS) - {name}, name)
            warnings = [line for line in process.output().split("\n") if "left out" in line]
            lib.equal(len(warnings), 1, warnings)
            for word in (f"sightline: warning: the {name} listener", f":{port}", f"--{name}-listen"):
                lib.contains(warnings[0], word, name)
            lib.equal(process.stop(), 0, name)


def test_one_that_was_asked_for_fails_the_start():
    """By option, by variable, by file: the message names which, and the exit status is 1."""
    path = os.path.join(lib.tmp(), "config.yaml")
    with taken() as port:
        for name in DEFAULTS:
            address = f"127.0.0.1:{port}"
            with open(path, "w") as file:
                file.write(f"sightline:\n  listen:\n    {name}: {address}\n")
            variable = f"SIGHTLINE_{name.upper()}_LISTEN"
            ways = [([f"--{name}-listen", address], {}, f"--{name}-listen"), ([], {variable: address}, variable),
                    (["-c", path], {}, path)]
            for words, env, source in ways:
                done = lib.run("up", *options(**{name: None}), *words, "--data-dir", lib.tmp(), env=env, timeout=20)
                lib.equal(done.returncode, 1, (name, words, done.stderr))
                for word in (source, str(port)):
                    lib.contains(done.stderr, word, (name, words))
                assert done.stderr.startswith("sightline: "), done.stderr


def test_without_a_gateway_the_other_planes_are_all_there():
    """Workflows have the built-in models all the same; metrics, health and traces go on."""
    process = up(gateway="off")
    lib.equal(listeners(process), set(DEFAULTS) - {"gateway"})
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    run = lib.post(api + "/workflows/echo/runs", {"inputs": {"what": "hello"}}).json()["run_id"]
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] not in ("queued", "running"), what="the end of the run")
    lib.equal(lib.get(f"{api}/runs/{run}").json()["status"], "succeeded")
    lib.contains(lib.get(process.url("metrics") + "/metrics").text, "orchestrator_")
    lib.equal(lib.get(process.url("health") + "/health/ready").json()["status"], "healthy")
    assert "sk-dev-key" not in process.output(), "a key is told that nothing asks for"
    lib.equal(process.stop(), 0)


def test_without_any_plane_there_is_nothing_to_start():
    off = {name: "off" for name in FLOW}
    for command, words in (("gateway", ["--gateway-listen", "off"]), ("up", options(gateway="off", **off)),
                           ("flow server", [w for name in FLOW for w in (f"--{name}-listen", "off")])):
        for check in ([], ["--check"]):
            done = lib.run(*command.split(), *words, *check, "--data-dir", lib.tmp(), timeout=20)
            lib.equal((done.returncode, done.stdout), (2, ""), (command, check))
            for word in ("sightline: ", "listener", "; "):
                lib.contains(done.stderr, word, command)
    # A gateway whose default port is taken has nothing else either.
    with taken(4000):
        done = lib.run("gateway", "--metrics-listen", "off", "--health-listen", "off", "--admin-listen", "off", "--data-dir", lib.tmp(),
                       timeout=20)
        lib.equal(done.returncode, 1, done.stderr)
        lib.contains(done.stderr, "4000")
        lib.contains(done.stderr, "--gateway-listen")
    lib.equal(lib.run("up", "--gateway-listen", "off", "--check").returncode, 0)


def test_addresses_that_are_none():
    """The whole grammar of a listener: what is refused is named with its option, and how it is written."""
    bad = ["", "host", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", ":::1", "[::1]", "[]:1", "a b:1", "65536", "-1",
           "on", "127.0.0.1:1:2", "http://127.0.0.1:1", "127.0.0.1:1/", "0x10", "1e3"]
    for text in bad:
        done = lib.run("up", *options(metrics=None), f"--metrics-listen={text}", "--check")
        lib.equal(done.returncode, 2, (text, done.stderr))
        for word in ("--metrics-listen", "HOST:PORT"):
            lib.contains(done.stderr, word, text)
    for text in ("0", ":0", "127.0.0.1:0", "localhost:0", "[::1]:0", "*:0", "0.0.0.0:65535", "off", " 127.0.0.1:0 "):
        done = lib.run("up", *options(metrics=None), "--metrics-listen", text, "--check")
        lib.equal(done.returncode, 0, (text, done.stderr))


def test_the_world_sees_no_plane_without_a_key():
    """On an address that others reach, a plane without a key is refused; the listeners for operators are not asked for one."""
    for name in ("gateway",) + FLOW:
        done = lib.run("up", *options(**{name: "0.0.0.0:0"}), "--check")
        lib.equal(done.returncode, 2, name)
        for word in (f"--{name}-listen", "0.0.0.0:0", "loopback", "key"):
            lib.contains(done.stderr, word, name)
    for name in OPS:
        lib.equal(lib.run("up", *options(**{name: "0.0.0.0:0"}), "--check").returncode, 0, name)
    lib.equal(lib.run("up", *options(api="0.0.0.0:0", control="*:0", queue="[::]:0"), "--api-key", "secret", "--check").returncode, 0)


lib.main(globals())
