"""Lists the functions that a start and requests meet, for the linker to lay together: see README.md."""

import argparse
import re
import tempfile
from pathlib import Path
from urllib.request import urlopen

from counts import WORK, work
from peers import Bench, found

LIST = Path(__file__).parents[2] / "deploy" / "image" / "functions"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="a binary with its symbols")
    binary = parser.parse_args().gatepass
    found("valgrind", "valgrind")
    names = met_by_callers_and_operators(binary)
    if not names:
        raise SystemExit(f"{binary} has no symbols: build it with deploy/image/build-binary -C strip=none")
    LIST.write_text("\n".join(sorted(names)) + "\n")
    print(f"{len(names)} functions")


def met_by_callers_and_operators(binary):
    """Names of the functions that are called, without what differs from build to build."""
    with tempfile.TemporaryDirectory(prefix="gatepass-functions-") as directory:
        bench = Bench(Path(directory), binary, None, ["gatepass"])
        calls = Path(directory) / "calls"
        under = ["valgrind", "--tool=callgrind", "--demangle=no", f"--log-file={directory}/log",
                 f"--callgrind-out-file={calls}"]
        try:
            work(bench, lambda server: drive(server, bench.values["admin"]), under)
        finally:
            bench.origin.stop()
        # Names are written out where they are met first, whoever calls or is called.
        names = re.findall(r"^c?fn=\(\d+\) ([A-Za-z_][\w.$]*)", calls.read_text(), re.M)
    return {re.sub(r"17h[0-9a-f]{16}E.*", "17hE", name) for name in names}


def drive(server, admin):
    for of_callers in WORK.values():
        of_callers(server, rounds=5)
    for path in ("/metrics", "/readyz"):
        urlopen(f"http://127.0.0.1:{admin}{path}", timeout=30).read()


if __name__ == "__main__":
    main()
