"""Measures what gatepass's memory goes into, as the table in docs/operations.md."""

import argparse
import socket
import sys
import tempfile
import time
from pathlib import Path

import load
from peers import Bench, Ports, Server

CONNECTIONS = 1000
STREAMS = 500
MANY = 200


def main():
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="gatepass-capacity-") as directory:
        bench = Bench(Path(directory), arguments.gatepass, None, [])
        try:
            rows = measure(bench)
        finally:
            bench.origin.stop()
    print("| what | memory |\n|---|--:|")
    for what, kib in rows:
        print(f"| {what} | {told(kib)} |")
    if arguments.check:
        sys.exit(judge(dict(rows)))


def told(kib):
    return f"{kib / 1024:.1f} MiB" if kib >= 1024 else f"{kib:.1f} KiB"


def judge(rows):
    """Fails when a sidecar takes more than it promises."""
    failed = 0
    for what, most in MOST.items():
        if rows[what] > most:
            failed = 1
            print(f"{what}: more than {told(most)}.")
            if what == IDLE:
                print("If the code at rest has grown, deploy/image/functions may be of too old a binary: "
                      "see benches/README.md.")
    return failed


def measure(bench):
    rows = []
    server = bench.start("gatepass")
    try:
        idle = kib(server)
        rows.append((IDLE, idle))
        connections = [load.used_connection(server.port) for _ in range(CONNECTIONS)]
        rows.append((USED, (kib(server) - idle) / CONNECTIONS))
        time.sleep(REST)
        rows.append((RESTED, (kib(server) - idle) / CONNECTIONS))
        for connection in connections:
            connection.close()
    finally:
        server.stop()
    for what, path, method in [(ANSWER, "/large", "GET"), (REQUEST, "/put/it", "PUT")]:
        server = bench.start("gatepass")
        try:
            before = kib(server)
            load.wrk(server.port, path, 3, STREAMS, method, 1024 * 1024 if method == "PUT" else 0)
            peak = server.memory("VmHWM") * 1024
            rows.append((what, (peak - before) / STREAMS))
        finally:
            server.stop()
    few, routes, credentials = (with_many(bench, *many) for many in [(1, 1), (MANY, 1), (1, MANY)])
    rows.append(("each further route", (routes - few) / MANY))
    rows.append(("each further credential", (credentials - few) / MANY))
    return rows


def with_many(bench, routes, credentials):
    """KiB of a gatepass that has so many of each."""
    server = started_with(bench, routes, credentials)
    try:
        return kib(server)
    finally:
        server.stop()


def started_with(bench, routes, credentials):
    """A gatepass that has so many of each, and is ready; its port is that of the admin listener."""
    values = bench.values
    ports = Ports()
    proxy = ports.one()
    ports.free()
    config = [f'proxy.listen = "127.0.0.1:{proxy}"', f'admin.listen = "127.0.0.1:{values["admin"]}"']
    for number in range(credentials):
        config.append(
            f'[credentials.c{number}]\ntoken_endpoint = "http://127.0.0.1:{values["token_endpoint"]}/token"\n'
            f'client_id = "bench"\nclient_secret_file = "{bench.directory}/secret"'
        )
    for number in range(routes):
        config.append(
            f'[[routes]]\npath = "/{number}"\nupstream = "http://127.0.0.1:{values["origin"]}"\n'
            f'strip_path = true\ncredential = "c{number % credentials}"'
        )
    # Every credential has its route, so that none is warned of.
    for number in range(routes, credentials):
        config.append(f'[[routes]]\npath = "/{number}"\nupstream = "http://127.0.0.1:{values["origin"]}"\n'
                      f'credential = "c{number}"')
    path = bench.directory / "many.toml"
    path.write_text("\n".join(config) + "\n")
    command = [str(bench.gatepass), "run", "--config", str(path)]
    server = Server("many", command, values["admin"], bench.directory)
    server.proxy = proxy
    wait_until_ready(server)
    return server


def wait_until_ready(server):
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if connection.recv(64).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.01)
    raise SystemExit(f"gatepass does not become ready: see {server.log.name}")


def kib(server):
    return server.memory() * 1024


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="the binary to measure")
    parser.add_argument("--check", action="store_true", help="compare it with what is promised")
    return parser.parse_args()


# Longer than a connection is idle before it gives back what it can.
REST = 8
IDLE = "started, with a token, nothing asked yet"
USED = "each connection that has just been used"
RESTED = "each connection that has been idle for some seconds"
ANSWER = f"each answer of 1 MB under way, {STREAMS} at once"
REQUEST = f"each request of 1 MB under way, {STREAMS} at once"
# With some room above what docs/operations.md says, by which limits are fitted into a pod's memory.
MOST = {IDLE: 8 * 1024, USED: 20, RESTED: 6, ANSWER: 240, REQUEST: 240}

if __name__ == "__main__":
    main()
