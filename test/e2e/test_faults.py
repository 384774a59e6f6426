"""Three nodes under requests, while cables are pulled, rules flushed, processes killed, agents replaced and nodes moved.

Allowed to fail: connections to a node that is cut, until the cluster has noticed, and those made in the moment after a move.
"""
import contextlib
import os
import shutil
import signal
import tempfile
import time
import unittest

import support
from request_loop import PATIENCE, Requests
from support import CORACLE, Lab, eventually, run
from test_mesh import NODES, SERVICES, pod

NOTICED = 12.0  # seconds from a cut to the Services' rules without that node
MOVED = 2.0     # of failures of new connections after a move


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A binary of its own, which can be replaced.
        directory = tempfile.mkdtemp(prefix="coracle-faults-")
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.binary = shutil.copy(CORACLE, directory)
        support.CORACLE = cls.binary
        cls.lab = Lab(nodes=3)
        cls.lab.k("apply", "-f", "-", stdin="".join(pod(cls.lab, i) for i in NODES) + SERVICES)
        cls.lab.wait_ready(*[f"p{i}" for i in NODES])

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def command(self, *args):
        return run([self.binary, "lab", args[0], "--name", self.lab.name, *args[1:]], timeout=120)[1]

    def agent_pid(self, node):
        with open(os.path.join(os.path.dirname(self.lab.data_dir()), self.lab.node(node) + ".pid"), encoding="utf-8") as f:
            return int(f.read().split()[0])

    def end_agent(self, node, how):
        pidfd = os.pidfd_open(self.agent_pid(node))
        signal.pidfd_send_signal(pidfd, how)
        support.select.select([pidfd], [], [], 30)
        os.close(pidfd)

    def replace_binary(self):
        """As a package manager does it: another file under the same name."""
        with open(self.binary, "rb") as f, open(self.binary + ".new", "wb") as new:
            new.write(f.read() + b"newer")
            os.chmod(new.fileno(), 0o755)
        os.rename(self.binary + ".new", self.binary)

    def pod_pids(self, node):
        """The supervisors of the node's Pods, and all below them."""
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit():
                    with open(f"/proc/{entry}/cmdline", "rb") as f:
                        text = f.read()
                    if text.startswith(b"coracle-supervisor") and self.lab.data_dir(node).encode() + b"/" in text:
                        found.append(int(entry))
        for pid in found:  # grows
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                found += [int(child) for child in f.read().split()]
        return sorted(found)

    def upgrade(self, node):
        """Another binary under the node's Pods: they do not notice."""
        pids, was = self.pod_pids(node), self.lab.get("pod", f"p{node}")["status"]["containerStatuses"]
        self.assertGreaterEqual(len(pids), 3, "a supervisor and two containers")
        self.end_agent(node, signal.SIGTERM)
        self.replace_binary()
        self.command("up")
        self.assertEqual(os.stat(f"/proc/{self.agent_pid(node)}/exe").st_ino, os.stat(self.binary).st_ino, "the new one runs")
        self.assertEqual(self.pod_pids(node), pids)
        now = self.lab.get("pod", f"p{node}")["status"]["containerStatuses"]
        self.assertEqual([(c["containerID"], c["restartCount"]) for c in now], [(c["containerID"], c["restartCount"]) for c in was])
        # And are its Pods.
        self.assertEqual(self.lab.exec("hostname", node=node, pod=f"default/p{node}")[1].strip(), f"p{node}")

    def ready(self, node):
        conditions = self.lab.get("node", self.lab.node(node))["status"]["conditions"]
        return next(c["status"] for c in conditions if c["type"] == "Ready")

    def endpoints(self):
        subsets = self.lab.get("endpoints", "echo").get("subsets", [])
        return sum(len(s.get("addresses", [])) for s in subsets)

    def test_requests_go_on(self):
        service = self.lab.get("service", "echo")["spec"]
        target = service["clusterIP"] + ":80"
        loops = [Requests(self.lab, target, i, f"p{i}") for i in (1, 3)]
        allowed = []  # (from, to, what)
        try:
            eventually(lambda: all(len(l.lines) > 50 for l in loops), "requests")

            def step(what, action, seconds=0.0):
                began = time.time()
                print(f"{began:.1f} {what}", flush=True)
                action()
                allowed.append((began, time.time() + seconds, what) if seconds else (0, 0, what))
                for l in loops:  # goes on after every step
                    count = len(l.lines)
                    eventually(lambda l=l, count=count: len([x for x in l.lines[count:] if x[1] == "ok"]) > 20, f"requests after: {what}")

            for _ in range(5):
                step("flush", lambda: self.command("flush", self.lab.node(1)))
            step("server killed", self.lab.kill_server)
            step("server again", lambda: self.command("up"))
            step("agent killed", lambda: self.end_agent(3, signal.SIGKILL))
            step("agent again", lambda: self.command("up"))
            step("agent stopped", lambda: self.end_agent(3, signal.SIGTERM))
            step("agent again", lambda: self.command("up"))
            step("agent upgraded", lambda: self.upgrade(3))
            step("server upgraded", lambda: self.upgrade(1))
            step("node 2 cut", lambda: self.command("cut", self.lab.node(2)), NOTICED)
            eventually(lambda: self.endpoints() == 2, "the cut node's endpoint leaves", 30)
            step("node 2 healed", lambda: self.command("heal", self.lab.node(2)))
            eventually(lambda: self.ready(2) == "True" and self.endpoints() == 3, "the healed node returns", 60)
            step("node 2 moved", lambda: self.command("move", self.lab.node(2)), MOVED)
            step("server moved", lambda: self.command("move", self.lab.node(1)), MOVED)
            eventually(lambda: all(self.ready(i) == "True" for i in NODES), "all nodes are ready", 30)
            time.sleep(5)  # whatever comes late
        finally:
            for l in loops:
                l.end()
        stray = []
        for l in loops:
            failed = l.failed()
            print(f"\n{l.name}: {len(l.lines)} requests, {len(failed)} failed", flush=True)
            for begin, end, what in allowed:
                if end:
                    print(f"  {what}: {sum(begin - PATIENCE <= t <= end for t, _ in failed)} failed", flush=True)
            stray += [f for f in failed if not any(begin - PATIENCE <= f[0] <= end for begin, end, _ in allowed)]
        self.assertEqual(stray, [])


if __name__ == "__main__":
    support.main()
