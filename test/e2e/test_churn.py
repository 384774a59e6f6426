"""Services and Pods come and go at full speed, watchers too, and the server is killed again and again: nothing that was
acknowledged is lost, and afterwards nothing is left over. CORACLE_CHURN_SECONDS, CORACLE_CHURN_SEED: how long, which."""
import os
import random
import re
import subprocess
import tempfile
import time
import unittest

import churn
import support
import traces
from api import Api, Down
from support import Lab, echo_pod, eventually, run

LONG = os.environ.get("CORACLE_LONG_TESTS") == "1"
SECONDS = int(os.environ.get("CORACLE_CHURN_SECONDS") or (600 if LONG else 60))
SEED = os.environ.get("CORACLE_CHURN_SEED") or str(random.randrange(1 << 32))
KILL_EVERY = 20
ROUND = 3000  # acknowledged writes with no death in between: as much as a server remembers for watches

STABLE = """
apiVersion: v1
kind: Namespace
metadata: {name: churn}
---
apiVersion: v1
kind: Service
metadata: {name: marker, namespace: churn}
spec: {ports: [{port: 1}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: marker, namespace: churn}
subsets: [{addresses: [{ip: 192.0.2.10}], ports: [{port: 1}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: marker, namespace: churn}
addressType: IPv4
ports: [{port: 1}]
endpoints: [{addresses: [192.0.2.10]}]
---
apiVersion: v1
kind: Pod
metadata: {name: marker, namespace: churn}
spec: {containers: [{name: sleep, image: coracle/host, command: [sleep, "100000"]}]}
---
apiVersion: v1
kind: Service
metadata: {name: stable}
spec: {selector: {app: stable}, ports: [{port: 80, targetPort: 5000}]}
"""

# One new connection after another, through the ClusterIP; every failure is a line.
LOOP = """
import http.client, os, sys, time
done = failed = 0
while not os.path.exists("/tmp/stop"):
    try:
        c = http.client.HTTPConnection(sys.argv[1], 80, timeout=10)
        c.request("GET", "/hostname")
        assert c.getresponse().read().decode().startswith("stable-")
        c.close()
        done += 1
    except Exception as error:
        failed += 1
        print(time.time(), repr(error), flush=True)
    time.sleep(0.01)
print("done", done, failed, flush=True)
"""


