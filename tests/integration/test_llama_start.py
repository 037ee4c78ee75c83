#!/usr/bin/env python3
"""run_instrumented.sh: what it starts, with which environment, and what it refuses."""
import os
import shutil
import subprocess

import lib

SCRIPT = os.path.join(lib.SOURCE, "deploy", "llama.cpp", "run_instrumented.sh")
# A program that says how it was called.
TELLS = """#!/bin/sh
echo "program=$(basename "$0")"
for word in "$@"; do echo "word=$word"; done
echo "service=${OTEL_SERVICE_NAME:-}"
echo "endpoint=${OTEL_EXPORTER_OTLP_ENDPOINT:-}"
echo "model=${MODELS:-}/${MODEL:-}"
"""


class Place:
    """A folder with the programs that are named, a model, and the tools that the script needs."""

    def __init__(self, *programs):
        self.folder = lib.tmp()
        self.bin = os.path.join(self.folder, "bin")
        os.mkdir(self.bin)
        for name in programs:
            self.program(os.path.join(self.bin, name))
        self.model = os.path.join(self.folder, "a model.gguf")
        open(self.model, "w").close()
        tools = os.path.join(self.folder, "tools")
        os.mkdir(tools)
        for tool in ("sh", "dirname", "basename", "sed"):
            os.symlink(shutil.which(tool), os.path.join(tools, tool))
        self.path = self.bin + ":" + tools

    @staticmethod
    def program(path):
        with open(path, "w") as out:
            out.write(TELLS)
        os.chmod(path, 0o755)
        return path

    def run(self, *args, script=SCRIPT, **env):
        done = subprocess.run(["/bin/sh", script, *args], cwd=self.folder, env={"PATH": self.path, **env}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        told = {}
        for line in done.stdout.split("\n"):
            key, _, value = line.partition("=")
            told.setdefault(key, []).append(value)
        return done, told


def test_it_starts_the_server_under_sightline():
    place = Place("sightline", "llama-server")
    done, told = place.run(place.model)
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(told["program"], ["sightline"])
    lib.equal(told["word"], ["exec", "--", os.path.join(place.bin, "llama-server"), "-m", place.model])
    lib.equal((told["service"], told["endpoint"]), (["llama-cpp"], ["http://localhost:4317"]))


def test_options_of_the_server_and_the_environment_pass_through():
    place = Place("sightline", "llama-server")
    done, told = place.run(place.model, "--", "--port", "9999", "--alias", "two words", OTEL_SERVICE_NAME="mine",
                           OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318")
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(told["word"][-4:], ["--port", "9999", "--alias", "two words"])
    lib.equal((told["service"], told["endpoint"]), (["mine"], ["http://collector:4318"]))


def test_programs_are_found_where_they_are_named():
    place = Place()
    other = place.program(os.path.join(place.folder, "other-sightline"))
    server = place.program(os.path.join(place.folder, "llama-server"))
    done, told = place.run(place.model, SIGHTLINE=other)
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(told["program"], ["other-sightline"])
    lib.equal(told["word"][2], "./llama-server")
    done, told = place.run(place.model, SIGHTLINE=other, LLAMA_SERVER=server)
    lib.equal(told["word"][2], server)


def test_docker():
    place = Place("docker")
    done, told = place.run("--docker", place.model)
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(told["word"][0:2] + told["word"][3:], ["compose", "-f", "up", "--build"])
    lib.equal(os.path.realpath(told["word"][2]), os.path.join(os.path.realpath(lib.SOURCE), "deploy/compose/compose.yaml"))
    lib.equal(told["model"], [place.model])


def test_what_is_refused():
    place = Place("sightline", "llama-server", "docker")
    bare, half = Place(), Place("sightline")
    alone = os.path.join(place.folder, "alone.sh")
    shutil.copy(SCRIPT, alone)
    for where, args, words, env in (
            (place, [], "the model is missing", {}), (place, ["nowhere.gguf"], "nowhere.gguf: no such file", {}),
            (place, [place.model, "--port"], "--port: no such option", {}), (place, [place.model, place.model], "one model", {}),
            (half, [half.model], "llama-server: not found", {}), (bare, ["--docker", bare.model], "docker: not found", {}),
            (place, ["--docker", place.model, "--", "-c", "1"], "compose.yaml", {})):
        done, _ = where.run(*args, **env)
        lib.equal((done.returncode, done.stdout), (2, ""), args)
        lib.contains(done.stderr, words)
    done, _ = place.run("--docker", place.model, script=alone)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "from Sightline's sources")
    done, _ = Place("llama-server").run(place.model, script=alone)
    lib.contains(done.stderr, "sightline: not found")


def test_help():
    done, _ = Place().run("--help")
    lib.equal(done.returncode, 0)
    for word in ("MODEL [--docker]", "OTEL_EXPORTER_OTLP_ENDPOINT", "9464"):
        lib.contains(done.stdout, word)


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        raise lib.Skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    lib.equal(done.returncode, 0, done.stdout)


lib.main(globals())
