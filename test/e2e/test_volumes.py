"""Volumes with real kubectl: each kind, what updates, what lasts, what is refused, and that nothing stays behind."""
import json
import os
import shutil
import tempfile

import support
from support import LabTest, eventually, run
from traces import differences, traces


def pod(name, volumes, mounts, script="sleep 100000", spec="", extra=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}, tier: test}}, annotations: {{note: "a \\"note\\""}}}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: {json.dumps(volumes)}
{spec}
  containers:
  - name: main
    image: coracle/host
    command: ["sh", "-c", {json.dumps(script)}]
    volumeMounts: {json.dumps(mounts)}
{extra}
"""


class Volumes(LabTest):
    def sh(self, name, script, check=True):
        return self.lab.exec("sh", "-c", script, pod=f"default/{name}", check=check)[1]

    def drop(self, *names):
        self.lab.k("delete", "pod", *names, "--grace-period=1")

    def describes(self, name, text):
        eventually(lambda: text in self.lab.k("describe", "pod", name), f"'{text}' in describe")

    def reason(self, name):
        return self.lab.get("pod", name)["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]

    def restart(self, name):
        """Its container ends, and the next one runs."""
        self.sh(name, "kill -9 1; kill 1", check=False)
        eventually(lambda: self.lab.get("pod", name)["status"]["containerStatuses"][0]["restartCount"] == 1, "a restart")
        self.lab.wait_ready(name)

    def test_empty_dirs_are_shared_and_outlive_containers(self):
        volumes = [{"name": "disk", "emptyDir": {}},
                   {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
        mounts = [{"name": "disk", "mountPath": "/work"}, {"name": "fast", "mountPath": "/fast"}]
        spec = f"""
  initContainers:
  - name: first
    image: coracle/host
    command: ["sh", "-c", "echo handed over > /out/file; id -u > /out/user"]
    volumeMounts: [{{name: disk, mountPath: /out}}]
"""
        extra = """
  - name: other
    image: coracle/host
    command: ["sh", "-c", "sleep 100000"]
    volumeMounts: [{name: disk, mountPath: /theirs, readOnly: true}]