class Requests:
    """The request loop in the Pod `client`: what it could not reach is remembered."""

    def __init__(self, lab, address):
        self.lab = lab
        self.log = tempfile.NamedTemporaryFile("w+", prefix="coracle-loop-")
        lab.exec("rm", "-f", "/tmp/stop", pod="default/client")
        self.process = subprocess.Popen(
            [support.CORACLE, "lab", "exec", "--name", lab.name, lab.node(), "--pod", "default/client", "--", "python3", "-c",
             LOOP, address], stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def end(self):
        """(requests done, lines of failures)."""
        self.lab.exec("touch", "/tmp/stop", pod="default/client")
        self.process.wait(60)
        self.log.seek(0)
        lines = self.log.read().strip().split("\n")
        self.log.close()
        return int(lines[-1].split()[1]), lines[:-1]


class Churn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.lab.k("apply", "-f", "-", stdin=STABLE)
        for name in ("stable-1", "stable-2"):
            cls.lab.k("apply", "-f", "-", stdin=echo_pod(name, "stable"))
        cls.lab.k("run", "client", "--image=coracle/host", "--command", "--", "sleep", "100000")
        cls.lab.wait_ready("stable-1", "stable-2", "client")
        cls.lab.k("wait", "-n", "churn", "--for=condition=Ready", "pod/marker", "--timeout=60s", timeout=70)
        cls.api = Api(cls.lab.address(), cls.lab.data_dir())

    def start(self, *kinds):
        self.rounds = getattr(self, "rounds", 0) + 1
        clients = [kind(f"{kind.__name__.lower()}-{self.rounds}-{i}", self.lab, SEED) for kind in kinds for i in (1, 2)]
        for client in clients:
            client.start()
        return clients

    def load(self):
        return self.start(churn.ServiceWriter, churn.PodWriter, churn.Watcher)

    def restart(self):
        self.lab.kill_server()
        self.lab.bring_up()

    def end(self, clients, kills):
        for client in clients:
            client.end()
        for client in clients:
            self.assertLessEqual(client.broken, kills, f"connections of {client.name} that broke")
        for client in clients:
            if isinstance(client, churn.Writer):
                client.verify()
                client.api.close()
        return {k.__name__: sum(c.done for c in clients if isinstance(c, k))
                for k in (churn.ServiceWriter, churn.PodWriter, churn.Watcher)}

    def call(self, path):
        try:
            return self.api.get(path)["items"]
        except Down as error:
            raise AssertionError(str(error)) from error

    def names(self, kind):
        return sorted(i["metadata"]["name"] for i in self.call(churn.KINDS[kind]))

    def endpoints_follow(self):
        """Endpoints and slices of each Service are exactly the ready Pods that it selects."""
        pods = self.call(churn.KINDS["pods"])
        services = [s for s in self.call(churn.KINDS["services"]) if "selector" in s["spec"]]
        endpoints = {e["metadata"]["name"]: e for e in self.call(churn.KINDS["endpoints"])}
        slices = self.call(churn.KINDS["endpointslices"])
        self.assertEqual(set(endpoints), {"marker", *(s["metadata"]["name"] for s in services)})
        for service in services:
            name, group = service["metadata"]["name"], service["spec"]["selector"]["group"]
            wanted = sorted(p["status"]["podIP"] for p in pods if p["metadata"].get("labels", {}).get("group") == group and ready(p))
            found = sorted(a["ip"] for s in endpoints[name].get("subsets", [])[:1] for a in s.get("addresses", []))
            self.assertEqual(found, wanted, f"Endpoints {name}")
            mine = [s for s in slices if s["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name]
            found = sorted({e["addresses"][0] for s in mine for e in s["endpoints"] or [] if e["conditions"]["ready"]})
            self.assertEqual(found, wanted, f"EndpointSlices of {name}")
        addresses = [s["spec"]["clusterIP"] for s in services]
        self.assertEqual(len(addresses), len(set(addresses)), "two Services with one ClusterIP")
        return True

    def rules_are_fresh(self):
        """What changes made of the rules is what a node computes that has none; how many chains that is."""
        self.remove_short()
        addresses, before = self.settled()
        self.lab.kill_server()
        for table in ("nat", "filter", "mangle"):
            self.lab.exec("sh", "-c", f"iptables -t {table} -F && iptables -t {table} -X")
        self.lab.bring_up()
        def fresh():
            again, rules = self.settled()
            self.assertEqual(again, addresses, "what is behind each Service")
            self.same({"rules": before}, {"rules": rules})
            return True
        eventually(fresh, "the same rules as before", 60)
        return len(before)

    def remove_short(self):
        """Deletes the Pods that end and begin anew all the time: each start is for a moment behind its Services."""
        pods = [p for p in self.call(churn.KINDS["pods"]) if p["spec"]["containers"][0]["name"] == "short"]
        for pod in pods:
            status, _ = self.api.request("DELETE", churn.KINDS["pods"] + "/" + pod["metadata"]["name"] + "?gracePeriodSeconds=0")
            self.assertIn(status, (200, 202, 404))
        gone = {p["metadata"]["name"] for p in pods}
        eventually(lambda: not gone & set(self.names("pods")), "the deletion of the Pods that end", 30)

    def addresses(self):
        """What is behind each Service."""
        return {e["metadata"]["name"]: [a["ip"] for s in e.get("subsets", []) for a in s.get("addresses", [])]
                for e in self.call(churn.KINDS["endpoints"])}

    def settled(self):
        """The addresses and the rules once every echo Pod is ready and all chains are there."""
        def still():
            pods = [p for p in self.call(churn.KINDS["pods"]) if p["spec"]["containers"][0]["name"] == "echo"]
            self.assertEqual([p["metadata"]["name"] for p in pods if not ready(p)], [])
            addresses, rules = self.addresses(), traces.rules(self.lab)
            self.assertEqual(self.service_chains(rules), self.selected_ports())
            self.assertEqual(self.balanced(rules), self.with_endpoints(addresses), "the rules have followed")
            return addresses == self.addresses() and (addresses, rules)
        return eventually(still, "ready Pods and a chain per Service port", 120)

    def same(self, before, after):
        said = traces.differences(before, after)
        self.assertFalse(said, f"{len(said)} differences: " + "; ".join(said[:20]))

    def service_chains(self, chains):
        return sum(len(re.findall(r'--comment "?churn/\S+ cluster IP', rule)) for rule in chains["nat/KUBE-SERVICES"])

    @staticmethod
    def balanced(chains):
        """Between which addresses the rules choose, by Service."""
        found = {}
        for rules in chains.values():
            for rule in rules:
                match = re.search(r'"churn/([^:"\s]+)\S* -> ([0-9.]+):', rule)
                if match:
                    found.setdefault(match[1], set()).add(match[2])
        return found

    def with_endpoints(self, addresses):
        names = {s["metadata"]["name"] for s in self.call(churn.KINDS["services"])}
        return {name: set(found) for name, found in addresses.items() if found and name in names}

    def selected_ports(self):
        """How many Service ports have a ready endpoint, and so a chain."""
        filled = {e["metadata"]["name"] for e in self.call(churn.KINDS["endpoints"]) if any("addresses" in s for s in e.get("subsets", []))}
        return sum(len(s["spec"]["ports"]) for s in self.call(churn.KINDS["services"]) if s["metadata"]["name"] in filled)

    def empty(self):
        """Deletes what the load made, and waits until no trace of it is left."""
        for kind in ("services", "pods"):
            for item in self.call(churn.KINDS[kind] + "?labelSelector=writer"):
                status, _ = self.api.request("DELETE", churn.KINDS[kind] + "/" + item["metadata"]["name"])
                self.assertIn(status, (200, 202, 404))
        def clean():
            for kind in churn.KINDS:
                self.assertEqual(self.names(kind), self.markers[kind], kind)
            self.same(self.before, traces.traces(self.lab))
            return True
        eventually(clean, "no trace of the load", 90)

    def figures(self):
        """Memory of its own in KiB, without pages of files, which come and go; threads and open files of the server."""
        pid = self.lab.server_pid()
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = dict(line.split(":", 1) for line in f)
        return int(status["RssAnon"].split()[0]), int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))

    @staticmethod
    def every_second(seconds):
        for second in range(seconds):
            yield second
            time.sleep(1)

    def one_round(self):
        """Load on a server that lives."""
        clients = self.load()
        writers = [c for c in clients if isinstance(c, churn.Writer)]
        eventually(lambda: sum(w.done for w in writers) >= ROUND or any(c.error for c in clients), "a round of load", 300)
        done = self.end(clients, 0)
        self.empty()
        return done

    def rounds_of_load(self, count=2):
        """The second round finds full what the first has filled. Then nothing, until the server has given back what it can:
        the least it needs."""
        done = [self.one_round() for _ in range(count)]
        figures = min(self.figures() for _ in self.every_second(25))
        print("rounds:", *done, "memory, threads, files:", figures, flush=True)
        return figures

    def test_churn(self):
        print(f"seed {SEED}, {SECONDS} s", flush=True)
        # The marker's own Endpoints are mirrored to a slice.
        eventually(lambda: len(self.names("endpointslices")) == 2, "the mirrored slice")
        self.markers = {kind: self.names(kind) for kind in churn.KINDS}
        self.before = traces.traces(self.lab)
        pods = self.stable_pods()
        print("fresh:", self.figures(), flush=True)
        start = self.rounds_of_load()
        requests = Requests(self.lab, self.lab.get("service", "stable")["spec"]["clusterIP"])
        clients = self.load()
        deadline, kills, slowest = time.monotonic() + SECONDS, 0, 0
        while time.monotonic() < deadline:
            time.sleep(min(KILL_EVERY, max(0, deadline - time.monotonic())))
            began = time.monotonic()
            self.restart()
            kills, slowest = kills + 1, max(slowest, time.monotonic() - began)
            for client in clients:
                self.assertIsNone(client.error, client.name)
        done = self.end(clients, kills)
        answered, failures = requests.end()
        verified = min(c.verified for c in clients if isinstance(c, churn.Writer))
        print(f"churn: {done}, {kills} kills, slowest restart {slowest:.1f} s, {answered} requests, {len(failures)} failed, "
              f"each writer compared {verified} times", flush=True)
        self.assertEqual(failures, [])
        self.assertGreater(answered, SECONDS)
        self.assertGreaterEqual(verified, kills)
        eventually(self.endpoints_follow, "Endpoints follow the Pods", 60)
        print("chains:", self.rules_are_fresh(), flush=True)
        self.assertEqual(self.stable_pods(), pods)
        self.empty()
        self.rules_are_fresh()
        end = self.rounds_of_load(6 if LONG else 3)
        self.assertLessEqual(end[0], start[0] * 1.1 + 1024, "memory")
        self.assertLessEqual(end[1], start[1] + 2, "threads")
        self.assertLessEqual(end[2], start[2] + 2, "open files")

    def stable_pods(self):
        return {p["metadata"]["name"]: (p["status"]["podIP"], [(c["containerID"], c["restartCount"]) for c in p["status"]["containerStatuses"]])
                for p in self.lab.get("pods")["items"]}


def ready(pod):
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


if __name__ == "__main__":
    support.main()
