#!/usr/bin/env python3
"""Environment variables, out of the program's own table: what cannot be read is told by name, and never stops what need not stop."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

# What is no value of a type, and what is one.
BAD = {"boolean": ["maybe", "2"], "number": ["many", "-1", "1.5", "99999999999999999999999"], "milliseconds": ["soon", "-1", "1.5"], "seconds": ["soon", "-1", "nan"],
       "ratio": ["half", "-0.1", "1.01", "nan", "50%"], "name": ["pigeon"], "names": ["pigeon", "pigeon,tracecontext"]}
GOOD = {"boolean": ["true", "false", "TRUE"], "number": ["1"], "milliseconds": ["1000"], "seconds": ["1", "0.5"], "ratio": ["0", "1", "0.25"]}
# With these, all that could be read is read.
ALL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "otlp,jaeger,zipkin", "OTEL_METRICS_EXPORTER": "otlp,prometheus",
       "OTEL_LOGS_EXPORTER": "otlp"}
PORTS = {"LLAMA_DEPLOY_APISERVER_PORT": "api", "CONTROL_PLANE_PORT": "control", "SIMPLE_MESSAGE_QUEUE_PORT": "queue",
         "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT": "metrics"}

_table = []


def table():
    if not _table:
        _table.extend(json.loads(lib.run("docs", "--format", "json").stdout)["environment"])
    return _table


def told(env):
    """Rows of `doctor` that are not content."""
    done = lib.run("doctor", "--offline", "--format", "json", env=env, timeout=20)
    assert done.returncode in (0, 1), (env, done.stderr)
    return [c for c in json.loads(done.stdout)["checks"] if c["status"] != "ok"]


def test_the_table_is_sound():
    names = [row["name"] for row in table()]
    lib.equal(len(names), len(set(names)))
    for row in table():
        assert row["help"].endswith("."), row
        if row["type"] in ("name", "names"):
            assert row["values"], row
            if row["default"]:
                for name in row["default"].split(","):
                    assert name in row["values"] or row["name"] == "LOG_LEVEL", row


def test_what_cannot_be_read_is_told_by_name():
    """By `doctor`, whether or not this start would have read it, with what to do."""
    for row in table():
        for value in BAD.get(row["type"], []):
            rows = [c for c in told({**ALL, row["name"]: value}) if row["name"] in c["seen"]]
            assert rows and rows[0]["remedy"], f"{row['name']}={value} ({row['type']}) is not told"


def test_what_can_be_read_is_not_told():
    for row in table():
        values = GOOD.get(row["type"]) or (row["values"] if row["type"] in ("name", "names") else [])
        for value in values:
            if row["name"] in ("OTEL_SDK_DISABLED", "LOG_QUERIES", "OTEL_CONFIG_FILE") or value.startswith("base2"):
                continue  # these are told for what they mean
            wrong = [c for c in told({row["name"]: value}) if c["seen"].startswith(row["name"] + ":")]
            lib.equal(wrong, [], f"{row['name']}={value}")


def test_an_empty_variable_is_not_set():
    lib.equal([c["name"] for c in told({row["name"]: "" for row in table()})], [c["name"] for c in told({})])


def test_names_that_nobody_reads():
    """A slip in a name of ours is told; every name of the reference is read by somebody."""
    rows = [c["seen"] for c in told({row["name"]: "1" for row in table()}) if "nothing reads it" in c["seen"]]
    lib.equal(rows, [])
    for name in ("OTEL_TRACE_EXPORTER", "SIGHTLINE_GATEWAY_LISTENS", "LLAMA_DEPLOY_APISERVER_PROT"):
        assert any(name in c["seen"] and "nothing reads it" in c["seen"] for c in told({name: "x"})), name
    assert not told({"MY_OTEL_THING": "x", "OTELX": "y"}) or not any("MY_OTEL" in c["seen"] for c in told({"MY_OTEL_THING": "x"}))


def test_telemetry_never_stops_the_program():
    """Each OTEL_* that cannot be read is said and left aside: what is checked is as sound as without it."""
    for row in table():
        if not row["name"].startswith("OTEL_EXPORTER") and not row["name"].startswith("OTEL_B"):
            continue
        for value in BAD.get(row["type"], [])[:1]:
            done = lib.run("up", "--check", env={**ALL, row["name"]: value}, timeout=20)
            assert done.returncode in (0, 2), (row["name"], done.returncode)
            if done.returncode == 2:
                lib.contains(done.stderr, row["name"])


def test_ports_that_are_none_are_refused_by_name():
    for name, listener in PORTS.items():
        for value in ("many", "-1", "65536", "80x", "0x50"):
            done = lib.run("up", "--check", env={name: value})
            lib.equal(done.returncode, 2, (name, value))
            lib.contains(done.stderr, name, value)
            lib.contains(done.stderr, value, name)
            # The option, and our own variable, count more.
            lib.equal(lib.run("up", f"--{listener}-listen", "off", "--check", env={name: value}).returncode, 0, (name, value))
            lib.equal(lib.run("up", "--check", env={name: value, f"SIGHTLINE_{listener.upper()}_LISTEN": "0"}).returncode, 0, (name, value))


def test_variables_that_kubernetes_sets_are_no_ports():
    """A Service that is called control-plane gives every pod CONTROL_PLANE_PORT=tcp://…: that is not meant for us."""
    services = {name: f"tcp://10.0.0.{i}:8000" for i, name in enumerate(PORTS)}
    done = lib.run("up", "--check", env=services)
    lib.equal(done.returncode, 0, done.stderr)
    assert not [c for c in told(services) if "tcp://" in c["seen"] or "_PORT" in c["seen"]], told(services)


def test_hosts_and_ports_of_the_public_servers():
    """LLAMA_DEPLOY_APISERVER_HOST and its like move their listeners, with brackets for IPv6."""
    process = lib.Process("flow", "server", "--metrics-listen", "off", "--health-listen", "off", "--admin-listen", "off", "--data-dir", lib.tmp(),
                          env={"LLAMA_DEPLOY_APISERVER_HOST": "127.0.0.1", "LLAMA_DEPLOY_APISERVER_PORT": "0", "CONTROL_PLANE_PORT": "0",
                               "SIMPLE_MESSAGE_QUEUE_HOST": "localhost", "SIMPLE_MESSAGE_QUEUE_PORT": "0"})
    for name in ("api", "control", "queue"):
        assert process.url(name).startswith(("http://127.0.0.1:", "http://[::1]:")), process.ready
    lib.equal(lib.run("up", "--check", env={"CONTROL_PLANE_HOST": "::1"}).returncode, 0)
    done = lib.run("up", "--check", env={"CONTROL_PLANE_HOST": "0.0.0.0"})
    lib.equal(done.returncode, 2, "the world would reach it without a key")
    lib.contains(done.stderr, "CONTROL_PLANE_HOST")


lib.main(globals())
