"""The cluster's DNS: the names of the Kubernetes DNS specification from Pods, by glibc, musl, busybox and dig, and from nodes."""
import json
import os
import re
import time
import unittest

import support
from dns_stage import BACKEND, DNS, ZONE, DnsLab, await_name, client_pod, parse_dig
from support import ROOT, eventually, run

# Of zone_fixture.h, but for `dual`: IPv6 addresses of Services are not served.
TABLE_SERVICES = """
apiVersion: v1
kind: Namespace
metadata: {name: prod}
---
apiVersion: v1
kind: Namespace
metadata: {name: asker}
---
apiVersion: v1
kind: Service
metadata: {name: bare}
spec: {clusterIP: 10.96.7.30, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: set}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: prod}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: ext}
spec: {type: ExternalName, externalName: www.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: none, namespace: prod}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: prod}
spec: {clusterIP: None, publishNotReadyAddresses: true}
---
"""
ALIASES = {"alias": "kubernetes.default.svc.cluster.local", "chain": "alias.prod.svc.cluster.local",
           "round": "round.prod.svc.cluster.local", "lost": "nobody.default.svc.cluster.local"}


def slice_of(service, index, endpoints, ports, ns="default", family="IPv4"):
    made = [{"addresses": [ip], "conditions": {"ready": ready}, **({"hostname": host} if host else {})}
            for ip, host, ready in endpoints]
    return json.dumps({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                       "metadata": {"name": f"{service}-{index}", "namespace": ns, "labels": {"kubernetes.io/service-name": service}},
                       "endpoints": made, "ports": [{"name": n, "port": p} for n, p in ports]}) + "\n---\n"


TABLE_SLICES = (
    slice_of("set", 1, [("10.42.0.5", "set-0", True), ("10.42.1.6", "set-1", True), ("10.42.1.7", "set-2", False)], [("db", 5432)]) +
    slice_of("six", 1, [("fd00:10::1", "six-0", True), ("fd00:10::2", "", True)], [("db", 5432)], family="IPv6") +
    slice_of("elsewhere", 1, [("192.0.2.7", "", True)], [], "prod") +
    slice_of("web", 1, [("10.42.2.1", "", True), ("10.42.2.2", "", True)], [("http", 8080)], "prod") +
    slice_of("web", 2, [("10.42.2.2", "", True), ("10.42.2.3", "", True)], [("http", 8081)], "prod") +
    slice_of("none", 1, [("10.42.3.3", "", False)], [("http", 80)], "prod") +
    slice_of("hidden", 1, [("10.42.3.3", "", False)], [("http", 80)], "prod"))

def backend_pod(lab, name, node):
    pod = support.echo_pod(name, "backend")
    return pod.replace("spec:\n", f"spec:\n  nodeName: {lab.node(node)}\n  hostname: {name}\n  subdomain: each\n", 1) + "---\n"


