#!/usr/bin/env python3
"""Every option of every command, out of the program's own tables: what it takes, what it refuses, and how it says so."""
import glob
import json
import os
import re
import shlex
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

_docs = {}


def commands():
    if not _docs:
        _docs.update(json.loads(lib.run("docs", "--format", "json").stdout))
    return _docs["commands"]


def arguments_of(name):
    """What a command needs beside its options, so that only the option is wrong."""
    return {"run": ["/dev/null"], "validate": ["/dev/null"], "gen": ["dashboards"], "flow worker": ["/dev/null"],
            "flow collection": ["list"], "exec": ["--", "true"]}.get(name, [])


def with_option(name, *words):
    """The command with these words where its options stand."""
    rest = arguments_of(name)
    return [*name.split(), *words, *rest]


def is_refused(arguments, *words, env=None):
    """Exit status 2, one line on standard error that names what is wrong and says what to do, nothing on standard output."""
    done = lib.run(*arguments, env=env, timeout=20)
    lib.equal(done.returncode, 2, (arguments, env, done.stderr))
    lib.equal(done.stdout, "", arguments)
    assert done.stderr.startswith("sightline: "), (arguments, done.stderr)
    assert ";" in done.stderr or "did you mean" in done.stderr, f"no remedy: {arguments} {done.stderr!r}"
    for word in words:
        lib.contains(done.stderr, word, arguments)
    return done.stderr


def test_what_takes_a_configuration_can_check_it():
    """And says all that is wrong: with the options, with the files, with the environment."""
    folder = lib.tmp()
    paths = {name: f"{folder}/{name}.yaml" for name in ("good", "bad", "flow", "bad-flow")}
    texts = {"good": "model_list: []\n", "bad": "model_list: 7\nsightline:\n  workers: many\n",
             "flow": "name: f\nsteps:\n  - {id: a, type: action, action: log, message: hello}\n", "bad-flow": "name: f\nsteps: 7\n"}
    for name, path in paths.items():
        with open(path, "w") as file:
            file.write(texts[name])
    for command in commands():
        names = {o["name"] for o in command["options"]}
        if "config" not in names:
            continue
        assert "check" in names, command["name"]
        words, has_file = command["name"].split(), command["name"] in ("run", "flow worker")
        quiet = ["--offline"] if "offline" in names else []
        good = lib.run(*words, *([paths["flow"]] if has_file else []), *quiet, "-c", paths["good"], "--check", env={"SIGHTLINE_DATA_DIR": folder})
        lib.equal(good.returncode, 0, (command["name"], good.stdout, good.stderr))
        bad = lib.run(*words, *([paths["bad-flow"]] if has_file else []), *quiet, "-c", paths["bad"], "--check")
        lib.equal(bad.returncode, 2, command["name"])
        for place in ("bad.yaml:1:", "bad.yaml:3:") + (("bad-flow.yaml:2:",) if has_file else ()):
            lib.contains(bad.stdout + bad.stderr, place, command["name"])
    done = lib.run("flow", "worker", paths["bad-flow"], "--queue", "ftp://x", "--lease", "0", "--concurrency", "0", "--drain-timeout", "1000000")
    lib.equal((done.returncode, done.stdout), (2, ""))
    for word in ("--queue", "--lease", "--concurrency", "--drain-timeout", "bad-flow.yaml:2:"):
        lib.contains(done.stderr, word)
    for variable in ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/none.pem"}, {"SIGHTLINE_ADMIN_URL": "x://"}):
        done = lib.run("flow", "worker", paths["flow"], "--check", env=variable)
        lib.equal(done.returncode, 2, done.stderr)
        lib.contains(done.stderr, list(variable.values())[-1])


# ---- help ----


def test_help_is_as_wide_as_a_terminal():
    for command in commands():
        done = lib.run(*command["name"].split(), "--help")
        for line in done.stdout.split("\n"):
            assert len(line) <= 118, f"{command['name']}: {len(line)} columns: {line}"
        usage = done.stdout.split("\n")[0]
        lib.contains(usage, f"Usage: sightline {command['name']}")
        text = done.stdout.split("\nExamples:\n")[0]
        for line in text.split("\n"):
            assert len(line) <= 100 or line == usage, f"{command['name']}: {line}"
        assert "\t" not in done.stdout and not re.search(r" +$", done.stdout, re.M), command["name"]


