"""Lists the functions that a start and requests meet, for the linker to lay together: see README.md."""

import argparse
import re
import tempfile
from pathlib import Path
from urllib.request import urlopen

import load
from counts import REQUESTS, work
from peers import Bench, found

LIST = Path(__file__).parents[2] / "deploy" / "image" / "functions"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="a binary with its symbols")
    binary = parser.parse_args().gatepass
    found("valgrind", "valgrind")
    names = set().union(*(met_by(binary, drive) for drive in (http1, http2_tls_and_operators)))
    if not names:
        raise SystemExit(f"{binary} has no symbols: build it with deploy/image/build-binary -C strip=none")
    LIST.write_text("\n".join(sorted(names)) + "\n")
    print(f"{len(names)} functions")


def met_by(binary, drive):
    """Names of the functions that were called meanwhile, without what differs from build to build."""
    with tempfile.TemporaryDirectory(prefix="gatepass-functions-") as directory:
        bench = Bench(Path(directory), binary, None, ["gatepass"])
        calls = Path(directory) / "calls"
        under = ["valgrind", "--tool=callgrind", "--demangle=no", f"--log-file={directory}/log",
                 f"--callgrind-out-file={calls}"]
        try:
            drive(bench, under)
        finally:
            bench.origin.stop()
        # Names are written out where they are met first, whoever calls or is called.
        names = re.findall(r"^c?fn=\(\d+\) ([A-Za-z_][\w.$]*)", calls.read_text(), re.M)
    return {re.sub(r"17h[0-9a-f]{16}E.*", "17hE", name) for name in names}


def http1(bench, under):
    for lines in REQUESTS.values():
        work(bench, "\r\n".join(lines).encode(), 5, under)


def http2_tls_and_operators(bench, under):
    server = bench.start("gatepass", pinned=False, under=under)
    try:
        load.h2load(server.h2c, "/small", 2)
        for port, path in [(server.port, "/tls/small"), (bench.values["admin"], "/metrics"),
                           (bench.values["admin"], "/readyz")]:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
