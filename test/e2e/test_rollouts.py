"""Deployments on three nodes: the tutorial of every course, a rollout that no request notices, and servers that die in rollouts."""
import os
import random
import re
import subprocess
import threading
import time
import unittest

import support
from churn import Client, bare, revision_of
from request_loop import Requests
from support import Lab, eventually

NODES = (1, 2, 3)
REPLICAS, SURGE, MISSING = 10, 2, 1
KILLS = 100 if os.environ.get("CORACLE_LONG_TESTS") else 30
DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: NAME}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: NAME}}}}
  strategy: {{rollingUpdate: {{maxSurge: {SURGE}, maxUnavailable: {MISSING}}}}}
  template:
    metadata: {{labels: {{app: NAME}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: echo
        image: coracle/echo
        ports: [{{containerPort: 5000}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: 5000}}, periodSeconds: 1}}
"""
PRE_STOP = """        lifecycle: {preStop: {exec: {command: [sleep, "1"]}}}
"""
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: coracle/host, command: [sleep, infinity]}]
"""
PODS = "/api/v1/namespaces/default/pods"


class Bounds(Client):
    """Looks at every event of a Deployment's Pods, across deaths of the server: never too many of them, never too few that serve."""

    def __init__(self, lab, app):
        super().__init__("bounds", lab, 0)
        self.path = f"{PODS}?labelSelector=app%3D{app}"
        self.pods, self.revision = {}, 0
        self.most, self.fewest, self.events = 0, REPLICAS, 0
        self.look()

    def look(self):
        document = self.api.get(self.path)
        self.pods = {i["metadata"]["name"]: bare(i) for i in document["items"]}
        self.revision = revision_of(document)
        self.check()

    def check(self):
        active = [p for p in self.pods.values() if "deletionTimestamp" not in p["metadata"]
                  and p.get("status", {}).get("phase") not in ("Failed", "Succeeded")]
        ready = sum(any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", [])) for p in active)
        self.most, self.fewest = max(self.most, len(active)), min(self.fewest, ready)
        self.events += 1
        if len(active) > REPLICAS + SURGE or ready < REPLICAS - MISSING:
            raise AssertionError(f"{len(active)} Pods, {ready} of them ready: " + ", ".join(
                f"{p['metadata']['name']} {p['metadata'].get('labels')} {p['status']}" for p in active))

    def step(self):
        watch = self.api.watch(self.path, self.revision, 1)  # short: between two it sees that it is to end
        for kind, pod in watch:
            if kind == "ERROR":  # too old: begins anew
                return self.look()
            if kind == "DELETED":
                self.pods.pop(pod["metadata"]["name"], None)
            else:
                self.pods[pod["metadata"]["name"]] = pod
            self.revision = revision_of(pod)
            self.check()
        watch.close()
        return None


class Rollouts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=3)

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def tearDown(self):
        self.lab.k("delete", "deployment,service", "--all", "--ignore-not-found", timeout=120)
        eventually(lambda: not self.lab.get("pods", "-l", "app")["items"], "no Pods left")

    def addresses(self, name):
        subsets = self.lab.get("endpoints", name).get("subsets", [])
        return sorted(a["ip"] for s in subsets for a in s.get("addresses", []))

    def pod_addresses(self, app):
        return sorted(p["status"]["podIP"] for p in self.lab.get("pods", "-l", "app=" + app)["items"]
                      if "deletionTimestamp" not in p["metadata"])

    def rolled_out(self, name):
        return self.lab.k("rollout", "status", "deployment/" + name, "--timeout=120s", timeout=150)

    def test_the_tutorial(self):
        k = self.lab.k
        for tier in ("backend", "frontend"):
            k("create", "deployment", tier, "--image=coracle/echo", "--replicas=3", "--port=5000")
        k("expose", "deployment", "backend", "--type=ClusterIP", "--name=backend")
        k("expose", "deployment", "backend", "--type=NodePort", "--name=backend-np")
        k("expose", "deployment", "frontend", "--type=NodePort")
        for tier in ("backend", "frontend"):
            self.assertIn("successfully rolled out", self.rolled_out(tier))
        eventually(lambda: len(self.addresses("backend")) == 3 and self.addresses("backend") == self.pod_addresses("backend"), "endpoints")
        nodes = {p["spec"]["nodeName"] for p in self.lab.get("pods", "-l", "app=backend")["items"]}
        self.assertEqual(len(nodes), 3, "spread")

        # kubectl get endpoints -w: the old address goes, the new Pod's comes.
        watching = subprocess.Popen(["kubectl", "get", "endpoints", "backend", "-w"], stdout=subprocess.PIPE, text=True,
                                    env=dict(os.environ, KUBECONFIG=self.lab.kubeconfig, HOME=self.lab.home))
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(watching.stdout), daemon=True)
        reader.start()
        try:
            victim = self.lab.get("pods", "-l", "app=backend")["items"][0]
            k("delete", "pod", victim["metadata"]["name"])
            old = victim["status"]["podIP"]
            eventually(lambda: old not in self.addresses("backend") and len(self.addresses("backend")) == 3, "a new address")
            new = self.addresses("backend")
            eventually(lambda: re.search(r"\b" + re.escape(new[-1]) + ":5000", "".join(lines[-1:])), "the watch shows the new one")
        finally:
            watching.kill()
            watching.wait()
            reader.join(10)
            watching.stdout.close()
        self.assertIn(old + ":", lines[1])
        self.assertNotIn(old + ":", lines[-1])

        # Through the ClusterIP and through every node's port, to all three in turn.
        spec = self.lab.get("service", "backend")["spec"]
        names = {p["metadata"]["name"] for p in self.lab.get("pods", "-l", "app=backend")["items"]
                 if "deletionTimestamp" not in p["metadata"]}
        port = self.lab.get("service", "backend-np")["spec"]["ports"][0]["nodePort"]
        for node in NODES:
            def ask(url, node=node):
                return self.lab.exec("curl", "-sS", "--max-time", "5", url + "/hostname", node=node)[1].strip()
            eventually(lambda: {ask(f"http://{spec['clusterIP']}:5000") for _ in range(3)} == names, f"ClusterIP from node {node}")
            eventually(lambda: {self.lab.hostname_of(f"http://{self.lab.address(node)}:{port}") for _ in range(3)} == names,
                       f"NodePort of node {node}")

        k("scale", "deployment", "backend", "--replicas=5")
        eventually(lambda: len(self.addresses("backend")) == 5, "five addresses")
        k("scale", "deployment", "backend", "--replicas=2")
        eventually(lambda: len(self.addresses("backend")) == 2 and self.addresses("backend") == self.pod_addresses("backend"), "two")
        for change in (("set", "image", "deployment/backend", "echo=coracle/echo:2"), ("set", "env", "deployment/backend", "COLOR=blue"),
                       ("rollout", "restart", "deployment/backend"), ("rollout", "undo", "deployment/backend")):
            before = self.addresses("backend")
            k(*change)
            self.assertIn("successfully rolled out", self.rolled_out("backend"))
            eventually(lambda: self.addresses("backend") == self.pod_addresses("backend")
                       and not set(before) & set(self.addresses("backend")), f"other addresses after {change}")
        self.assertIn("REVISION", k("rollout", "history", "deployment/backend"))
        k("delete", "service", "backend")
        for node in NODES:
            eventually(lambda: "/backend " not in self.lab.exec("iptables-save", "-t", "nat", node=node)[1]
                       and spec["clusterIP"] not in self.lab.exec("iptables-save", "-t", "nat", node=node)[1], "no rules left")
        self.lab.kubectl("get", "service", "backend-np", "frontend")

    def test_no_request_notices_a_rollout(self):
        self.lab.k("apply", "-f", "-", stdin=DEPLOYMENT.replace("NAME", "web") + PRE_STOP + "---" + CLIENT)
        self.lab.k("expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=5000")
        self.rolled_out("web")
        self.lab.wait_ready("client")
        node = next(i for i in NODES if self.lab.node(i) == self.lab.get("pod", "client")["spec"]["nodeName"])
        spec = self.lab.get("service", "web")["spec"]
        port = spec["ports"][0]["nodePort"]
        loops = [Requests(self.lab, spec["clusterIP"] + ":80", node, "client")]
        loops += [Requests(self.lab, f"{self.lab.address(i)}:{port}") for i in NODES]
        bounds = Bounds(self.lab, "web")
        bounds.start()
        try:
            eventually(lambda: all(len(l.lines) > 50 for l in loops), "requests")
            old = {p["metadata"]["name"] for p in self.lab.get("pods", "-l", "app=web")["items"]}
            for change in (("set", "env", "deployment/web", "COLOR=blue"), ("rollout", "undo", "deployment/web")):
                self.lab.k(*change)
                self.rolled_out("web")
            counts = [len(l.lines) for l in loops]
            eventually(lambda: all(len(l.lines) > c + 50 for l, c in zip(loops, counts)), "requests to the new ones")
        finally:
            for l in loops:
                l.end()
        bounds.end()
        for l in loops:
            print(f"\n{l.name}: {len(l.lines)} requests, {len(l.failed())} failed, {len(l.answered_by())} Pods answered", flush=True)
        for l in loops:
            self.assertEqual(l.failed(), [])
            self.assertGreater(len(l.answered_by() - old), REPLICAS / 2)
        print(f"{bounds.events} events: {bounds.fewest} ready Pods at least, {bounds.most} Pods at most", flush=True)
        self.lab.k("delete", "pod", "client")

    def test_a_lost_nodes_pods_are_replaced(self):
        impatient = """      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
"""
        self.lab.k("apply", "-f", "-", stdin=DEPLOYMENT.replace("NAME", "web") + impatient)
        self.lab.k("expose", "deployment", "web", "--port=80", "--target-port=5000")
        self.rolled_out("web")
        lost = self.lab.node(3)

        def names(on_lost):
            return {p["metadata"]["name"] for p in self.lab.get("pods", "-l", "app=web")["items"]
                    if (p["spec"].get("nodeName") == lost) == on_lost}
        gone = names(True)
        self.assertIn(len(gone), (3, 4), "spread over three nodes")
        support.run([support.CORACLE, "lab", "power-cut", "--name", self.lab.name, lost])
        eventually(lambda: len(names(False)) == REPLICAS and len(self.addresses("web")) == REPLICAS, "ten Pods elsewhere")
        self.rolled_out("web")
        self.lab.bring_up()
        # The node is told what became of its Pods, and those that took their places stay.
        eventually(lambda: names(True) == set() and len(names(False)) == REPLICAS, "none are left there")
        links = self.lab.exec("ip", "-o", "link", node=3)[1]
        self.assertNotIn("master cora0", links, "no Pod's link is left on it")

    def test_servers_that_die_in_rollouts(self):
        self.lab.k("apply", "-f", "-", stdin=DEPLOYMENT.replace("NAME", "web"))
        self.rolled_out("web")
        chance = random.Random(os.environ.get("CORACLE_SEED", "1"))
        bounds = Bounds(self.lab, "web")
        bounds.start()
        changes = 0
        for kill in range(KILLS):
            if kill == 0 or chance.random() < 0.6:
                changes += 1
                self.lab.k("set", "env", "deployment/web", f"CHANGE={changes}")
            if chance.random() < 0.2:
                self.rolled_out("web")
            time.sleep(chance.random() ** 2 * 2)  # at any moment of what goes on
            self.lab.kill_server()
            self.lab.bring_up()
        self.rolled_out("web")

        def settled():
            pods = self.lab.get("pods", "-l", "app=web")["items"]
            sets = self.lab.get("replicasets", "-l", "app=web")["items"]
            env = {p["spec"]["containers"][0].get("env", [{}])[0].get("value") for p in pods}
            return (len(pods) == REPLICAS and env == {str(changes)} and sorted(s["status"].get("replicas", 0) for s in sets)[-2:]
                    in ([0, REPLICAS], [REPLICAS]) and len(sets) <= 11)

        eventually(settled, "only Pods of the last template")
        bounds.end()
        print(f"\n{KILLS} kills, {changes} templates, {bounds.broken} connections broken, {bounds.events} events: "
              f"{bounds.fewest} ready Pods at least, {bounds.most} Pods at most", flush=True)
        restarts = sum(c["restartCount"] for p in self.lab.get("pods", "-l", "app=web")["items"] for c in p["status"]["containerStatuses"])
        self.assertEqual(restarts, 0)


if __name__ == "__main__":
    support.main()