def test_help_tells_every_option_with_its_default_and_variable():
    for command in commands():
        text = re.sub(r"\s+", " ", lib.run(*command["name"].split(), "--help").stdout)
        for option in command["options"]:
            where = (command["name"], option["name"])
            letter = f"-{option['letter']}, " if option["letter"] else ""
            lib.contains(text, f"{letter}--{option['name']} {option['argument']}".rstrip(), where)
            if option["default"]:
                lib.contains(text, f"default {option['default']}", where)
            if option["environment"]:
                lib.contains(text, option["environment"], where)
            assert option["help"].endswith("."), where


def test_names_and_letters_stand_once():
    for command in commands():
        names = [o["name"] for o in command["options"]]
        letters = [o["letter"] for o in command["options"] if o["letter"]]
        lib.equal(len(names), len(set(names)), command["name"])
        lib.equal(len(letters), len(set(letters)), command["name"])
        assert not {"help", "version"} & set(names) and not {"h", "V"} & set(letters), command["name"]
        for name in names:
            assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), name


def test_the_same_option_means_the_same_everywhere():
    """An option of several commands has one argument, one letter and one variable."""
    seen = {}
    for command in commands():
        for option in command["options"]:
            if option["name"] in ("url", "timeout", "format", "queue", "view", "listen", "key", "file", "model"):
                continue  # each command's own: its address, its wait, its formats
            first = seen.setdefault(option["name"], (command["name"], option))
            where = f"--{option['name']} of {command['name']} and of {first[0]}"
            lib.equal(bool(option["argument"]), bool(first[1]["argument"]), where)
            if option["letter"] and first[1]["letter"]:
                lib.equal(option["letter"], first[1]["letter"], where)


# ---- what is refused ----


def test_an_option_without_its_argument():
    for command in commands():
        for option in command["options"]:
            if option["argument"]:
                is_refused([*command["name"].split(), f"--{option['name']}"], f"--{option['name']}")
                if option["letter"]:
                    is_refused([*command["name"].split(), f"-{option['letter']}"], f"--{option['name']}")


def test_a_flag_takes_no_argument():
    for command in commands():
        for option in command["options"]:
            if not option["argument"]:
                is_refused(with_option(command["name"], f"--{option['name']}=yes"), f"--{option['name']}")


NUMBERS = {"N", "MS", "SECONDS", "DAYS", "US", "PER_SECOND", "RATE", "DURATION", "S"}


def test_numbers_that_are_none():
    """By option in both forms, and by variable: the message names the source, and nothing is started."""
    for command in commands():
        for option in command["options"]:
            if option["argument"] not in NUMBERS:
                continue
            for value in ("", "x", "-1", "1x", "1e", "nan", "inf", "99999999999999999999999", "0x10", "1 2"):
                words = is_refused(with_option(command["name"], f"--{option['name']}={value}"), f"--{option['name']}")
                assert value == "" or value in words, (command["name"], option["name"], value, words)
            is_refused(with_option(command["name"], f"--{option['name']}", "many"), f"--{option['name']}")
            if option["environment"]:
                is_refused(with_option(command["name"]), option["environment"], env={option["environment"]: "many"})


def test_formats_that_are_none():
    for command in commands():
        for option in command["options"]:
            if option["name"] == "format":
                for value in ("xml", "", "JSON ", "jso"):
                    is_refused(with_option(command["name"], f"--format={value}"), "--format")


def test_options_that_are_none():
    """A slip of the finger is answered with the right name; what is far from everything with the help."""
    for command in commands():
        for option in command["options"]:
            name = option["name"]
            if len(name) < 6:
                continue
            slip = name[:2] + name[3:]
            if any(o["name"].startswith(slip) for o in command["options"]):
                continue
            words = is_refused(with_option(command["name"], f"--{slip}"), f"--{slip}")
            assert "did you mean" not in words or "--" in words.split("did you mean", 1)[1], words
        is_refused(with_option(command["name"], "--zzzzzzzz"), "--zzzzzzzz", "--help")
        is_refused(with_option(command["name"], "-Z"), "-Z")


