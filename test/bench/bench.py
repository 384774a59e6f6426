"""Benchmarks of the server through its public doors: HTTPS, processes, files. Run by scripts/bench.sh.

Each benchmark is a function that yields (metric, value, unit). Figures depend on the machine; compare those of one run.
"""
import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

CORACLE, OUT = os.path.abspath(sys.argv[1]), sys.argv[2]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """An API server with its controllers and no node, in a directory of its own."""

    def __init__(self, data_dir=None):
        self.own_dir = data_dir is None
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="coracle-bench-")
        self.port = free_port()
        self.log = open(os.path.join(self.data_dir, "log"), "ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [CORACLE, "server", "--data-dir", self.data_dir, "--no-agent", "--node-ip", "127.0.0.1",
             "--bind-address", "127.0.0.1", "--secure-port", str(self.port)],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.wait_ready(began + 20)
        self.start_seconds = time.perf_counter() - began

    def wait_ready(self, deadline):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while time.perf_counter() < deadline:
            try:
                c = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=5)
                c.request("GET", "/readyz")
                if c.getresponse().status == 200:
                    return
            except OSError:
                if self.process.poll() is not None:
                    break
            time.sleep(0.001)
        raise SystemExit("the server did not become ready: see " + os.path.join(self.data_dir, "log"))

    def connect(self):
        context = ssl.create_default_context(cafile=self.data_dir + "/pki/ca.crt")
        context.load_cert_chain(self.data_dir + "/pki/admin.crt", self.data_dir + "/pki/admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()
        if self.own_dir:
            shutil.rmtree(self.data_dir)


def call(connection, method, path, body=None):
    connection.request(method, path, None if body is None else json.dumps(body),
                       {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        raise SystemExit(f"{method} {path}: {response.status} {text[:300]}")
    return text


CORE = "/api/v1/namespaces/default/"


def config_map(name):
    return {"metadata": {"name": name}, "data": {"k": "v" * 100}}


def service(name):
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def pod(name):
    return {"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "coracle/echo"}]}}


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p / 100))]


def rate(server, clients, seconds, one):
    """Calls one(connection, client, count) from `clients` threads for so long; calls per second."""
    stop = time.perf_counter() + seconds
    connections = [server.connect() for _ in range(clients)]

    def work(index):
        count = 0
        while time.perf_counter() < stop:
            one(connections[index], index, count)
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        done = sum(pool.map(work, range(clients)))
        return done / (time.perf_counter() - began)


def bench_start():
    """Time from exec to /readyz: a fresh data directory, then one with 1,000 objects."""
    data = tempfile.mkdtemp(prefix="coracle-bench-")
    try:
        server = Server(data)
        yield "first start to readyz", server.start_seconds * 1000, "ms"
        yield "memory idle", server.memory_kib() / 1024, "MiB"
        connection = server.connect()
        for i in range(1000):
            call(connection, "POST", CORE + "configmaps", config_map(f"c{i}"))
        server.stop()
        server = Server(data)
        yield "start to readyz with 1,000 objects", server.start_seconds * 1000, "ms"
        server.stop()
    finally:
        shutil.rmtree(data)


def bench_memory():
    """Resident memory with 1,000 Services and Pods stored."""
    server = Server()
    connection = server.connect()
    for i in range(1000):
        call(connection, "POST", CORE + "services", service(f"s{i}"))
        call(connection, "POST", CORE + "pods", pod(f"s{i}"))
    yield "memory with 1,000 Services and Pods", server.memory_kib() / 1024, "MiB"
    samples = []
    for _ in range(30):
        began = time.perf_counter()
        call(connection, "GET", CORE + "pods")
        samples.append((time.perf_counter() - began) * 1000)
    yield "list of 1,000 Pods p50", percentile(samples, 50), "ms"
    server.stop()


def bench_api():
    """Durable creates and reads per second over keep-alive TLS."""
    server = Server()
    for clients in (1, 16):
        for name, path, make in (("ConfigMap", "configmaps", config_map), ("Service", "services", service)):
            def create(connection, index, count, path=path, make=make, tag=f"{name.lower()}-{clients}"):
                call(connection, "POST", CORE + path, make(f"{tag}-{index}-{count}"))
            yield f"{name} creates, {clients} client(s)", rate(server, clients, 3, create), "/s"
    call(server.connect(), "POST", CORE + "configmaps", config_map("read"))
    for clients in (1, 16):
        def read(connection, _index, _count):
            call(connection, "GET", CORE + "configmaps/read")
        yield f"GET, {clients} client(s)", rate(server, clients, 3, read), "/s"
    server.stop()


def bench_watch():
    """From sending a POST until a watcher has read the event."""
    server = Server()
    for watchers in (1, 100):
        connection = server.connect()
        revision = json.loads(call(connection, "GET", CORE + "configmaps"))["metadata"]["resourceVersion"]
        count, arrived, lock = 100, {}, threading.Condition()

        def follow(stream):
            for _ in range(count):
                name = json.loads(stream.readline())["object"]["metadata"]["name"]
                now = time.perf_counter()
                with lock:
                    arrived.setdefault(name, []).append(now)
                    lock.notify_all()

        threads = []
        for _ in range(watchers):
            watch = server.connect()
            watch.request("GET", CORE + f"configmaps?watch=1&resourceVersion={revision}")
            threads.append(threading.Thread(target=follow, args=(watch.getresponse(),), daemon=True))
            threads[-1].connection = watch
            threads[-1].start()
        samples = []
        for i in range(count):
            name = f"w{watchers}-{i}"
            began = time.perf_counter()
            call(connection, "POST", CORE + "configmaps", config_map(name))
            with lock:
                if not lock.wait_for(lambda n=name: len(arrived.get(n, [])) == watchers, 10):
                    raise SystemExit(f"{name} did not reach every watcher")
                samples.append((max(arrived[name]) - began) * 1000)
        yield f"POST to the last of {watchers} watcher(s), p50", percentile(samples, 50), "ms"
        yield f"POST to the last of {watchers} watcher(s), p99", percentile(samples, 99), "ms"
        for thread in threads:
            thread.connection.close()
    server.stop()


BENCHMARKS = {name[6:]: f for name, f in sorted(globals().items()) if name.startswith("bench_")}


def main():
    names = sys.argv[3:] or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            raise SystemExit(f"no benchmark {name}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        with open(os.path.join(OUT, name + ".jsonl"), "a", encoding="utf-8") as out:
            for metric, value, unit in BENCHMARKS[name]():
                print(f"{name:8} {metric:45} {value:12,.1f} {unit}", flush=True)
                out.write(json.dumps({"benchmark": name, "metric": metric, "value": value, "unit": unit,
                                      "time": int(time.time())}) + "\n")


main()
