"""Benchmarks through the public doors: HTTPS, processes, files, the kernel. Run by scripts/bench.sh.

Each benchmark is a function that yields (metric, value, unit). Figures depend on the machine; compare those of one run.
"""
import base64
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
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from api import Api  # noqa: E402  (as the tests use it)
import names  # noqa: E402
import pods  # noqa: E402
import replace  # noqa: E402

BUILD, OUT = os.path.abspath(sys.argv[1]), sys.argv[2]
CORACLE, LOAD, KERNEL = (os.path.join(BUILD, name) for name in ("coracle", "bench_load", "bench_kernel"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def load(pki, port, *args):
    done = subprocess.run([LOAD, pki, str(port), *map(str, args)], stdout=subprocess.PIPE, check=True, timeout=300)
    return {name: float(value) for name, value in (line.split() for line in done.stdout.decode().splitlines())}


class Server:
    """An API server with its controllers and no node, in a directory of its own."""

    def __init__(self, data_dir=None, env=None):
        self.own_dir = data_dir is None
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="coracle-bench-")
        self.port = free_port()
        self.log = open(os.path.join(self.data_dir, "log"), "ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [CORACLE, "server", "--data-dir", self.data_dir, "--no-agent", "--node-ip", "127.0.0.1",
             "--bind-address", "127.0.0.1", "--secure-port", str(self.port)],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
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

    def load(self, *args):
        """bench_load's figures as a dict."""
        return load(self.data_dir + "/pki", self.port, *args)

    def memory_kib(self):
        return resident(self.process.pid)

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
CONFIG_MAP = json.dumps({"metadata": {"name": "c%"}, "data": {"k": "v" * 100}})
SERVICE = json.dumps({"metadata": {"name": "s%"}, "spec": {"selector": {"app": "s%"}, "ports": [{"port": 80}]}})


def config_map(name):
    return {"metadata": {"name": name}, "data": {"k": "v" * 100}}


def service(name):
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def pod(name):
    return {"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": "none", "containers": [{"name": "c", "image": "coracle/echo"}]}}


def bench_start():
    """Time from exec to /readyz: a fresh data directory, then one with 1,000 objects."""
    data = tempfile.mkdtemp(prefix="coracle-bench-")
    try:
        server = Server(data)
        yield "first start to readyz", server.start_seconds * 1000, "ms"
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
    """Resident memory of a server without a node: idle, with 1,000 Services, Endpoints and Pods, per watcher."""
    server = Server()
    time.sleep(1)
    yield "memory idle, no node", server.memory_kib() / 1024, "MiB"
    connection = server.connect()
    for i in range(1000):
        call(connection, "POST", CORE + "services", service(f"s{i}"))
        call(connection, "POST", CORE + "pods", pod(f"s{i}"))
    yield "memory with 1,000 Services, Endpoints, Pods", server.memory_kib() / 1024, "MiB"
    listed = server.load("rate", 1, 2, "GET", CORE + "pods")
    yield "LIST of 1,000 Pods, p50", listed["p50"], "ms"
    server.stop()
    server = Server()
    server.load("watch", 1, 10, CORE + "configmaps", CONFIG_MAP)
    before = server.memory_kib()
    watch = subprocess.Popen([LOAD, server.data_dir + "/pki", str(server.port), "watch", "500", "2000", CORE + "configmaps",
                              CONFIG_MAP], stdout=subprocess.DEVNULL)
    time.sleep(3)  # all connected, and events flow
    yield "memory per watcher, of 500", (server.memory_kib() - before) / 500, "KiB"
    watch.kill()
    watch.wait()
    server.stop()


def disk_p50(directory):
    """What a write and fdatasync of 4 KiB takes."""
    fd = os.open(os.path.join(directory, "fdatasync"), os.O_CREAT | os.O_RDWR)
    samples = []
    for i in range(200):
        began = time.perf_counter()
        os.pwrite(fd, b"x" * 4096, i * 4096)
        os.fdatasync(fd)
        samples.append((time.perf_counter() - began) * 1000)
    os.close(fd)
    return sorted(samples)[100]


def bench_api():
    """Durable creates and reads per second over keep-alive TLS, and what etcd does on the same disk."""
    server = Server()
    yield "fdatasync p50", disk_p50(server.data_dir), "ms"
    for name, path, body in (("ConfigMap", "configmaps", CONFIG_MAP), ("Service", "services", SERVICE)):
        for clients in (1, 16):
            yield f"{name} creates, {clients} client(s)", server.load("rate", clients, 3, "POST", CORE + path, body)["rate"], "/s"
    call(server.connect(), "POST", CORE + "configmaps", config_map("read"))
    for clients in (1, 16):
        yield f"GET, {clients} client(s)", server.load("rate", clients, 3, "GET", CORE + "configmaps/read")["rate"], "/s"
    yield from etcd(server)
    server.stop()


