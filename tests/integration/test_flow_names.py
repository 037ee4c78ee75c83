#!/usr/bin/env python3
"""Names of workflows and deployments, and the topics made of them: none is cut off, none is another's."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import lib  # noqa: E402

OTHER = flow.ECHO.replace("echo: ", "other: ")


def test_topics_of_a_long_namespace_are_whole_or_refused():
    env = {"CONTROL_PLANE_TOPIC_NAMESPACE": "n" * 80}
    server = flow.Server(env=env)
    name, service = "d" * 100, "s" * 72
    server.deploy(name=name, **{service + "b": flow.ECHO})  # 80 + 1 + 100 + 1 + 73 = 255
    lib.equal(server.task("run", {"x": "a"}, service + "b", deployment=name).status, 200)
    reply = server.deploy(name="e" * 100, status=400, **{service + "cd": OTHER})
    assert "256 bytes" in reply.text, reply.text
    lib.equal(lib.get(server.api + "/deployments/").json(), [{"name": name}])
    lib.equal(server.stop(), 0)


def test_a_namespace_that_is_too_long_is_refused():
    env = {"CONTROL_PLANE_TOPIC_NAMESPACE": "n" * 101}
    try:
        flow.Server(env=env)
    except AssertionError as end:
        assert "has 101 bytes; give at most 100" in str(end), end
        return
    raise AssertionError("it has started")


def test_two_names_of_one_topic():
    server = flow.Server()
    server.deploy(name="a.b", c=flow.ECHO)
    reply = server.deploy(name="a", status=400, **{"b.c": OTHER})
    assert "llama_deploy.a.b.c" in reply.text, reply.text
    lib.equal(lib.request("POST", server.api + "/workflows", OTHER.replace("name: echo", "name: a.b.c").encode()).status, 409)
    lib.equal(lib.request("POST", server.api + "/workflows", OTHER.replace("name: echo", "name: control_plane").encode()).status, 409)
    assert "echo: 1" in server.task("run", {"x": "1"}, "c", deployment="a.b").text
    server.deploy(name="a.b", reload=True, c=OTHER)
    assert "other: 2" in server.task("run", {"x": "2"}, "c", deployment="a.b").text
    lib.equal(server.stop(), 0)


def test_a_removed_deployment_of_a_file_says_that_it_comes_back():
    folder = lib.tmp()
    with open(os.path.join(folder, "echo.yaml"), "w") as file:
        file.write(flow.ECHO)
    with open(os.path.join(folder, "d.yml"), "w") as file:
        file.write("name: d\nservices:\n  echo: {name: echo, source: {type: local, location: .}, import-path: echo.yaml}\n")
    env = {"LLAMA_DEPLOY_APISERVER_RC_PATH": folder}
    server = flow.Server(env=env)
    server.deploy(name="other", echo=flow.ECHO)
    answer = lib.request("DELETE", server.api + "/deployments/d").json()
    assert "next start" in answer["warning"], answer
    assert "warning" not in lib.request("DELETE", server.api + "/deployments/other").json()
    lib.equal(server.stop(), 0)
    server = flow.Server(data=server.data, env=env)
    lib.equal(lib.get(server.api + "/deployments/").json(), [{"name": "d"}])
    lib.equal(server.stop(), 0)


if __name__ == "__main__":
    lib.main(globals())
