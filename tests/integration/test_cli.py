#!/usr/bin/env python3
"""Every command: help, version, exit statuses, where messages go."""
import json
import re

import lib


def commands():
    text = lib.run("--help").stdout
    return re.findall(r"^  ([a-z]+(?: [a-z]+)?)  +\S", text.split("Commands:\n")[1].split("\n\n")[0], re.M)


def test_program_help_and_version():
    for arguments in (["--help"], ["-h"], ["help"]):
        done = lib.run(*arguments)
        lib.equal((done.returncode, done.stderr), (0, ""), arguments)
        lib.contains(done.stdout, "Commands:")
    for arguments in (["--version"], ["-V"], ["version"]):
        done = lib.run(*arguments)
        lib.equal(done.returncode, 0)
        assert re.fullmatch(r"sightline \d+\.\d+\.\d+\n", done.stdout), done.stdout


def test_every_command_helps():
    names = commands()
    for name in ("up", "gateway", "mock", "load", "traces", "top", "doctor", "docs", "gen", "run", "validate", "flow server"):
        assert name in names, f"{name} is not among {names}"
    for name in names:
        done = lib.run(*name.split(), "--help")
        lib.equal((done.returncode, done.stderr), (0, ""), name)
        lib.contains(done.stdout, f"Usage: sightline {name}")
        lib.contains(done.stdout, "Examples:\n")
        assert done.stdout.rstrip().split("\n")[-1].startswith("  "), f"{name}: examples are not at the end"
        assert len(done.stdout.split("\n")) <= 64, f"{name}: more than one screen"
        version = lib.run(*name.split(), "--version")
        lib.equal((version.returncode, version.stdout), (0, lib.run("--version").stdout), name)


def test_a_group_of_commands_helps_as_a_command_does():
    for arguments in (["flow", "--help"], ["flow", "-h"], ["help", "flow"]):
        done = lib.run(*arguments)
        lib.equal((done.returncode, done.stderr), (0, ""), arguments)
        lib.contains(done.stdout, "Usage: sightline flow COMMAND")
        for name in [n for n in commands() if n.startswith("flow ")]:
            lib.contains(done.stdout, f"  sightline {name} ", arguments)
            lib.contains(done.stdout.split("Examples:\n")[1], f"  sightline {name}", arguments)
    for arguments in (["flow", "--version"], ["flow", "-V"]):
        done = lib.run(*arguments)
        lib.equal((done.returncode, done.stdout), (0, lib.run("--version").stdout), arguments)
    lib.equal(lib.run("flow").returncode, 2)
    lib.contains(lib.run("flow").stderr, "Usage: sightline flow COMMAND")
    for word, said in (("sever", "did you mean `sightline flow server`?"), ("zzzz", "`sightline flow --help`"), ("--helpp", "`sightline flow --help`")):
        for arguments in (["flow", word], ["help", "flow", word]):
            done = lib.run(*arguments)
            lib.equal((done.returncode, done.stdout), (2, ""), arguments)
            lib.contains(done.stderr, said, arguments)


def test_wrong_usage_exits_2():
    cases = [["nonsense"], [], ["mock", "--nonsense"], ["mock", "--tokens"], ["mock", "--tokens", "many"], ["mock", "surplus"],
             ["mock", "--listen", "256.1.1.1.1:x"], ["mock", "--fault", "nonsense=1"], ["mock", "--fault", "429=2"], ["load", "--concurrency", "0"],
             ["load", "--format", "xml"], ["load", "--url", "ftp://x"], ["load", "--requests", "0"], ["load", "--duration", "0"], ["traces", "--format", "xml"],
             ["traces", "--limit", "0"], ["top", "--interval", "0"], ["doctor", "--format", "xml"], ["docs", "--format", "xml"],
             ["docs", "--section", "nonsense"], ["docs", "nonsense", "--format", "man"], ["gen"], ["gen", "nonsense"], ["gen", "gguf"],
             ["validate"], ["validate", "--format", "xml", "x"], ["gateway", "-c", "/nonexistent/config.yaml"], ["up", "--gateway-listen", "nonsense:x:y"]]
    for arguments in cases:
        done = lib.run(*arguments)
        lib.equal(done.returncode, 2, arguments)
        if arguments:
            assert done.stderr.startswith(("sightline: ", "/nonexistent")), (arguments, done.stderr)
            lib.equal(done.stdout, "", arguments)


