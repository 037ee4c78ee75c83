#!/usr/bin/env python3
"""Exporting over https by the variables of LlamaDeploy's guide: a private authority is trusted when it is named, any
other certificate is refused with a clear error."""
import http.server
import os
import shutil
import ssl
import subprocess
import threading

import lib


def _openssl(folder, *args):
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, timeout=60)
    lib.equal(done.returncode, 0, done.stderr)


def _authority(folder, name):
    _openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")


def _certificate(folder, name, authority, address):
    with open(os.path.join(folder, f"{name}.ext"), "w") as file:
        file.write(f"subjectAltName=IP:{address}\n")
    _openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
             "-out", f"{name}.csr", "-subj", "/CN=collector")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
             "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt")


class Collector:
    """Takes OTLP over https at an address of loopback, on the port that the guide's variables mean HTTP by."""

    def __init__(self, folder, certificate):
        bodies = self.bodies = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):
                pass  # a client that does not like the certificate

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, certificate + ".crt"), os.path.join(folder, certificate + ".key"))
        self.server = Server((ADDRESS, 4318), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


ADDRESS, OTHER = "127.83.1.7", "127.83.1.8"  # nobody else is there


def _run(folder, certificate, ca):
    """A request through a gateway; returns (what the collector got, what the gateway said)."""
    collector = Collector(folder, certificate)
    try:
        mock = lib.mock()
        gateway = lib.gateway(config=lib.config_for(mock.url("mock")), env={
            "LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "otlp",
            "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT": f"https://{ADDRESS}:4318",
            "LLAMA_DEPLOY_APISERVER_TRACING_SERVICE_NAME": "my-api-server",
            "LLAMA_DEPLOY_APISERVER_TRACING_INSECURE": "false", "LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT": "5",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": os.path.join(folder, ca), "OTEL_BSP_SCHEDULE_DELAY": "50"})
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
        lib.until(lambda: collector.bodies or "certificate" in gateway.output().lower(), what="an export, or a refusal")
        return collector.bodies, gateway.output()
    finally:
        collector.close()


def _folder():
    if not shutil.which("openssl"):
        raise lib.Skip("openssl is not installed")
    folder = lib.tmp()
    for name in ("ours", "theirs"):
        _authority(folder, name)
    _certificate(folder, "good", "ours", ADDRESS)
    _certificate(folder, "stranger", "theirs", ADDRESS)
    _certificate(folder, "elsewhere", "ours", OTHER)
    return folder


def test_a_private_authority_is_trusted_when_it_is_named():
    bodies, said = _run(_folder(), "good", "ours.pem")
    path, body = bodies[0]
    lib.equal(path, "/v1/traces")
    lib.contains(body, b"my-api-server")
    assert "certificate" not in said.lower(), said


def test_a_certificate_of_another_authority_or_host_is_refused():
    folder = _folder()
    for certificate, ca in (("stranger", "ours.pem"), ("good", "theirs.pem"), ("elsewhere", "ours.pem")):
        bodies, said = _run(folder, certificate, ca)
        lib.equal(bodies, [], (certificate, ca))
        line = next(line for line in said.split("\n") if "certificate" in line.lower())
        lib.contains(line, ADDRESS)  # it says whose


def test_an_authority_that_cannot_be_read_fails_the_start():
    listeners = [word for name in ("metrics", "health", "admin") for word in (f"--{name}-listen", "off")]
    path = "/nonexistent/ca.pem"
    done = lib.run("gateway", "--gateway-listen", "127.0.0.1:0", *listeners, timeout=20, env={
        "LLAMA_DEPLOY_APISERVER_TRACING_ENABLED": "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER": "otlp",
        "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT": f"https://{ADDRESS}:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": path})
    assert done.returncode != 0, done.stderr
    lib.contains(done.stderr, path)


lib.main(globals())