class Names(unittest.TestCase):
    """Three nodes; a client in `default` on the first, one in `other` on the second."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab = DnsLab(nodes=3)
        lab.start_upstream()
        lab.build_musl()
        lab.k("apply", "-f", "-", stdin=BACKEND + backend_pod(lab, "b1", 1) + backend_pod(lab, "b2", 3))
        lab.k("apply", "-f", "-", stdin=client_pod(lab, "near", 1) + client_pod(lab, "far", 2, "other"))
        lab.wait_ready("b1", "b2", "near")
        lab.k("wait", "-n", "other", "--for=condition=Ready", "--timeout=60s", "pod/far", timeout=70)
        cls.ip = lab.get("service", "backend")["spec"]["clusterIP"]
        cls.each = sorted(lab.get("pod", b)["status"]["podIP"] for b in ("b1", "b2"))
        for node in (1, 2, 3):
            await_name(lab, f"b1.each.default.svc.{ZONE}", node)
            await_name(lab, f"b2.each.default.svc.{ZONE}", node)

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def near(self, *argv, check=True, node=1, pod="default/near"):
        return self.lab.exec(*argv, node=node, pod=pod, check=check, timeout=90)

    def far(self, *argv, check=True):
        return self.near(*argv, check=check, node=2, pod="other/far")

    def test_every_resolver_finds_services_by_every_form_of_their_name(self):
        full = f"backend.default.svc.{ZONE}"
        for ask, names in ((self.near, ("backend", "backend.default", "backend.default.svc", full, full + ".")),
                           (self.far, ("backend.default", "backend.default.svc", full, full + "."))):
            for name in names:
                with self.subTest(name=name, pod=ask.__name__):
                    glibc = ask("getent", "ahosts", name)[1].split()
                    self.assertEqual(glibc[0], self.ip)
                    self.assertEqual({word for word in glibc if re.fullmatch(r"[\d.]+", word)}, {self.ip})
                    self.assertEqual(ask("/shared/ask", name)[1].split(), [self.ip])

    def test_busybox_nslookup(self):
        """Of the whole search path it asks at once, and fails when one of the names is not there."""
        full, found = f"backend.default.svc.{ZONE}", f"Name:\tbackend.default.svc.{ZONE}\nAddress: {self.ip}\n"
        for ask in (self.near, self.far):
            for name in (full, full + "."):
                code, out, _ = ask("busybox", "nslookup", name, check=False)
                self.assertEqual((code, out.count("Name:"), "can't find" in out), (0, 1, False), out)
                self.assertIn(found, out)
            # A name with a dot is sent as it stands, without a search path: no Kubernetes DNS knows such a name.
            for name in ("backend.default", "backend.default.svc"):
                code, out, _ = ask("busybox", "nslookup", name, check=False)
                self.assertEqual((code, "Name:" in out), (1, False), out)
                self.assertIn(f"** server can't find {name}: NXDOMAIN", out)
        self.assertIn(found, self.near("busybox", "nslookup", "backend", check=False)[1])
        code, out, _ = self.far("busybox", "nslookup", "backend", check=False)
        self.assertEqual((code, "Name:" in out), (1, False), out)
        self.assertIn(f"** server can't find backend.other.svc.{ZONE}: NXDOMAIN", out)

    def test_what_is_not_there_is_found_nowhere(self):
        for ask, name in ((self.near, "missing"), (self.near, "missing.default"), (self.far, "backend"), (self.far, "backend.other")):
            with self.subTest(name=name, pod=ask.__name__):
                self.assertEqual(ask("getent", "ahosts", name, check=False)[0], 2)
                self.assertEqual(ask("/shared/ask", name, check=False)[0], 2)

    def test_a_search_costs_one_question(self):
        """The whole search path is walked on the node: the answer comes through an alias from the first suffix."""
        out = self.far("dig", "+search", "+showsearch", "backend.default", "A")[1]
        rcode, sections = parse_dig(out)
        self.assertEqual(rcode, "NOERROR")
        self.assertEqual(out.count("status: "), 1, out)
        self.assertEqual(sections["answer"], [f"backend.default.other.svc.{ZONE}. 5 IN CNAME backend.default.svc.{ZONE}.",
                                              f"backend.default.svc.{ZONE}. 5 IN A {self.ip}"])

    def test_pods_connect_by_name(self):
        for ask, name in ((self.near, "backend"), (self.far, "backend.default"), (self.far, f"backend.default.svc.{ZONE}")):
            self.assertIn(ask("curl", "-sS", "--max-time", "20", f"http://{name}:5000/hostname")[1].strip(), ("b1", "b2"))
        self.assertEqual(self.far("curl", "-sS", "--max-time", "20", "http://b2.each.default:5000/hostname")[1].strip(), "b2")

    def test_endpoints_have_names(self):
        lab = self.lab
        for node in (1, 2, 3):  # from the nodes' own processes
            self.assertEqual(lab.short(f"each.default.svc.{ZONE}", node=node), self.each)
            self.assertEqual(lab.short(f"each.default.svc.{ZONE}", "+tcp", node=node), self.each)
        self.assertEqual(lab.short(f"_http._tcp.each.default.svc.{ZONE}", "SRV", pod="default/near"),
                         [f"0 50 5000 {b}.each.default.svc.{ZONE}." for b in ("b1", "b2")])
        for b in ("b1", "b2"):
            ip = lab.get("pod", b)["status"]["podIP"]
            self.assertEqual(lab.short("-x", ip, pod="default/near"), [f"{b}.each.default.svc.{ZONE}."])
            self.assertEqual(lab.short(f"{ip.replace('.', '-')}.default.pod.{ZONE}"), [ip])
            self.assertEqual(self.far("getent", "ahostsv4", f"{b}.each.default.svc")[1].split()[0], ip)
        self.assertEqual(lab.short("-x", self.ip), [f"backend.default.svc.{ZONE}."])

    def test_kube_dns_is_a_service_without_rules(self):
        listed = self.lab.k("get", "svc", "-A")
        self.assertRegex(listed, rf"kube-system +kube-dns +ClusterIP +{re.escape(DNS)} +<none> +53/UDP,53/TCP")
        self.assertEqual(self.lab.short(f"kube-dns.kube-system.svc.{ZONE}"), [DNS])
        for node in (1, 2, 3):
            rules = self.lab.exec("iptables-save", node=node)[1]
            self.assertNotIn("kube-dns", rules)
            nat = rules.split("*nat")[1].split("COMMIT")[0]
            self.assertNotIn(DNS, nat)
            self.assertIn(self.ip, nat)

    def test_names_outside_go_to_the_upstream_and_single_labels_do_not(self):
        self.assertEqual(self.near("getent", "ahostsv4", "www.example.com")[1].split()[0], "192.0.2.80")
        self.assertEqual(self.far("/shared/ask", "www.example.com")[1].split(), ["192.0.2.80"])
        self.assertEqual(self.near("getent", "ahostsv4", "ext")[1].split()[0], "192.0.2.80")
        self.assertEqual(self.lab.short("ext.default.svc." + ZONE, node=3), ["192.0.2.80", "www.example.com."])
        self.assertEqual(self.near("getent", "ahosts", "unknownhost", check=False)[0], 2)
        asked = self.lab.questions_outside()
        nodes = {self.lab.address(i) for i in (1, 2, 3)}
        self.assertTrue(asked)
        self.assertEqual({peer for _, _, peer, _ in asked} - nodes, set(), "only nodes ask, not their Pods")
        for name, *_ in asked:
            self.assertIn(".", name)
            self.assertFalse(name.endswith(ZONE) or name.endswith(".arpa"), name)

    def test_strangers_get_no_answer(self):
        for protocol in ("+notcp", "+tcp"):
            for node in (1, 2):
                run(["ip", "-n", self.lab.outside, "route", "replace", DNS + "/32", "via", self.lab.address(node)])
                done = run(["ip", "netns", "exec", self.lab.outside, "dig", f"@{DNS}", protocol, "+tries=1", "+time=3", f"backend.default.svc.{ZONE}"],
                           check=False, timeout=90)
                self.assertNotIn("status:", done[1])
                self.assertNotEqual(done[0], 0)
        run(["ip", "-n", self.lab.outside, "route", "del", DNS + "/32"])

    def test_no_question_is_tracked(self):
        lab = self.lab
        # What is tracked shows, so that nothing shown means something.
        self.near("curl", "-sS", "--max-time", "20", f"http://{self.ip}:5000/hostname")
        self.assertIn(f"dst={self.ip}", lab.exec("cat", "/proc/net/nf_conntrack")[1])
        for _ in range(5):
            for how in ("+notcp", "+tcp"):
                lab.dig(how, f"backend.default.svc.{ZONE}", pod="default/near")
                lab.dig(how, f"backend.default.svc.{ZONE}")
        tracked = lab.exec("cat", "/proc/net/nf_conntrack")[1]
        self.assertEqual([line for line in tracked.split("\n") if DNS in line and "port=53 " in line], [])

    def test_a_large_answer_is_cut_and_comes_whole_over_tcp(self):
        ips = sorted(f"10.42.77.{i}" for i in range(1, 101))
        self.lab.k("apply", "-f", "-", stdin="""
