"""Names outside the cluster: stub domains and hosts of an agent's flags, a server that takes no EDNS, answers that come in turn,
and addresses that lead back to Services, wherever they are."""
import ipaddress
import os
import signal
import subprocess
import unittest

import support
from dns_stage import ZONE, DnsLab, await_name, client_pod, parse_dig
from support import CORACLE, eventually

STUB_PORT = 5353

# Addresses that are not the cluster's: of a machine in the network, and of both families.
ELSEWHERE = """
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: elsewhere-4, labels: {kubernetes.io/service-name: elsewhere}}
addressType: IPv4
endpoints: [{addresses: [198.51.100.7]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: elsewhere-6, labels: {kubernetes.io/service-name: elsewhere}}
addressType: IPv6
endpoints: [{addresses: ["2001:db8::7"], hostname: six}]
---
"""


class Outside(unittest.TestCase):
    """Two nodes; the second one's agent has the flags, and a Pod."""

    @classmethod
    def setUpClass(cls):
        cls.agent = None
        cls.lab = lab = DnsLab(nodes=2)
        lab.start_upstream()
        lab.start_server(STUB_PORT, "plain", "db.corp.test=203.0.113.5,2001:db8::5")
        lab.k("apply", "-f", "-", stdin=ELSEWHERE + client_pod(lab, "near", 2))
        lab.wait_ready("near")
        cls.start_agent("--dns-stub-domain", f"corp.test={lab.outside_ip}:{STUB_PORT}",
                        "--dns-host", "nas.home.test=192.168.7.7", "--dns-host", "nas.home.test=fd00::77")
        await_name(lab, f"elsewhere.default.svc.{ZONE}", 2)

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()
        if cls.agent:
            cls.agent.wait(30)

    @classmethod
    def start_agent(cls, *flags):
        """In place of the second node's, as its unit would with these flags."""
        lab, directory = cls.lab, cls.lab.data_dir(2)
        with open(directory + ".pid", encoding="ascii") as f:
            pid = int(f.read().split()[0])
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the old agent is gone")
        argv = ["ip", "netns", "exec", lab.node(2), CORACLE, "agent", "--data-dir", directory, "--node-name", lab.node(2),
                "--node-ip", lab.address(2), "--server", f"https://{lab.address(1)}:6443", "--resolv-conf", lab.resolv_file, *flags]
        with open(lab.log_path(2), "ab") as log:
            cls.agent = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(f"/proc/{cls.agent.pid}/stat", encoding="ascii") as f:
            started = f.read().rsplit(")", 1)[1].split()[19]
        with open(directory + ".pid", "w", encoding="ascii") as f:
            f.write(f"{cls.agent.pid} {started}\n")
        eventually(lambda: "status:" in lab.dig(f"ns.dns.{ZONE}", node=2, check=False), "the new agent answers")

    def answers(self, *question, pod=None):
        """(rcode, the data of the answer in its order), of the node or of its Pod."""
        rcode, sections = parse_dig(self.lab.dig(*question, node=2, pod=pod))
        return rcode, [record.split(" ", 4)[4] for record in sections.get("answer", [])]

    def asked(self, name, port=53):
        return [question for question in self.lab.questions_outside(port) if question[0] == name]

    def test_a_stub_domain_is_asked_of_its_own_server(self):
        for pod in (None, "default/near"):
            self.assertEqual(self.answers("db.corp.test", pod=pod), ("NOERROR", ["203.0.113.5"]))
            self.assertEqual(self.answers("db.corp.test", "AAAA", pod=pod), ("NOERROR", ["2001:db8::5"]))
            self.assertEqual(self.answers("nobody.corp.test", pod=pod), ("NXDOMAIN", []))
        # A resolver with the search path finds it, too.
        self.assertEqual(self.lab.exec("getent", "ahostsv4", "db.corp.test", node=2, pod="default/near")[1].split()[0], "203.0.113.5")
        for name in ("db.corp.test", "nobody.corp.test"):
            self.assertTrue(self.asked(name, STUB_PORT))
            self.assertEqual(self.asked(name), [], "not asked upstream")
        self.assertEqual({peer for _, _, peer, _ in self.lab.questions_outside(STUB_PORT)}, {self.lab.address(2)})

    def test_a_host_of_the_flags_is_known_to_the_node_itself(self):
        for pod in (None, "default/near"):
            self.assertEqual(self.answers("nas.home.test", pod=pod), ("NOERROR", ["192.168.7.7"]))
            self.assertEqual(self.answers("nas.home.test", "AAAA", pod=pod), ("NOERROR", ["fd00::77"]))
            self.assertEqual(self.answers("nas.home.test", "TXT", pod=pod), ("NOERROR", []))
        self.assertEqual(self.asked("nas.home.test") + self.asked("nas.home.test", STUB_PORT), [])

    def test_other_names_go_to_the_usual_server(self):
        for pod in (None, "default/near"):
            self.assertEqual(self.answers("www.example.com", pod=pod), ("NOERROR", ["192.0.2.80"]))
            self.assertEqual(self.answers("other.home.test", pod=pod), ("NXDOMAIN", []))
            self.assertEqual(self.answers("xcorp.test", pod=pod), ("NXDOMAIN", []))
        for name in ("www.example.com", "other.home.test", "xcorp.test"):
            self.assertTrue(self.asked(name))
            self.assertEqual(self.asked(name, STUB_PORT), [])

    def test_another_nodes_agent_has_flags_of_its_own(self):
        for name in ("db2.corp.test", "nas.home.test"):
            self.assertEqual(parse_dig(self.lab.dig(name, node=1))[0], "NXDOMAIN")
            self.assertTrue([peer for asked, _, peer, _ in self.lab.questions_outside() if (asked, peer) == (name, self.lab.address(1))])

    def test_a_server_that_takes_no_edns_is_asked_without(self):
        """Once it has said so: at once again without, and from then on so only."""
        for i in range(3):
            self.assertEqual(self.answers(f"edns-{i}.corp.test")[0], "NXDOMAIN")
        how = [how for _, _, _, how in self.lab.questions_outside(STUB_PORT)]
        self.assertEqual(how[:2], ["edns", "plain"])
        self.assertEqual(set(how[1:]), {"plain"})
        self.answers("other-edns.example.com")
        self.assertEqual(self.asked("other-edns.example.com")[0][3], "edns")

    def test_answers_of_others_come_in_turn(self):
        for pod in (None, "default/near"):
            orders = [self.answers("many.example.com", pod=pod)[1] for _ in range(4)]
            for order in orders:
                self.assertEqual(sorted(order), ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
            self.assertEqual(len({order[0] for order in orders}), 3, orders)
        self.assertEqual(len(self.asked("many.example.com")), 1, "from the cache")

    def test_addresses_lead_back_wherever_they_are(self):
        names = {"198.51.100.7": f"198-51-100-7.elsewhere.default.svc.{ZONE}.", "2001:db8::7": f"six.elsewhere.default.svc.{ZONE}."}
        for ip, name in names.items():
            for pod in (None, "default/near"):
                self.assertEqual(self.answers("-x", ip, pod=pod), ("NOERROR", [name]))
            self.assertEqual(self.asked(ipaddress.ip_address(ip).reverse_pointer), [])
            self.assertIn(name.rstrip("."), self.lab.exec("getent", "hosts", ip, node=2, pod="default/near")[1])
        # What nobody here has is asked of others, and so is all else about an address.
        for question in (("-x", "198.51.100.8"), ("-x", "2001:db8::8"), ("7.100.51.198.in-addr.arpa", "TXT")):
            self.assertEqual(self.answers(*question)[0], "NXDOMAIN")
        self.assertTrue(self.asked("8.100.51.198.in-addr.arpa"))
        self.assertTrue(self.asked(ipaddress.ip_address("2001:db8::8").reverse_pointer))
        self.assertEqual({kind for _, kind, *_ in self.asked("7.100.51.198.in-addr.arpa")}, {"16"})


if __name__ == "__main__":
    support.main()
