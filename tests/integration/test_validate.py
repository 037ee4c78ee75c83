#!/usr/bin/env python3
"""`sightline validate`: statuses, places of faults, both formats; and that the guide says what the program does."""
import json
import os
import re

import lib

GOOD = """\
name: greet
version: "1.0"
steps:
  - id: hello
    type: llm
    provider: openai
    model: some-model
    prompt: "Greet {{ inputs.name }}"
    output: [greeting]
  - id: judge
    type: llm
    depends_on: [hello]
    provider: openai
    model: some-model
    prompt: "Judge this greeting: {{ steps.hello.greeting }}"
"""

WRONG = """\
name: wrong
steps:
  - id: one
    type: llm
    depends_on: [three]
    provider: openai
    prompt: |
      Hello
      {{ steps.nobody.text }}
    temperature: 7
  - id: two
    type: action
    action: log
    depends_on: one
    retry: {max_atempts: 2}
  - id: three
    type: actoin
    depends_on: two
"""


def write(name, text):
    path = os.path.join(lib.tmp(), name)
    with open(path, "w") as file:
        file.write(text)
    return path


def test_a_valid_file():
    path = write("good.yaml", GOOD)
    done = lib.run("validate", path)
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.equal(done.stdout, f"{path}: valid: workflow greet, version 1.0, 2 steps\n")


def test_warnings_alone_are_valid_unless_strict():
    path = write("warned.yaml", GOOD + "colour: blue\n")
    done = lib.run("validate", path)
    lib.equal(done.returncode, 0)
    lib.equal(done.stderr, f"{path}:16:1: warning: colour: not a key of workflow, does nothing; remove it\n")
    lib.contains(done.stdout, ": valid: ")
    done = lib.run("validate", "--strict", path)
    lib.equal((done.returncode, done.stdout), (2, ""))


def test_all_faults_at_once_each_with_its_place():
    path = write("wrong.yaml", WRONG)
    done = lib.run("validate", path)
    lib.equal((done.returncode, done.stdout), (2, ""))
    lines = done.stderr.splitlines()
    for line in lines:
        assert re.match(re.escape(path) + r":\d+:\d+: (error|warning): ", line), line
    expected = {5: "one -> three -> two -> one", 3: "model: missing", 9: "steps.nobody: no such step", 10: "temperature: 7 is out of range",
                15: "max_atempts: not a key of retry; did you mean max_attempts?", 17: "did you mean action?"}
    for number, words in expected.items():
        assert any(line.startswith(f"{path}:{number}:") and words in line for line in lines), (number, words, done.stderr)
    numbers = [int(line[len(path) + 1:].split(":")[0]) for line in lines]
    lib.equal(numbers, sorted(numbers))


def test_json_has_the_same():
    path = write("wrong.yaml", WRONG)
    done = lib.run("validate", "--format", "json", path)
    lib.equal((done.returncode, done.stderr), (2, ""))
    answer = json.loads(done.stdout)
    lib.equal((answer["file"], answer["valid"], answer["left_out"]), (path, False, 0))
    lib.equal(len([p for p in answer["problems"] if p["level"] == "error"]), answer["errors"])
    text = lib.run("validate", path).stderr.splitlines()
    lib.equal(len(text), len(answer["problems"]))
    for line, p in zip(text, answer["problems"]):
        step = f"step {p['step']}: " if p["step"] else ""
        lib.equal(line, f"{path}:{p['line']}:{p['column']}: {p['level']}: {step}{p['message']}")
    answer = json.loads(lib.run("validate", "--format", "json", write("good.yaml", GOOD)).stdout)
    lib.equal((answer["valid"], answer["name"], answer["version"], answer["steps"], answer["problems"]), (True, "greet", "1.0", 2, []))
    assert re.fullmatch("[0-9a-f]{64}", answer["sha256"])


def test_several_files_one_status():
    good, wrong = write("good.yaml", GOOD), write("wrong.yaml", WRONG)
    done = lib.run("validate", good, wrong, good)
    lib.equal(done.returncode, 2)
    lib.equal(done.stdout.count(": valid: "), 2)
    done = lib.run("validate", "--format", "json", good, wrong)
    lib.equal([json.loads(line)["valid"] for line in done.stdout.splitlines()], [True, False])


def test_what_cannot_be_read():
    done = lib.run("validate", "/nonexistent/flow.yaml")
    lib.equal((done.returncode, done.stdout), (2, ""))
    lib.equal(done.stderr, "/nonexistent/flow.yaml: error: the file: cannot be read: No such file or directory; check path and permissions\n")
    done = lib.run("validate", lib.tmp())
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "Is a directory")
    path = write("large.yaml", "#" * (4 << 20) + "\n")
    done = lib.run("validate", path)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "larger than 4194304 bytes")


def test_json_files():
    flow = {"name": "n", "steps": [{"id": "a", "type": "action", "action": "log", "message": "\U0001f600 {{ steps.b.x }}"}]}
    path = write("flow.json", json.dumps(flow, indent=1))
    done = lib.run("validate", path)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, f"{path}:8:")
    flow["steps"][0]["message"] = "\U0001f600"
    for indent in (None, 1, "\t"):
        lib.equal(lib.run("validate", write("flow.json", json.dumps(flow, indent=indent))).returncode, 0, indent)


def test_providers():
    path = write("good.yaml", GOOD)
    lib.equal(lib.run("validate", "--provider", "openai", "--provider", "own", path).returncode, 0)
    done = lib.run("validate", "--provider", "openal", path)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, 'provider: "openai" is not known; did you mean openal?')


def test_ten_thousand_steps_are_checked_in_seconds():
    steps = "".join(f"- {{id: s{i}, type: action, action: log, depends_on: [s{max(i - 1, 0)}, s{i // 2}], m: '{{{{ steps.s{i // 3}.x }}}}'}}\n"
                    for i in range(1, 10000))
    path = write("many.yaml", "name: n\nsteps:\n- {id: s0, type: action, action: log}\n" + steps)
    done = lib.run("validate", path, timeout=20 * lib.SLOW)
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.contains(done.stdout, "10000 steps")


def guide():
    with open(os.path.join(lib.SOURCE, "docs/workflows.md")) as file:
        return file.read()


def test_the_workflows_of_the_guide_are_valid():
    found = re.findall(r"```yaml\n(name:.*?)```", guide(), re.S)
    assert len(found) >= 3, len(found)
    for text in found:
        done = lib.run("validate", "--strict", write("guide.yaml", text))
        lib.equal((done.returncode, done.stderr), (0, ""), text)


def test_the_tables_of_the_guide_are_the_programs():
    section = lib.run("docs", "--section", "workflow").stdout
    tables = section[section.index("\n### "):].strip()
    lib.contains(guide(), tables, "docs/workflows.md: paste what `sightline docs --section workflow` prints between its marks")


if __name__ == "__main__":
    lib.main(globals())
