"""Services and Endpoints, with real packets: round robin, readiness, NodePort, LoadBalancer, REJECT, hairpin, UDP."""
import collections
import os
import re
import subprocess
import unittest

import support
from support import LabTest, echo_pod, eventually, run

COUNT = 300


class Services(LabTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.k("apply", "-f", support.EXAMPLES)
        cls.lab.wait_ready(*[f"{a}-{i}" for a in ("backend", "frontend") for i in (1, 2, 3)])
        cls.lab.k("run", "client", "--image=coracle/host", "--command", "--", "sleep", "100000")
        cls.lab.wait_ready("client")
        for service in ("backend", "frontend", "frontendlb"):
            cls.rules_are(cls, service, 3)

    def endpoints(self, name):
        subsets = self.lab.get("endpoints", name).get("subsets", [])
        return sorted(a["ip"] for s in subsets for a in s.get("addresses", []))

    def cluster_ip(self, name):
        return self.lab.get("service", name)["spec"]["clusterIP"]

    def node_port(self, name):
        return self.lab.get("service", name)["spec"]["ports"][0]["nodePort"]

    def node_ip(self):
        return self.lab.get("node", self.lab.node())["status"]["addresses"][0]["address"]

    def answers(self, url, count, pod="default/client"):
        """`count` new connections from inside a Pod; how often each Pod answered."""
        script = f'for i in $(seq {count}); do curl -sS --max-time 5 {url}/hostname || echo FAIL; echo; done'
        text = self.lab.exec("sh", "-c", script, pod=pod, timeout=180)[1]
        return collections.Counter(line for line in text.split("\n") if line.strip())

    def rules_are(self, service, count):
        """Waits until the kernel's chain of the Service jumps to that many endpoints."""
        def chains():
            text = self.lab.exec("iptables-save", "-t", "nat")[1]
            match = re.search(rf"-A (?:KUBE-SERVICES) .*default/{service}\b.* -j (KUBE-SVC-\w+)", text)
            if not match:
                return count == 0
            jumps = [l for l in text.split("\n") if l.startswith(f"-A {match[1]} ") and "-j KUBE-SEP" in l]
            return len(jumps) == count
        eventually(chains, f"{count} endpoints of {service} in the rules")

    def test_cluster_ip_from_a_pod_is_exact_round_robin(self):
        got = self.answers(f"http://{self.cluster_ip('backend')}:5000", COUNT)
        self.assertEqual(got, {"backend-1": 100, "backend-2": 100, "backend-3": 100})

    def test_cluster_ip_from_the_node(self):
        ip = self.cluster_ip("backend")
        names = {self.lab.exec("curl", "-sS", "--max-time", "5", f"http://{ip}:5000/hostname")[1].strip() for _ in range(6)}
        self.assertEqual(names, {"backend-1", "backend-2", "backend-3"})

    def test_node_port_and_load_balancer_from_outside(self):
        node = self.node_ip()
        for service in ("frontend", "frontendlb"):
            self.rules_are(service, 3)
            url = f"http://{node}:{self.node_port(service)}"
            names = collections.Counter(self.lab.hostname_of(url) for _ in range(30))
            self.assertEqual(names, {"frontend-1": 10, "frontend-2": 10, "frontend-3": 10}, url)
        eventually(lambda: self.lab.get("service", "frontendlb")["status"]["loadBalancer"].get("ingress"), "an ingress")
        ingress = self.lab.get("service", "frontendlb")["status"]["loadBalancer"]["ingress"]
        self.assertEqual([i["ip"] for i in ingress], [node])
        eventually(lambda: self.lab.hostname_of(f"http://{node}:80").startswith("frontend-"), "the balancer's own port")

    def test_url_command(self):
        url = run([support.CORACLE, "lab", "url", "frontend", "--name", self.lab.name])[1].strip()
        self.assertEqual(url, f"http://{self.node_ip()}:{self.node_port('frontend')}")
        self.assertTrue(self.lab.hostname_of(url).startswith("frontend-"))

    def test_no_endpoints_rejects_at_once(self):
        self.lab.k("create", "service", "clusterip", "nobody", "--tcp=80:80")
        ip = self.cluster_ip("nobody")
        def refused():
            # A lost SYN would be sent again after a second.
            code, _, err = self.lab.exec("curl", "-sSv", "--max-time", "0.9", f"http://{ip}/", pod="default/client", check=False)
            return code == 7 and "refused" in err
        eventually(refused, "connection refused")
        for _ in range(3):  # and so is the next who tries, however soon
            self.assertTrue(refused())
        self.lab.k("delete", "service", "nobody")

    def test_hairpin(self):
        ip = self.cluster_ip("backend")
        got = self.answers(f"http://{ip}:5000", 6, pod="default/backend-1")
        self.assertEqual(set(got), {"backend-1", "backend-2", "backend-3"})

    def test_client_sees_pod_address_without_nat(self):
        pod = self.lab.get("pod", "client")["status"]["podIP"]
        backend = self.lab.get("pod", "backend-1")["status"]["podIP"]
        text = self.lab.exec("curl", "-sS", "--max-time", "5", f"http://{backend}:5000/clientip", pod="default/client")[1]
        self.assertIn(pod, text)

    def test_unready_pod_leaves_and_new_pod_joins(self):
        # Readiness here is a file in the Pod, so that the test decides.
        for name in ("turn-1", "turn-2"):
            self.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: turn}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: coracle/echo
    ports: [{{containerPort: 5000}}]
    readinessProbe: {{exec: {{command: ["test", "!", "-e", "/tmp/unready"]}}, periodSeconds: 1, failureThreshold: 1}}
