#!/usr/bin/env python3
"""Starting, checking, reloading and ending by the rules: what a bad file, a taken port and a signal do."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import lib


def start(mock, *args, models=("claude-haiku",), env=None, extra=""):
    return lib.gateway(*args, config=lib.config_for(mock.url("mock"), models, extra=extra), env=env)


def rewrite(gateway, text, atomically=True):
    path = gateway.config_path + (".new" if atomically else "")
    with open(path, "w") as file:
        file.write(text)
    if atomically:
        os.rename(path, gateway.config_path)
    gateway.signal(signal.SIGHUP)


def load_beside(gateway, *args):
    command = [lib.BINARY, "load", "--url", gateway.url("gateway"), "--key", "sk-test", "--format", "json", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=lib.environment())


def in_flight(gateway):
    return lib.total(lib.metrics(gateway.url("metrics")), "sightline_gateway_requests_in_flight")


# ---- --check ----

def test_check_says_every_fault_with_its_place():
    path = os.path.join(lib.tmp(), "config.yaml")

    def check(text, command="gateway"):
        with open(path, "w") as file:
            file.write(text)
        return lib.run(command, "--check", "-c", path)
    for command in ("gateway", "up"):
        lib.equal(check("model_list:\n  - model_name: a\n    litellm_params: {model: openai/x, api_base: http://127.0.0.1:1}\n", command).returncode, 0)
    done = check("model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/x\n      timeout: soon\n  - litellm_params: {model: openai/y}\n"
                 "general_settings:\n  master_key: ''\nnonsense: 1\n")
    lib.equal(done.returncode, 2)
    lines = done.stderr.strip().split("\n")
    for number in (5, 6, 8, 9):
        assert any(line.startswith(f"{path}:{number}:") for line in lines), (number, lines)
    for broken in ("model_list: [\n", "a: b: c\n", "\tx: 1\n", "model_list:\n- a\n -b\n", "x: *nowhere\n", "\xff\xfe"):
        done = check(broken)
        lib.equal(done.returncode, 2, broken)
        assert done.stderr.startswith(f"{path}:"), (broken, done.stderr)
    lib.equal(lib.run("gateway", "--check", "-c", path + ".missing").returncode, 2)
    lib.contains(lib.run("gateway", "--check", "-c", path + ".missing").stderr, path + ".missing")
    lib.equal(lib.run("gateway", "--check").returncode, 0)


def test_a_bad_file_does_not_start():
    path = os.path.join(lib.tmp(), "config.yaml")
    with open(path, "w") as file:
        file.write("model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/x\n      timeout: soon\n")
    done = lib.run("gateway", *lib.FREE, "-c", path, timeout=20)
    lib.equal(done.returncode, 2)
    assert done.stderr.startswith(f"{path}:5:"), done.stderr


# ---- SIGHUP ----

def test_a_reload_takes_effect_and_drops_nothing():
    mock = lib.mock(ttft=10, itl=40, tokens=50)
    gateway = start(mock, "--workers", 2)
    streams = load_beside(gateway, "-n", 20, "-c", 20, "--stream")
    lib.until(lambda: in_flight(gateway) == 20)
    rewrite(gateway, lib.config_for(mock.url("mock"), ["renamed"], key="sk-other"))
    lib.until(lambda: lib.chat(gateway.url("gateway"), key="sk-other", model="renamed", max_tokens=1).status == 200, 10, "the new model and key")

    def old_is_gone():
        statuses = {lib.chat(gateway.url("gateway"), key="sk-test", max_tokens=1).status for _ in range(10)}
        return statuses == {401}
    lib.until(old_is_gone, 5, "the end of the old key")
    lib.equal(lib.chat(gateway.url("gateway"), key="sk-other", model="claude-haiku").status, 404)
    report = json.loads(streams.communicate(timeout=60 * lib.SLOW)[0])
    lib.equal((report["ok"], report["errors"]), (20, {}))
    lib.until(lambda: in_flight(gateway) == 0)
    lib.equal(gateway.stop(), 0)


def test_bad_files_keep_the_running_one():
    mock = lib.mock()
    gateway = start(mock)
    good = lib.config_for(mock.url("mock"))
    for text, place in (("model_list: nonsense\n", ":1:"), (good + "sightline:\n  workers: many\n", ":11:"), ("a: [\n", ":"),
                        ("general_settings:\n  master_key: k\n", "no model"), (good.replace("  master_key: sk-test\n", "  {}\n"), "master_key")):
        rewrite(gateway, text)
        wanted = gateway.config_path + place if place.startswith(":") else place
        lib.until(lambda: wanted in gateway.output(), 10, f"{wanted} in the log")
        for _ in range(5):
            lib.equal(lib.chat(gateway.url("gateway")).status, 200, text)
    os.unlink(gateway.config_path)
    gateway.signal(signal.SIGHUP)
    lib.until(lambda: "cannot be read" in gateway.output(), 10, "the missing file in the log")
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    rewrite(gateway, lib.config_for(mock.url("mock"), ["claude-haiku", "again"]))
    lib.until(lambda: lib.chat(gateway.url("gateway"), model="again").status == 200, 10, "the mended file")
    lib.equal(gateway.stop(), 0)


def test_many_reloads_at_once():
    mock = lib.mock()
    gateway = start(mock, "--workers", 2)
    running = load_beside(gateway, "--duration", 3, "-c", 8)
    for _ in range(25):
        gateway.signal(signal.SIGHUP)
        time.sleep(0.03)
    report = json.loads(running.communicate(timeout=60 * lib.SLOW)[0])
    lib.equal(report["errors"], {})
    def count():
        with open(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children") as file:
            return len(file.read().split())
    lib.until(lambda: count() == 3, 20, "two workers and control")
    lib.until(lambda: lib.total(lib.metrics(gateway.url("metrics")), "llamastack_requests_total") == report["ok"], 5, "every request counted")
    lib.equal(lib.get(gateway.url("health") + "/health/ready").status, 200)
    lib.equal(gateway.stop(), 0)


KEPT = "was changed, and stays as it was; start again for it to take effect"


def told(process):
    """Settings that the log says are kept, and forgets them."""
    lines = process.output()[getattr(process, "read", 0):].split("\n")
    process.read = len(process.output())
    return sorted(line.split("reload: ")[1].split(": was changed")[0] for line in lines if KEPT in line)


def generations(process):
    return process.output().count("is starting")


def reload_as(process, text):
    before = generations(process)
    rewrite(process, text)
    lib.until(lambda: generations(process) > before, 10, "the reload")
    return told(process)


def test_what_only_a_start_reads_is_told():
    """Compared with the start, not with the reload before; what an option decides is not told."""
    mock = lib.mock()
    ours = "sightline:\n  workers: {}\n  drain_timeout: {}\n  listen:\n    metrics: '{}'\n    api: 127.0.0.1:1\n"
    check = "  health_checks:\n    - {name: m, kind: memory, limit: 1000000000000}\n"
    file = lib.config_for(mock.url("mock"))
    gateway = start(mock, extra=ours.format(2, 7, "127.0.0.1:1"))
    lib.equal(reload_as(gateway, file + ours.format(2, 7, "127.0.0.1:1")), [])
    changed = file + ours.format(3, 8, "127.0.0.1:2").replace("127.0.0.1:1", "127.0.0.1:3") + check
    for _ in range(2):  # --metrics-listen and --drain-timeout are options here; a gateway has no API server
        lib.equal(reload_as(gateway, changed), ["sightline.health_checks", "sightline.workers"])
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    lib.equal(reload_as(gateway, file + ours.format(2, 7, "127.0.0.1:1")), [])
    with open(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children") as children:
        assert len(children.read().split()) >= 3, "two workers and control"
    lib.equal(gateway.stop(), 0)


def test_nothing_is_kept_of_models():
    """`flow server` has no workers to replace, and may be without models; `up` has both planes. What workflows see of a
    reload: test_flow_reload.py."""
    mock = lib.mock()
    for command in ("flow server", "up"):
        path = os.path.join(lib.tmp(), "config.yaml")
        with open(path, "w") as file:
            file.write(lib.config_for(mock.url("mock")))
        off = [w for name in ("metrics", "health", "admin", "api", "control", "queue") + (("gateway",) if command == "up" else ())
               for w in (f"--{name}-listen", "127.0.0.1:0")]
        server = lib.Process(*command.split(), "-c", path, *off, "--data-dir", lib.tmp(), "--drain-timeout", "5")
        server.config_path = path
        lib.equal(reload_as(server, lib.config_for(mock.url("mock")) + "# the same\n"), [])
        lib.equal(reload_as(server, lib.config_for(mock.url("mock"), ["other"])), [])
        if command == "flow server":
            lib.equal(reload_as(server, "general_settings: {}\n"), [])
        lib.equal(lib.get(server.url("api") + "/status/").status, 200)
        lib.equal(server.stop(), 0)


# ---- SIGTERM ----

def test_an_idle_gateway_ends_at_once():
    mock = lib.mock()
    gateway = start(mock, "--workers", 2)
    parts = gateway.url("gateway").rsplit(":", 1)
    idle = socket.create_connection(("127.0.0.1", int(parts[1])))
    lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    begun = time.monotonic()
    lib.equal(gateway.stop(), 0)
    assert time.monotonic() - begun < 2 * lib.SLOW, time.monotonic() - begun
    idle.close()


def test_readiness_ends_before_service_does():
    mock = lib.mock(itl=50, tokens=40)
    gateway = start(mock)
    streams = load_beside(gateway, "-n", 5, "-c", 5, "--stream")
    lib.until(lambda: in_flight(gateway) == 5)
    gateway.signal(signal.SIGTERM)
    lib.until(lambda: lib.get(gateway.url("health") + "/health/ready").status == 503, 2, "not ready while draining")
    lib.equal(lib.get(gateway.url("health") + "/health/live").status, 200, "alive while draining")
    report = json.loads(streams.communicate(timeout=60 * lib.SLOW)[0])
    lib.equal((report["ok"], report["errors"]), (5, {}))
    lib.equal(gateway.stop(), 0)


def test_a_second_signal_ends_the_patience():
    mock = lib.mock("--fault", "hang=1")
    gateway = start(mock)
    thread = threading.Thread(target=lambda: _quietly(gateway))
    thread.start()
    lib.until(lambda: in_flight(gateway) == 1)
    begun = time.monotonic()
    gateway.signal(signal.SIGTERM)
    time.sleep(0.5)
    gateway.signal(signal.SIGTERM)
    lib.equal(gateway.process.wait(20 * lib.SLOW), 0)
    assert time.monotonic() - begun < 3 * lib.SLOW, time.monotonic() - begun
    thread.join()


def _quietly(gateway):
    try:
        lib.chat(gateway.url("gateway"))
    except Exception:  # it is cut off, as it should be
        pass


# ---- ports ----

def test_asked_for_and_default_ports():
    mock = lib.mock()
    config = os.path.join(lib.tmp(), "config.yaml")
    with open(config, "w") as file:
        file.write(lib.config_for(mock.url("mock")))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--gateway-listen", "--metrics-listen", "--health-listen", "--admin-listen"):
            args = [a if lib.FREE[i - 1] != option else f"127.0.0.1:{port}" for i, a in enumerate(lib.FREE)]
            done = lib.run("gateway", *args, "-c", config, "--data-dir", lib.tmp(), timeout=20)
            lib.equal(done.returncode, 1, option)
            lib.contains(done.stderr, option)
            lib.contains(done.stderr, str(port))
        env = {"SIGHTLINE_HEALTH_LISTEN": f"127.0.0.1:{port}"}
        done = lib.run("gateway", "--gateway-listen", "127.0.0.1:0", "--metrics-listen", "off", "--admin-listen", "off", "-c", config,
                       "--data-dir", lib.tmp(), env=env, timeout=20)
        lib.equal(done.returncode, 1, "one that the environment asked for")
    for bad in ("nonsense:port", "127.0.0.1:70000", ""):
        done = lib.run("gateway", "--gateway-listen", bad, "-c", config, timeout=20)
        lib.equal(done.returncode, 2, bad)
    done = lib.run("up", "--gateway-listen", "0.0.0.0:0", timeout=20)
    lib.equal(done.returncode, 2, "without a key on loopback only")
    lib.contains(done.stderr, "master_key")


def test_the_ready_file_is_whole_or_absent():
    mock = lib.mock()
    folder = lib.tmp()
    gateway = start(mock, "--metrics-listen", "off")
    with open(gateway.ready_path) as file:
        lib.equal(json.load(file)["pid"], gateway.process.pid)
    lib.equal(sorted(os.listdir(os.path.dirname(gateway.ready_path))), ["log", "ready.json"])
    done = lib.run("gateway", *lib.FREE, "-c", gateway.config_path, "--data-dir", folder, "--ready-file", folder + "/no/such/folder", timeout=20)
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, folder + "/no/such/folder")


lib.main(globals())
