"""The cluster's DNS when others take away what it needs, and when its agent is stopped or killed."""
import os
import re
import select
import signal
import subprocess
import threading
import time
import unittest

import support
from dns_stage import BACKEND, DNS, ZONE, DnsLab, await_name, client_pod
from support import CORACLE, eventually, run


class Damage(unittest.TestCase):
    """Others take away what the DNS needs, and the agent itself."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab = DnsLab(nodes=2)
        lab.k("apply", "-f", "-", stdin=BACKEND + client_pod(lab, "near", 2))
        lab.wait_ready("near")
        cls.name = f"backend.default.svc.{ZONE}"
        cls.ip = lab.get("service", "backend")["spec"]["clusterIP"]
        await_name(lab, cls.name, 2, "default/near")

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def answers(self):
        return self.lab.short(self.name, node=2, pod="default/near") == [self.ip] == self.lab.short(self.name, node=2)

    def raw(self):
        """The rules by which questions are not tracked."""
        return sorted(line for line in self.lab.exec("iptables-save", "-t", "raw", node=2)[1].split("\n") if line.startswith("-A"))

    def test_rules_and_address_come_back(self):
        node, rules = self.lab.node(2), self.raw()
        self.assertEqual(sum("notrack" in rule for rule in rules), 6, rules)
        run([CORACLE, "lab", "flush", "--name", self.lab.name, node])
        self.assertTrue(self.answers(), "also without any rule")
        eventually(lambda: self.raw() == rules, "the rules are back")
        for rule in rules:
            self.lab.exec("iptables", "-t", "raw", "-D", *re.sub("^-A ", "", rule).split(), node=2)
            eventually(lambda: self.raw() == rules, rule + " is back")

        show = ("ip", "-o", "-4", "address", "show", "dev", "cora0")
        self.assertIn(f" {DNS}/32 ", self.lab.exec(*show, node=2)[1])
        self.lab.exec("ip", "address", "del", DNS + "/32", "dev", "cora0", node=2)
        eventually(lambda: f" {DNS}/32 " in self.lab.exec(*show, node=2)[1], "the address is back")
        self.lab.exec("ip", "link", "del", "cora0", node=2)
        eventually(lambda: f" {DNS}/32 " in self.lab.exec(*show, node=2, check=False)[1], "the bridge is back with it")
        eventually(self.answers, "names are answered")

    def test_an_input_chain_that_drops_lets_questions_in(self):
        try:
            self.lab.exec("sh", "-c", "iptables -I INPUT 1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; iptables -P INPUT DROP", node=2)
            self.assertTrue(self.answers())
            self.assertEqual(self.lab.short("+tcp", self.name, node=2, pod="default/near"), [self.ip])
            self.assertEqual(self.lab.short("+tcp", self.name, node=2), [self.ip])
        finally:
            self.lab.exec("sh", "-c", "iptables -P INPUT ACCEPT; iptables -D INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", node=2)

    def agent_pid(self):
        with open(self.lab.data_dir(2) + ".pid", encoding="ascii") as f:
            return int(f.read().split()[0])

    def test_a_restart_of_the_agent_fails_no_lookup(self):
        """Questions wait in its sockets, which outlive it, whether it was stopped or killed."""
        script = ("import socket, time\n"
                  "while True:\n"
                  "    began = time.monotonic()\n"
                  "    try:\n"
                  f"        ok = socket.gethostbyname('backend') == '{self.ip}'\n"
                  "    except OSError:\n"
                  "        ok = False\n"
                  "    print(began, time.monotonic() - began, int(ok), flush=True)\n"
                  "    time.sleep(0.001)\n")
        loop = subprocess.Popen([CORACLE, "lab", "exec", "--name", self.lab.name, self.lab.node(2), "--pod", "default/near", "--",
                                 "python3", "-u", "-c", script], stdout=subprocess.PIPE, text=True)
        results = []

        def read():
            for line in loop.stdout:
                began, took, ok = line.split()
                results.append((float(began), float(took), ok == "1"))
        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def more():
            now = time.monotonic()
            eventually(lambda: sum(began > now for began, _, _ in results) >= 50, "50 more lookups")
        try:
            for how in [signal.SIGTERM, signal.SIGKILL] * 3:
                more()
                began = time.monotonic()
                self.end_agent(how)
                self.lab.bring_up()
                ready = time.monotonic()
                more()
                longest = max(took for moment, took, _ in results if moment + took > began)
                print(f"    {how.name}: the longest lookup took {longest:.3f} s; the agent was Ready after {ready - began:.3f} s")
        finally:
            loop.kill()
            loop.wait()
            reader.join(10)
            loop.stdout.close()
        self.assertEqual([r for r in results if not r[2]], [])

    def end_agent(self, how):
        """Returns when it is gone."""
        pidfd = os.pidfd_open(self.agent_pid())
        try:
            signal.pidfd_send_signal(pidfd, how)
            self.assertTrue(select.select([pidfd], [], [], 30)[0])
        finally:
            os.close(pidfd)

    def test_what_keeps_the_sockets_ends_after_the_agent(self):
        def keepers():
            found = run(["pgrep", "-f", f"^coracle-sockets {self.lab.data_dir(2)}/"], check=False)[1].split()
            self.assertLessEqual(len(found), 1)
            return found
        kept = keepers()
        self.assertEqual(len(kept), 1)
        self.end_agent(signal.SIGTERM)
        try:
            self.assertEqual(keepers(), kept)
            eventually(lambda: not keepers(), "it ends by itself")
            self.assertFalse(os.path.exists(self.lab.data_dir(2) + "/network/sockets.sock"))
        finally:
            self.lab.bring_up()
        self.assertEqual(len(keepers()), 1)
        eventually(self.answers, "names are answered")


if __name__ == "__main__":
    support.main()
