"""A server and agents as processes in network namespaces of their own: who gets in, as whom, and what is said to the others.

One bridge, the server in one namespace, agents in two; all of it carries this process's id and is removed again.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from support import CORACLE, eventually, kubectl_binaries, main, run

PID = os.getpid()
BRIDGE = f"cj{PID}"
NET = "10.251.7"


def namespace(name):
    return f"cj{PID}-{name}"


class Host:
    """A network namespace with one address on the bridge, and what runs in it."""

    def __init__(self, cluster, name, number):
        self.ns, self.name, self.ip = namespace(name), name, f"{NET}.{number}"
        self.data = os.path.join(cluster.dir, name)
        self.log = os.path.join(cluster.dir, name + ".log")
        self.process = None
        run(["ip", "netns", "add", self.ns])
        run(["ip", "link", "add", f"cj{PID}v{number}", "type", "veth", "peer", "name", "eth0", "netns", self.ns])
        run(["ip", "link", "set", f"cj{PID}v{number}", "master", BRIDGE, "up"])
        for command in (["addr", "add", f"{self.ip}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                        ["link", "set", "lo", "up"]):
            run(["ip", "-n", self.ns, *command])

    def run(self, *argv, check=True, timeout=60, env=None):
        return run(["ip", "netns", "exec", self.ns, *argv], check=check, timeout=timeout, env=env)

    def start(self, *argv):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.ns, CORACLE, *argv, "--data-dir", self.data],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def agent_args(self, server, token):
        return ["agent", "--node-name", self.name, "--node-ip", self.ip, "--server", server, "--token", token]

    def refused(self, *argv):
        """What an agent that ends at once says."""
        code, _, said = self.run(CORACLE, *argv, "--data-dir", self.data, check=False)
        assert code == 1, f"{argv}: exit {code}\n{said}"
        return said

    def said(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def remove(self):
        self.stop()
        self.run(CORACLE, "uninstall", "--data-dir", self.data, check=False)
        run(["ip", "netns", "del", self.ns], check=False)


class JoinTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="coracle-join-")
        cls.hosts = []
        cls.addClassCleanup(cls.clean)
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        run(["ip", "link", "set", BRIDGE, "up"])
        cls.server = cls.host("one", 1)
        cls.start_server()

    @classmethod
    def clean(cls):
        for host in reversed(cls.hosts):
            host.remove()
        run(["ip", "link", "del", BRIDGE], check=False)
        shutil.rmtree(cls.dir, ignore_errors=True)

    @classmethod
    def host(cls, name, number):
        host = Host(cls, name, number)
        cls.hosts.append(host)
        return host

    @classmethod
    def start_server(cls):
        cls.server.start("server", "--node-name", "one", "--node-ip", cls.server.ip)
        eventually(lambda: cls.server.run(CORACLE, "status", "--data-dir", cls.server.data, check=False)[0] == 0,
                   "the server is up")

    def url(self, port=6443):
        return f"https://{self.server.ip}:{port}"

    def token(self, *args):
        return self.server.run(CORACLE, "token", "create", "--data-dir", self.server.data, *args)[1].strip()

    def kubectl(self, *args, check=True):
        binary = list(kubectl_binaries().values())[-1]
        return self.server.run(binary, "--kubeconfig", self.server.data + "/kubeconfig", *args, check=check,
                               env={**os.environ, "HOME": self.dir})[1]

    def ready(self, name):
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        return any(n["metadata"]["name"] == name and
                   any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", []))
                   for n in nodes)

    def join(self, host):
        host.start(*host.agent_args(self.url(), self.token()))
        eventually(lambda: self.ready(host.name), f"{host.name} is ready\n")

    def curl(self, host, path, *args, credential=None):
        """The HTTP code and the body."""
        own = ["--cert", credential + ".crt", "--key", credential + ".key"] if credential else []
        out = host.run("curl", "-sk", "-m", "10", "-w", "\n%{http_code}", *own, *args, self.url() + path)[1]
        body, code = out.rsplit("\n", 1)
        return int(code), body

    def credential_of(self, host):
        """The node's credential as files for curl."""
        with open(host.data + "/agent/credential.json", encoding="utf-8") as kept:
            document = json.load(kept)
        with open(self.dir + "/stolen.crt", "w", encoding="utf-8") as out:
            out.write(document["certificate"])
        shutil.copy(host.data + "/agent/node.key", self.dir + "/stolen.key")
        return self.dir + "/stolen"

    def test_0_another_machine_joins_with_the_printed_line(self):
        host = self.host("printed", 99)
        line = re.search(r"^  coracle (agent --server \S+ --token \S+)$", self.server.said(), re.MULTILINE).group(1)
        host.start(*line.split(), "--node-name", host.name, "--node-ip", host.ip)
        eventually(lambda: self.ready(host.name), f"{host.name} is ready")
        # A cluster that has more than one machine is not told again.
        self.server.stop()
        self.start_server()
        self.assertEqual(self.server.said().count("Another machine joins with:"), 1)
        eventually(lambda: self.ready(host.name), f"{host.name} is ready again")

    def test_1_refusals_say_what_was_wrong(self):
        host = self.host("five", 5)
        token = self.token("--description", "a test")
        listed = self.server.run(CORACLE, "token", "list", "--data-dir", self.server.data)[1]
        self.assertIn(token[:6], listed)
        self.assertIn("a test", listed)
        self.assertNotIn(token[7:23], listed)
        self.assertIn("--server and --token are needed", host.refused("agent"))
        self.assertIn("nobody answers", host.refused(*host.agent_args(self.url(6446), token)))
        self.assertIn("three parts", host.refused(*host.agent_args(self.url(), token[:-65])))
        self.assertIn("63 characters instead of 64", host.refused(*host.agent_args(self.url(), token[:-1])))
        other = token[:-64] + "0" * 64
        self.assertIn("another cluster's than the token's", host.refused(*host.agent_args(self.url(), other)))
        unknown = "zzzzzz" + token[6:]
        self.assertIn("is not known", host.refused(*host.agent_args(self.url(), unknown)))
        self.assertIn("speaks https:// only", host.refused(*host.agent_args("http://" + self.server.ip, token)))
        taken = host.agent_args(self.url(), token)
        taken[2] = "one"
        self.assertIn("the server's own node", host.refused(*taken))
        brief = self.token("--ttl", "1s")
        said = eventually(lambda: "expired at" in (out := host.refused(*host.agent_args(self.url(), brief))) and out
                          if self.expired(brief) else None, "the token expires")
        self.assertIn("refuses the token", said)
        self.assertNotIn(brief[:6], self.server.run(CORACLE, "token", "list", "--data-dir", self.server.data)[1])
        self.server.run(CORACLE, "token", "delete", token, "--data-dir", self.server.data)
        self.assertIn("is not known", host.refused(*host.agent_args(self.url(), token)))
        plain = subprocess.Popen(["ip", "netns", "exec", self.server.ns, "python3", "-m", "http.server", "8081",
                                  "--bind", self.server.ip], cwd=self.dir, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: "does not speak HTTPS" in host.refused(*host.agent_args(self.url(8081), token)),
                       "the plain port is told apart")
        finally:
            plain.kill()
            plain.wait()
        self.assertNotIn("five", self.kubectl("get", "nodes"))

    def expired(self, token):
        listed = self.server.run(CORACLE, "token", "list", "--data-dir", self.server.data)[1]
        return f"{token[:6]}" in listed and "(expired)" in listed

    def test_2_a_node_joins_and_runs_pods(self):
        host = self.host("two", 2)
        self.join(host)
        self.kubectl("run", "echo", "--image=coracle/echo", '--overrides={"spec":{"nodeName":"two"}}')
        eventually(lambda: "Running" in self.kubectl("get", "pod", "echo"), "the Pod runs")
        self.assertNotIn("orbidden", host.said())
        for file in ("node.key", "credential.json"):
            self.assertEqual(os.stat(f"{host.data}/agent/{file}").st_mode & 0o777, 0o600)
        # A Pod sees neither the files nor gets in without them.
        self.kubectl("run", "thief", "--image=coracle/host", '--overrides={"spec":{"nodeName":"two"}}', "--command",
                     "--", "sh", "-c", f"ls {host.data}/agent/node.key /var/lib/coracle; echo done > "
                     "/dev/termination-log; exit 1")
        message = ["get", "pod", "thief", "-o", "jsonpath={.status.containerStatuses[0]}"]
        eventually(lambda: "done" in self.kubectl(*message), "the thief has looked")
        said = run(["grep", "-rhs", "No such file", host.data + "/pods"])[1]
        self.assertIn("agent/node.key", said)
        self.assertEqual(self.curl(host, "/api/v1/nodes")[0], 401)

    def test_3_a_node_is_held_to_its_own(self):
        host = self.hosts_named("two")
        own = self.credential_of(host)
        self.assertEqual(self.curl(host, "/api/v1/nodes", credential=own)[0], 200)
        code, body = self.curl(host, "/api/v1/secrets", credential=own)
        self.assertEqual(code, 403)
        self.assertIn('User \\"system:node:two\\" cannot list resource \\"secrets\\"', body)
        patch = ["-X", "PATCH", "-H", "Content-Type: application/merge-patch+json", "-d",
                 '{"metadata":{"labels":{"x":"y"}}}']
        self.assertEqual(self.curl(host, "/api/v1/nodes/one", *patch, credential=own)[0], 403)
        self.assertEqual(self.curl(host, "/api/v1/nodes/two", *patch, credential=own)[0], 200)

    def hosts_named(self, name):
        return next(h for h in self.hosts if h.name == name)

    def test_4_a_name_is_taken_until_it_is_replaced(self):
        host = self.hosts_named("two")
        thief = self.host("three", 3)
        thief.name = "two"
        args = thief.agent_args(self.url(), self.token())
        self.assertIn("--replace", thief.refused(*args))
        host.stop()
        thief.start(*args, "--replace")
        eventually(lambda: thief.ip in self.kubectl("get", "node", "two", "-o", "wide"), "the node has moved")
        own = self.credential_of(host)
        code, body = self.curl(host, "/api/v1/nodes", credential=own)
        self.assertEqual(code, 403)
        self.assertIn("another key", body)
        thief.stop()
        # With its credential it needs no token, nor a server's name.
        thief.start("agent", "--node-ip", thief.ip)
        eventually(lambda: "running as a node" in thief.said().rsplit("stopping", 1)[-1], "it is back")

    def test_5_the_server_moves(self):
        host = self.host("four", 4)
        self.join(host)
        self.server.stop()
        old, self.server.ip = self.server.ip, f"{NET}.9"
        run(["ip", "-n", self.server.ns, "addr", "del", f"{old}/24", "dev", "eth0"])
        run(["ip", "-n", self.server.ns, "addr", "add", f"{self.server.ip}/24", "dev", "eth0"])
        type(self).start_server()
        # It cannot know the address that it was away for; a word, without a token, is enough.
        host.stop()
        host.start("agent", "--node-ip", host.ip, "--server", self.url())

        def posts():
            lease = json.loads(self.kubectl("get", "lease", "four", "-n", "kube-node-lease", "-o", "json"))
            return lease["spec"].get("renewTime", "")
        first = eventually(posts, "the lease is there")
        eventually(lambda: posts() != first, "the node posts to the new address")
        with open(host.data + "/agent/credential.json", encoding="utf-8") as kept:
            self.assertIn(f"https://{old}:6443", json.load(kept)["servers"])


if __name__ == "__main__":
    main()