def etcd(server):
    if not shutil.which("etcd"):
        return
    data, port, peer = tempfile.mkdtemp(prefix="coracle-bench-etcd-"), free_port(), free_port()
    pki = server.data_dir + "/pki"
    process = subprocess.Popen(
        ["etcd", "--data-dir", data, "--cert-file", pki + "/server.crt", "--key-file", pki + "/server.key",
         "--listen-client-urls", f"https://127.0.0.1:{port}", "--advertise-client-urls", f"https://127.0.0.1:{port}",
         "--listen-peer-urls", f"http://127.0.0.1:{peer}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = json.dumps({"key": base64.b64encode(b"k").decode(), "value": base64.b64encode(b"v" * 300).decode()})
    try:
        for clients in (1, 16):
            for attempt in range(50):
                try:
                    yield f"etcd's puts, {clients} client(s)", load(pki, port, "rate", clients, 3, "POST", "/v3/kv/put", body)["rate"], "/s"
                    break
                except subprocess.CalledProcessError:
                    time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(data)


def bench_fsync():
    """Group commit on a disk whose fsync takes 20 ms longer."""
    server = Server(env={"LD_PRELOAD": os.path.join(BUILD, "libbench_slow_fsync.so"), "BENCH_FSYNC_MS": "20"})
    rates = {clients: server.load("rate", clients, 5, "POST", CORE + "configmaps", CONFIG_MAP)["rate"] for clients in (1, 16)}
    for clients, rate in rates.items():
        yield f"creates with 20 ms per fsync, {clients} client(s)", rate, "/s"
    yield "16 clients to one", rates[16] / rates[1], "x"
    server.stop()


def bench_watch():
    """From sending a POST until the last watcher has the event; from a Pod's readiness to its Endpoints' event."""
    server = Server()
    for watchers, events in ((1, 500), (100, 500), (1000, 1000)):
        figures = server.load("watch", watchers, events, CORE + "configmaps", CONFIG_MAP)
        for name in ("p50", "p99"):
            yield f"POST to the last of {watchers} watcher(s), {name}", figures[name], "ms"
    connection = server.connect()
    call(connection, "POST", CORE + "services", service("followed"))
    call(connection, "POST", CORE + "pods", pod("followed"))
    status = [json.dumps({"status": {"phase": "Running", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}],
                                     "conditions": [{"type": "Ready", "status": ready}]}}) for ready in ("True", "False")]
    time.sleep(1)
    figures = server.load("follow", CORE + "endpoints", 300, "PATCH", CORE + "pods/followed/status", *status)
    for name in ("p50", "p99"):
        yield f"Pod ready to Endpoints event, {name}", figures[name], "ms"
    server.stop()


def in_own_namespace(*args):
    done = subprocess.run(["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", KERNEL, *map(str, args)],
                          stdout=subprocess.PIPE, check=True, timeout=600)
    for line in done.stdout.decode().splitlines():
        metric, value, unit = line.split("\t")
        yield metric, float(value), unit


def bench_rules():
    """Service rules: the first full sync, and a change of one endpoint until it is in the kernel."""
    for variant, counts in (("nft", (100, 1000, 5000)), ("legacy", (1000,))):
        for count in counts:
            yield from in_own_namespace("rules", variant, count)


def bench_scheduling():
    """A scheduler's decision, without the API: the mean of many Pods of one owner."""
    for pods, nodes in ((200, 3), (1000, 100)):
        done = subprocess.run([os.path.join(BUILD, "bench_scheduling"), str(pods), str(nodes)], stdout=subprocess.PIPE,
                              check=True, timeout=300)
        for line in done.stdout.decode().splitlines():
            metric, value, unit = line.split("\t")
            yield metric, float(value), unit


