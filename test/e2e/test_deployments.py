"""Deployments, ReplicaSets and DaemonSets with kubectl, in a real lab: what users do, and what is left afterwards."""
import unittest

import support
from support import LabTest, eventually


class Deployments(LabTest):
    def tearDown(self):
        self.lab.k("delete", "deployment,replicaset,daemonset,service", "--all", "--ignore-not-found", timeout=120)
        eventually(lambda: self.names("pods") == [], "no Pods left")

    def names(self, kind, *args):
        """Of what is there and not on its way out."""
        items = self.lab.get(kind, *args)["items"]
        return sorted(i["metadata"]["name"] for i in items if "deletionTimestamp" not in i["metadata"])

    def endpoints(self, name):
        subsets = self.lab.get("endpoints", name).get("subsets", [])
        return sorted(a["ip"] for s in subsets for a in s.get("addresses", []))

    def images(self):
        return {c["image"] for p in self.lab.get("pods")["items"] if "deletionTimestamp" not in p["metadata"]
                for c in p["spec"]["containers"]}

    def rolled_out(self, what, **kwargs):
        return self.lab.k("rollout", "status", what, "--timeout=90s", timeout=120, **kwargs)

    def create(self, name, replicas=3, **kwargs):
        self.lab.k("create", "deployment", name, "--image=coracle/echo", f"--replicas={replicas}", "--port=5000", **kwargs)
        self.lab.k("wait", "--for=condition=Available", f"deployment/{name}", "--timeout=90s", timeout=120)

    def test_created_exposed_healed_scaled_and_deleted(self):
        self.create("web")
        self.lab.k("expose", "deployment", "web", "--port=80", "--target-port=5000")
        eventually(lambda: len(self.endpoints("web")) == 3, "three endpoints")
        before = self.endpoints("web")
        victim = self.lab.get("pods", "-l", "app=web")["items"][0]
        address = victim["status"]["podIP"]
        self.lab.k("delete", "pod", victim["metadata"]["name"])
        eventually(lambda: len(self.endpoints("web")) == 3 and address not in self.endpoints("web"),
                   "a new address in place of the old one")
        self.assertEqual(len(set(before) & set(self.endpoints("web"))), 2)

        self.assertRegex(self.lab.k("get", "deploy", "web"), r"NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +3/3 +3 +3 ")
        self.assertRegex(self.lab.k("get", "rs", "-o", "wide"), r"web-\w+ +3 +3 +3 +\S+ +echo +coracle/echo +app=web,")
        self.lab.k("scale", "deployment", "web", "--replicas=5")
        eventually(lambda: len(self.endpoints("web")) == 5, "five endpoints")
        refused = self.lab.kubectl("scale", "deployment", "web", "--current-replicas=3", "--replicas=1", check=False)
        self.assertNotEqual(refused[0], 0)
        self.lab.k("scale", "deployment", "web", "--current-replicas=5", "--replicas=2")
        eventually(lambda: len(self.endpoints("web")) == 2 and len(self.names("pods")) == 2, "two endpoints")
        everything = self.lab.k("get", "all")
        for part in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"):
            self.assertIn(part, everything)
        described = self.lab.k("describe", "deployment", "web")
        self.assertRegex(described, r"Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable")
        self.assertIn("MinimumReplicasAvailable", described)
        self.assertIn("NewReplicaSetAvailable", described)
        self.assertIn("Scaled up replica set web-", described)

        self.lab.k("delete", "deployment", "web")
        eventually(lambda: self.names("replicasets") == [] and self.lab.get("pods")["items"] == [], "nothing left")
        eventually(lambda: self.endpoints("web") == [], "no endpoints left")

    def test_rollouts(self):
        self.create("web")
        self.lab.k("set", "env", "deployment/web", "COLOR=blue")
        self.assertIn("successfully rolled out", self.rolled_out("deployment/web"))
        self.lab.k("set", "image", "deployment/web", "echo=coracle/echo:2")
        self.rolled_out("deployment/web")
        eventually(lambda: self.images() == {"coracle/echo:2"}, "the new image only")
        history = self.lab.k("rollout", "history", "deployment/web")
        self.assertEqual([l.split()[0] for l in history.strip().split("\n")[2:]], ["1", "2", "3"])
        self.assertIn("COLOR", self.lab.k("rollout", "history", "deployment/web", "--revision=2"))

        self.lab.k("rollout", "undo", "deployment/web", "--to-revision=1")
        self.rolled_out("deployment/web")
        eventually(lambda: self.images() == {"coracle/echo"}, "the old image again")
        self.assertNotIn("COLOR", self.lab.k("get", "deployment", "web", "-o", "yaml"))
        history = self.lab.k("rollout", "history", "deployment/web")
        self.assertEqual([l.split()[0] for l in history.strip().split("\n")[2:]], ["2", "3", "4"])
        self.assertEqual(self.lab.get("deployment", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "4")

        before = self.names("pods")
        self.lab.k("rollout", "restart", "deployment/web")
        self.rolled_out("deployment/web")
        eventually(lambda: len(self.names("pods")) == 3 and not set(before) & set(self.names("pods")), "other Pods")

        self.lab.k("rollout", "pause", "deployment/web")
        before = self.names("pods")
        self.lab.k("set", "env", "deployment/web", "COLOR=red")
        eventually(lambda: any(c.get("reason") == "DeploymentPaused"
                               for c in self.lab.get("deployment", "web")["status"]["conditions"]), "paused")
        self.assertEqual(self.names("pods"), before)
        self.lab.k("rollout", "resume", "deployment/web")
        self.rolled_out("deployment/web")
        eventually(lambda: not set(before) & set(self.names("pods")), "other Pods")

    def test_a_bad_image_keeps_the_old_pods(self):
        self.create("web", replicas=4)
        self.lab.k("patch", "deployment", "web", "-p", '{"spec":{"progressDeadlineSeconds":3}}')
        self.lab.k("set", "image", "deployment/web", "echo=nowhere.example/none:1")
        code, _, err = self.lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s", check=False, timeout=90)
        self.assertNotEqual(code, 0)
        self.assertIn("exceeded its progress deadline", err)
        self.assertEqual(self.lab.get("deployment", "web")["status"]["availableReplicas"], 3)  # 25 % of 4 may be missing
        self.lab.k("rollout", "undo", "deployment/web")
        self.rolled_out("deployment/web")

    def test_recreate_never_mixes(self):
        self.create("web", replicas=2)
        self.lab.k("patch", "deployment", "web", "-p", '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}')
        mixed = []
        self.lab.k("set", "image", "deployment/web", "echo=coracle/echo:2")
        def only_new():
            # Those that end count too: no Pod of the new template is made while an old one is there.
            images = {c["image"] for p in self.lab.get("pods")["items"] for c in p["spec"]["containers"]}
            mixed.extend([images] if len(images) > 1 else [])
            return images == {"coracle/echo:2"} and len(self.names("pods")) == 2
        eventually(only_new, "new Pods")
        self.assertEqual(mixed, [])
        self.rolled_out("deployment/web")

    def test_daemon_sets(self):
        manifest = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, image: coracle/echo}]
