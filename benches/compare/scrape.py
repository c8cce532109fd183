"""Measures what a scrape of many routes and credentials takes, and what it costs the requests meanwhile."""

import argparse
import http.client
import statistics
import tempfile
import threading
import time
from pathlib import Path

import load
from capacity import started_with
from peers import Bench

ROUTES, CREDENTIALS = 50, 20
SCRAPES = 300
ACCEPTED = {"text": "text/plain", "OpenMetrics": "application/openmetrics-text"}
SECONDS, RATE = 5, 500


def main():
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="gatepass-scrape-") as directory:
        bench = Bench(Path(directory), arguments.gatepass, None, [])
        try:
            server = started_with(bench, ROUTES, CREDENTIALS)
            try:
                measure(server)
            finally:
                server.stop()
        finally:
            bench.origin.stop()


def measure(server):
    for route in range(ROUTES):
        load.at_rate(server.proxy, f"/{route}/small", 1, 20, connections=1)
    for name, accepted in ACCEPTED.items():
        scraper, (before, _) = Scraper(server.port, accepted), server.cpu()
        times = sorted(scraper.scrape() for _ in range(SCRAPES))
        cpu = (server.cpu()[0] - before) / SCRAPES
        print(f"{name}: {scraper.lines} lines, {scraper.size / 1024:.0f} KiB, "
              f"median {statistics.median(times) * 1e3:.2f} ms, 99 % within {times[SCRAPES * 99 // 100] * 1e3:.2f} ms, "
              f"{cpu * 1e3:.2f} ms of CPU")
    for name, scraped in [("not scraped", False), ("scraped without a pause", True)]:
        done = threading.Event()
        scraping = threading.Thread(target=scrape_until, args=(server.port, done)) if scraped else None
        if scraping:
            scraping.start()
        times = load.at_rate(server.proxy, "/0/small", SECONDS, RATE)
        done.set()
        if scraping:
            scraping.join()
        at = [times[len(times) * part // 1000] * 1e6 for part in (500, 990, 999)]
        print(f"{len(times)} requests, {name}: half within {at[0]:.0f} µs, 99 % {at[1]:.0f} µs, 99.9 % {at[2]:.0f} µs")


def scrape_until(port, done):
    scraper = Scraper(port, ACCEPTED["OpenMetrics"])
    while not done.is_set():
        scraper.scrape()


class Scraper:
    """Scrapes over one connection, as Prometheus does."""

    def __init__(self, port, accepted):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.headers = {"Accept": accepted}
        self.size = self.lines = 0

    def scrape(self):
        begun = time.perf_counter()
        self.connection.request("GET", "/metrics", headers=self.headers)
        body = self.connection.getresponse().read()
        took = time.perf_counter() - begun
        self.size, self.lines = len(body), body.count(b"\n")
        return took


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatepass", required=True, help="the binary to measure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
