"""A server under attack: ten thousand idle connections, heads that never end, endless bodies, floods of watches. Honest
clients are answered all the while, and the memory it all takes is bounded."""
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import support
from support import CORACLE, eventually

MEMORY_KIB = 128 * 1024  # more than it starts with
PATIENCE = 8.0  # seconds for an honest client on a busy machine; the figure it took is printed
MANY = 10_000


class Attack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        cls.data = tempfile.mkdtemp(prefix="coracle-attack-")
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        cls.context.check_hostname, cls.context.verify_mode = False, ssl.CERT_NONE
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            cls.port = s.getsockname()[1]
        cls.log = open(cls.data + "/log", "wb")
        cls.server = subprocess.Popen(
            [CORACLE, "server", "--data-dir", cls.data, "--no-agent", "--node-ip", "127.0.0.1", "--bind-address",
             "127.0.0.1", "--secure-port", str(cls.port)], stdin=subprocess.DEVNULL, stdout=cls.log, stderr=cls.log)
        eventually(lambda: cls.honest() < PATIENCE, "the server ready")

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGKILL)
        cls.server.wait(20)
        cls.log.close()
        shutil.rmtree(cls.data)

    def setUp(self):
        self.open = []
        self.before = self.memory()

    def tearDown(self):
        for connection in self.open:
            connection.close()
        self.assertIsNone(self.server.poll(), "the server lives")
        self.assertLess(self.memory() - self.before, MEMORY_KIB)

    def memory(self):
        with open(f"/proc/{self.server.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    @classmethod
    def tcp(cls):
        return socket.create_connection(("127.0.0.1", cls.port), timeout=30)

    @classmethod
    def tls(cls):
        return cls.context.wrap_socket(cls.tcp())

    @classmethod
    def token(cls):
        with open(cls.data + "/pki/admin.token", encoding="ascii") as f:
            return f.read().strip()

    @classmethod
    def honest(cls):
        """Seconds until a new client has its answer."""
        began = time.monotonic()
        try:
            with cls.tls() as connection:
                connection.sendall(f"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                   f"Authorization: Bearer {cls.token()}\r\n\r\n".encode())
                answer = connection.recv(4096)
        except OSError as error:
            raise AssertionError(f"an honest client met {error}") from error
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(answer)
        return time.monotonic() - began

    def expect_served(self, what):
        worst = max(self.honest() for _ in range(10))
        print(f"{what}: a new client is answered within {worst:.3f} s, memory {self.memory() // 1024} MiB")
        self.assertLess(worst, PATIENCE)
        self.assertLess(self.memory() - self.before, MEMORY_KIB)

    def test_idle_connections(self):
        for i in range(MANY):
            self.open.append(self.tcp())
            if i % 2000 == 1999:
                self.expect_served(f"{i + 1} idle connections")
        closed = 0
        for connection in self.open:
            connection.setblocking(False)
            try:
                closed += connection.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
        self.assertGreater(closed, MANY - 1500, "surplus connections are closed")

    def test_heads_that_never_end(self):
        for i in range(1500):
            try:
                connection = self.tls()
                connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * (i * 40))
                self.open.append(connection)
            except OSError:
                pass  # closed as surplus
        self.expect_served("1,500 heads that never end")
        for _ in range(3):
            for connection in self.open:
                try:
                    connection.sendall(b"a")
                except OSError:
                    pass
        self.expect_served("which go on")

    def test_endless_bodies(self):
        stop = threading.Event()

        def pour(headers, block):
            while not stop.is_set():
                try:
                    with self.tls() as connection:
                        connection.sendall((f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n{headers}"
                                            f"Authorization: Bearer {self.token()}\r\n\r\n").encode())
                        while not stop.is_set():
                            connection.sendall(block)
                except OSError:
                    pass  # refused: again

        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        pourers = [threading.Thread(target=pour, args=args) for args in
                   [("Transfer-Encoding: chunked\r\n", chunk), ("Content-Length: 1073741824\r\n", chunk)] * 3]
        for one in pourers:
            one.start()
        try:
            self.expect_served("six endless bodies")
        finally:
            stop.set()
            for one in pourers:
                one.join(60)

    def test_watch_flood(self):
        request = (f"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token()}\r\n\r\n").encode()
        for _ in range(600):
            connection = self.tls()
            connection.sendall(request)
            self.open.append(connection)
        self.expect_served("600 watches")


if __name__ == "__main__":
    support.main()
