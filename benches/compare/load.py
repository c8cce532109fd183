"""What is sent through a proxy, and what came of it."""

import re
import socket
import subprocess
import tempfile
from pathlib import Path

from peers import LOAD_CORE

# With Host, and what the proxy adds, some fifteen fields: as many as real applications send.
FIELDS = [
    "Accept: application/json, text/plain, */*",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.7",
    "Cache-Control: no-cache",
    "Cookie: session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=light",
    "Pragma: no-cache",
    "Referer: http://localhost/shipments?page=3",
    "User-Agent: tms/4.7.2 (linux; x86_64) http-client/2.1",
    "X-Correlation-Id: 4bf92f3577b34da6a3ce929d0e0e4736",
    "X-Request-Id: 00f067aa0ba902b7-4bf92f3577b34da6",
    "X-Tenant: north-terminal",
    "X-Unit: 7421",
    "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
]


class Wrong(Exception):
    """An answer was not what it has to be, so that nothing can be said of its price."""


def wrk(port, path, seconds, connections=64, method="GET", size=0, fields=(), pinned=True):
    """Requests by HTTP/1.1; returns how many were answered, and the median latency in seconds."""
    lines = [f'wrk.method = "{method}"']
    if size:
        lines.append(f'wrk.body = string.rep("x", {size})')
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        headers = [part for field in [*FIELDS, *fields] for part in ("-H", field)]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s"]
        command += ["-s", script.name]
        out = run(command + headers + [f"http://127.0.0.1:{port}{path}"], pinned)
    if bad := re.search(r"Non-2xx.*|Socket errors: .*", out):
        raise Wrong(bad.group(0))
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return requests, duration(re.search(r"^\s+50%\s+(\S+)", out, re.M).group(1))


def h2load(port, path, seconds=None, requests=None, connections=8, streams=8):
    """So many requests, or as many as there is time for, by HTTP/2 without TLS; returns how many were answered."""
    headers = [part for field in FIELDS for part in ("-H", field)]
    amount = f"-D{seconds}" if seconds else f"-n{requests}"
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", amount, *headers]
    out = run([*command, f"http://127.0.0.1:{port}{path}"])
    return answered(out)


def at_rate(port, path, seconds, rate, connections=20):
    """Requests by HTTP/1.1 at a fixed rate; returns their durations in seconds, in order."""
    headers = [part for field in FIELDS for part in ("-H", field)]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "times"
        command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", f"--log-file={log}"]
        command += [f"--rps={rate / connections}", *headers]
        answered(run([*command, f"http://127.0.0.1:{port}{path}"]))
        times = [line.split("\t") for line in log.read_text().splitlines()]
    return sorted(int(micros) / 1e6 for _, status, micros in times)


def used_connection(port):
    """A connection by HTTP/1.1 over which one request has been answered."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
    read_answer(connection)
    return connection


def read_answer(connection):
    """To the end of a good answer of the origin's."""
    answer = b""
    while not answer.endswith(b"x" * 1024):
        piece = connection.recv(65536)
        if not piece:
            raise Wrong(f"an answer is cut off: {answer[:200]}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Wrong(f"an answer is wrong: {answer[:200]}")


def answered(out):
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
    bad = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    wrong = sum(map(int, counts.groups()[1:])) + sum(map(int, bad.groups()))
    if wrong:
        raise Wrong(out)
    return int(counts.group(1))


def run(command, pinned=True):
    pin = ["taskset", "-c", LOAD_CORE] if pinned else []
    return subprocess.run(pin + command, check=True, capture_output=True, text=True).stdout


def duration(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]