"""
        self.apply(manifest)
        self.rolled_out("daemonset/everywhere")
        self.assertRegex(self.lab.k("get", "ds"), r"everywhere +1 +1 +1 +1 +1 +<none> ")
        self.assertEqual(self.lab.get("pods", "-l", "app=everywhere")["items"][0]["spec"]["nodeName"], self.lab.node())
        before = self.names("pods")
        self.lab.k("set", "env", "daemonset/everywhere", "COLOR=blue")
        self.rolled_out("daemonset/everywhere")
        eventually(lambda: len(self.names("pods")) == 1 and self.names("pods") != before, "another Pod")
        self.lab.k("delete", "daemonset", "everywhere")
        eventually(lambda: self.lab.get("pods")["items"] == [], "nothing left")

    def owner_of(self, kind, name):
        return [o["name"] for o in self.lab.get(kind, name)["metadata"].get("ownerReferences", [])]

    def test_release_and_adoption(self):
        self.create("web", replicas=2)
        one = self.names("pods")[0]
        self.lab.k("label", "pod", one, "app=other", "--overwrite")
        eventually(lambda: self.owner_of("pod", one) == [], "released")
        eventually(lambda: len(self.names("pods", "-l", "app=web")) == 2, "and replaced")
        self.lab.k("label", "pod", one, "app=web", "--overwrite")
        eventually(lambda: len(self.names("pods")) == 2, "adopted, so there is one too many")

    def test_a_name_that_is_taken_is_a_collision(self):
        kinds = (("deployment", "replicasets", "web"), ("daemonset", "controllerrevisions", "everywhere"))
        for kind, history, name in kinds:
            with self.subTest(kind=kind):
                manifest = f"""
