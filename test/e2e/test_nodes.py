"""The life of nodes: silence, return, cordon, drain, deletion. One node is real, others are a Node object and a Lease
that a thread of the test renews."""
import json
import os
import signal
import threading
import time

from api import Api, Down
from support import LabTest, eventually, kubectl_binaries, main


class SimulatedNode:
    """A node of which there is nothing but its words."""

    def __init__(self, lab, name):
        self.name, self.stop = name, threading.Event()
        self.api = Api(lab.address(), lab.data_dir())
        status, node = self.api.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"sim": "yes"}}})
        assert status == 201, node
        self.lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
        status, lease = self.api.request("POST", os.path.dirname(self.lease), {
            "metadata": {"name": name, "ownerReferences": [owner]}, "spec": {"holderIdentity": name}})
        assert status == 201, lease
        self.thread = None
        self.speak()

    def speak(self):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status, node = self.api.request(
            "PATCH", f"/api/v1/nodes/{self.name}/status",
            {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                                        "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}]}},
            "application/strategic-merge-patch+json")
        assert status == 200, node
        self.stop.clear()
        self.thread = threading.Thread(target=self.renew, daemon=True)
        self.thread.start()

    def renew(self):
        while True:
            try:
                now = time.time()
                text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06}Z"
                self.api.patch(self.lease, {"spec": {"renewTime": text}})
            except Down:
                pass
            if self.stop.wait(1):
                return

    def fall_silent(self):
        """The time after which it said nothing more."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join()
        return time.monotonic()


class Nodes(LabTest):
    def setUp(self):
        self.sims = []

    def tearDown(self):
        for sim in self.sims:
            sim.fall_silent()
            sim.api.close()
            self.lab.kubectl("delete", "node", sim.name, "--ignore-not-found")
        self.lab.kubectl("uncordon", self.real(), check=False)
        self.lab.kubectl("delete", "pods,services", "-l", "test=nodes", "--force", "--grace-period=0", check=False)

    def simulate(self, name):
        self.sims.append(SimulatedNode(self.lab, name))
        return self.sims[-1]

    def real(self):
        return self.lab.get("nodes", "-l", "!sim")["items"][0]["metadata"]["name"]

    def node(self, name):
        return self.lab.get("node", name)

    def ready(self, name):
        return {c["type"]: c for c in self.node(name)["status"]["conditions"]}["Ready"]["status"]

    def taints(self, name):
        return sorted(t["effect"] + "/" + t["key"].split("/")[1] for t in self.node(name)["spec"].get("taints", []))

    def pod(self, name, **spec):
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Pod",
                        "metadata": {"name": name, "labels": {"test": "nodes", "app": name}},
                        "spec": {"terminationGracePeriodSeconds": 1,
                                 "containers": [{"name": "c", "image": "coracle/echo"}], **spec}}))

    def test_silence_and_return(self):
        sim = self.simulate("sim-a")
        self.pod("far", nodeName="sim-a")
        status, pod = sim.api.request(
            "PATCH", "/api/v1/namespaces/default/pods/far/status",
            {"status": {"phase": "Running", "podIP": "10.42.200.9",
                        "conditions": [{"type": "Ready", "status": "True"}]}}, "application/strategic-merge-patch+json")
        self.assertEqual(status, 200, pod)
        eventually(lambda: not self.taints("sim-a"), "a node that is Ready has no taints")
        silent = sim.fall_silent()
        eventually(lambda: self.ready("sim-a") == "Unknown", "the silent node is Unknown", 15)
        self.assertLess(time.monotonic() - silent, 11.5)  # 10 s, and the looking
        eventually(lambda: self.taints("sim-a") == ["NoExecute/unreachable", "NoSchedule/unreachable"], "its taints")
        eventually(lambda: self.lab.get("pod", "far")["status"]["conditions"][0]["status"] == "False",
                   "its Pod is not Ready")
        self.assertEqual(self.ready(self.real()), "True")
        sim.speak()
        eventually(lambda: self.taints("sim-a") == [], "its return heals it")
        self.assertEqual(self.ready("sim-a"), "True")

    def test_a_stopped_server_condemns_nobody(self):
        self.simulate("sim-b")
        server = self.lab.server_pid()
        os.kill(server, signal.SIGSTOP)
        try:
            time.sleep(15)  # longer than the grace period: there is no event to wait for
        finally:
            os.kill(server, signal.SIGCONT)
        for _ in range(20):
            self.assertEqual(self.ready("sim-b"), "True")
            self.assertEqual(self.ready(self.real()), "True")
            time.sleep(0.1)

    def test_drain(self):
        for binary in kubectl_binaries().values():
            with self.subTest(binary):
                self.pod("gone", volumes=[{"name": "v", "emptyDir": {}}])
                self.lab.wait_ready("gone")
                real = self.real()
                self.lab.kubectl("drain", real, "--ignore-daemonsets", "--force", "--delete-emptydir-data", binary=binary,
                             timeout=90)
                self.assertNotEqual(self.lab.kubectl("get", "pod", "gone", check=False)[0], 0)
                eventually(lambda: self.taints(real) == ["NoSchedule/unschedulable"], "the cordon's taint")
                self.pod("waits")
                eventually(lambda: "0/1 nodes are available: 1 node(s) were unschedulable." in
                           str(self.lab.get("pod", "waits")["status"]), "why it waits")
                self.lab.kubectl("uncordon", real, binary=binary)
                self.lab.wait_ready("waits")
                self.lab.kubectl("delete", "pod", "waits")

    def test_taints_of_a_person(self):
        real = self.real()
        self.pod("bears", tolerations=[{"key": "x", "operator": "Exists", "effect": "NoExecute"}])
        self.pod("short", tolerations=[{"key": "x", "operator": "Exists", "effect": "NoExecute",
                                        "tolerationSeconds": 3}])
        self.pod("not")
        for name in ("bears", "short", "not"):
            self.lab.wait_ready(name)
        began = time.monotonic()
        self.lab.kubectl("taint", "node", real, "x=y:NoExecute")
        try:
            gone = lambda name: self.lab.kubectl("get", "pod", name, check=False)[0] != 0
            eventually(lambda: gone("not"), "the Pod that does not tolerate it goes")
            eventually(lambda: gone("short"), "and the one that does for a while, after that")
            self.assertGreaterEqual(time.monotonic() - began, 3)
            self.assertFalse(gone("bears"))
        finally:
            self.lab.kubectl("taint", "node", real, "x-")

    def test_a_deleted_node_leaves_nothing(self):
        sim = self.simulate("sim-d")
        cidr = eventually(lambda: self.node("sim-d")["spec"].get("podCIDR"), "a range")
        self.pod("left", nodeName="sim-d")
        sim.fall_silent()
        self.lab.kubectl("delete", "node", "sim-d")
        eventually(lambda: self.lab.kubectl("get", "lease", "sim-d", "-n", "kube-node-lease", check=False)[0] != 0,
                   "its Lease goes")
        eventually(lambda: self.lab.kubectl("get", "pod", "left", check=False)[0] != 0, "its Pods go", 90)
        self.simulate("sim-e")
        self.assertEqual(eventually(lambda: self.node("sim-e")["spec"].get("podCIDR"), "a range"), cidr)


if __name__ == "__main__":
    main()