apiVersion: v1
kind: Service
metadata: {name: many}
spec: {clusterIP: None}
---
""" + slice_of("many", 1, [(ip, "", True) for ip in ips], []))
        name = f"many.default.svc.{ZONE}"
        await_name(self.lab, name)
        self.assertRegex(self.lab.dig("+noedns", "+ignore", name, pod="default/near"), r"flags:[^;]* tc[ ;]")
        self.assertEqual(self.lab.short("+noedns", name, pod="default/near"), ips)
        self.assertEqual(self.lab.short("+bufsize=4096", name, pod="default/near"), ips)
        self.assertEqual(self.lab.short("+tcp", "+keepopen", name, pod="default/near"), ips)

    def test_a_new_services_name_is_there_at_once(self):
        for i in range(5):
            name = f"new-{i}"
            self.lab.k("create", "service", "clusterip", name, "--tcp=80")
            ip = self.lab.get("service", name)["spec"]["clusterIP"]
            began = time.monotonic()
            for node in (1, 2, 3):
                self.assertEqual(await_name(self.lab, f"{name}.default.svc.{ZONE}", node), [ip])
            print(f"    known to three nodes {time.monotonic() - began:.2f} s later, dig's own time included")
            self.lab.k("delete", "service", name)
            eventually(lambda: not self.lab.short(f"{name}.default.svc.{ZONE}", node=2), "the name is gone")

    def test_pods_get_the_resolv_conf_of_their_policy(self):
        lab = self.lab
        host = f"search corp.example\nnameserver {lab.outside_ip}\n"
        cluster = f"search default.svc.{ZONE} svc.{ZONE} {ZONE} corp.example\nnameserver {DNS}\noptions ndots:5\n"
        config = "dnsConfig: {nameservers: [192.0.2.7], searches: [mine], options: [{name: ndots, value: '1'}]}"
        cases = {"first": ("", cluster),
                 "theirs": ("  dnsPolicy: Default", host),
                 "host": ("  hostNetwork: true", host),
                 "both": ("  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet", cluster),
                 "own": ("  dnsPolicy: None\n  " + config, "search mine\nnameserver 192.0.2.7\noptions ndots:1\n"),
                 "more": ("  " + config, cluster.replace("corp.example\n", "corp.example mine\n").replace(
                     "options ndots:5", "nameserver 192.0.2.7\noptions ndots:1"))}
        lab.k("apply", "-f", "-", stdin="".join(client_pod(lab, "dns-" + name, 3, extra=extra) for name, (extra, _) in cases.items()))
        lab.wait_ready(*["dns-" + name for name in cases])
        for name, (_, wanted) in cases.items():
            with self.subTest(policy=name):
                self.assertEqual(lab.exec("cat", "/etc/resolv.conf", node=3, pod="default/dns-" + name)[1], wanted)
        self.assertEqual(self.near("getent", "ahosts", "backend", node=3, pod="default/dns-both")[1].split()[0], self.ip)
        lab.k("delete", "pod", "--wait=false", *["dns-" + name for name in cases])

    def test_a_policy_without_servers_is_refused(self):
        code, _, err = self.lab.kubectl("apply", "-f", "-", stdin=client_pod(self.lab, "bad", 1, extra="  dnsPolicy: None"), check=False)
        self.assertEqual(code, 1)
        self.assertIn("spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None", err)


class Table(unittest.TestCase):
    """The questions that the unit tests ask a zone, asked of a lab with the same Services by dig in a Pod."""

    def test_every_answer_is_exact(self):
        lab = DnsLab(nodes=1)
        self.addCleanup(lab.down)
        aliases = "".join(f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: prod}}\n"
                          f"spec: {{type: ExternalName, externalName: {target}}}\n---\n" for name, target in ALIASES.items())
        lab.k("apply", "-f", "-", stdin=TABLE_SERVICES + aliases)
        # In a namespace that nobody is asked about: these are questions, not steps along a search path.
        lab.k("apply", "-f", "-", stdin=TABLE_SLICES + client_pod(lab, "asker", 1, "asker"))
        lab.k("wait", "-n", "asker", "--for=condition=Ready", "--timeout=60s", "pod/asker", timeout=70)
        for name in ("set-1.set.default", "lost.prod", "hidden.prod", "10-42-2-3.web.prod", "elsewhere.prod", "fd00-10--2.six.default"):
            kind = "AAAA" if "six" in name else "A"
            eventually(lambda: "answer" in parse_dig(lab.dig(f"{name}.svc.{ZONE}", kind))[1], f"{name} is known")
        asked = 0
        with open(os.path.join(ROOT, "test/node/dns/questions.txt"), encoding="ascii") as f:
            for line in f:
                if line.startswith("#") or "dual." in line:
                    continue
                question, wanted = line.rstrip("\n").split(" | ", 1)
                name, kind = question.split()
                with self.subTest(question=question):
                    self.check(lab, name, kind, wanted)
                asked += 1
        self.assertGreaterEqual(asked, 100)

    def check(self, lab, name, kind, wanted):
        rcode, sections = parse_dig(lab.dig("+noedns", "-q", name, "-t", kind, pod="asker/asker"))
        wanted, _, follow = wanted.partition(" -> ")
        parts = [part.strip() for part in wanted.split(" |")] + [""] * 3
        if follow:  # nobody is there to be asked for it
            self.assertEqual(rcode, "SERVFAIL")
            return
        self.assertEqual(rcode, parts[0])
        for section, text in zip(("answer", "authority", "additional"), parts[1:]):
            expected = [r for r in text.split("; ") if r]
            self.assertEqual(sorted(normal(r, name) for r in sections.get(section, [])), sorted(normal(r, name) for r in expected), section)


def normal(record, name):
    """With its owner, in lower case, and with any serial."""
    if " 5 IN " not in record:
        record = f"{name}. 5 IN {record}"
    record = re.sub(r"(hostmaster\.cluster\.local\.) (\d+|SERIAL) ", r"\1 SERIAL ", record)
    return record.lower()


if __name__ == "__main__":
    support.main()
