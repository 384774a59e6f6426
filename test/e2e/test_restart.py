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


class Restart(LabTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.k("apply", "-f", support.EXAMPLES)
        cls.lab.wait_ready(*[f"{a}-{i}" for a in ("backend", "frontend") for i in (1, 2, 3)])
        cls.lab.k("run", "client", "--image=coracle/host", "--command", "--", "sleep", "100000")
        cls.lab.wait_ready("client")

    def snapshot(self):
        pods = {p["metadata"]["name"]: (p["metadata"]["uid"], p["status"]["podIP"],
                                        [c["restartCount"] for c in p["status"]["containerStatuses"]],
                                        [c.get("containerID") for c in p["status"]["containerStatuses"]])
                for p in self.lab.get("pods")["items"]}
        services = {s["metadata"]["name"]: (s["metadata"]["uid"], s["spec"].get("clusterIP"), s["spec"].get("ports"))
                    for s in self.lab.get("services")["items"]}
        maps = {c["metadata"]["name"]: c.get("data") for c in self.lab.get("configmaps")["items"]}
        return pods, services, maps

    def test_kill_9_and_start(self):
        before = self.snapshot()
        ip = self.lab.get("service", "backend")["spec"]["clusterIP"]
        log = tempfile.NamedTemporaryFile("w+", prefix="coracle-loop-")
        # Requests one after another through the ClusterIP, from a Pod, while the server dies and returns.
        script = (f'i=0; while [ ! -e /tmp/stop ] && [ $i -lt 20000 ]; do i=$((i+1)); '
                  f'curl -sS --max-time 5 -o /dev/null http://{ip}:5000/hostname && echo ok || echo FAIL; done')
        self.lab.exec("rm", "-f", "/tmp/stop", pod="default/client")
        loop = subprocess.Popen([support.CORACLE, "lab", "exec", "--name", self.lab.name, self.lab.node(), "--pod",
                                 "default/client", "--", "sh", "-c", script], stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(3):
                size = os.path.getsize(log.name)
                eventually(lambda: os.path.getsize(log.name) > size + 60, "requests running")
                pid = self.lab.server_pid()
                os.kill(pid, signal.SIGKILL)
                eventually(lambda: self.lab.server_pid() is None, "the server gone")
                size = os.path.getsize(log.name)
                eventually(lambda: os.path.getsize(log.name) > size + 60, "requests without a server")
                run([support.CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=150)
                self.lab.k("get", "nodes")
                size = os.path.getsize(log.name)
                eventually(lambda: os.path.getsize(log.name) > size + 60, "requests after the start")
        finally:
            self.lab.exec("touch", "/tmp/stop", pod="default/client", check=False)
            loop.wait(timeout=60)
        log.seek(0)
        lines = log.read().split("\n")
        self.assertEqual([l for l in lines if l and l != "ok"], [])
        self.assertGreater(lines.count("ok"), 100)
        self.assertEqual(self.snapshot(), before)

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
        os.kill(self.lab.server_pid(), signal.SIGTERM)
        eventually(lambda: self.lab.server_pid() is None, "the server gone")
        self.assertEqual(self.pids(), pids)
        answer = self.lab.exec("curl", "-sS", "--max-time", "20", f"http://{ip}:5000/hostname")[1]
        self.assertTrue(answer.startswith("backend-"), answer)
        code, out, _ = self.status()
        self.assertEqual(code, 1)
        self.assertIn("does not answer", out)
        self.assertIn("snapshot", out)
        run([support.CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=150)
        self.assertEqual(self.pids(), pids)
        self.assertEqual(self.snapshot(), before)
        self.assertEqual(self.status()[0], 0)

    def test_pods_are_still_managed_after_a_restart(self):
        os.kill(self.lab.server_pid(), signal.SIGKILL)
        eventually(lambda: self.lab.server_pid() is None, "the server gone")
        run([support.CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=150)
        self.apply(support.echo_pod("after", "after"))
        self.lab.wait_ready("after")
        self.lab.k("delete", "pod", "after")
        # A container that ends is seen, and restarted, by the agent that adopted it.
        before = self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"]
        self.lab.exec("sh", "-c", "kill 1", pod="default/frontend-3", check=False)
        eventually(lambda: self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"] == before + 1,
                   "a restart")


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
