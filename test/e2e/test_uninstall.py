"""What is left when Coracle goes: nothing. Machines of the test's own are compared before and after."""
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import support
from machine import Machine, differences, join, warm_up
from support import CORACLE, eventually

DATA = "/var/lib/coracle"
ADDRESSES = ("10.251.8.1", "10.251.8.2")

# What an administrator may have: a bridge, routes, rules, tables and chains, some empty, and sysctls.
OWN_THINGS = """
ip link add own0 type bridge
ip addr add 192.0.2.1/24 dev own0
ip -6 addr add 2001:db8::1/64 dev own0
ip link set own0 up
ip link add own1 type veth peer name own2
ip link set own1 master own0 up
ip link set own2 up
ip route add 198.51.100.0/24 via 192.0.2.9 dev own0
ip route add 203.0.113.0/24 dev own0 table 100
ip -6 route add 2001:db8:1::/48 via 2001:db8::9 dev own0
ip rule add fwmark 0x77 table 100
ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev own0 nud permanent
nft add table inet own
nft 'add chain inet own in { type filter hook input priority 10; policy accept; }'
nft add rule inet own in tcp dport 9 counter drop
nft add set inet own names '{ type ipv4_addr; elements = { 192.0.2.77 }; }'
nft add table ip other
iptables -N OWN
iptables -A OWN -s 192.0.2.66 -j DROP
iptables -A INPUT -j OWN
iptables -P FORWARD DROP
iptables -A FORWARD -i own0 -j ACCEPT
iptables -t raw -A PREROUTING -s 192.0.2.67 -j DROP
iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -o eth0 -j MASQUERADE
iptables -t nat -D POSTROUTING 1
ip6tables -A INPUT -s 2001:db8::66 -j DROP
sysctl -qw net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.own0.send_redirects=0
"""


def pod(name, node, app="echo"):
    return support.echo_pod(name, app).replace("spec:\n", f"spec:\n  nodeName: {node}\n", 1) + "---\n"


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: echo}
  ports: [{port: 80, targetPort: 5000, nodePort: 30555}]
