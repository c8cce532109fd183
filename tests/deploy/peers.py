"""A provider, an upstream with TLS and a name server, each on loopback alone, for a gatepass in an
image of its own."""

import concurrent.futures
import http.server
import json
import socket
import socketserver
import ssl
import threading
import time
import urllib.error
import urllib.request

from rendered import output

# An address of its own, for name servers are asked at port 53.
NAME_SERVER = "127.0.0.99"
UPSTREAM = "upstream.test"
# What the certificate is for besides.
ALSO = ["localhost", "core-stg.envaseconnect.cloud", "envase-stg.auth.us-east-1.amazoncognito.com"]


class Peers:
    """They answer as long as this is entered. What the upstream was shown is kept."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.authorization, self.seen = None, None
        self.asked, self.release = threading.Event(), threading.Event()
        self.proxy, self.admin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.executor = concurrent.futures.ThreadPoolExecutor(1)
        self.servers = []

    def __enter__(self):
        key, certificate = self.scratch / "tls.key", self.scratch / "tls.crt"
        output(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
            + ["-subj", f"/CN={UPSTREAM}", "-addext", "basicConstraints=critical,CA:FALSE", "-addext"]
            + ["subjectAltName=" + ",".join(f"DNS:{name}" for name in [UPSTREAM, *ALSO])]
            + ["-keyout", key, "-out", certificate]
        )
        self.certificate = certificate.read_text()
        self.provider = self.serve(http.server.ThreadingHTTPServer, 0, Provider)
        self.upstream = self.serve(http.server.ThreadingHTTPServer, 0, upstream(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.upstream.socket = context.wrap_socket(self.upstream.socket, server_side=True)
        self.serve(socketserver.ThreadingUDPServer, 53, NameServer, NAME_SERVER)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.release.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()
        self.executor.shutdown()

    def serve(self, kind, port, handler, address="127.0.0.1"):
        server = kind((address, port), handler)
        self.servers.append(server)
        return server

    def ask(self, request):
        """Status and body, later."""

        def answer():
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()

        return self.executor.submit(answer)

    def configuration(self):
        """The files of gatepass's configuration, and the one that names the name server."""
        config = f"""
            [credentials.test]
            token_endpoint = "http://127.0.0.1:{self.provider.server_port}/token"
            client_id = "test"
            client_secret_file = "/run/secrets/gatepass/client-secret"
            [[routes]]
            path = "/"
            upstream = "https://{UPSTREAM}:{self.upstream.server_port}"
            credential = "test"
            tls = {{ ca_file = "/etc/gatepass/ca.pem" }}
        """
        resolver = f"nameserver {NAME_SERVER}\n"
        return {"gatepass.toml": config, "ca.pem": self.certificate, "resolv.conf": resolver}


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Provider(Quiet):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {"access_token": "token-of-the-test", "token_type": "Bearer", "expires_in": 3600}
        self.answer(json.dumps(token).encode(), "application/json")


def upstream(peers):
    # A provider as well, for those that insist on TLS there.
    class Upstream(Provider):
        def do_GET(self):
            peers.authorization = self.headers["Authorization"]
            peers.seen = self.path, self.headers["Host"]
            peers.asked.set()
            peers.release.wait(60)
            self.answer(b"hello", "text/plain")

    return Upstream


class NameServer(socketserver.BaseRequestHandler):
    """Answers that the upstream's name is 127.0.0.1, and that it has no other address."""

    def handle(self):
        query, reply_to = self.request
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        name = UPSTREAM.encode()
        labels = b"".join(bytes([len(part)]) + part for part in name.split(b"."))
        asks_ipv4 = question == labels + b"\0\0\x01\0\x01"
        header = query[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if asks_ipv4 else b"\0\0") + b"\0\0\0\0"
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("127.0.0.1")
        reply_to.sendto(header + question + (answer if asks_ipv4 else b""), self.client_address)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address, explain, headers=()):
    """Waits until it answers with 200."""
    request = urllib.request.Request(address, headers=dict(headers))
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"{address}: {error}\n{explain()}") from error
        time.sleep(0.1)
