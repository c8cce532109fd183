"""Puts a gatepass under each of the loads for some seconds; what it counts meanwhile is for `profile`."""

import argparse
import tempfile
from pathlib import Path

from compare import LOADS
from peers import Bench


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="a binary that counts what it runs")
    binary = parser.parse_args().gatepass
    with tempfile.TemporaryDirectory(prefix="gatepass-drive-") as directory:
        bench = Bench(Path(directory), binary, None, ["gatepass"])
        try:
            # Those for more workers are others over again.
            drive(bench, (what for what in LOADS.values() if what.workers == 1))
            further = FURTHER.format(origin=bench.values["origin_h2c"])
            drive(bench, [LOADS["get"], LOADS["post"], LOADS["h2c"]], further)
        finally:
            bench.origin.stop()


def drive(bench, loads, further=""):
    server = bench.start("gatepass", pinned=False, further=further)
    try:
        for what in loads:
            print(what.title, what.drive(server, SECONDS))
    finally:
        server.stop()


SECONDS = 3
# What many turn on, and the others do not have.
FURTHER = """
[log.access]
requests = "all"

[[routes]]
path = "/small"
upstream = "h2c://127.0.0.1:{origin}"
credential = "bench"

[[routes]]
path = "/post"
upstream = "h2c://127.0.0.1:{origin}"
credential = "bench"
"""

if __name__ == "__main__":
    main()
