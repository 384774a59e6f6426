"""Requests one after the other, each over a new connection, while something is done to the cluster."""
import os
import signal
import subprocess
import threading

from support import CORACLE

PATIENCE = 3.0  # of a request: long enough for a lost SYN to be sent again
PYTHON = "/usr/bin/python3"  # Pods see it

# One line per request to argv[1]: when it began, and who answered or what went wrong.
LOOP = f"""
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
    """From a Pod on a node, from the node itself, or (node 0) from the machine that the lab is on."""

    def __init__(self, lab, target, node=0, pod=None):
        self.lines = []
        self.name = f"{pod or ('node ' + str(node) if node else 'machine')} to {target}"
        argv = [PYTHON, "-c", LOOP, target]
        if node:
            inside = ["--pod", "default/" + pod] if pod else []
            argv = [CORACLE, "lab", "exec", "--name", lab.name, lab.node(node), *inside, "--", *argv]
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

    def answered_by(self):
        """Names of those who answered."""
        return {l[2].strip() for l in self.lines if l[1] == "ok"}