"""
        script = "cat /work/mine /fast/quick > /work/seen 2>&1; trap 'exit 1' TERM; while :; do sleep 0.1; done"
        self.apply(pod("empty", volumes, mounts, script=script, spec=spec, extra=extra))
        self.lab.wait_ready("empty")
        self.assertEqual(self.sh("empty", "cat /work/file; stat -f -c %T /fast"), "handed over\ntmpfs\n")
        self.sh("empty", "echo mine > /work/mine; echo quick > /fast/quick")
        full = self.sh("empty", "head -c 3000000 /dev/zero > /fast/big 2>/dev/null; stat -c %s /fast/big")
        self.assertLessEqual(int(full), 1 << 20)
        uid = self.lab.get("pod", "empty")["metadata"]["uid"]
        on_node = f"{self.lab.data_dir()}/volumes/{uid}/disk"
        self.assertEqual(sorted(os.listdir(on_node)), ["file", "mine", "seen", "user"])
        self.restart("empty")
        with open(f"{on_node}/seen", encoding="utf-8") as f:
            self.assertEqual(f.read(), "mine\nquick\n")
        self.drop("empty")
        eventually(lambda: not os.path.exists(os.path.dirname(on_node)), "its directory gone")

    def test_config_maps_secrets_and_downward_files(self):
        self.lab.k("create", "configmap", "conf", "--from-literal=color=blue", "--from-literal=size=5")
        self.lab.k("create", "secret", "generic", "key", "--from-literal=password=s3cret")
        volumes = [
            {"name": "all", "configMap": {"name": "conf"}},
            {"name": "some", "configMap": {"name": "conf", "defaultMode": 0o400, "items": [{"key": "size", "path": "deep/size", "mode": 0o755}]}},
            {"name": "secret", "secret": {"secretName": "key", "defaultMode": 0o440}},
            {"name": "maybe", "configMap": {"name": "absent", "optional": True}},
            {"name": "me", "downwardAPI": {"items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu", "divisor": "1m"}}]}},
            {"name": "both", "projected": {"sources": [
                {"configMap": {"name": "conf", "items": [{"key": "color", "path": "color"}]}},
                {"secret": {"name": "key"}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]
        mounts = [{"name": "all", "mountPath": "/etc/all"}, {"name": "some", "mountPath": "/etc/some"},
                  {"name": "secret", "mountPath": "/etc/secret"}, {"name": "maybe", "mountPath": "/etc/maybe"},
                  {"name": "me", "mountPath": "/etc/me"}, {"name": "both", "mountPath": "/etc/both"},
                  {"name": "all", "mountPath": "/etc/one", "subPath": "color"}]
        self.apply(pod("files", volumes, mounts, extra="    resources: {requests: {cpu: 250m}}\n    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"))
        self.lab.wait_ready("files")
        self.assertEqual(self.sh("files", "cat /etc/all/color /etc/some/deep/size /etc/secret/password /etc/one; ls /etc/maybe; ls /etc/both"),
                         "blue5s3cretbluecolor\nns\npassword\n")
        self.assertEqual(self.sh("files", "stat -L -c %a /etc/all/color /etc/some/deep/size /etc/secret/password"), "644\n755\n440\n")
        self.assertEqual(self.sh("files", "cat /etc/me/name; echo; cat /etc/me/labels; echo; cat /etc/me/note; echo; cat /etc/me/cpu"),
                         'files\napp="files"\ntier="test"\na "note"\n250')
        self.assertIn("Read-only file system", self.sh("files", "sh -c 'echo x > /etc/all/color' 2>&1; true"))
        # Secrets touch no disk, and no mount of the node shows them.
        for where in (self.lab.data_dir(), "/proc/self/mountinfo"):
            found = run(["grep", "-rlaF", "s3cret", where, "--exclude=coracle.db*", "--exclude-dir=snapshots"], check=False)[1]
            self.assertEqual(found, "")
        # A change of a label is in the file at once, one of the ConfigMap within a minute; the single file stays.
        self.lab.k("label", "pod", "files", "tier=other", "--overwrite")
        eventually(lambda: 'tier="other"' in self.sh("files", "cat /etc/me/labels"), "the label")
        self.lab.k("patch", "configmap", "conf", "-p", '{"data":{"color":"green","new":"n"}}')
        eventually(lambda: self.sh("files", "cat /etc/all/color /etc/both/color; ls /etc/all") == "greengreencolor\nnew\nsize\n", "the update",
                   timeout=100)
        self.assertEqual(self.sh("files", "cat /etc/one"), "blue")
        self.drop("files")
        self.lab.k("delete", "configmap", "conf")
        self.lab.k("delete", "secret", "key")

    def test_a_missing_config_map_is_waited_for(self):
        self.apply(pod("waits", [{"name": "v", "configMap": {"name": "later"}}], [{"name": "v", "mountPath": "/v"}]))
        self.describes("waits", 'MountVolume.SetUp failed for volume "v" : configmap "later" not found')
        self.assertEqual(self.reason("waits"), "ContainerCreating")
        self.assertEqual(self.lab.get("pod", "waits")["status"]["phase"], "Pending")
        self.lab.k("create", "configmap", "later", "--from-literal=a=1")
        self.lab.wait_ready("waits")
        self.assertEqual(self.sh("waits", "cat /v/a"), "1")
        self.drop("waits")

    def test_volumes_that_cannot_be_given(self):
        self.apply(pod("nfs", [{"name": "v", "nfs": {"server": "s", "path": "/p"}}], [{"name": "v", "mountPath": "/v"}]))
        self.describes("nfs", "does not support volumes of type nfs")
        self.assertEqual(self.reason("nfs"), "ContainerCreating")
        self.apply(pod("hidden", [{"name": "v", "hostPath": {"path": "/var/lib/coracle"}}], [{"name": "v", "mountPath": "/v"}]))
        self.describes("hidden", "no Pod may have it")
        self.apply(pod("type", [{"name": "v", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}], [{"name": "v", "mountPath": "/v"}]))
        self.describes("type", "hostPath type check failed: /etc/passwd is not a directory")
        self.drop("nfs", "hidden", "type")

    def test_host_paths_and_sub_paths(self):
        top = tempfile.mkdtemp(prefix="coracle-e2e-host-")
        self.addCleanup(shutil.rmtree, top, ignore_errors=True)
        with open(f"{top}/file", "w", encoding="utf-8") as f:
            f.write("from the node")
        volumes = [{"name": "node", "hostPath": {"path": top, "type": "Directory"}},
                   {"name": "made", "hostPath": {"path": f"{top}/a/b", "type": "DirectoryOrCreate"}},
                   {"name": "root", "hostPath": {"path": "/"}}, {"name": "data", "emptyDir": {}}]
        mounts = [{"name": "node", "mountPath": "/node", "readOnly": True}, {"name": "made", "mountPath": "/made"},
                  {"name": "root", "mountPath": "/host", "readOnly": True},
                  {"name": "data", "mountPath": "/logs", "subPathExpr": "$(WHO)/logs"}, {"name": "data", "mountPath": "/data"}]
        self.apply(pod("host", volumes, mounts, extra="    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"))
        self.lab.wait_ready("host")
        self.assertEqual(self.sh("host", "cat /node/file; echo x > /made/x; echo y > /logs/y; cat /data/host/logs/y"), "from the nodey\n")
        self.assertEqual(os.listdir(f"{top}/a/b"), ["x"])
        self.assertIn("Read-only", self.sh("host", "sh -c 'echo x > /node/new' 2>&1; true"))
        self.assertEqual(self.sh("host", "ls -A /host/var/lib/coracle; ls -d /host/etc"), "/host/etc\n")
        self.drop("host")
        # A link in a volume leads no sub path out of it.
        os.symlink("/etc", f"{top}/out")
        self.apply(pod("link", [{"name": "v", "hostPath": {"path": top}}], [{"name": "v", "mountPath": "/v", "subPath": "out"}]))
        self.describes("link", 'subPath "out" leads out of its volume')
        self.lab.k("delete", "pod", "link", "--grace-period=0", "--force")

    def test_a_group_for_volumes(self):
        self.apply(pod("group", [{"name": "d", "emptyDir": {}}, {"name": "m", "downwardAPI": {"items": [
            {"path": "n", "mode": 0o600, "fieldRef": {"fieldPath": "metadata.name"}}]}}],
            [{"name": "d", "mountPath": "/d"}, {"name": "m", "mountPath": "/m"}], spec="  securityContext: {fsGroup: 3000}"))
        self.lab.wait_ready("group")
        self.assertEqual(self.sh("group", "touch /d/f; stat -L -c '%a %g' /d /m/n; stat -c %g /d/f"), "2777 3000\n640 3000\n3000\n")
        self.drop("group")

    def test_names_of_the_pod(self):
        spec = "  hostname: web\n  subdomain: sub\n  setHostnameAsFQDN: true\n  hostAliases: [{ip: 192.0.2.7, hostnames: [db, db.example]}]"
        self.apply(pod("names", [], [], spec=spec))
        self.lab.wait_ready("names")
        self.assertEqual(self.sh("names", "hostname; cat /proc/sys/kernel/hostname"), "web.sub.default.svc.cluster.local\n" * 2)
        hosts = self.sh("names", "cat /etc/hosts")
        ip = self.lab.get("pod", "names")["status"]["podIP"]
        self.assertIn(f"{ip}\tweb.sub.default.svc.cluster.local\tweb\n", hosts)
        self.assertIn("\n# Entries added by HostAliases.\n192.0.2.7\tdb\tdb.example\n", hosts)
        self.drop("names")

    def test_what_the_server_refuses(self):
        empty = [{"name": "v", "emptyDir": {}}]
        for volumes, mounts, text in [
                ([*empty, *empty], [], 'spec.volumes[1].name: Duplicate value: "v"'),
                ([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}], [], "may not specify more than 1 volume type"),
                (empty, [{"name": "w", "mountPath": "/v"}], 'spec.containers[0].volumeMounts[0].name: Not found: "w"'),
                (empty, [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/v"}], "volumeMounts[1].mountPath: Invalid value: \"/v\": must be unique"),
                (empty, [{"name": "v", "mountPath": "/v", "subPath": "a/../b"}], "must not contain '..'"),
                (empty, [{"name": "v", "mountPath": "/v", "subPath": "/a"}], "must be a relative path"),
                ([{"name": "v", "hostPath": {"path": "/a/../b"}}], [], "must not contain '..'"),
                ([{"name": "v", "hostPath": {"path": "/a", "type": "Other"}}], [], 'Unsupported value: "Other"')]:
            with self.subTest(text):
                code, _, err = self.lab.kubectl("create", "-f", "-", stdin=pod("bad", volumes, mounts), check=False)
                self.assertNotEqual(code, 0)
                self.assertIn(text, err)

    def test_a_killed_server_changes_nothing(self):
        self.lab.k("create", "configmap", "kept", "--from-literal=a=1")
        self.apply(pod("kept", [{"name": "d", "emptyDir": {}}, {"name": "c", "configMap": {"name": "kept"}}],
                       [{"name": "d", "mountPath": "/d"}, {"name": "c", "mountPath": "/c"}]))
        self.lab.wait_ready("kept")
        self.sh("kept", "echo mine > /d/f")
        self.lab.kill_server()
        self.lab.bring_up()
        self.assertEqual(self.sh("kept", "cat /d/f /c/a"), "mine\n1")
        self.lab.k("patch", "configmap", "kept", "-p", '{"data":{"a":"2"}}')
        eventually(lambda: self.sh("kept", "cat /d/f /c/a") == "mine\n2", "the update by the next agent", timeout=100)
        self.assertEqual(self.lab.get("pod", "kept")["status"]["containerStatuses"][0]["restartCount"], 0)
        self.drop("kept")
        self.lab.k("delete", "configmap", "kept")

    def test_nothing_is_left(self):
        self.lab.k("create", "configmap", "short", "--from-literal=a=1")
        before = traces(self.lab)
        volumes = [{"name": "d", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}, {"name": "c", "configMap": {"name": "short"}}]
        mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
        for name in ("one", "two", "three"):
            self.apply(pod(name, volumes, mounts, script="mkdir -p /d/x/y; echo > /d/x/y/z; sleep 100000"))
        self.lab.wait_ready("one", "two")
        self.drop("one", "two", "three")
        eventually(lambda: not differences(before, traces(self.lab)) or self.fail(differences(before, traces(self.lab))), "as before")
        self.lab.k("delete", "configmap", "short")


if __name__ == "__main__":
    support.main()