""")
        self.lab.k("expose", "pod", "turn-1", "--name=turn", "--port=80", "--target-port=5000", "--selector=app=turn")
        self.lab.wait_ready("turn-1", "turn-2")
        ip = self.cluster_ip("turn")
        self.rules_are("turn", 2)
        self.assertEqual(self.answers(f"http://{ip}", 10), {"turn-1": 5, "turn-2": 5})
        self.lab.exec("touch", "/tmp/unready", pod="default/turn-1")
        eventually(lambda: len(self.endpoints("turn")) == 1, "one ready endpoint")
        self.rules_are("turn", 1)
        self.assertEqual(self.answers(f"http://{ip}", 10), {"turn-2": 10})
        self.apply(echo_pod("turn-3", "turn"))
        self.lab.wait_ready("turn-3")
        self.rules_are("turn", 2)
        self.assertEqual(self.answers(f"http://{ip}", 10), {"turn-2": 5, "turn-3": 5})
        self.lab.k("delete", "pod,service", "turn-1", "turn-2", "turn-3", "turn", "--ignore-not-found")

    def test_endpoints_follow_deleted_pods(self):
        self.apply(echo_pod("follow-1", "follow"))
        self.lab.k("expose", "pod", "follow-1", "--name=follow", "--port=5000")
        self.lab.wait_ready("follow-1")
        eventually(lambda: len(self.endpoints("follow")) == 1, "an endpoint")
        def addresses():
            slices = self.lab.get("endpointslices", "-l", "kubernetes.io/service-name=follow")["items"]
            return [e["addresses"] for s in slices for e in s["endpoints"]]
        eventually(lambda: addresses() == [self.endpoints("follow")], "its slice")
        self.lab.k("delete", "pod", "follow-1")
        eventually(lambda: self.endpoints("follow") == [], "no endpoint")
        self.lab.k("delete", "service", "follow")
        eventually(lambda: self.lab.kubectl("get", "endpoints", "follow", check=False)[0] != 0, "the Endpoints gone")

    def test_headless_and_external_name_have_no_rules(self):
        text = self.lab.exec("iptables-save")[1]
        self.assertNotIn("backend-headless", text)
        self.assertNotIn("elsewhere", text)
        self.assertIn("KUBE-SVC-NPX46M4PTMTKRN6Y", text)

    def test_udp_through_a_service(self):
        self.apply(echo_pod("udp-1", "udp", port=5353))
        self.lab.wait_ready("udp-1")
        self.apply("""
apiVersion: v1
kind: Service
metadata: {name: udp}
spec: {selector: {app: udp}, ports: [{port: 53, targetPort: 5353, protocol: UDP}]}
""")
        ip = self.cluster_ip("udp")
        script = ("import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2); "
                  f"s.connect(('{ip}',53)); s.send(b'hello'); sys.stdout.write(s.recv(99).decode())")
        eventually(lambda: "hello" in self.lab.exec("python3", "-c", script, pod="default/client")[1], "a UDP answer")
        self.lab.k("delete", "pod,service", "udp-1", "udp", "--ignore-not-found")

    def test_service_type_changes_allocate_and_release(self):
        self.lab.k("create", "service", "clusterip", "kinds", "--tcp=80:80")
        self.lab.k("patch", "service", "kinds", "-p", '{"spec":{"type":"NodePort"}}')
        port = self.node_port("kinds")
        self.assertTrue(30000 <= port <= 32767)
        taken = self.lab.kubectl("create", "service", "nodeport", "other", "--tcp=80:80", f"--node-port={port}", check=False)
        self.assertNotEqual(taken[0], 0)
        self.assertIn("already allocated", taken[2])
        self.lab.k("patch", "service", "kinds", "-p", '{"spec":{"type":"ClusterIP"}}')
        self.assertNotIn("nodePort", self.lab.get("service", "kinds")["spec"]["ports"][0])
        self.lab.k("create", "service", "nodeport", "other", "--tcp=80:80", f"--node-port={port}")
        self.lab.k("delete", "service", "kinds", "other")

    def test_pod_reaches_outside_masqueraded(self):
        ns = f"out-{self.lab.name}"
        host, peer = f"o{self.lab.name}", f"p{self.lab.name}"
        number = os.getpid() % 16384  # a network of this test's own, of those for benchmarks
        near, far = (f"198.18.{number // 64}.{number % 64 * 4 + i}" for i in (1, 2))
        run(["ip", "netns", "add", ns])
        try:
            run(["ip", "link", "add", host, "type", "veth", "peer", "name", peer, "netns", ns])
            run(["ip", "addr", "add", near + "/30", "dev", host])
            run(["ip", "link", "set", host, "up"])
            run(["ip", "-n", ns, "addr", "add", far + "/30", "dev", peer])
            run(["ip", "-n", ns, "link", "set", peer, "up"])
            run(["ip", "-n", ns, "link", "set", "lo", "up"])
            with subprocess.Popen(["ip", "netns", "exec", ns, support.CORACLE, "echo", "--port", "8080"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
                try:
                    def reach():
                        return self.lab.exec("curl", "-sS", "--max-time", "3", f"http://{far}:8080/clientip",
                                             pod="default/client")[1]
                    text = eventually(reach, "an answer from outside")
                    # The outside has no route back to Pods or the lab: the answer proves the masquerade.
                    self.assertIn(near, text)
                finally:
                    server.kill()
        finally:
            run(["ip", "netns", "del", ns])
            run(["ip", "link", "del", host], check=False)


if __name__ == "__main__":
    support.main()