def bench_attach():
    """Pods connected to the network, beside the bare netlink calls of it and the CNI plugins."""
    yield from in_own_namespace("attach", 50)
    bridge = "/usr/lib/cni/bridge"
    if not os.path.exists(bridge):
        return
    data = tempfile.mkdtemp(prefix="coracle-bench-cni-")
    config = json.dumps({"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "benchcni0", "isGateway": True,
                         "ipam": {"type": "host-local", "dataDir": data, "subnet": "10.43.0.0/24"}})
    script = """
import json, os, subprocess, sys, time
config, bridge = sys.argv[1:]
samples = []
for i in range(30):
    name = f"benchcni{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    env = dict(os.environ, CNI_CONTAINERID=f"c{i}", CNI_NETNS=f"/run/netns/{name}", CNI_IFNAME="eth0", CNI_PATH="/usr/lib/cni")
    began = time.perf_counter()
    subprocess.run([bridge], input=config.encode(), env=dict(env, CNI_COMMAND="ADD"), stdout=subprocess.DEVNULL, check=True)
    samples.append((time.perf_counter() - began) * 1000)
    subprocess.run([bridge], input=config.encode(), env=dict(env, CNI_COMMAND="DEL"), stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["ip", "netns", "del", name], check=True)
print(sorted(samples)[len(samples) // 2])
"""
    done = subprocess.run(["unshare", "-n", "python3", "-c", script, config, bridge], stdout=subprocess.PIPE, check=True, timeout=120)
    yield "CNI bridge and host-local ADD, p50", float(done.stdout), "ms"
    shutil.rmtree(data)


def bench_idle():
    """A lab of one node, left alone for a minute, without Pods and with the examples': all its processes and files together."""
    for with_pods in (False, True):
        with Lab() as lab:
            if with_pods:
                lab.apply_examples()
            time.sleep(15)  # what the start has to write is in the database, and the log is checkpointed
            what = "with the example Pods" if with_pods else "no Pods"
            if not with_pods:
                yield "memory idle, server and node", resident(lab.server()) / 1024, "MiB"
            before = lab.used()
            time.sleep(60)
            after = lab.used()
            for part in after["cpu"]:
                yield f"CPU time in 60 s, {what}: {part}", (after["cpu"][part] - before["cpu"].get(part, 0)) / 1e6, "ms"
            yield f"CPU time in 60 s, {what}: all", (sum(after["cpu"].values()) - sum(before["cpu"].values())) / 1e6, "ms"
            yield f"wakeups of the server in 60 s, {what}", after["wakeups"] - before["wakeups"], ""
            yield f"bytes written in 60 s, {what}", after["written"] - before["written"], "B"
            changed = [f for f in after["files"] if after["files"][f] != before["files"].get(f)]
            yield f"files changed in 60 s, {what}", len(changed), ""
            for path in changed:
                print("changed:", path, before["files"].get(path), after["files"][path], file=sys.stderr)


def bench_cluster():
    """A lab of three nodes: how soon it is Ready, how soon one more is, what it needs; TCP between Pods on two nodes (iperf3)."""
    with Lab(3) as lab:
        yield "lab of three nodes, to all Ready", lab.up_seconds * 1e3, "ms"
        ready, answers = lab.one_more(4)
        yield "one more node, to Ready", ready * 1e3, "ms"
        yield "one more node, until a Pod there answers one elsewhere", answers * 1e3, "ms"
        time.sleep(10)
        agents = [pid for pid, name in lab.processes().items() if "\0agent\0" in content(f"/proc/{pid}/cmdline")]
        yield "memory of an agent", max(resident(pid) for pid in agents) / 1024, "MiB"
        total = sum(number(f"/proc/{pid}/smaps_rollup", "Pss") for pid in lab.processes())
        yield "memory of the whole lab of four nodes, PSS", total / 1024, "MiB"
        if shutil.which("iperf3"):
            yield from lab.throughput("TCP, Pod to Pod on another node, VXLAN")
    if shutil.which("iperf3"):
        with Lab(3, "host-gw") as lab:
            yield from lab.throughput("TCP, Pod to Pod on another node, host-gw")
        yield "TCP over one veth pair, for comparison", veth_throughput(), "Gbit/s"


def bench_replace():
    """A lab of three nodes: from the deletion of a Deployment's Pod until every node's rules have the next one's address."""
    with Lab(3) as lab:
        nodes = [f"{lab.name}-node-{i}" for i in (1, 2, 3)]
        yield from replace.measure(CORACLE, lab.name, nodes, lab.api())


