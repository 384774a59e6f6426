"""Where Pods go, on three real nodes: requests, affinity, spread, host ports, what is said when none fits and what
follows when something frees up; and the history of DaemonSets."""
import json

import support
from support import Lab, LabTest, eventually

PREEMPTION = " preemption: 0/3 nodes are available: "


class Placed(LabTest):
    @classmethod
    def setUpClass(cls):
        if LabTest.lab is None:
            LabTest.lab = Lab(nodes=3)
        cls.lab = LabTest.lab
        cls.nodes = [cls.lab.node(i) for i in (1, 2, 3)]

    def setUp(self):
        for i, node in enumerate(self.nodes):
            self.lab.k("label", "node", node, f"topology.kubernetes.io/zone={'yxx'[i]}", f"rank={i}", "--overwrite")

    def tearDown(self):
        self.lab.k("delete", "deployment,daemonset,pod", "--all", "--ignore-not-found", "--timeout=90s", timeout=120)
        for node in self.nodes:
            self.lab.k("uncordon", node)
        eventually(lambda: self.lab.get("pods")["items"] == [], "no Pods left")

    def pod(self, name, spec=None, labels=None, requests=None, ports=None):
        container = {"name": "echo", "image": "coracle/echo"}
        if requests:
            container["resources"] = {"requests": requests}
        if ports:
            container["ports"] = ports
        self.apply(json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **(spec or {})}}))

    def node_of(self, name):
        return eventually(lambda: self.lab.get("pod", name)["spec"].get("nodeName"), f"{name} has a node")

    def refused(self, name, message):
        """The Pod's condition and its Event say exactly that."""
        def said():
            conditions = self.lab.get("pod", name)["status"].get("conditions", [])
            return [(c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == "PodScheduled"]
        eventually(lambda: said() == [("False", "Unschedulable", message)], f"{name}: {message}")
        eventually(lambda: message in [
            e["message"] for e in self.lab.get("events")["items"]
            if e["reason"] == "FailedScheduling" and e["involvedObject"]["name"] == name], "the Event")
        self.assertNotIn("nodeName", self.lab.get("pod", name)["spec"])

    def cpus(self):
        return int(self.lab.get("node", self.nodes[0])["status"]["allocatable"]["cpu"])


class Scheduling(Placed):
    def test_nodes_say_what_they_have(self):
        for node in self.nodes:
            allocatable = self.lab.get("node", node)["status"]["allocatable"]
            self.assertEqual(set(allocatable), {"cpu", "memory", "pods", "ephemeral-storage"})

    def test_requests_fill_nodes_and_the_end_of_a_pod_makes_room(self):
        most = {"cpu": str(self.cpus() - 0.5)}
        for i in range(3):
            self.pod(f"big-{i}", requests=most)
        self.assertEqual({self.node_of(f"big-{i}") for i in range(3)}, set(self.nodes))
        self.pod("late", requests=most)
        self.refused("late", "0/3 nodes are available: 3 Insufficient cpu." + PREEMPTION +
                     "3 No preemption victims found for incoming pod.")
        self.assertIn("Insufficient cpu", self.lab.k("describe", "pod", "late"))
        freed = self.node_of("big-1")
        self.lab.k("delete", "pod", "big-1")
        self.assertEqual(self.node_of("late"), freed)
        self.lab.wait_ready("late")
        self.pod("huge", requests={"memory": "900Ti", "ephemeral-storage": "900Ti"})
        self.refused("huge", "0/3 nodes are available: 3 Insufficient ephemeral-storage, 3 Insufficient memory." +
                     PREEMPTION + "3 Preemption is not helpful for scheduling.")

    def test_selectors_affinity_and_a_label_that_comes(self):
        self.pod("selected", {"nodeSelector": {"rank": "1"}})
        self.assertEqual(self.node_of("selected"), self.nodes[1])
        terms = [{"matchExpressions": [{"key": "rank", "operator": "Gt", "values": ["1"]}]}]
        self.pod("greater", {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
        self.assertEqual(self.node_of("greater"), self.nodes[2])
        preferred = [{"weight": 50, "preference": {"matchExpressions": [
            {"key": "rank", "operator": "In", "values": ["2"]}]}}]
        self.pod("prefers", {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred}}})
        self.assertEqual(self.node_of("prefers"), self.nodes[2])
        self.pod("waits", {"nodeSelector": {"disk": "ssd"}})
        self.refused("waits", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector." +
                     PREEMPTION + "3 Preemption is not helpful for scheduling.")
        self.lab.k("label", "node", self.nodes[0], "disk=ssd")
        self.assertEqual(self.node_of("waits"), self.nodes[0])
        self.lab.k("label", "node", self.nodes[0], "disk-")

    def test_cordon_and_uncordon(self):
        for node in self.nodes:
            self.lab.k("cordon", node)
        self.pod("waits")
        self.refused("waits", "0/3 nodes are available: 3 node(s) were unschedulable." + PREEMPTION +
                     "3 Preemption is not helpful for scheduling.")
        self.lab.k("uncordon", self.nodes[2])
        self.assertEqual(self.node_of("waits"), self.nodes[2])

    def test_host_ports(self):
        port = [{"containerPort": 5000, "hostPort": 8123}]
        for i in range(3):
            self.pod(f"port-{i}", ports=port)
        self.assertEqual({self.node_of(f"port-{i}") for i in range(3)}, set(self.nodes))
        self.pod("late", ports=port)
        self.refused("late", "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports." +
                     PREEMPTION + "3 No preemption victims found for incoming pod.")
        self.pod("udp", ports=[dict(port[0], protocol="UDP")])
        self.node_of("udp")

    def test_pods_apart_and_together(self):
        def term(key, app):
            return [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]
        apart = {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": term("topology.kubernetes.io/zone", "db")}}}
        for i in range(2):
            self.pod(f"db-{i}", apart, {"app": "db"})
        zones = {self.node_of(f"db-{i}") == self.nodes[0] for i in range(2)}
        self.assertEqual(zones, {True, False}, "one in each zone")
        self.pod("db-2", apart, {"app": "db"})
        self.refused("db-2", "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules." + PREEMPTION +
                     "3 No preemption victims found for incoming pod.")
        self.pod("db-3", None, {"app": "db"})
        self.refused("db-3", "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules." +
                     PREEMPTION + "3 No preemption victims found for incoming pod.")
        near = {"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": term("kubernetes.io/hostname", "cache")}}}
        self.pod("near", near)
        self.refused("near", "0/3 nodes are available: 3 node(s) didn't match pod affinity rules." + PREEMPTION +
                     "3 Preemption is not helpful for scheduling.")
        self.pod("cache", {"nodeName": self.nodes[1]}, {"app": "cache"})
        self.assertEqual(self.node_of("near"), self.nodes[1])

    def test_spread(self):
        constraint = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                      "labelSelector": {"matchLabels": {"app": "web"}}}
        for i in range(4):
            self.pod(f"web-{i}", {"topologySpreadConstraints": [constraint]}, {"app": "web"})
        where = sorted(self.node_of(f"web-{i}") for i in range(4))
        self.assertEqual(where, sorted([self.nodes[0], self.nodes[0], self.nodes[1], self.nodes[2]]))
        self.lab.k("cordon", self.nodes[0])
        self.pod("web-4", {"topologySpreadConstraints": [constraint]}, {"app": "web"})
        self.node_of("web-4")
        self.pod("web-5", {"topologySpreadConstraints": [constraint]}, {"app": "web"})
        self.refused("web-5", "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match pod "
                     "topology spread constraints." + PREEMPTION + "1 Preemption is not helpful for scheduling, "
                     "2 No preemption victims found for incoming pod.")

    def test_replicas_are_spread_by_default(self):
        for node in self.nodes:  # zones that differ in size weigh against even hosts
            self.lab.k("label", "node", node, "topology.kubernetes.io/zone-")
        self.lab.k("create", "deployment", "web", "--image=coracle/echo", "--replicas=9")
        self.lab.k("wait", "--for=condition=Available", "deployment/web", "--timeout=90s", timeout=120)
        pods = self.lab.get("pods", "-l", "app=web")["items"]
        self.assertEqual({n: sum(p["spec"]["nodeName"] == n for p in pods) for n in self.nodes},
                         {n: 3 for n in self.nodes})

    def test_gates_and_other_schedulers(self):
        self.pod("gated", {"schedulingGates": [{"name": "example.com/wait"}]})
        self.pod("foreign", {"schedulerName": "mine"})
        self.pod("by-hand", {"nodeName": self.nodes[2], "schedulerName": "mine"})
        self.pod("last")
        self.node_of("last")
        condition = self.lab.get("pod", "gated")["status"]["conditions"][0]
        self.assertEqual((condition["status"], condition["reason"], condition["message"]),
                         ("False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"))
        self.assertRegex(self.lab.k("get", "pod", "gated"), r"gated +0/1 +SchedulingGated ")
        self.lab.k("patch", "pod", "gated", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]')
        self.node_of("gated")
        self.assertNotIn("nodeName", self.lab.get("pod", "foreign")["spec"])
        self.lab.wait_ready("by-hand", "gated")


