"""The server dies and comes back: everything is there, and nobody who was using a Service noticed."""
import configparser
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import support
from support import LabTest, eventually, run


class Loop:
    """Requests one after another, each on a connection of its own, by a shell that the arguments start."""

    def __init__(self, url, *where):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="coracle-loop-")
        script = f'while read -t 0 end; [ $? -gt 0 ]; do curl -sS --max-time 10 -o /dev/null {url} && echo ok || echo FAIL; done'
        self.process = subprocess.Popen([*where, "bash", "-c", script], stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # the shell sees the end before the next request
        self.process.wait(60)

    def goes_on(self, when):
        size = os.path.getsize(self.log.name)
        eventually(lambda: os.path.getsize(self.log.name) > size + 60, "requests " + when)

    def failures(self):
        self.log.seek(0)
        lines = self.log.read().split("\n")
        return [l for l in lines if l and l != "ok"]


class Restart(LabTest):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.k("apply", "-f", support.EXAMPLES)
        cls.lab.wait_ready(*[f"{a}-{i}" for a in ("backend", "frontend") for i in (1, 2, 3)])
        cls.lab.k("run", "client", "--image=coracle/host", "--command", "--", "sleep", "100000")
        cls.lab.wait_ready("client")
        support.eventually(cls.workloads_are_up, "the workloads among the examples")

    @classmethod
    def workloads_are_up(cls):
        items = cls.lab.get("deployments,replicasets,daemonsets")["items"]
        def up(item):
            status, spec = item["status"], item["spec"]
            if item["kind"] == "DaemonSet":
                return status.get("numberAvailable") == 1
            return status.get("availableReplicas") == spec["replicas"]
        return len(items) >= 3 and all(map(up, items))

    def snapshot(self):
        """Every durable object as it is, the Pods' states (addresses, container ids, restarts) included."""
        kinds = self.lab.k("api-resources", "--verbs=list", "-o", "name").split()
        lasting = sorted(k for k in kinds if k not in ("events", "leases.coordination.k8s.io", "nodes"))
        items = self.lab.get(",".join(lasting), "-A")["items"]
        return {(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]): i for i in items}

    def assert_same(self, before, after):
        self.assertEqual(sorted(before, key=str), sorted(after, key=str))
        for key, item in before.items():
            self.assertEqual(item, after[key])

    def supervisors(self, pod):
        """The pids of the Pod's supervisor: one, or none."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read().decode(errors="replace").replace("\0", " ").split()
            except OSError:
                continue
            if command[:2] == ["coracle-supervisor", pod] and self.lab.data_dir() in command[-1]:
                found.append(int(pid))
        return found

    def test_kill_9_and_start(self):
        """Requests go on while the server dies and returns: from a Pod to a ClusterIP, from outside to a balancer's port."""
        before = self.snapshot()
        ip = self.lab.get("service", "backend")["spec"]["clusterIP"]
        node, = self.lab.get("service", "frontendlb")["status"]["loadBalancer"]["ingress"]
        pod = ["lab", "exec", "--name", self.lab.name, self.lab.node(), "--pod", "default/client", "--"]
        with Loop(f"http://{ip}:5000/hostname", support.CORACLE, *pod) as inside, Loop(f"http://{node['ip']}:80/hostname") as outside:
            for _ in range(3):
                for loop in (inside, outside):
                    loop.goes_on("with a server")
                self.lab.kill_server()
                for loop in (inside, outside):
                    loop.goes_on("without a server")
                self.lab.bring_up()
                self.lab.k("get", "nodes")
                for loop in (inside, outside):
                    loop.goes_on("after the start")
        for loop in (inside, outside):
            self.assertEqual(loop.failures(), [])
        self.assert_same(self.snapshot(), before)
        for (kind, _, name), item in before.items():
            if kind == "Pod" and item["spec"]["nodeName"] == self.lab.node():  # the examples have a node without an agent
                self.assertEqual([c["restartCount"] for c in item["status"]["containerStatuses"]], [0], name)

    def status(self):
        return run([support.CORACLE, "status", "--data-dir", self.lab.data_dir()], check=False)

    def pids(self):
        """The first processes of the containers, as the Pods' own supervisors see them from outside."""
        needle = (self.lab.data_dir() + "/pods/").encode()
        out = set()
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    text = f.read()
            except OSError:
                continue
            if text.startswith(b"coracle-supervisor") and needle in text:
                out.add(path)
        return out

    def test_stop_and_start_as_systemd_does(self):
        """KillMode=process: SIGTERM to the server alone. Pods and rules stay; status tells which is which."""
        code, out, _ = self.status()
        self.assertEqual(code, 1, "the examples have a Node that nobody runs")
        self.assertRegex(out, "example-node +NotReady")
        self.lab.k("delete", "node", "example-node")
        code, out, err = self.status()
        self.assertEqual(code, 0, out + err)
        version = json.loads(self.lab.k("get", "--raw", "/version"))["gitVersion"]
        for text in (f"ready  {version}", f"{self.lab.node()}  Ready", "Running", "iptables-", "ago", "snapshot",
                     self.lab.data_dir()):
            self.assertIn(text, out)
        before, pids = self.snapshot(), self.pids()
        self.assertGreater(len(pids), 6)
        ip = self.lab.get("service", "backend")["spec"]["clusterIP"]
        self.lab.end_server()
        self.assertEqual(self.pids(), pids)
        answer = self.lab.exec("curl", "-sS", "--max-time", "20", f"http://{ip}:5000/hostname")[1]
        self.assertTrue(answer.startswith("backend-"), answer)
        code, out, _ = self.status()
        self.assertEqual(code, 1)
        self.assertIn("does not answer", out)
        self.assertIn("snapshot", out)
        self.lab.bring_up()
        self.assertEqual(self.pids(), pids)
        self.assertEqual(self.snapshot(), before)
        self.assertEqual(self.status()[0], 0)

    def test_pods_are_still_managed_after_a_restart(self):
        self.lab.kill_server()
        self.lab.bring_up()
        self.apply(support.echo_pod("after", "after"))
        self.lab.wait_ready("after")
        self.lab.k("delete", "pod", "after")
        # A container that ends is seen, and restarted, by the agent that adopted it.
        before = self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"]
        self.lab.exec("sh", "-c", "kill 1", pod="default/frontend-3", check=False)
        eventually(lambda: self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"] == before + 1,
                   "a restart")

    def test_what_changed_meanwhile_is_made_up_for(self):
        """A Pod that dies while the server is away is started again; one whose end was asked for is gone."""
        self.apply(support.echo_pod("dies", "dies"))
        self.lab.wait_ready("dies")
        supervisor, = self.supervisors("default/dies")
        with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as f:
            container, = map(int, f.read().split())
        self.lab.kill_server()
        os.kill(container, signal.SIGKILL)
        self.lab.bring_up()
        self.lab.wait_ready("dies")
        self.assertEqual(self.lab.get("pod", "dies")["status"]["containerStatuses"][0]["restartCount"], 1)
        self.lab.k("delete", "pod", "dies", "--wait=false")
        self.lab.kill_server()
        self.lab.bring_up()
        eventually(lambda: self.lab.kubectl("get", "pod", "dies", check=False)[0] != 0, "the Pod gone")
        eventually(lambda: not self.supervisors("default/dies"), "its supervisor gone")


class Unit(unittest.TestCase):
    """manifests/coracle.service"""
    path = os.path.join(support.ROOT, "manifests/coracle.service")

    def test_says_what_leaves_pods_alone(self):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read(self.path)
        service = unit["Service"]
        self.assertEqual((service["Type"], service["KillMode"], service["Delegate"], service["Restart"]),
                         ("notify", "process", "yes", "always"))
        # However often it fails, it is started again.
        self.assertEqual(unit["Unit"]["StartLimitIntervalSec"], "0")

    def test_systemd_understands_it(self):
        if not shutil.which("systemd-analyze"):
            return  # where there is no systemd, nobody reads it
        with tempfile.TemporaryDirectory() as directory:
            with open(self.path, encoding="utf-8") as f:
                text = f.read().replace("/usr/local/bin/coracle", support.CORACLE)
            with open(directory + "/coracle.service", "w", encoding="utf-8") as f:
                f.write(text)
            code, out, err = run(["systemd-analyze", "verify", "--man=no", directory + "/coracle.service"], check=False)
        self.assertEqual((code, out, err), (0, "", ""))


if __name__ == "__main__":
    support.main()
