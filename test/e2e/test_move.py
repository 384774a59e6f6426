"""Networks that move: every node gets another address, the server's too, and nobody restarts.

Agents open only outbound connections, and none of them has heard of the address that the server moves to: they learn it from
the server's node through the Pod network.
"""
import json
import os
import signal
import ssl
import time
import unittest

import support
from support import CORACLE, Lab, echo_pod, eventually, run
from test_mesh import NODES, SERVICES, pod

FOUND = 10.0  # seconds until an agent talks to a server that has moved


class Move(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=3)
        cls.lab.k("apply", "-f", "-", stdin="".join(pod(cls.lab, i) for i in NODES) + SERVICES)
        cls.lab.wait_ready(*[f"p{i}" for i in NODES])

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def command(self, *args, check=True):
        return run([CORACLE, "lab", args[0], "--name", self.lab.name, *args[1:]], timeout=120, check=check)[1]

    def move(self, node):
        """Returns the new address."""
        return self.command("move", self.lab.node(node)).split()[-1]

    def pid(self, node):
        with open(os.path.join(os.path.dirname(self.lab.data_dir()), self.lab.node(node) + ".pid"), encoding="utf-8") as f:
            return int(f.read().split()[0])

    def servers(self, node):
        with open(self.lab.data_dir(node) + "/agent/credential.json", encoding="utf-8") as f:
            return json.load(f)["servers"]

    def node_ip(self, node):
        addresses = self.lab.get("node", self.lab.node(node))["status"]["addresses"]
        return next(a["address"] for a in addresses if a["type"] == "InternalIP")

    def starts(self, name):
        status = self.lab.get("pod", name)["status"]
        return [(c["containerID"], c["restartCount"]) for c in status["containerStatuses"]]

    def ask_everybody(self):
        for source in NODES:
            answers = {self.ask(source, to) for to in NODES}
            self.assertEqual(answers, {f"p{i}" for i in NODES}, f"from p{source}")

    def ask(self, source, to):
        ip = self.lab.get("pod", f"p{to}")["status"]["podIP"]
        return self.lab.exec("curl", "-sS", "--max-time", "5", f"http://{ip}:5000/hostname", node=source,
                             pod=f"default/p{source}")[1].strip()

    def test_1_the_server_moves(self):
        pids = [self.pid(i) for i in NODES]
        starts = {i: self.starts(f"p{i}") for i in NODES}
        for round_number in (1, 2):
            new = self.move(1)
            began = time.monotonic()
            with open(self.lab.kubeconfig, encoding="utf-8") as f:
                self.assertIn(f"server: https://{new}:6443", f.read())
            eventually(lambda: self.servers(2)[0] == self.servers(3)[0] == f"https://{new}:6443", "the agents find the server", FOUND)
            print(f"round {round_number}: found after {time.monotonic() - began:.1f} s", flush=True)
            self.assertEqual(self.node_ip(1), new)
            # kubectl checks the certificate against the address.
            subsets = self.lab.get("endpoints", "kubernetes")["subsets"]
            self.assertEqual([a["ip"] for s in subsets for a in s["addresses"]], [new])
            slice_ = self.lab.get("endpointslice", "kubernetes")
            self.assertEqual(slice_["endpoints"][0]["addresses"], [new])
            certificate = ssl.get_server_certificate((new, 6443))
            text = run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], stdin=certificate)[1]
            self.assertIn(f"IP Address:{new}", text)
            eventually(lambda: self.lab.get("pod", "p1")["status"]["hostIP"] == new, "hostIP follows")
            # The agents do what the moved server says.
            self.lab.k("apply", "-f", "-", stdin=echo_pod("fresh", "fresh", extra=f"  nodeName: {self.lab.node(3)}"))
            self.lab.wait_ready("fresh")
            self.lab.k("delete", "pod", "fresh", "--wait=true", timeout=90)
            self.ask_everybody()
        self.assertEqual([self.pid(i) for i in NODES], pids)
        self.assertEqual({i: self.starts(f"p{i}") for i in NODES}, starts)
        self.lab.k("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")

    def test_2_every_node_moves(self):
        starts = {i: self.starts(f"p{i}") for i in NODES}
        for i in NODES:
            new = self.move(i)
            eventually(lambda i=i, new=new: self.node_ip(i) == new, f"node {i} publishes its address", 10)
            eventually(lambda i=i, new=new: self.lab.get("pod", f"p{i}")["status"]["hostIP"] == new, "hostIP follows")
            eventually(lambda: self.ask_everybody() is None, "everybody reaches everybody", 10)
        self.assertEqual({i: self.starts(f"p{i}") for i in NODES}, starts)

    def test_3_a_node_that_was_away_when_the_server_moved(self):
        self.command("cut", self.lab.node(3))
        new = self.move(1)
        eventually(lambda: self.servers(2)[0] == f"https://{new}:6443", "node 2 finds the server", FOUND)
        self.command("heal", self.lab.node(3))
        eventually(lambda: self.servers(3)[0] == f"https://{new}:6443", "node 3 finds the server", 60)
        self.lab.k("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
        self.ask_everybody()

    def test_4_an_agent_that_was_down_is_pointed_there(self):
        pidfd = os.pidfd_open(self.pid(3))
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        support.select.select([pidfd], [], [], 30)
        os.close(pidfd)
        new = self.move(1)
        self.command("up")  # says --server, and no token is needed
        self.assertEqual(self.servers(3)[0], f"https://{new}:6443")
        self.lab.k("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
        self.ask_everybody()


if __name__ == "__main__":
    support.main()