"""


class Machines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warm_up()

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="coracle-uninstall-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.started = []

    def machine(self, name):
        machine = Machine(name)
        self.addCleanup(machine.close)
        return machine

    def assertSame(self, before, machine):
        found = differences(before, machine.look())
        if found:
            self.fail("\n".join([machine.name, *found]))

    def start(self, machine, *argv):
        process = machine.start(CORACLE, *argv, log=f"{self.dir}/{machine.name}.log")
        self.addCleanup(process.wait, 30)
        self.addCleanup(machine.close)  # before it is waited for: cleanups run backwards
        return process

    def said(self, machine):
        with open(f"{self.dir}/{machine.name}.log", encoding="utf-8") as log:
            return log.read()


class Uninstall(Machines):
    """A server on one machine, an agent on another, and a cable between them."""

    def cluster(self, prepare=("", "")):
        self.one, self.two = self.machine("one"), self.machine("two")
        join(self.one, self.two, [a + "/24" for a in ADDRESSES])
        for machine, script in zip((self.one, self.two), prepare):
            machine.sh(script)
        self.before = self.one.settled(), self.two.settled()
        self.start(self.one, "server", "--data-dir", DATA, "--node-name", "one", "--node-ip", ADDRESSES[0])
        eventually(lambda: self.one.coracle("status", "--data-dir", DATA, check=False)[0] == 0, "the server is up")
        token = self.one.coracle("token", "create", "--data-dir", DATA)[1].strip()
        self.agent = ["agent", "--data-dir", DATA, "--node-name", "two", "--node-ip", ADDRESSES[1], "--server",
                      f"https://{ADDRESSES[0]}:6443", "--token", token]
        self.start(self.two, *self.agent)
        self.kubectl("apply", "-f", "-", stdin=pod("p1", "one") + pod("p2", "two") + SERVICE)
        eventually(lambda: self.served() == {"p1", "p2"}, "both Pods serve")

    def kubectl(self, *args, **kwargs):
        return self.one.run("kubectl", "--kubeconfig", DATA + "/kubeconfig", "--cache-dir", self.dir, *args,
                            env={**os.environ, "HOME": self.dir}, **kwargs)[1]

    def served(self):
        """Who answers on the second machine's node port."""
        script = f"for i in 1 2 3 4; do curl -sS --max-time 5 http://{ADDRESSES[1]}:30555/hostname || true; echo; done"
        return set(self.one.run("sh", "-c", script)[1].split())

    def stop(self, machine, what, number=signal.SIGTERM):
        machine.kill(machine.pids(CORACLE, what, "--data-dir"), number)

    def uninstall(self, machine):
        code, out, err = machine.coracle("uninstall", "--data-dir", DATA, check=False)
        self.assertEqual((code, out, err), (0, "", ""), self.said(machine))

    def leave(self):
        """Both go, the agent first; then once more, where there is nothing."""
        self.stop(self.two, "agent")
        self.uninstall(self.two)
        self.assertSame(self.before[1], self.two)
        self.stop(self.one, "server")
        self.uninstall(self.one)
        self.assertSame(self.before[0], self.one)
        for machine, before in zip((self.one, self.two), self.before):
            self.uninstall(machine)
            self.assertSame(before, machine)

    def test_a_clean_host(self):
        self.cluster()
        self.assertTrue(differences(self.before[1], self.two.look()), "what is compared sees what is there")
        self.leave()

    def test_a_host_with_things_of_its_own(self):
        own = OWN_THINGS + "sysctl -qw net.ipv4.ip_forward=%d\n"
        # One link that forwards on a machine that does not, and the other way round.
        self.cluster((own % 1 + "sysctl -qw net.ipv4.conf.own1.forwarding=0",
                      own % 0 + "sysctl -qw net.ipv4.conf.own1.forwarding=1 net.ipv4.conf.default.forwarding=1"))
        self.leave()

    def test_a_host_with_legacy_rules(self):
        # Tables once set up stay, so they are there before.
        own = "for t in raw filter nat mangle; do iptables-legacy -t $t -N OWN; iptables-legacy -t $t -A OWN -j RETURN; done"
        if self.machine("probe").run("sh", "-ec", own, check=False)[0] != 0:
            self.skipTest("this kernel has no iptables-legacy")
        self.cluster((own, own))
        self.assertIn("KUBE-SVC", self.two.run("iptables-legacy-save")[1])
        self.leave()

    def test_rules_of_the_other_kind_came_meanwhile(self):
        self.cluster()
        legacy = "for i in $(seq 300); do iptables-legacy -A INPUT -s 192.0.2.$((i % 250)) -j DROP; done"
        if self.two.run("sh", "-ec", legacy, check=False)[0] != 0:
            self.skipTest("this kernel has no iptables-legacy")
        self.stop(self.two, "agent")
        self.uninstall(self.two)
        self.assertEqual(self.two.look()["nft"], self.before[1]["nft"])
        self.two.sh("iptables-legacy -F INPUT; rm -f /run/xtables.lock")
        left = [d for d in differences(self.before[1], self.two.look()) if "legacy" not in d]
        self.assertEqual(left, [])

    def test_an_agent_that_was_killed_in_the_middle(self):
        for delay in (0.05, 0.4):
            with self.subTest(delay=delay):
                self.cluster()
                self.kubectl("apply", "-f", "-", stdin="".join(pod(f"q{i}", "two", "other") for i in range(6)))
                time.sleep(delay)  # somewhere in the middle of starting them
                self.stop(self.two, "agent", signal.SIGKILL)
                self.assertTrue(self.two.pids("supervisor") or self.two.pids("echo"), "Pods live on")
                self.leave()
                self.one.close()
                self.two.close()

    def test_it_is_refused_while_a_process_runs(self):
        self.cluster()
        for machine, what in ((self.one, "server"), (self.two, "agent")):
            pid = machine.pids(CORACLE, what, "--data-dir")[0]
            rules = machine.look()["iptables-nft"]
            code, _, err = machine.coracle("uninstall", "--data-dir", DATA, check=False)
            self.assertEqual(code, 1)
            self.assertIn(f"{DATA} is in use by process {pid} (coracle {what}): stop it first", err)
            self.assertEqual(machine.look()["iptables-nft"], rules)
        # Nor may there be two of them.
        code, _, err = self.two.coracle(*self.agent, check=False)
        self.assertEqual(code, 1)
        self.assertIn("(coracle agent): stop it first", err)
        self.assertEqual(self.served(), {"p1", "p2"})
        self.leave()

    def test_other_files_in_the_data_directory_stay(self):
        machine = self.machine("one")
        machine.sh(f"mkdir -m 700 {DATA}; echo mine >{DATA}/notes")
        before = machine.look()
        self.start(machine, "server", "--data-dir", DATA, "--node-name", "one", "--node-ip", "127.0.0.1", "--no-agent")
        eventually(lambda: machine.coracle("status", "--data-dir", DATA, check=False)[1], "the server is up")
        # A server that is no node has no rules: these are another program's.
        machine.sh("iptables -N KUBE-SERVICES; iptables -A KUBE-SERVICES -j RETURN")
        rules = machine.look()["iptables-nft"]
        self.stop(machine, "server")
        code, out, _ = machine.coracle("uninstall", "--data-dir", DATA)
        self.assertIn("notes", out)
        self.assertEqual(code, 0)
        self.assertEqual(machine.look()["iptables-nft"], rules)
        machine.sh("iptables -F; iptables -X; nft flush ruleset")
        self.assertSame(before, machine)


