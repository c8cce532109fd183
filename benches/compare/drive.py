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
            server = bench.start("gatepass", pinned=False)
            try:
                for what in LOADS.values():
                    # Those for more workers are others over again.
                    if what.workers == 1:
                        print(what.title, what.drive(server, SECONDS))
            finally:
                server.stop()
        finally:
            bench.origin.stop()


SECONDS = 3

if __name__ == "__main__":
    main()
