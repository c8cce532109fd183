# grpcio as a server on a free loopback port, with TLS if it is given a certificate. Its methods take
# and give bytes as they are, so that there is nothing to compile.
#
# Prints one line of JSON with its port when it is up, and with another where HTTP has
#   GET /calls   the calls that came since this was asked last, once all of them have ended
# Ends when standard input does, so that it cannot outlive the test that started it.
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc

settings = json.loads(sys.argv[1])
PATIENCE = 20

calls = []
changed = threading.Condition()


def note(context, method):
    fields = [
        [name, value if isinstance(value, str) else value.hex()]
        for name, value in context.invocation_metadata()
    ]
    left = context.time_remaining()
    call = {
        "method": method,
        "fields": sorted(fields),
        "has_deadline": left is not None and left < 2 * PATIENCE,
        "outlasted": False,
        "ended": False,
    }

    def end():
        with changed:
            call["ended"] = True
            changed.notify_all()

    with changed:
        calls.append(call)
    context.add_callback(end)
    context.send_initial_metadata((("first", "words"), ("first-bin", b"\x00\xff")))
    context.set_trailing_metadata((("last", "words"), ("last-bin", b"\xff\x00")))
    return call


def echo(request, context):
    note(context, "echo")
    return request


def count(request, context):
    note(context, "count")
    for number in range(int(request)):
        yield str(number).encode()


def total(requests, context):
    note(context, "total")
    lengths = [len(request) for request in requests]
    return f"{len(lengths)} messages, {sum(lengths)} bytes".encode()


def chat(requests, context):
    note(context, "chat")
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    note(context, "fail")
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())


# Begins, and then has nothing to say until somebody has had enough.
def hang(request, context):
    call = note(context, "hang")
    ended = threading.Event()
    context.add_callback(ended.set)
    yield b"begun"
    call["outlasted"] = not ended.wait(PATIENCE)


methods = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_stream_rpc_method_handler(hang),
}


class Report(BaseHTTPRequestHandler):
    def do_GET(self):
        with changed:
            changed.wait_for(lambda: all(call["ended"] for call in calls), PATIENCE)
            body = json.dumps(calls).encode()
            calls.clear()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", methods)])
if "tls" in settings:
    pair = [Path(settings["tls"][name]).read_bytes() for name in ("key", "certificate")]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
report = ThreadingHTTPServer(("127.0.0.1", 0), Report)
threading.Thread(target=report.serve_forever, daemon=True).start()
print(json.dumps({"port": port, "report": report.server_port}), flush=True)
sys.stdin.read()
server.stop(None)
