"""The nodes test the way to each other: what they say of it in their Nodes, and what `coracle status` shows."""
import json
import re
import time
import unittest

import support
from support import CORACLE, Lab, eventually, run

NODES = (1, 2, 3)
# Packets with a UDP checksum: bytes 26 and 27, behind an IPv4 header without options.
WITH_CHECKSUM = ("PREROUTING", "-i", "cora.vx", "-p", "udp", "-m", "u32", "--u32", "24&0xFFFF=0x1:0xFFFF", "-j", "DROP")


class SelfTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(nodes=3)

    @classmethod
    def tearDownClass(cls):
        cls.lab.down()

    def setUp(self):
        eventually(self.all_well, "all nodes reach all others", 90)

    def lab_command(self, *args):
        return run([CORACLE, "lab", args[0], "--name", self.lab.name, *args[1:]])

    def node(self, i):
        return self.lab.get("node", self.lab.node(i))

    def network(self, i):
        """Status and reason of NetworkUnavailable."""
        conditions = {c["type"]: c for c in self.node(i)["status"]["conditions"]}
        return conditions["NetworkUnavailable"]["status"], conditions["NetworkUnavailable"]["reason"]

    def peers(self, i):
        peers = json.loads(self.node(i)["metadata"].get("annotations", {}).get("coracle.io/peers", "{}"))
        return {int(name.rsplit("-", 1)[1]): state for name, state in peers.items()}

    def taints(self, i):
        return sorted(t["key"].split("/")[1] for t in self.node(i)["spec"].get("taints", []))

    def all_well(self):
        return all(self.network(i) == ("False", "PeersReachable") and self.taints(i) == [] and
                   self.peers(i) == {j: "ok" for j in NODES if j != i} for i in NODES)

    def matrix(self):
        """The exit code of `coracle status`, and its matrix as {(from, to): cell}."""
        code, out, _ = run([CORACLE, "status", "--data-dir", self.lab.data_dir()], check=False)
        lines = out.split("\n")
        at = next(i for i, line in enumerate(lines) if line.startswith("peers"))
        number = lambda name: int(name.rsplit("-", 1)[1])
        columns = [number(name) for name in re.split(" {2,}", lines[at][10:])[1:]]
        cells = {}
        for line in lines[at + 1:at + 1 + len(columns)]:
            name, *row = line.split()
            cells.update({(number(name), column): cell for column, cell in zip(columns, row)})
        return code, cells

    def expect_matrix(self, code, broken):
        """What is not in `broken` is "ok", and "-" for a node itself."""
        expected = {(i, j): broken.get((i, j), "-" if i == j else "ok") for i in NODES for j in NODES}
        self.assertEqual(self.matrix(), (code, expected))

    def test_all_nodes_reach_all_others_and_idle_nodes_are_not_written(self):
        self.expect_matrix(0, {})
        before = [self.node(i)["metadata"]["resourceVersion"] for i in NODES]
        time.sleep(21)  # two rounds of everybody: there is no event to wait for
        self.assertEqual([self.node(i)["metadata"]["resourceVersion"] for i in NODES], before)

    def test_a_node_that_is_cut_off_is_nobody_elses_fault(self):
        self.lab_command("cut", self.lab.node(3))
        try:
            eventually(lambda: self.peers(1).get(3) == self.peers(2).get(3) == "PeerUnreachable", "it is unreachable", 90)
            # Those that are not Ready do not count: on a busy machine the server may be later to find that.
            for i in (1, 2):
                eventually(lambda n=i: self.network(n) == ("False", "PeersReachable"), "no fault of the network")
                self.assertEqual(self.taints(i), [])
            self.expect_matrix(1, {(1, 3): "unreachable", (2, 3): "unreachable", (3, 1): "?", (3, 2): "?"})
        finally:
            self.lab_command("heal", self.lab.node(3))
        eventually(self.all_well, "all is well again", 90)
        self.expect_matrix(0, {})

    def test_checksums_that_get_lost_keep_pods_off_that_node_only(self):
        self.lab.exec("iptables", "-t", "raw", "-A", *WITH_CHECKSUM, node=3)
        try:
            eventually(lambda: self.network(3) == ("True", "ChecksumOffloadBroken"), "its condition", 90)
            eventually(lambda: self.taints(3) == ["network-unavailable"], "its taint")
            for i in (1, 2):
                eventually(lambda n=i: self.network(n) == ("False", "ChecksumOffloadBroken"), "one of two fails", 90)
                self.assertEqual(self.taints(i), [])
                self.assertEqual(self.peers(i), {3 - i: "ok", 3: "ChecksumOffloadBroken"})
            self.expect_matrix(1, {pair: "checksum" for pair in ((1, 3), (2, 3), (3, 1), (3, 2))})
            message = next(c["message"] for c in self.node(1)["status"]["conditions"] if c["type"] == "NetworkUnavailable")
            self.assertIn(self.lab.node(3), message)
        finally:
            self.lab.exec("iptables", "-t", "raw", "-D", *WITH_CHECKSUM, node=3)
        eventually(self.all_well, "all is well again", 90)


if __name__ == "__main__":
    support.main()
