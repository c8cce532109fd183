"""The proxies that are compared, their upstream, and what the kernel says of them."""

import os
import shutil
import signal
import socket
import string
import subprocess
import time
from pathlib import Path

CONFIGS = Path(__file__).parent / "configs"
# As long as tokens of real providers are.
TOKEN = "bench." + "e" * 894
# As in the image: machines differ in whether huge pages are given unasked.
os.environ["MIMALLOC_ALLOW_THP"] = "0"
PROXY_CORE, LOAD_CORE = "0", "1"


class Ports:
    """Ports that nobody uses, by name."""

    def __init__(self):
        self.taken = []

    def one(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.taken.append(listener)
        return listener.getsockname()[1]

    def free(self):
        for listener in self.taken:
            listener.close()
        self.taken.clear()


class Server:
    """A process that listens, with all that it has started."""

    def __init__(self, name, command, port, directory, core=None, is_watched=False):
        self.name, self.port, self.is_watched = name, port, is_watched
        pin = ["taskset", "-c", core] if core else []
        self.log = open(directory / f"{name}.out", "wb")
        started = time.perf_counter()
        self.process = subprocess.Popen(pin + command, stdout=self.log, stderr=self.log)
        try:
            self.up_after = self._wait_for_port(started)
        except BaseException:
            self.stop()
            raise

    def _wait_for_port(self, started):
        while time.perf_counter() - started < 30:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.0005)
        raise SystemExit(f"{self.name} did not start: {self.said()}")

    def said(self):
        """The end of what it has printed."""
        return Path(self.log.name).read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def pids(self):
        pids = [self.process.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            pids.extend(int(child) for child in children.split())
        return pids

    def cpu(self):
        """Seconds of CPU that all of its threads have had, and the part of it that was its own code."""
        total = user = system = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
                fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
                user, system = user + int(fields[11]), system + int(fields[12])
        return total, user / max(user + system, 1)

    def memory(self, field="VmRSS"):
        """Mebibytes of memory that it has to itself or shares with its children, added up."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) / 1024
        return total

    def stop(self):
        if self.process.poll() is None:
            # What runs it ends with it, and tells what it has counted.
            os.kill(self.pids()[-1] if self.is_watched else self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Bench:
    """A directory, an upstream, and the proxies in front of it."""

    def __init__(self, directory, gatepass, envoy, names):
        self.directory, self.gatepass, self.envoy = directory, gatepass, envoy
        self.names = names
        ports = Ports()
        self.values = {
            "dir": str(directory),
            "token": TOKEN,
            "small": "x" * 1024,
            "origin": ports.one(),
            "origin_tls": ports.one(),
            "origin_h2c": ports.one(),
            "token_endpoint": ports.one(),
            "admin": ports.one(),
        }
        ports.free()
        self._files()
        command = ["nginx", "-c", self._config("origin.conf", "origin.conf", {})]
        self.origin = Server("origin", command, self.values["origin"], directory, LOAD_CORE)

    def _files(self):
        (self.directory / "small").write_text("x" * 1024)
        (self.directory / "large").write_text("x" * 1024 * 1024)
        (self.directory / "secret").write_text("bench")
        (self.directory / "put").mkdir()
        os.chmod(self.directory, 0o755)
        os.chmod(self.directory / "put", 0o777)
        os.chmod(self.directory / "secret", 0o600)
        certificates(self.directory)

    def _config(self, template, name, values):
        text = string.Template((CONFIGS / template).read_text())
        path = self.directory / name
        path.write_text(text.substitute(self.values | values))
        return str(path)

    def start(self, name, workers=1, pinned=True, under=(), further=""):
        """Starts a proxy, if need be under another program; gatepass also with further configuration."""
        ports = Ports()
        values = {"workers": workers, "http1": ports.one(), "h2c": ports.one(), "further": further}
        ports.free()
        binary, template, arguments = {
            "gatepass": (self.gatepass, "gatepass.toml", ["run", "--config"]),
            "nginx": ("nginx", "nginx.conf", ["-c"]),
            "haproxy": ("haproxy", "haproxy.cfg", ["-f"]),
            "envoy": (
                self.envoy,
                "envoy.yaml",
                ["--concurrency", str(workers), "--disable-hot-restart", "--log-level", "error", "-c"],
            ),
        }[name]
        config = self._config(template, template, values)
        core = PROXY_CORE if pinned else None
        command = [*under, str(binary), *arguments, config]
        server = Server(name, command, values["http1"], self.directory, core, bool(under))
        server.h2c = values["h2c"] if name in ("nginx", "haproxy") else values["http1"]
        try:
            server.ready_after = first_answer(server)
        except BaseException:
            server.stop()
            raise
        return server


def first_answer(server):
    """Seconds from the start of a proxy to its first good answer, which takes a token."""
    started = time.perf_counter() - server.up_after
    request = b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.perf_counter() - started < 30:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(request)
            if connection.recv(64).startswith(b"HTTP/1.1 200"):
                return time.perf_counter() - started
        time.sleep(0.0005)
    raise SystemExit(f"{server.name} gives no good answer: {server.said()}")


def certificates(directory):
    """An authority, and a certificate of it for localhost."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=bench", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=localhost", "-keyout", "origin.key", "-out", "origin.csr")
    (directory / "origin.ext").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "origin.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "origin.ext", "-out", "origin.pem")


def found(program, what):
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"there is no {program}; install {what}, or let benches/compare/run do it")
    return path
