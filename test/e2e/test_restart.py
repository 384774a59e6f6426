"""The server dies and comes back: everything is there, and nobody who was using a Service noticed."""
import os
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
                run([support.CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=90)
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

    def test_pods_are_still_managed_after_a_restart(self):
        os.kill(self.lab.server_pid(), signal.SIGKILL)
        eventually(lambda: self.lab.server_pid() is None, "the server gone")
        run([support.CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=90)
        self.apply(support.echo_pod("after", "after"))
        self.lab.wait_ready("after")
        self.lab.k("delete", "pod", "after")
        # A container that ends is seen, and restarted, by the agent that adopted it.
        before = self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"]
        self.lab.exec("sh", "-c", "kill 1", pod="default/frontend-3", check=False)
        eventually(lambda: self.lab.get("pod", "frontend-3")["status"]["containerStatuses"][0]["restartCount"] == before + 1,
                   "a restart")


if __name__ == "__main__":
    support.main()