def test_a_command_that_is_none():
    for text, meant in (("gatewya", "gateway"), ("trace", "traces"), ("valdate", "validate"), ("docter", "doctor")):
        lib.contains(is_refused([text]), meant, text)
    is_refused(["zzzzzz"], "zzzzzz")
    is_refused(["flow", "sever"], "flow")
    lib.equal(lib.run("flow").returncode, 2)


def test_surplus_words():
    for command in commands():
        if not re.search(r"\[?[A-Z]{2,}|-- ", command["usage"]):
            is_refused([*command["name"].split(), "surplus"], "surplus")


def test_both_forms_of_an_option_are_one():
    """--x=V and --x V, -c V and -cV; what stands last counts; -- ends the options."""
    path = lib.tmp() + "/c.yaml"
    with open(path, "w") as file:
        file.write("model_list:\n  - {model_name: m, litellm_params: {model: openai/x, api_base: 'http://127.0.0.1:1'}}\n")
    for words in (["-c", path], [f"-c{path}"], [f"--config={path}"], ["--config", path], ["--config", "/nonexistent", "-c", path]):
        done = lib.run("gateway", *words, "--check")
        lib.equal(done.returncode, 0, (words, done.stderr))
        lib.contains(done.stderr, f"{path}: ok, 1 deployments", words)
    done = lib.run("validate", "--", "--format")
    lib.equal(done.returncode in (1, 2), True)
    lib.contains(done.stderr, "--format")


def test_a_variable_gives_way_to_the_option():
    done = lib.run("gateway", "--workers", "2", "--check", env={"SIGHTLINE_WORKERS": "many"})
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(lib.run("gateway", "--check", env={"SIGHTLINE_WORKERS": ""}).returncode, 0, "an empty variable is not set")


# ---- what the documents say ----


def examples():
    """Lines of shell in the documents and the helps that call the program: (where, words)."""
    for path in [lib.SOURCE + "/README.md", *glob.glob(lib.SOURCE + "/docs/**/*.md", recursive=True)]:
        with open(path) as file:
            text = file.read()
        for block in re.findall(r"^```(?:sh|bash|console|shell)?\n(.*?)^```", text, re.M | re.S):
            for line in block.replace("\\\n", " ").split("\n"):
                yield os.path.basename(path), line.lstrip("$ ")
    for command in commands():
        text = lib.run(*command["name"].split(), "--help").stdout.split("\nExamples:\n")[1]
        for line in text.split("\n"):
            yield f"{command['name']} --help", line.strip()


def test_examples_have_only_options_that_are():
    known = {c["name"]: {o["name"]: o for o in c["options"]} for c in commands()}
    letters = {c["name"]: {o["letter"] for o in c["options"]} for c in commands()}
    checked = 0
    for where, line in examples():
        match = re.search(r"(?:^|[ /])sightline ((?:flow )?[a-z]+)\b(.*)", line)
        if not match or match.group(1) not in known:
            continue
        name = match.group(1)
        rest = re.split(r" -- |[|>;&]", match.group(2).split(" #")[0])[0]
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:
            continue
        for word in words:
            if re.fullmatch(r"--[a-z][a-z0-9-]*(=.*)?", word):
                option = word[2:].split("=")[0]
                assert option in known[name] or option in ("help", "version"), f"{where}: {line}: --{option}"
                checked += 1
            elif re.fullmatch(r"-[A-Za-z]", word):
                assert word[1] in letters[name] | {"h", "V"}, f"{where}: {line}: {word}"
    assert checked > 60, checked


def test_the_pages_of_the_manual_are_those_of_the_tables():
    for command in commands():
        page = lib.run("docs", *command["name"].split()[:1], "--format", "man") if " " not in command["name"] else None
        if page is None:
            continue
        lib.equal(page.returncode, 0, command["name"])
        plain = page.stdout.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
        for option in command["options"]:
            lib.contains(plain, f"--{option['name']}", command["name"])


def test_completions_know_every_command_and_option():
    for shell in ("bash", "zsh", "fish"):
        text = lib.run("docs", "--format", shell).stdout
        for command in commands():
            lib.contains(text, command["name"].split()[-1], shell)
            for option in command["options"]:
                lib.contains(text, option["name"], (shell, command["name"]))


lib.main(globals())
