"""A service of a deployment, in plain Python: takes its tasks over the queue's HTTP protocol.

    flow_worker.py '{"queue": URL, "control": URL, "service": NAME, "gateway": URL or null, "key": …, "key_queue": …}'

Registers with the control plane, leases one message at a time, streams three events, asks the gateway when there is one,
answers `echo: MESSAGE` with the process id, acknowledges last. A message that says `fail` ends the task as failed, one
that says `crash N` ends this process in its first N deliveries. Everything it does is told by `traceparent` to belong
to the delivery.
"""
import http.client
import json
import os
import sys
import urllib.parse

NAMESPACE = "llama_deploy"
job = json.loads(sys.argv[1])
connections = {}


def call(base, method, path, body=None, headers=None):
    """One request on a connection that is kept; the answer's status and JSON."""
    parts = urllib.parse.urlsplit(base)
    fields = dict({"content-type": "application/json"}, **(headers or {}))
    if job.get("key_queue") and base != job.get("gateway"):
        fields["authorization"] = "Bearer " + job["key_queue"]
    for attempt in (0, 1):
        connection = connections.setdefault(base, http.client.HTTPConnection(parts.hostname, parts.port, timeout=60))
        try:
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            reply = connection.getresponse()
            data = reply.read()
            return reply.status, json.loads(data) if data else None
        except (ConnectionError, http.client.HTTPException):
            connections.pop(base).close()
            if attempt:
                raise


def tell(action, data, key, trace):
    """A QueueMessage to the control plane; put twice with one key it counts once."""
    message = {"id_": key, "publisher_id": job["service"], "type": "control_plane", "action": action, "data": data,
               "stats": {}}
    status, reply = call(job["queue"], "POST", "/queues/%s.control_plane/messages" % NAMESPACE, message,
                         {"idempotency-key": key, "traceparent": trace})
    if status not in (200, 201):
        raise RuntimeError("%s: %s %s" % (action, status, reply))


def ask(text, trace):
    body = {"model": "up", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
    status, reply = call(job["gateway"], "POST", "/v1/chat/completions", body,
                         {"traceparent": trace, "authorization": "Bearer " + job["key"]})
    if status != 200:
        raise RuntimeError("gateway: %s" % status)
    return reply["choices"][0]["message"]["content"]


def work(message):
    body = json.loads(message["body"])
    task, trace = body["data"], message["traceparent"]
    said = json.loads(task["input"]).get("message", "")
    if said.startswith("crash") and message["delivery"] <= int(said.split()[1]):
        os._exit(9)
    for n, event in enumerate([{"n": 0}, {"n": 1}, {}] if said != "fail" else [{}]):  # the last one: it has ended
        tell("task_stream", {"task_id": task["task_id"], "session_id": task["session_id"], "data": event, "index": n},
             "%s-stream-%d" % (task["task_id"], n), trace)
    result = {"task_id": task["task_id"], "history": [], "result": "echo: " + said, "data": {}}
    if said == "fail":
        result["result"] = "planned failure"
        result["data"] = {"status": "failed", "error": "planned failure", "error_type": "internal"}
    elif job.get("gateway"):
        result["data"] = {"status": "succeeded",
                          "outputs": {"answer": {"text": ask(said, trace)}, "worker": {"pid": os.getpid()}}}
    tell("completed_task", result, task["task_id"] + "-result", trace)
    call(job["queue"], "POST", "/queues/messages/%s/ack?lease=%s" % (message["id"], message["lease"]))


def main():
    topic = "%s.%s" % (NAMESPACE, job["service"])
    for path, base, body in (("/services/register", job["control"],
                              {"service_name": job["service"], "description": "plain Python", "prompt": [],
                               "host": "127.0.0.1", "port": 1}), ("/topics/" + topic, job["queue"], None)):
        status, reply = call(base, "POST", path, body)
        if status != 200:
            raise SystemExit("%s: %s %s" % (path, status, reply))
    while True:
        status, reply = call(job["queue"], "POST", "/queues/%s/lease?wait=20&lease=%s&max=1" % (topic,
                                                                                             job.get("lease", 10)))
        if status != 200:
            raise SystemExit("lease: %s %s" % (status, reply))
        for message in reply["messages"]:
            work(message)


main()