class LabDown(Machines):
    """The machine that labs run on."""

    def setUp(self):
        super().setUp()
        self.it = self.machine("host")
        self.it.sh(OWN_THINGS)
        self.before = self.it.settled()

    def lab(self, command, *args, name="lab", **kwargs):
        return self.it.coracle("lab", command, "--name", name, *args, timeout=120, **kwargs)

    def kubectl(self, *args, name="lab", **kwargs):
        config = self.lab("kubeconfig", name=name)[1].strip()
        return self.it.run("kubectl", "--kubeconfig", config, "--cache-dir", f"{self.dir}/{name}", *args,
                           env={**os.environ, "HOME": self.dir}, **kwargs)[1]

    def serve(self, name="lab"):
        """Pods on both nodes and their Service; its address in the lab."""
        self.kubectl("apply", "-f", "-", name=name,
                     stdin=pod("p1", f"{name}-node-1") + pod("p2", f"{name}-node-2") + SERVICE.replace(", nodePort: 30555", ""))
        self.kubectl("wait", "--for=condition=Ready", "pod/p1", "pod/p2", "--timeout=60s", name=name, timeout=70)
        return self.lab("url", "echo", name=name)[1].strip()

    def down(self, name="lab"):
        code, out, err = self.lab("down", name=name, check=False)
        self.assertEqual((code, err), (0, ""), out)

    def test_up_and_down(self):
        self.lab("up", "--nodes", "2")
        self.serve()
        self.assertTrue(differences(self.before, self.it.look()))
        self.down()
        self.assertSame(self.before, self.it)
        self.down()
        self.assertSame(self.before, self.it)

    def test_down_after_a_power_cut(self):
        self.lab("up", "--nodes", "2")
        self.serve()
        for node in ("lab-node-1", "lab-node-2"):
            self.lab("power-cut", node)
        self.down()
        self.assertSame(self.before, self.it)

    def test_down_after_up_was_killed(self):
        began = time.monotonic()
        self.lab("up", "--nodes", "2")
        whole = time.monotonic() - began
        self.down()
        seed = int(os.environ.get("CORACLE_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}, lab up takes {whole:.2f} s", flush=True)
        delays = random.Random(seed)
        for i in range(24 if os.environ.get("CORACLE_LONG_TESTS") else 8):
            delay = delays.uniform(0, whole)
            with self.subTest(i=i, delay=delay):
                up = self.start(self.it, "lab", "up", "--name", "lab", "--nodes", "2")
                try:
                    up.wait(delay)
                except subprocess.TimeoutExpired:
                    pass
                self.it.kill(self.it.pids(CORACLE, "lab up"), signal.SIGKILL)
                self.down()
                self.assertSame(self.before, self.it)
        self.lab("up", "--nodes", "2")
        self.serve()
        self.down()
        self.assertSame(self.before, self.it)

    def test_two_labs_side_by_side(self):
        # The one whose name the other's begins with goes first.
        names = ("lab", "lab-two")
        for name in names:
            self.lab("up", "--nodes", "2", name=name)
        urls = [self.serve(name) for name in names]
        self.assertEqual(len(set(urls)), 2)
        loop = "while sleep 0.02; do curl -sS --max-time 3 %s/hostname || echo failed; echo; done" % urls[1]
        out = f"{self.dir}/requests.log"
        requests = self.it.start("sh", "-c", loop, log=out)

        def answers():
            with open(out, encoding="utf-8") as f:
                return f.read().split()
        eventually(lambda: len(answers()) > 50, "requests")
        self.down("lab")
        count = len(answers())
        eventually(lambda: len(answers()) > count + 50, "requests after the other lab went")
        self.it.kill(self.it.pids("while sleep 0.02"))
        requests.wait(10)
        self.assertLessEqual(set(answers()), {"p1", "p2"})
        self.assertIn("running", self.lab("status", name="lab-two")[1])
        # And the machine's things are now the second lab's to put back.
        self.down("lab-two")
        self.assertSame(self.before, self.it)


if __name__ == "__main__":
    support.main()
