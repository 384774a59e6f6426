"""A node that boots while the server is away: its Pods run again, its Services work, and when the server is back both agree.

Nodes 1 (the server's) and 2 lose their power at the same time; node 2 comes back first.
"""
import json
import os
import re
import subprocess
import unittest

import support
from support import CORACLE, Lab, eventually, run

SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: pair}
spec:
  selector: {app: pair}
  ports: [{port: 80, targetPort: 5000}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: green}
"""
NEEDS_SETTINGS = "    env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}]"


def pod(lab, name, node, app="other", more=""):
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  nodeName: {lab.node(node)}
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: coracle/echo
    ports: [{{containerPort: 5000}}]
    readinessProbe: {{httpGet: {{path: /healthz, port: 5000}}, periodSeconds: 1}}
{more}
"""


class Offline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab(nodes=3)
        cls.agent = None
        lab.k("apply", "-f", "-", stdin=SERVICE + pod(lab, "p2", 2, "pair") + pod(lab, "p3", 3, "pair") + pod(lab, "deleted", 2)
              + pod(lab, "needs", 2, more=NEEDS_SETTINGS))
        lab.wait_ready("p2", "p3", "deleted", "needs")

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()
        if cls.agent:
            cls.agent.wait(30)

    def command(self, *args):
        return run([CORACLE, "lab", args[0], "--name", self.lab.name, *args[1:]], timeout=120)[1]

    def supervisor(self, name, node):
        """The pid of the Pod's supervisor, None when there is none."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read().decode(errors="replace").replace("\0", " ").split()
            except OSError:
                continue
            if command[:2] == ["coracle-supervisor", "default/" + name] and f"/{self.lab.node(node)}/" in command[-1]:
                return int(pid)
        return None

    def container(self, name, node):
        """The pid of the Pod's one container, None while it does not run. Without the API, which is away."""
        supervisor = self.supervisor(name, node)
        if not supervisor:
            return None
        try:
            with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as f:
                children = f.read().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def ask(self, url, node, pod_name=None):
        """Who answers a node, or a Pod of it."""
        curl = ["curl", "-sS", "--max-time", "5", url + "/hostname"]
        if pod_name:
            return run(["nsenter", "-t", str(self.container(pod_name, node)), "-n", *curl])[1].strip()
        return self.lab.exec(*curl, node=node)[1].strip()

    def lose_links_and_rules(self, node):
        """What a boot begins without."""
        for link in json.loads(self.lab.exec("ip", "-j", "link", "show", node=node)[1]):
            if link["ifname"].startswith("cora"):
                self.lab.exec("ip", "link", "del", link["ifname"], node=node, check=False)  # a pair's other end went along
        self.command("flush", self.lab.node(node))
        self.assertNotIn("cora", self.lab.exec("ip", "link", "show", node=node)[1])
        self.assertNotIn("KUBE", self.rules(node))

    def rules(self, node):
        return self.lab.exec("iptables-save", node=node)[1]

    def boot(self, node):
        """The node's agent alone, as its unit starts it; `lab up` would start the server before it."""
        directory = self.lab.data_dir(node)
        argv = ["ip", "netns", "exec", self.lab.node(node), CORACLE, "agent", "--data-dir", directory, "--node-name", self.lab.node(node),
                "--node-ip", self.ips[node], "--server", f"https://{self.ips[1]}:6443", "--resolv-conf", ""]
        with open(self.lab.log_path(node), "ab") as log:
            type(self).agent = agent = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(f"/proc/{agent.pid}/stat", encoding="ascii") as f:
            started = f.read().rsplit(")", 1)[1].split()[19]
        with open(directory + ".pid", "w", encoding="ascii") as f:
            f.write(f"{agent.pid} {started}\n")

    def status(self, name):
        return self.lab.get("pod", name)["status"]

    def ready_nodes(self):
        nodes = self.lab.get("nodes")["items"]
        return [n["metadata"]["name"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready" and c["status"] == "True"]

    def test_boots_without_the_server(self):
        lab = self.lab
        type(self).ips = {i: lab.address(i) for i in (1, 2, 3)}
        before = {name: self.status(name) for name in ("p2", "p3", "deleted", "needs")}
        cluster = "http://" + lab.get("service", "pair")["spec"]["clusterIP"]
        url = f"http://{before['p2']['podIP']}:5000"
        eventually(lambda: {self.ask(cluster, 2) for _ in range(4)} == {"p2", "p3"}, "both endpoints in node 2's rules")

        self.command("power-cut", lab.node(2))
        self.lose_links_and_rules(2)
        lab.k("delete", "pod", "deleted", "--force", "--grace-period=0")
        self.command("power-cut", lab.node(1))
        self.assertIsNone(lab.server_pid())
        self.assertIsNone(self.container("p2", 2))

        self.boot(2)
        eventually(lambda: self.container("p2", 2), "node 2's Pod runs")
        self.assertEqual(eventually(lambda: self.ask(url, 3, "p3"), "it answers a Pod of node 3 at its old address"), "p2")
        self.assertEqual(self.ask(f"http://{before['p3']['podIP']}:5000", 2, "p2"), "p3")
        for source in (None, "p2"):
            self.assertEqual({self.ask(cluster, 2, source) for _ in range(4)}, {"p2", "p3"})
        self.assertRegex(self.rules(2), r"KUBE-SERVICES .*default/pair\b.* -j KUBE-SVC-")
        dig = ("dig", "+tries=2", "+time=10", "@10.96.0.10")
        for name, answer in (("pair", cluster[len("http://"):]), ("nobody", "status: NXDOMAIN")):
            argv = ["nsenter", "-t", str(self.container("p2", 2)), "-n", *dig, f"{name}.default.svc.cluster.local"]
            self.assertIn(answer, run(argv)[1], "node 2 knows the names that were kept")
        eventually(lambda: self.container("deleted", 2), "what is deleted runs: nobody has told")
        eventually(lambda: self.supervisor("needs", 2), "a sandbox for what needs a ConfigMap")
        self.assertIsNone(self.container("needs", 2))

        # What ends while the server is away is started again, on the booted node and on another.
        for name, node in (("p2", 2), ("p3", 3)):
            old = self.container(name, node)
            os.kill(old, 9)
            eventually(lambda: self.container(name, node) not in (None, old), f"{name} restarts")
        pids = {name: (self.supervisor(name, node), self.container(name, node)) for name, node in (("p2", 2), ("p3", 3))}

        self.command("up")
        eventually(lambda: len(self.ready_nodes()) == 3, "all nodes Ready")
        lab.wait_ready("p2", "p3", "needs")
        eventually(lambda: self.status("p2")["containerStatuses"][0]["restartCount"] == 2, "the status of node 2's Pod is made up for")
        self.assertEqual(self.status("p3")["containerStatuses"][0]["restartCount"], 1)
        for name in ("p2", "p3", "needs"):
            self.assertEqual(self.status(name)["podIP"], before[name]["podIP"], name)
        for name, node in (("p2", 2), ("p3", 3)):
            self.assertEqual((self.supervisor(name, node), self.container(name, node)), pids[name], f"{name} was started again")
        eventually(lambda: not self.supervisor("deleted", 2), "the Pod that was deleted meanwhile is gone")

        # And all goes on from here.
        lab.k("apply", "-f", "-", stdin=pod(lab, "new", 2, "pair"))
        lab.wait_ready("new")
        eventually(lambda: {self.ask(cluster, 2) for _ in range(6)} == {"p2", "p3", "new"}, "the new endpoint")
        lab.k("delete", "pod", "new", "p2")
        eventually(lambda: {self.ask(cluster, 2) for _ in range(4)} == {"p3"}, "one endpoint is left")
        self.assertIsNone(self.supervisor("p2", 2))

    def test_kept_lists(self):
        """What lies on the disk: for its owner alone, and nothing that is secret."""
        directory = self.lab.data_dir(3) + "/kept"
        kinds = {"endpointslices": {"EndpointSlice"}, "pods": {"Pod"}, "services": {"Service"}}
        self.assertEqual(set(os.listdir(directory)), set(kinds))
        for name, kind in kinds.items():
            path = os.path.join(directory, name)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            with open(path, encoding="utf-8") as f:
                self.assertEqual(set(re.findall(r'"kind":"(\w+)","metadata"', f.read())), kind)
        self.assertFalse(os.path.exists(self.lab.data_dir(1) + "/kept"), "the server's own agent has the server")


if __name__ == "__main__":
    support.main()