def bench_dns():
    """The cluster's DNS: memory of 10,000 Services' names, a lab's names when they are new, and dnsperf (beside dnsmasq)."""
    done = subprocess.run([os.path.join(BUILD, "bench_dns"), "10000", "3"], stdout=subprocess.PIPE, check=True, timeout=120)
    found = json.loads(next(line for line in done.stdout.decode().splitlines() if line.startswith("{")))
    yield "memory of the names of 10,000 Services", found["names_mib"], "MiB"
    yield "a changed Service among 10,000, to the new zone", found["change_us"], "us"
    yield "one answer, without sockets", found["answer_us"], "us"
    yield "a name outside through the search path, fetched", found["outside_fetched_us"], "us"
    yield "names outside through the search path, kept, answers a second", found["outside_kept_per_second"], ""
    with Lab(2) as lab:
        api = lab.api()
        yield from names.measure(CORACLE, lab.name, api, lab.server(), os.path.join(BUILD, "bench_dns"))
        api.close()


def bench_pods():
    """200 Pods of one Deployment on a lab of three nodes (CORACLE_BENCH_PODS: another number), and their end."""
    with Lab(3) as lab:
        api = lab.api()
        yield from pods.measure(lab, api, int(os.environ.get("CORACLE_BENCH_PODS", "200")))
        api.close()


def iperf(server, client, address):
    """Gbit/s of a few seconds of TCP; both are beginnings of command lines."""
    listening = subprocess.Popen([*server, "iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while b"listening" not in listening.stdout.readline():
            pass
        done = subprocess.run([*client, "iperf3", "-J", "-t", "3", "-c", address], check=True, stdout=subprocess.PIPE, timeout=30)
        return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9
    finally:
        listening.kill()
        listening.wait()
        listening.stdout.close()


def veth_throughput():
    names = [f"cb{os.getpid() % 1000000}{end}" for end in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "eth0", "netns", names[1]], check=True)
        for i, name in enumerate(names):
            subprocess.run(["ip", "-n", name, "addr", "add", f"192.0.2.{i + 1}/24", "dev", "eth0"], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "eth0", "up"], check=True)
        return iperf(*[["ip", "netns", "exec", name] for name in reversed(names)], "192.0.2.2")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


