"""For tests of the flow plane: its server and workers, workflows, runs, deployments, and its file."""
import http.client
import json
import os
import signal
import sqlite3
import urllib.parse

import lib

LISTEN = [word for part in ("api", "control", "queue", "metrics") for word in (f"--{part}-listen", "127.0.0.1:0")]
LISTEN += ["--health-listen", "off", "--admin-listen", "off", "--drain-timeout", "5"]
ECHO = "name: echo\nsteps:\n  - {id: a, type: transform, function: template, template: 'echo: {{ inputs.x }}', output: [text]}\n"


class Server:
    """`sightline flow server`, and what it answers."""

    def __init__(self, *args, data=None, env=None):
        self.data = data or lib.tmp()
        self.process = lib.Process("flow", "server", *LISTEN, "--data-dir", self.data, *args, env=env)
        self.api, self.control, self.queue = (self.process.url(part) for part in ("api", "control", "queue"))

    def stop(self):
        return self.process.stop()

    def kill(self):
        """Its working processes die at once, as by a lack of memory; the supervisor begins new ones on the same ports."""
        pid = self.process.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)

        def alive():
            try:
                return lib.get(self.api + "/status/", timeout=2).status == 200
            except (OSError, http.client.HTTPException):
                return False
        lib.until(alive, 20, what="the server after the kill")

    def add(self, text):
        reply = lib.request("POST", self.api + "/workflows", text.encode())
        assert reply.status in (200, 201), (reply.status, reply.text)
        return reply

    def start(self, name, inputs=None, **extra):
        reply = lib.post(f"{self.api}/workflows/{name}/runs", {"inputs": inputs or {}, **extra})
        lib.equal(reply.status, 202, reply.text)
        return reply.json()["run_id"]

    def run(self, run_id):
        return lib.get(f"{self.api}/runs/{run_id}").json()

    def ended(self, run_id, seconds=10):
        def look():
            answer = self.run(run_id)
            return answer if answer.get("status") in ("succeeded", "failed", "cancelled") else None
        return lib.until(look, seconds, what=f"the end of {run_id}")

    def session(self):
        return lib.post(self.control + "/sessions/create").json()

    def deploy(self, name="d", reload=False, default=None, status=200, **files):
        """A deployment of workflow files, each a service by its name; a text that is an import path is a service so."""
        folder = lib.tmp()
        lines = [f"name: {name}"] + ([f"default-service: {default}"] if default else []) + ["services:"]
        for service, text in files.items():
            path = text
            if "\n" in text:
                path = service + ".yaml"
                with open(os.path.join(folder, path), "w") as file:
                    file.write(text)
            lines.append(f"  {service}: {{name: {service}, source: {{type: local, location: .}}, import-path: '{path}'}}")
        return self.deploy_text("\n".join(lines) + "\n", folder, reload, status)

    def deploy_text(self, text, folder=".", reload=False, status=200):
        mark = "----test"
        body = f'--{mark}\r\nContent-Disposition: form-data; name="config_file"; filename="d.yml"\r\n\r\n{text}\r\n--{mark}--\r\n'
        target = f"/deployments/create?base_path={urllib.parse.quote(folder)}&reload={'true' if reload else 'false'}"
        reply = lib.post(self.api + target, body.encode(), headers={"Content-Type": "multipart/form-data; boundary=" + mark})
        lib.equal(reply.status, status, reply.text)
        return reply

    def task(self, verb, inputs, service=None, deployment="d", session=None, **extra):
        body = {"input": inputs if isinstance(inputs, str) else json.dumps(inputs), **extra}
        if service:
            body["service_id"] = service
        return lib.post(f"{self.api}/deployments/{deployment}/tasks/{verb}" + (f"?session_id={session}" if session else ""), body)

    def sql(self, text):
        """A statement on the server's own file, as a disk or a damage would: triggers that refuse, rows that are gone."""
        file = sqlite3.connect(os.path.join(self.data, "flow.db"), timeout=20)
        try:
            rows = file.execute(text).fetchall()
            file.commit()
            return rows
        finally:
            file.close()

    def refuse(self, what, when=""):
        """Such changes fail from now on, until allow()."""
        self.sql(f"create trigger refused before {what} {when} begin select raise(abort, 'refused'); end")

    def allow(self):
        self.sql("drop trigger refused")

    def hide(self, table):
        """Nothing can be read from a table or written to it, as if its pages were damaged, until show()."""
        self.sql(f"alter table {table} rename to hidden_{table}")

    def show(self, table):
        self.sql(f"alter table hidden_{table} rename to {table}")

    def topic(self, name):
        """Figures of a topic of the queue; None: nobody has put anything there."""
        return next((t for t in lib.get(self.queue + "/queues").json()["queues"] if t["topic"] == name), None)


def worker(server, *files, env=None, args=()):
    """`sightline flow worker` for workflow files, at the server's queue."""
    folder, paths = lib.tmp(), []
    for number, text in enumerate(files):
        paths.append(os.path.join(folder, f"{number}.yaml"))
        with open(paths[-1], "w") as file:
            file.write(text)
    return lib.Process("flow", "worker", *paths, "--queue", server.queue, *args, env=env)