apiVersion: apps/v1
kind: {"Deployment" if kind == "deployment" else "DaemonSet"}
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: echo, image: coracle/echo}}]
"""
                self.apply(manifest)
                self.rolled_out(f"{kind}/{name}")
                taken = self.names(history)[0]
                self.lab.k("delete", kind, name, "--cascade=foreground", timeout=90)
                self.assertEqual(self.names(history), [])
                if kind == "deployment":
                    other = manifest.replace("kind: Deployment", "kind: ReplicaSet").replace(f"app: {name}", "app: other")
                    other = other.replace("spec:\n  selector", "spec:\n  replicas: 0\n  selector", 1)
                    self.apply(other.replace(f"name: {name}", f"name: {taken}", 1))
                else:
                    self.apply(f"{{apiVersion: apps/v1, kind: ControllerRevision, metadata: {{name: {taken}}}, "
                               "data: {others: true}, revision: 7}")
                self.apply(manifest)
                self.rolled_out(f"{kind}/{name}")
                self.assertEqual(self.lab.get(kind, name)["status"]["collisionCount"], 1)
                names = self.names(history)
                self.assertEqual(len(names), 2)
                label = "pod-template-hash" if kind == "deployment" else "controller-revision-hash"
                pods = self.lab.get("pods", "-l", f"app={name}")["items"]
                for pod in pods:
                    self.assertNotEqual(f"{name}-{pod['metadata']['labels'][label]}", taken)
                    self.assertIn(f"{name}-{pod['metadata']['labels'][label]}", names)
                self.lab.k("delete", kind, name)
                self.lab.k("delete", history, taken)

    def test_cascades(self):
        for how in ("orphan", "foreground", "background"):
            with self.subTest(cascade=how):
                self.create("web", replicas=2)
                pods, sets = self.names("pods"), self.names("replicasets")
                self.lab.k("delete", "deployment", "web", f"--cascade={how}", timeout=90)
                if how == "foreground":  # kubectl waits for the owner, which waits for what it owns
                    self.assertEqual(self.names("replicasets"), [])
                if how == "orphan":
                    eventually(lambda: self.owner_of("replicaset", sets[0]) == [], "the set is nobody's")
                    self.create("web", replicas=2)
                    self.assertEqual((self.names("pods"), self.names("replicasets")), (pods, sets), "adopted")
                    self.lab.k("delete", "deployment", "web")
                eventually(lambda: self.lab.get("pods,replicasets")["items"] == [], "nothing left")

    def test_every_kubectl(self):
        for version, binary in support.kubectl_binaries().items():
            with self.subTest(kubectl=version):
                self.create("old", replicas=1, binary=binary)
                self.lab.k("scale", "deployment/old", "--replicas=2", binary=binary)
                self.lab.k("set", "env", "deployment/old", "COLOR=blue", binary=binary)
                self.rolled_out("deployment/old", binary=binary)
                self.assertRegex(self.lab.k("get", "deploy,rs", binary=binary), r"deployment.apps/old +2/2 +2 +2 ")
                self.lab.k("rollout", "undo", "deployment/old", binary=binary)
                self.rolled_out("deployment/old", binary=binary)
                self.lab.k("describe", "deployment", "old", binary=binary)
                self.lab.k("delete", "deployment", "old", binary=binary)
                eventually(lambda: self.names("replicasets") == [] and self.lab.get("pods")["items"] == [], "nothing left")


if __name__ == "__main__":
    support.main()
