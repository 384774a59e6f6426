"""Three nodes under requests, while cables are pulled, rules flushed, processes killed, agents replaced and nodes moved.

Allowed to fail: connections to a node that is cut, until the cluster has noticed, and those made in the moment after a flush or a
move.
"""
import os
import signal
import subprocess
import threading
import time
import unittest

import support
from support import CORACLE, Lab, eventually, run
from test_mesh import NODES, PYTHON, SERVICES, pod

NOTICED = 12.0  # seconds from a cut to the Services' rules without that node
FLUSHED = 1.0   # until rules that somebody has flushed are back
MOVED = 2.0     # of failures of new connections after a move
PATIENCE = 3.0  # of a request: long enough for a lost SYN to be sent again

# One line per request to argv[1]: when it began, and who answered or what went wrong.
REQUESTS = f"""
import http.client, sys, time
host, port = sys.argv[1].split(":")
while True:
    began = time.time()
    try:
        c = http.client.HTTPConnection(host, int(port), timeout={PATIENCE})
        c.request("GET", "/hostname")
        said = "ok " + c.getresponse().read().decode().strip()
        c.close()
    except Exception as e:
        said = "failed %r" % e
    print("%.3f" % began, said, flush=True)
    time.sleep(0.02)
"""


class Requests:
    """New connections, one after the other, from a Pod."""

    def __init__(self, lab, node, target):
        self.lines, self.name = [], f"p{node} to {target}"
        argv = [CORACLE, "lab", "exec", "--name", lab.name, lab.node(node), "--pod", f"default/p{node}", "--", PYTHON, "-c", REQUESTS, target]
        # Its own session, so that both ends of it end together.
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.split(None, 2))

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.thread.join(10)
        self.process.stdout.close()

    def failed(self):
        return [(float(l[0]), " ".join(l[2:])) for l in self.lines if l[1] != "ok"]


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=3)
        cls.lab.k("apply", "-f", "-", stdin="".join(pod(cls.lab, i) for i in NODES) + SERVICES)
        cls.lab.wait_ready(*[f"p{i}" for i in NODES])

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def command(self, *args):
        return run([CORACLE, "lab", args[0], "--name", self.lab.name, *args[1:]], timeout=120)[1]

    def agent_pid(self, node):
        with open(os.path.join(os.path.dirname(self.lab.data_dir()), self.lab.node(node) + ".pid"), encoding="utf-8") as f:
            return int(f.read().split()[0])

    def end_agent(self, node, how):
        pidfd = os.pidfd_open(self.agent_pid(node))
        signal.pidfd_send_signal(pidfd, how)
        support.select.select([pidfd], [], [], 30)
        os.close(pidfd)

    def ready(self, node):
        conditions = self.lab.get("node", self.lab.node(node))["status"]["conditions"]
        return next(c["status"] for c in conditions if c["type"] == "Ready")

    def endpoints(self):
        subsets = self.lab.get("endpoints", "echo").get("subsets", [])
        return sum(len(s.get("addresses", [])) for s in subsets)

    def test_requests_go_on(self):
        service = self.lab.get("service", "echo")["spec"]
        target = service["clusterIP"] + ":80"
        loops = [Requests(self.lab, i, target) for i in (1, 3)]
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

            step("flush", lambda: self.command("flush", self.lab.node(1)), FLUSHED)
            step("server killed", self.lab.kill_server)
            step("server again", lambda: self.command("up"))
            step("agent killed", lambda: self.end_agent(3, signal.SIGKILL))
            step("agent again", lambda: self.command("up"))
            step("agent stopped", lambda: self.end_agent(3, signal.SIGTERM))
            step("agent upgraded", lambda: self.command("up"))
            step("node 2 cut", lambda: self.command("cut", self.lab.node(2)), NOTICED)
            eventually(lambda: self.endpoints() == 2, "the cut node's endpoint leaves", 30)
            step("node 2 healed", lambda: self.command("heal", self.lab.node(2)))
            eventually(lambda: self.ready(2) == "True" and self.endpoints() == 3, "the healed node returns", 60)
            step("node 2 moved", lambda: self.command("move", self.lab.node(2)), MOVED)
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