def test_failed_work_exits_1():
    nowhere = "http://127.0.0.1:1"
    for arguments in (["load", "--url", nowhere, "-n", "1"], ["traces", "--url", nowhere], ["top", "--url", nowhere + "/metrics"],
                      ["gen", "gguf", "/nonexistent/folder/x.gguf"]):
        done = lib.run(*arguments)
        lib.equal(done.returncode, 1, arguments)
        assert done.stderr.startswith("sightline: "), (arguments, done.stderr)
        assert "; " in done.stderr, f"no remedy in {done.stderr!r}"


def test_check_names_every_fault_at_its_place():
    path = lib.tmp() + "/bad.yaml"
    with open(path, "w") as file:
        file.write("model_list:\n  - litellm_params:\n      model: openai/x\n      api_base: http://h/v1\n      timeout: soon\n"
                   "sightline:\n  workers: many\n  listen:\n    gatewayy: 1\n")
    for command in ("gateway", "up", "doctor"):
        done = lib.run(command, "--check", "-c", path)
        lib.equal(done.returncode, 2, command)
        said = done.stdout + done.stderr
        for line in (2, 5, 7, 9):
            lib.contains(said, f"{path}:{line}:", command)
    with open(path, "w") as file:
        file.write("model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/x\n      api_base: http://127.0.0.1:9/v1\n")
    for command in ("gateway", "up", "doctor"):
        lib.equal(lib.run(command, "--check", "-c", path).returncode, 0, command)


def test_check_refuses_what_a_start_would():
    """Options, variables and the file; all of it at once, and nothing is opened."""
    exporter = {"LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "pigeon"}
    cases = [(["--metrics-listen", "nonsense"], {}, ["metrics-listen"]),
             (["--gateway-listen", "0.0.0.0:4000"], {}, ["master_key"]), (["--workers", "65"], {}, ["workers"]),
             ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:9", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/none.pem"}, ["otlp", "/none.pem"]),
             ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/none.key",
                   "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/none.crt"}, ["otlp", "/none."]),
             ([], {"SIGHTLINE_HEALTH_LISTEN": "h:x"}, ["SIGHTLINE_HEALTH_LISTEN"]), ([], exporter, ["TRACING_EXPORTER", "pigeon", "otlp"]),
             (["--workers", "0", "--admin-listen", "a:b"], exporter, ["workers", "admin-listen", "pigeon"])]
    for arguments, env, words in cases:
        for check in (["--check"], []):
            done = lib.run("up", *arguments, *check, env=env, timeout=10)
            lib.equal((done.returncode, done.stdout), (2, ""), (arguments, env, check))
            for word in words:
                lib.contains(done.stderr, word, (arguments, env, check))
            for line in done.stderr.strip().split("\n"):
                assert line.startswith("sightline: ") and "; " in line, line


def test_check_names_what_no_worker_could_start_with():
    """A file that reads well, and a gateway that cannot use it: said with its line, not by workers that end again and again."""
    entry = "- model_name: %s\n  litellm_params: {model: openai/x, api_base: '%s', api_key: k}\n"
    many = "".join(entry % ("m", f"http://127.0.0.1:{port}/v1") for port in range(9001, 9066))
    broken = entry % ("tls", "https://127.0.0.1:9/v1") + "  sightline: {ca_file: /none.pem}\n"
    path = lib.tmp() + "/unusable.yaml"
    with open(path, "w") as file:
        file.write("model_list:\n" + broken + many + "general_settings: {master_key: k}\n")
    for command in ("gateway", "up"):
        for check in (["--check"], ["--gateway-listen", "127.0.0.1:0"]):
            done = lib.run(command, "-c", path, *check, timeout=10)
            lib.equal(done.returncode, 2, (command, check))
            lib.contains(done.stderr, f"{path}:2: model tls: its ca_file cannot be read", command)
            lib.contains(done.stderr, f"{path}:133: model m: more than 64 deployments", command)