class Lab:
    """A lab of this process, and what all of it uses."""

    def __init__(self, nodes=1, backend="vxlan"):
        self.nodes, self.backend = nodes, backend
        self.name = f"b{os.getpid() % 1000000}"
        self.directory = "/var/lib/coracle/lab/" + self.name

    def __enter__(self):
        began = time.perf_counter()
        self.call("up", "--nodes", str(self.nodes), "--backend", self.backend, "--resolv-conf", "")
        self.up_seconds = time.perf_counter() - began
        return self

    def __exit__(self, *_):
        self.call("down")

    def call(self, command, *args):
        done = subprocess.run([CORACLE, "lab", command, "--name", self.name, *args], check=True, stdout=subprocess.PIPE, timeout=120)
        return done.stdout.decode()

    def apply_examples(self):
        examples = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../manifests/examples")
        kubectl = ["kubectl", "--kubeconfig", self.call("kubeconfig").strip()]
        # Without the example of a Node, which nothing stands behind: its end would be written down within the minute.
        for name in ("backend-pods", "frontend-pods", "services"):
            subprocess.run([*kubectl, "apply", "-f", f"{examples}/{name}.yaml"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        subprocess.run([*kubectl, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"], check=True,
                       stdout=subprocess.DEVNULL, timeout=70)

    def api(self):
        return Api(self.call("status").split("\n")[0].split()[1], f"{self.directory}/{self.name}-node-1")

    def one_more(self, number):
        """Seconds until the node is Ready, and until a Pod on it has answered one on another node. The Pod is made with the node."""
        name = f"{self.name}-node-{number}"
        api = self.api()

        def make(pod, node, container):
            status, answer = api.request("POST", "/api/v1/namespaces/default/pods", {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
                "spec": {"nodeName": node, "containers": [{"name": "c", **container}]}})
            if status != 201:
                raise RuntimeError(answer)

        def changes(path):
            return api.watch(path, api.get(path)["metadata"]["resourceVersion"])

        watch = changes("/api/v1/namespaces/default/pods")
        make("asks", f"{self.name}-node-2", {"image": "coracle/host", "command": ["sleep", "1000"]})
        next(o for _, o in watch if o["status"].get("phase") == "Running")
        watch.close()
        script = "read ip; until curl -sS -m 1 -o /dev/null http://$ip:8080/; do sleep 0.005; done"
        asks = subprocess.Popen([CORACLE, "lab", "exec", "--name", self.name, f"{self.name}-node-2", "--pod", "default/asks", "--", "sh", "-c",
                                 script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        nodes, made_pods = changes("/api/v1/nodes"), changes("/api/v1/namespaces/default/pods")
        began = time.perf_counter()
        up = subprocess.Popen([CORACLE, "lab", "up", "--name", self.name, "--nodes", str(number)], stdout=subprocess.DEVNULL)
        made = False
        for _, node in nodes:
            if node["metadata"]["name"] != name:
                continue
            if not made:
                make("answers", name, {"image": "coracle/echo"})
                made = True
            if any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", [])):
                break
        ready = time.perf_counter() - began
        asks.communicate(next(o["status"]["podIP"] for _, o in made_pods if o["status"].get("podIP") and o["metadata"]["name"] == "answers") + "\n",
                         timeout=60)
        answered = time.perf_counter() - began
        for one in (nodes, made_pods, api):
            one.close()
        if up.wait(60) or asks.returncode:
            raise RuntimeError("the node does not come up, or does not answer")
        return ready, answered

    def throughput(self, what):
        """Between two Pods with the host's files, on the second and the third node."""
        kubectl = ["kubectl", "--kubeconfig", self.call("kubeconfig").strip()]
        for i in (2, 3):
            node = json.dumps({"spec": {"nodeName": f"{self.name}-node-{i}"}})
            subprocess.run([*kubectl, "run", f"p{i}", "--image=coracle/host", "--overrides", node, "--command", "--", "sleep", "1000"],
                           check=True, stdout=subprocess.DEVNULL, timeout=60)
        subprocess.run([*kubectl, "wait", "--for=condition=Ready", "pod/p2", "pod/p3", "--timeout=60s"], check=True,
                       stdout=subprocess.DEVNULL, timeout=70)
        ip = subprocess.run([*kubectl, "get", "pod", "p3", "-o", "jsonpath={.status.podIP}"], check=True, stdout=subprocess.PIPE).stdout
        ends = [[CORACLE, "lab", "exec", "--name", self.name, f"{self.name}-node-{i}", "--pod", f"default/p{i}", "--"] for i in (3, 2)]
        yield what, iperf(*ends, ip.decode()), "Gbit/s"

    def processes(self):
        """{pid: name} of all that lives from the lab's files: nodes, supervisors, containers."""
        mark, found = f"/lab/{self.name}/", {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            command = content(f"/proc/{pid}/cmdline")
            if command and (mark in command or mark in content(f"/proc/{pid}/mountinfo")):
                found[int(pid)] = "server" if "\0server\0" in command else command.split()[0].split("\0")[0]
        return found

    def server(self):
        return next(pid for pid, name in self.processes().items() if name == "server")

    def used(self):
        """Nanoseconds of CPU by the program's name, its ended children included, and what was written."""
        out = {"cpu": {}, "written": 0, "wakeups": 0, "files": {}}
        for pid, name in self.processes().items():
            fields = content(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
            children = (int(fields[13]) + int(fields[14])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
            spent = time.clock_gettime_ns(~pid << 3 | 2)  # the process' CPU clock, exact where /proc counts ticks
            out["cpu"][name] = out["cpu"].get(name, 0) + spent + children
            out["written"] += number(f"/proc/{pid}/io", "write_bytes")
            if name == "server":
                out["wakeups"] = sum(number(f"/proc/{pid}/task/{t}/status", "voluntary_ctxt_switches")
                                     for t in os.listdir(f"/proc/{pid}/task"))
        for directory, _, names in os.walk(self.directory):
            for path in (os.path.join(directory, n) for n in names):
                if os.path.isfile(path):
                    info = os.stat(path)
                    out["files"][path] = (info.st_size, info.st_mtime_ns)
        return out


def content(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def number(path, name):
    return next((int(line.split()[1]) for line in content(path).splitlines() if line.startswith(name + ":")), 0)


def resident(pid):
    return number(f"/proc/{pid}/status", "VmRSS")


BENCHMARKS = {name[6:]: f for name, f in sorted(globals().items()) if name.startswith("bench_")}


def main():
    wanted = sys.argv[3:] or list(BENCHMARKS)
    for name in wanted:
        if name not in BENCHMARKS:
            raise SystemExit(f"no benchmark {name}; there are: {', '.join(BENCHMARKS)}")
    for name in wanted:
        with open(os.path.join(OUT, name + ".jsonl"), "a", encoding="utf-8") as out:
            for metric, value, unit in BENCHMARKS[name]():
                print(f"{name:8} {metric:52} {value:12,.1f} {unit}", flush=True)
                out.write(json.dumps({"benchmark": name, "metric": metric, "value": value, "unit": unit,
                                      "time": int(time.time())}) + "\n")


main()
