"""Three nodes: Pods, nodes and Services reach each other on and across nodes, and go on through what happens to networks."""
import collections
import itertools
import json
import re
import subprocess
import unittest

import support
from support import CORACLE, Lab, eventually, run

NODES = (1, 2, 3)
PORT = 7000
PYTHON = "/usr/bin/python3"  # Pods see it

# Answers every connection and every packet with the address that it came from.
SERVER = f"""
import socket, struct, threading
tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
udp.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
tcp.bind(("0.0.0.0", {PORT})); udp.bind(("0.0.0.0", {PORT})); tcp.listen(64)
def packets():
    while True:
        data, about, _, peer = udp.recvmsg(65536, 100)
        # From the address that was asked for: on a node it is not the one that leads to Pods.
        info = struct.pack("I4s4s", 0, about[0][2][8:12], bytes(4))
        udp.sendmsg([(peer[0] + " %d" % len(data)).encode()], [(socket.IPPROTO_IP, 8, info)], 0, peer)
threading.Thread(target=packets, daemon=True).start()
print("up", flush=True)
while True:
    connection, peer = tcp.accept()
    connection.sendall(peer[0].encode()); connection.close()
"""

# argv: protocol, address, bytes of a packet.
CLIENT = f"""
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind); s.settimeout(5)
s.connect((sys.argv[2], {PORT}))
if sys.argv[1] == "udp":
    s.send(b"x" * int(sys.argv[3]))
print(s.recv(100).decode())
"""


class Mesh(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=3)
        cls.servers = []
        cls.lab.k("apply", "-f", "-", stdin="".join(pod(cls.lab, i) for i in NODES) + SERVICES)
        cls.lab.wait_ready(*[f"p{i}" for i in NODES])
        cls.pod_ip = {i: cls.lab.get("pod", f"p{i}")["status"]["podIP"] for i in NODES}
        for i in NODES:
            cls.serve(i)

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.kill()
            server.wait()
            server.stdout.close()
        cls.lab.down()

    @classmethod
    def serve(cls, node):
        server = subprocess.Popen([CORACLE, "lab", "exec", "--name", cls.lab.name, cls.lab.node(node), "--", PYTHON, "-c", SERVER],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        cls.servers.append(server)
        assert server.stdout.readline() == b"up\n"

    def seen(self, source, protocol, address, size=10):
        """What the server at the address sees of the source: a node's number, or a Pod's as ("p", number)."""
        node, in_pod = (source[1], f"default/p{source[1]}") if isinstance(source, tuple) else (source, None)
        return self.lab.exec(PYTHON, "-c", CLIENT, protocol, address, str(size), node=node, pod=in_pod, timeout=20)[1].strip()

    def node_ip(self, i):
        addresses = self.lab.get("node", self.lab.node(i))["status"]["addresses"]
        return next(a["address"] for a in addresses if a["type"] == "InternalIP")

    def test_pod_to_pod_with_the_pods_own_address(self):
        for a, b in itertools.product(NODES, NODES):
            with self.subTest(a=a, b=b):
                self.assertEqual(self.seen(("p", a), "tcp", self.pod_ip[b]), self.pod_ip[a])
                self.assertEqual(self.seen(("p", a), "udp", self.pod_ip[b]), self.pod_ip[a] + " 10")

    def test_packets_larger_than_the_mtu_arrive(self):
        self.assertEqual(self.seen(("p", 1), "udp", self.pod_ip[2], 5000), self.pod_ip[1] + " 5000")

    def test_pod_to_node_and_node_to_pod(self):
        for a, b in itertools.product(NODES, NODES):
            with self.subTest(a=a, b=b):
                for protocol, rest in (("tcp", ""), ("udp", " 10")):
                    self.assertIn(self.seen(("p", a), protocol, self.node_ip(b)), [x + rest for x in (self.node_ip(a), self.pod_ip[a])])
                    source = self.seen(a, protocol, self.pod_ip[b])
                    self.assertTrue(source.endswith(rest), source)

    def answers(self, url, count, node=None, in_pod=None):
        script = f'for i in $(seq {count}); do curl -sS --max-time 5 {url}/hostname || echo FAIL; echo; done'
        text = self.lab.exec("sh", "-c", script, node=node, pod=in_pod, timeout=120)[1] if node else run(["sh", "-c", script], timeout=120)[1]
        return collections.Counter(line for line in text.split("\n") if line.strip())

    def test_services_through_every_node(self):
        service = self.lab.get("service", "echo")["spec"]
        eventually(lambda: all(self.jumps(i) == 3 for i in NODES), "three endpoints in every node's rules")
        exact = {f"p{i}": 10 for i in NODES}
        for i in NODES:
            with self.subTest(node=i):
                cluster = f"http://{service['clusterIP']}:80"
                self.assertEqual(self.answers(cluster, 30, i), exact)
                self.assertEqual(self.answers(cluster, 30, i, f"default/p{i}"), exact)
                self.assertEqual(self.answers(f"http://{self.node_ip(i)}:{service['ports'][0]['nodePort']}", 30), exact)

    def jumps(self, node):
        text = self.lab.exec("iptables-save", "-t", "nat", node=node)[1]
        match = re.search(r"-A KUBE-SERVICES .*default/echo\b.* -j (KUBE-SVC-\w+)", text)
        return sum(1 for l in text.split("\n") if match and l.startswith(f"-A {match[1]} ") and "-j KUBE-SEP" in l)


def pod(lab, i):
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: p{i}, labels: {{app: echo}}}}
spec:
  nodeName: {lab.node(i)}
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: coracle/echo
    ports: [{{containerPort: 5000}}]
    readinessProbe: {{httpGet: {{path: /healthz, port: 5000}}, periodSeconds: 1}}
  - name: peers
    image: coracle/host
    command: {json.dumps([PYTHON, "-c", SERVER])}
"""


SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: echo}
  ports: [{port: 80, targetPort: 5000}]
"""


if __name__ == "__main__":
    support.main()
