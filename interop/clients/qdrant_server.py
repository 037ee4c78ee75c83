"""Qdrant's REST interface in front of the engine that Qdrant's own Python client has in it: what comes in is read by the
client's models of the interface, which know every member and no other. Prints its port."""
import http.server
import json
import threading
import urllib.parse

from pydantic import ValidationError
from qdrant_client import QdrantClient
from qdrant_client.http import models

client = QdrantClient(":memory:")
one = threading.Lock()


def serve(method, name, what, body):
    there = client.collection_exists(name)
    if method == "PUT" and not what:
        wish = models.CreateCollection.model_validate(body)
        return 200, client.create_collection(name, vectors_config=wish.vectors)
    if not there:
        return 404, "Not found: Collection `%s` doesn't exist!" % name
    if method == "GET":
        return 200, client.get_collection(name).model_dump(mode="json")
    if method == "PUT":
        return 200, client.upsert(name, models.PointsList.model_validate(body).points).model_dump(mode="json")
    wish = models.QueryRequest.model_validate(body)
    found = client.query_points(name, query=wish.query, query_filter=wish.filter, limit=wish.limit, with_payload=wish.with_payload,
                                with_vectors=wish.with_vector or False)
    return 200, found.model_dump(mode="json")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        name, _, what = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)[len("/collections/"):].partition("/")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        try:
            with one:
                status, result = serve(self.command, name, what, body)
        except (ValidationError, ValueError) as e:
            status, result = 400, "Wrong input: %s" % e
        answer = json.dumps({"result": result, "status": "ok"} if status == 200 else {"status": {"error": result}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = handle_one

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
