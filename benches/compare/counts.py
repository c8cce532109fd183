"""Counts what one request costs in instructions and system calls, which no neighbour disturbs."""

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from load import FIELDS, h2load, read_answer
from peers import Bench, found

CONNECTIONS = 64
# So many that it matters little whether a handshake more or less was needed in one of the two.
FEW, MANY = 20, 140


def request(line, *further, body=""):
    return "\r\n".join([line, "Host: localhost", *FIELDS, *further, "", body]).encode()


def over_kept_connections(server, rounds, message):
    """On each of the connections one request after the other; all of them at once."""
    connections = [connect(server) for _ in range(CONNECTIONS)]
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(message)
        for connection in connections:
            read_answer(connection)
    for connection in connections:
        connection.close()


def over_new_connections(server, rounds, message):
    """A connection for each request; as many at once."""
    for _ in range(rounds):
        over_kept_connections(server, 1, message)


def over_http2(server, rounds):
    h2load(server.h2c, "/small", requests=CONNECTIONS * rounds)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port))


# Each makes as many requests in a round as there are connections.
WORK = {
    "get": partial(over_kept_connections, message=request("GET /small HTTP/1.1")),
    "post": partial(over_kept_connections,
                    message=request("POST /post HTTP/1.1", "Content-Length: 1024", body="x" * 1024)),
    "TLS upstream": partial(over_kept_connections, message=request("GET /tls/small HTTP/1.1")),
    "new connection": partial(over_new_connections, message=request("GET /small HTTP/1.1", "Connection: close")),
    "HTTP/2": over_http2,
}
# With the others, how many sends and receives it takes depends on what happens to be ready at once.
STEADY = ["get", "post", "TLS upstream"]


def main():
    arguments = parse()
    found("valgrind", "valgrind")
    found("strace", "strace")
    found("h2load", "nghttp2-client")
    with tempfile.TemporaryDirectory(prefix="gatepass-counts-") as directory:
        bench = Bench(Path(directory), arguments.gatepass, None, ["gatepass"])
        try:
            counts = {f"{name}: instructions": each(bench, name, instructions) for name in WORK}
            for name in STEADY:
                counts[f"{name}: sends and receives"] = each(bench, name, transfers)
        finally:
            bench.origin.stop()
    record = Path(__file__).with_name("counts.json")
    recorded = json.loads(record.read_text())
    for name, count in counts.items():
        print(f"{name:34} {count:10.2f}{compared(count, recorded.get(name))}")
    if arguments.write:
        record.write_text(json.dumps(counts, indent=1) + "\n")
    if arguments.check:
        sys.exit(judge(counts, recorded))


def compared(count, was):
    if was is None:
        return ", not on record yet"
    return f", {count / was - 1:+.1%} of the {was:.2f} on record"


def each(bench, name, count):
    """What is left when starting and stopping are taken off."""
    few, many = (count(bench, partial(WORK[name], rounds=rounds)) for rounds in (FEW, MANY))
    return round((many - few) / (CONNECTIONS * (MANY - FEW)), 2)


def instructions(bench, drive):
    log = bench.directory / "callgrind.log"
    command = ["valgrind", "--tool=callgrind", f"--log-file={log}",
               f"--callgrind-out-file={bench.directory}/callgrind.out"]
    work(bench, drive, command)
    return int(re.search(r"Collected : (\d+)", log.read_text()).group(1))


def transfers(bench, drive):
    """The system calls that do not depend on how many connections happen to be ready at once."""
    log = bench.directory / "strace.log"
    work(bench, drive, ["strace", "-f", "-c", "-e", f"trace={TRANSFERS}", "-o", str(log)])
    return int(re.search(r"100\.00\s+\S+\s+\S+\s+(\d+)", log.read_text()).group(1))


def work(bench, drive, command):
    """Drives a gatepass that runs under another command."""
    server = bench.start("gatepass", pinned=False, under=command)
    try:
        drive(server)
    finally:
        server.stop()


def judge(counts, recorded):
    """Fails when anything costs more than is allowed beyond what stands in the record."""
    failed = 0
    for name, was in recorded.items():
        now = counts[name]
        if now > was * (1 + ALLOWED):
            failed = 1
            print(f"{name}: {now} is more than {ALLOWED:.0%} above the {was} on record. Make it "
                  "cheaper, or record it with --write and say in the commit what it buys. If much of the code has "
                  "changed, benches/compare/profile comes first: see README.md.")
        elif now < was * (1 - ALLOWED):
            print(f"{name}: {now} is well below the {was} on record; record it with --write.")
    return failed


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="the binary to measure")
    parser.add_argument("--write", action="store_true", help="record the counts")
    parser.add_argument("--check", action="store_true", help="compare them with the record")
    return parser.parse_args()


ALLOWED = 0.03
TRANSFERS = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg"

if __name__ == "__main__":
    main()