class DaemonHistory(Placed):
    def rolled_out(self, binary):
        return self.lab.k("rollout", "status", "daemonset/agent", "--timeout=90s", timeout=120, binary=binary)

    def revisions(self, binary):
        lines = self.lab.k("rollout", "history", "daemonset/agent", binary=binary).strip().split("\n")
        return [line.split()[0] for line in lines[2:]]

    def colors(self):
        return {v["value"] for p in self.lab.get("pods", "-l", "app=agent")["items"]
                if "deletionTimestamp" not in p["metadata"]
                for v in p["spec"]["containers"][0].get("env", [])}

    def test_history_and_undo_with_every_kubectl(self):
        manifest = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
            "revisionHistoryLimit": 2, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 3}},
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "echo", "image": "coracle/echo", "env": [{"name": "COLOR", "value": "red"}]}]}}}}
        for version, binary in support.kubectl_binaries().items():
            with self.subTest(kubectl=version):
                self.apply(json.dumps(manifest))
                self.assertIn("successfully rolled out", self.rolled_out(binary))
                self.lab.k("set", "env", "daemonset/agent", "COLOR=blue", binary=binary)
                self.rolled_out(binary)
                eventually(lambda: self.colors() == {"blue"}, "blue ones only")
                self.assertEqual(self.revisions(binary), ["1", "2"])
                self.assertIn("red", self.lab.k("rollout", "history", "daemonset/agent", "--revision=1", binary=binary))
                self.lab.k("rollout", "undo", "daemonset/agent", binary=binary)
                self.rolled_out(binary)
                eventually(lambda: self.colors() == {"red"}, "red ones again")
                self.assertEqual(self.revisions(binary), ["2", "3"], "what came back is the newest")
                for color in ("green", "black", "white"):
                    self.lab.k("set", "env", "daemonset/agent", f"COLOR={color}", binary=binary)
                    self.rolled_out(binary)
                eventually(lambda: self.revisions(binary) == ["4", "5", "6"], "two old ones are kept")
                self.lab.k("rollout", "undo", "daemonset/agent", "--to-revision=4", binary=binary)
                self.rolled_out(binary)
                eventually(lambda: self.colors() == {"green"}, "green ones again")
                hashes = {p["metadata"]["labels"]["controller-revision-hash"]
                          for p in self.lab.get("pods", "-l", "app=agent")["items"]
                          if "deletionTimestamp" not in p["metadata"]}
                names = {r["metadata"]["labels"]["controller-revision-hash"]: r["revision"]
                         for r in self.lab.get("controllerrevisions")["items"]}
                self.assertEqual([names[h] for h in hashes], [7])
                self.lab.k("delete", "daemonset", "agent", binary=binary)
                eventually(lambda: self.lab.get("controllerrevisions")["items"] == [], "no history left")


if __name__ == "__main__":
    support.main()
