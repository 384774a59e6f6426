"""As large as it may get: a hundred more nodes and a thousand Services, on two nodes of a lab. The nodes are objects without an
agent behind them; what they cost the agents that there are is counted by the kernel's own events."""
import collections
import re
import subprocess
import threading
import time
import unittest

import support
from api import Api
from support import CORACLE, Lab, eventually

NODES, SERVICES = 100, 1000
MEMORY = 20  # MiB of an agent
PYTHON = "/usr/bin/python3"

# One line per change of a route, or of a neighbour or forwarding entry of the link to other nodes: "+ route", "- fdb", ...
EVENTS = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
s.bind((0, 0x4 | 0x40))  # RTMGRP_NEIGH, RTMGRP_IPV4_ROUTE
overlay = socket.if_nametoindex("cora.vx")
print("listening", flush=True)
while True:
    data = s.recv(1 << 20)
    while len(data) >= 16:
        size, kind = struct.unpack("=IH", data[:6])
        family = data[16]
        if kind in (28, 29) and struct.unpack("=i", data[20:24])[0] == overlay:  # ndmsg
            print("+" if kind == 28 else "-", "fdb" if family == 7 else "neighbour", flush=True)
        elif kind in (24, 25):
            print("+" if kind == 24 else "-", "route", flush=True)
        data = data[(size + 3) & ~3:]
"""


class Events:
    """The kernel's on one node, from now on."""

    def __init__(self, lab, node):
        argv = [CORACLE, "lab", "exec", "--name", lab.name, lab.node(node), "--", PYTHON, "-c", EVENTS]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n"
        self.seen = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.seen.append(line.strip())

    def since(self, count):
        return collections.Counter(self.seen[count:])

    def end(self):
        self.process.kill()
        self.process.wait()


def one_of_each(sign, count=1):
    return {f"{sign} {what}": count for what in ("route", "neighbour", "fdb")}


class Scale(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=2)
        cls.addClassCleanup(cls.lab.down)
        cls.address = cls.lab.address()
        cls.api = Api(cls.address, cls.lab.data_dir())
        cls.addClassCleanup(cls.api.close)
        cls.events = [Events(cls.lab, i) for i in (1, 2)]
        for events in cls.events:
            cls.addClassCleanup(events.end)

    def post(self, path, body):
        status, answer = self.api.request("POST", path, body)
        self.assertEqual(status, 201, answer)

    def add_node(self, number):
        """A Node with an address of the lab's subnet, which an agent would have said."""
        name = f"ghost-{number}"
        self.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        ip = self.address.rsplit(".", 1)[0] + f".{100 + number}"
        status, answer = self.api.patch(f"/api/v1/nodes/{name}/status", {"status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
        self.assertEqual(status, 200, answer)

    def memory(self, node):
        """MiB of the node's agent: its share of all pages, and all it has mapped."""
        with open(f"{self.lab.data_dir(node)}.pid", encoding="ascii") as f:
            pid = f.read().split()[0]
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            sizes = {l.split()[0]: int(l.split()[1]) / 1024 for l in f if l.startswith(("Pss:", "Rss:"))}
        return sizes["Pss:"], sizes["Rss:"]

    def look_at_memory(self, what):
        eventually(lambda: self.memory(2)[1] < MEMORY, f"the agent's memory with {what}")
        print(f"{what}: the agent has {self.memory(2)[0]:.1f} MiB (PSS; RSS {self.memory(2)[1]:.1f} MiB)", flush=True)

    def test_1_a_hundred_nodes(self):
        self.look_at_memory("2 nodes")
        before = [len(e.seen) for e in self.events]
        for i in range(NODES):
            self.add_node(i)
        for events, count in zip(self.events, before):
            eventually(lambda e=events, c=count: e.since(c)["+ route"] >= NODES, "a route to each")
        time.sleep(1)  # for what is too much
        for i, (events, count) in enumerate(zip(self.events, before)):
            print(f"node {i + 1}: {NODES} nodes cost {dict(events.since(count))}", flush=True)
            self.assertEqual(events.since(count), one_of_each("+", NODES))
        self.look_at_memory(f"{NODES + 2} nodes")

    def test_2_one_more_and_one_less(self):
        for sign, change in (("+", lambda: self.add_node(NODES)), ("-", lambda: self.api.request("DELETE", f"/api/v1/nodes/ghost-{NODES}"))):
            before = [len(e.seen) for e in self.events]
            change()
            for events, count in zip(self.events, before):
                eventually(lambda e=events, c=count: len(e.seen) - c >= 3, "the kernel's events")
            time.sleep(1)  # for what is too much
            for events, count in zip(self.events, before):
                # The kernel tells of a neighbour that goes twice: it fails, then it is gone.
                extra = {"+ neighbour": 1} if sign == "-" else {}
                self.assertEqual(events.since(count), {**one_of_each(sign), **extra})

    def test_3_a_thousand_services(self):
        for i in range(SERVICES):
            name = f"s{i}"
            self.post("/api/v1/namespaces/default/services",
                      {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}})
            self.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                      {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                       "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "ports": [{"name": "http", "port": 5000}],
                       "endpoints": [{"addresses": [f"10.42.{200 + i % 50}.{k}"], "conditions": {"ready": True}} for k in (2, 3, 4)]})
        wanted = collections.Counter({"KUBE-SVC": SERVICES, "KUBE-SEP": 3 * SERVICES})
        for node in (1, 2):
            eventually(lambda n=node: self.chains(n) >= wanted, f"the rules of node {node}", 120)
        self.look_at_memory(f"{NODES + 2} nodes and {SERVICES} Services")
        # And they work as on the first day.
        pods = [support.echo_pod(f"p{i}", "echo").replace("spec:", f"spec:\n  nodeName: {self.lab.node(i)}", 1) for i in (1, 2)]
        self.lab.k("apply", "-f", "-", stdin="---".join(pods))
        self.lab.k("create", "service", "clusterip", "echo", "--tcp=80:5000")
        self.lab.wait_ready("p1", "p2")
        url = f"http://{self.lab.get('service', 'echo')['spec']['clusterIP']}"
        for node in (1, 2):
            eventually(lambda n=node: {self.ask(url, n), self.ask(url, n)} == {"p1", "p2"}, f"both answer on node {node}")
            # Round and round, from Pods as well.
            self.assertEqual({self.ask(url, node, pod=f"default/p{node}") for _ in range(4)}, {"p1", "p2"})

    def ask(self, url, node, pod=None):
        return self.lab.exec("curl", "-sS", "--max-time", "5", url + "/hostname", node=node, pod=pod)[1].strip()

    def chains(self, node):
        """How many there are of each kind that have rules."""
        text = self.lab.exec("iptables-save", "-t", "nat", node=node)[1]
        return collections.Counter(name[:8] for name in set(re.findall(r"^-A (KUBE-S(?:VC|EP)-\w+)", text, re.M)))


if __name__ == "__main__":
    support.main()