def test_no_colour_when_piped():
    for arguments in (["--help"], ["doctor", "--offline"], ["docs", "--section", "limits"]):
        done = lib.run(*arguments, env={"TERM": "xterm-256color"})
        assert "\033" not in done.stdout, arguments


def test_gen_gguf_is_deterministic():
    folder = lib.tmp()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        lib.equal(lib.run("gen", "gguf", f"{folder}/{name}", "--seed", seed).returncode, 0)
    a, b, c = (open(f"{folder}/{name}", "rb").read() for name in "abc")
    lib.equal(a[:4], b"GGUF")
    assert a == b and a != c


def test_doctor_without_anything_running():
    done = lib.run("doctor", "--offline")
    lib.equal(done.returncode, 0, done.stdout)
    for line in done.stdout.strip().split("\n"):
        assert re.match(r"(ok  |warn|FAIL) [a-z ]+: ", line), line
    report = json.loads(lib.run("doctor", "--offline", "--format", "json").stdout)
    lib.equal(report["ok"], True)
    assert all(set(c) == {"name", "status", "seen", "remedy"} for c in report["checks"])


def test_doctor_finds_each_planted_fault():
    faults = [({"OTEL_TRACES_EXPORTER": "none"}, "traces exporter", "warn"),
              ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampler", "warn"),
              ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "sampler", "FAIL"),
              ({"LLMROUTER_OTEL_SAMPLE_RATE": "0.0"}, "sampler", "warn"),
              ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "endpoint", "FAIL"),
              ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}, "endpoint", "ok"),
              ({"LOG_LEVEL": "LOUD"}, "log level", "FAIL"),
              ({"OTEL_BSP_MAX_QUEUE_SIZE": "lots"}, "environment", "warn"),
              ({"OTEL_TRACE_EXPORTER": "otlp"}, "environment", "warn"),
              ({"LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT": "http://h:4317"}, "tracing", "warn"),
              ({"LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "pigeon"}, "environment", "FAIL"),
              ({"PROMETHEUS_MULTIPROC_DIR": "/nonexistent"}, "multiprocess folder", "FAIL"),
              ({"LOG_QUERIES": "true"}, "privacy", "warn"),
              ({"OTEL_SDK_DISABLED": "true"}, "telemetry", "warn")]
    for env, name, status in faults:
        done = lib.run("doctor", "--format", "json", "--timeout", "0.3", env=env)
        checks = json.loads(done.stdout)["checks"]
        found = [c for c in checks if c["name"] == name and c["status"] == status]
        assert found, f"{env}: no {status} of {name!r} among {checks}"
        assert status == "ok" or found[0]["remedy"], f"{env}: no remedy"
    done = lib.run("doctor", env={"SIGHTLINE_GATEWAY_LISTEN": "127.0.0.1:1"})
    lib.equal(done.returncode, 1)
    lib.contains(done.stdout, "FAIL gateway: cannot reach http://127.0.0.1:1/")


def test_doctor_never_shows_a_secret():
    secret = "planted-secret-4711"
    path = lib.tmp() + "/config.yaml"
    with open(path, "w") as file:
        file.write(lib.config_for("http://127.0.0.1:1", key=secret))
    env = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {secret}", "LITELLM_MASTER_KEY": secret, "OPENAI_API_KEY": secret,
           "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{secret}@127.0.0.1:1", "SIGHTLINE_KEY": secret}
    for form in ("text", "json"):
        done = lib.run("doctor", "-c", path, "--format", form, "--timeout", "0.3", env=env)
        assert secret not in done.stdout + done.stderr, done.stdout
        lib.contains(done.stdout, "key set")


lib.main(globals())
