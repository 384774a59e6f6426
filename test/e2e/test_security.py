"""Who gets in and who does not, over the real wire: a server and agents on machines of the test's own, with the wrong credentials,
the wrong protocol, the wrong clock, and with floods of connections that say nothing. All the while a client's requests go on.
"""
import contextlib
import glob
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import support
from machine import Machine, warm_up
from support import CORACLE, eventually, run

DATA = "/var/lib/coracle"
NET = "10.251.9"
SERVER = f"{NET}.1"
PATIENCE = 5.0  # seconds for an honest request on a busy machine
MANY = 1000

# Opens argv[2] connections to argv[1]:6443, sends argv[3] (hex) on each, says "open" and holds them until its input ends. Of those
# that the server closes, up to a hundred are opened again each second.
FLOOD = """
import resource, select, socket, sys, time
host, count, hello = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100,) * 2)
poll, held, opened = select.poll(), {}, 0
def begin():
    s = socket.create_connection((host, 6443), timeout=10)
    s.sendall(hello)
    s.setblocking(False)
    held[s.fileno()] = s
    poll.register(s, select.POLLIN)
def forget_closed(fd):
    try:
        while held[fd].recv(4096): pass
    except BlockingIOError:
        return
    except OSError:
        pass
    poll.unregister(fd)
    held.pop(fd).close()
def look(wait):
    for fd, _ in poll.poll(wait):
        if fd == 0: return False
        forget_closed(fd)
    return True
for opened in range(1, count + 1):
    begin()
print("open", flush=True)
poll.register(0, select.POLLIN)
while look(1000):
    began = time.monotonic()
    for _ in range(min(100, count - len(held))):
        begin()
        opened += 1
    while (left := began + 1 - time.monotonic()) > 0 and look(int(left * 1000) + 1): pass
print(opened, len(held), flush=True)
"""


def client_hello():
    """The first flight of a TLS client, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


class Requests:
    """A client on the server's machine, one new connection after the other."""

    def __init__(self, machine, log):
        script = (f"while sleep 0.05; do curl -sS -m 20 -o /dev/null -w '%{{http_code}} %{{time_total}}\\n' --cacert {DATA}/pki/ca.crt "
                  f"--cert {DATA}/pki/admin.crt --key {DATA}/pki/admin.key https://{SERVER}:6443/api/v1/namespaces; done")
        self.machine, self.log = machine, log
        self.process = machine.start("sh", "-c", script, log=log)

    def lines(self):
        with open(self.log, encoding="utf-8") as f:
            return [l.split() for l in f.read().splitlines()]

    def end(self):
        self.machine.kill(self.machine.pids("while sleep 0.05"))
        self.process.wait(10)
        return self.lines()


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warm_up()
        cls.dir = tempfile.mkdtemp(prefix="coracle-security-", dir="/var/tmp")
        cls.machines, cls.processes = [], []
        cls.addClassCleanup(cls.clean)
        cls.one = cls.machine("one")
        cls.one.sh(f"ip link add lan0 type bridge; ip addr add {SERVER}/24 dev lan0; ip link set lan0 up")
        cls.start(cls.one, "server", "--node-name", "one", "--node-ip", SERVER)
        eventually(lambda: cls.one.coracle("status", "--data-dir", DATA, check=False)[0] == 0, "the server is up")
        cls.two = cls.node("two", 2)
        cls.join(cls.two)
        cls.kubectl("run", "echo", "--image=coracle/echo", '--overrides={"spec":{"nodeName":"one"}}')

    @classmethod
    def clean(cls):
        for machine in cls.machines:
            machine.close()
        for process in cls.processes:
            process.wait(30)
        shutil.rmtree(cls.dir, ignore_errors=True)

    @classmethod
    def machine(cls, name):
        cls.machines.append(Machine(name))
        return cls.machines[-1]

    @classmethod
    def node(cls, name, number):
        """A machine with a cable to the server's bridge."""
        machine = cls.machine(name)
        machine.ip = f"{NET}.{number}"
        run(["ip", "link", "add", f"v{number}", "netns", str(cls.one.pid), "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid)])
        cls.one.sh(f"ip link set v{number} master lan0 up")
        machine.sh(f"ip addr add {machine.ip}/24 dev eth0; ip link set eth0 up; ip route add default via {SERVER}")
        return machine

    @classmethod
    def start(cls, machine, what, *argv, env=None):
        cls.processes.append(machine.start(CORACLE, what, "--data-dir", DATA, *argv, log=f"{cls.dir}/{machine.name}.log",
                                           env={**os.environ, **(env or {})}))

    @classmethod
    def token(cls, *args):
        return cls.one.coracle("token", "create", "--data-dir", DATA, *args)[1].strip()

    @classmethod
    def agent(cls, machine, token, server=SERVER):
        return ["--node-name", machine.name, "--node-ip", machine.ip, "--server", f"https://{server}:6443", "--token", token]

    @classmethod
    def join(cls, machine, env=None):
        cls.start(machine, "agent", *cls.agent(machine, cls.token()), env=env)
        eventually(lambda: cls.ready(machine.name), f"{machine.name} is Ready")

    @classmethod
    def kubectl(cls, *args, **kwargs):
        return cls.one.run("kubectl", "--kubeconfig", DATA + "/kubeconfig", "--cache-dir", cls.dir + "/cache", *args,
                           env={**os.environ, "HOME": cls.dir}, **kwargs)[1]

    @classmethod
    def ready(cls, node):
        conditions = json.loads(cls.kubectl("get", "node", node, "-o", "json"))["status"].get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    @classmethod
    def said(cls, machine):
        with open(f"{cls.dir}/{machine.name}.log", encoding="utf-8") as log:
            return log.read()

    def setUp(self):
        self.requests = Requests(self.one, f"{self.dir}/{self.id()}.requests")

    def tearDown(self):
        """The server has gone on serving."""
        count = len(self.requests.lines())
        eventually(lambda: len(self.requests.lines()) > count + 10, "requests go on")
        lines = self.requests.end()
        slowest = max(float(l[1]) for l in lines)
        print(f"{len(lines)} requests beside it, the slowest took {slowest:.3f} s", flush=True)
        self.assertEqual([l for l in lines if l[0] != "200"], [])
        self.assertLess(slowest, PATIENCE)

    def curl(self, machine, path, *args, check=True):
        """The HTTP code and the body."""
        code, out, err = machine.run("curl", "-sSk", "-m", "10", "-w", "\n%{http_code}", *args, f"https://{SERVER}:6443{path}", check=check)
        body, status = out.rsplit("\n", 1)
        return int(status), body if code == 0 else err

    def refused(self, answer, code, reason, *words):
        """The answer is a Status that says so."""
        self.assertEqual(answer[0], code, answer)
        status = json.loads(answer[1])
        self.assertEqual((status["kind"], status["code"], status["reason"]), ("Status", code, reason))
        for word in words:
            self.assertIn(word, status["message"])

    def credential(self, machine):
        """curl's options for the credential of the node."""
        document = json.loads(machine.sh(f"cat {DATA}/agent/credential.json"))
        machine.sh(f"umask 077; cat >/tmp/node.crt", stdin=document["certificate"])
        return ["--cert", "/tmp/node.crt", "--key", DATA + "/agent/node.key"]

    def test_nobody_without_a_credential(self):
        for path in ("/api/v1/nodes", "/api/v1/namespaces/default/secrets", "/metrics"):
            self.refused(self.curl(self.two, path), 401, "Unauthorized")
        bogus = ["-H", "Authorization: Bearer abcdef.0123456789abcdef"]
        self.refused(self.curl(self.two, "/api/v1/nodes", *bogus), 401, "Unauthorized")
        # A certificate that says the right thing, of somebody else's making.
        self.two.sh("cd /tmp; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout forged.key "
                    "-out forged.crt -subj '/O=system:masters/CN=admin' 2>/dev/null")
        code, said = self.curl(self.two, "/api/v1/nodes", "--cert", "/tmp/forged.crt", "--key", "/tmp/forged.key", check=False)
        print(f"a forged certificate: {code} {said.strip()[:200]}")
        self.assertIn(code, (0, 401))  # by the handshake, or by the API

    def test_a_node_writes_only_what_is_its_own(self):
        own = self.credential(self.two)
        patch = [*own, "-X", "PATCH", "-H", "Content-Type: application/merge-patch+json", "-d"]
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"
        status = '{"status":{"phase":"Failed"}}'
        self.assertEqual(self.curl(self.two, "/api/v1/nodes/two/status", *patch, '{"status":{}}')[0], 200)
        self.assertEqual(self.curl(self.two, leases + "two", *patch, '{"spec":{}}')[0], 200)
        pods = "/api/v1/namespaces/default/pods/"
        before = self.kubectl("get", "node/one", "pod/echo", "-o", "json")
        for path, body in (("/api/v1/nodes/one", '{"metadata":{"labels":{"a":"b"}}}'), ("/api/v1/nodes/one/status", '{"status":{}}'),
                           (pods + "echo/status", status), (leases + "one", '{"spec":{"holderIdentity":"two"}}'),
                           ("/api/v1/nodes/two", '{"metadata":{"labels":{"node-restriction.kubernetes.io/x":"y"}}}')):
            with self.subTest(path=path):
                self.refused(self.curl(self.two, path, *patch, body), 403, "Forbidden", "two")
        for method, path in (("DELETE", "/api/v1/nodes/one"), ("DELETE", pods + "echo"), ("GET", "/api/v1/secrets"),
                             ("DELETE", "/api/v1/namespaces/default/services/kubernetes")):
            with self.subTest(path=path):
                self.refused(self.curl(self.two, path, *own, "-X", method), 403, "Forbidden", "system:node:two")
        kept = [json.loads(text)["items"] for text in (before, self.kubectl("get", "node/one", "pod/echo", "-o", "json"))]
        for then, now in zip(*kept):
            self.assertEqual(then["metadata"]["uid"], now["metadata"]["uid"])
            self.assertEqual(then["metadata"].get("labels"), now["metadata"].get("labels"))
        self.assertEqual(kept[0][1]["status"]["phase"], kept[1][1]["status"]["phase"])

    def test_a_token_may_join_and_nothing_else(self):
        token = self.token()
        bearer = ["-H", "Authorization: Bearer " + token.rsplit(".", 1)[0]]
        self.refused(self.curl(self.two, "/api/v1/secrets", *bearer), 403, "Forbidden", "secrets")
        self.refused(self.curl(self.two, "/api/v1/namespaces/default/pods", *bearer, "-X", "POST", "-H",
                               "Content-Type: application/json", "-d", "{}"), 403, "Forbidden")
        brief = self.token("--ttl", "1s")
        bearer = ["-H", "Authorization: Bearer " + brief.rsplit(".", 1)[0]]
        eventually(lambda: self.curl(self.two, "/api/v1/nodes", *bearer)[0] == 401, "the token expires")
        self.refused(self.curl(self.two, "/api/v1/nodes", *bearer), 401, "Unauthorized")

    def test_an_agent_tells_no_other_cluster_its_token(self):
        # A server of another authority, which writes down all it hears.
        other = self.node("other", 20)
        certificate, key, heard, authority = (f"{self.dir}/{n}" for n in ("other.crt", "other.key", "heard", "authority"))
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key,
             "-out", certificate, "-subj", "/CN=kubernetes", "-addext", f"subjectAltName=DNS:kubernetes,IP:{other.ip}"])
        listener = f"""
import ssl, socket
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain({certificate!r}, {key!r})
with socket.create_server(("", 6443)) as s, open({heard!r}, "ab", 0) as heard:
    heard.write(b"listening\\n")
    while True:
        try:
            with context.wrap_socket(s.accept()[0], server_side=True) as c:
                c.settimeout(5)
                heard.write(c.recv(65536))
                body = open({authority!r}, "rb").read()
                c.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        except OSError as e:
            heard.write(repr(e).encode() + b"\\n")
"""
        self.processes.append(other.start("python3", "-c", listener, log=f"{self.dir}/other.log"))

        def told():
            with open(heard, "rb") as f:
                return f.read()
        eventually(lambda: os.path.exists(heard) and b"listening" in told(), "the other server")
        token, victim = self.token(), self.node("victim", 21)
        # It says whose it is; then it repeats what the right server tells everybody of itself.
        shutil.copy(certificate, authority)
        for attempt in ("another cluster's than the token's", "certificate"):
            code, _, err = victim.coracle("agent", "--data-dir", DATA, *self.agent(victim, token, other.ip), check=False)
            self.assertEqual(code, 1)
            self.assertIn(attempt, err)
            code, ca = self.curl(victim, "/cacerts")
            self.assertEqual(code, 200)
            with open(authority, "w", encoding="utf-8") as f:
                f.write(ca)
        self.assertEqual(told().count(b"GET /cacerts"), 2, "it was spoken to")
        self.assertNotIn(token.split(".")[1].encode(), told())
        self.assertNotIn(b"Authorization", told())
        # With the right server the same token works.
        self.start(victim, "agent", *self.agent(victim, token))
        eventually(lambda: self.ready("victim"), "the victim joins its own cluster")

    def test_a_pod_has_nothing_of_its_node(self):
        self.two.sh("echo secret >/run/secret-of-the-node; mkdir -p /run/coracle; echo s >/run/coracle/s")
        script = (f"ls -A {DATA} {DATA}/agent /run /var/lib/coracle 2>&1; cat {DATA}/agent/node.key {DATA}/agent/credential.json "
                  f"/run/secret-of-the-node /proc/1/root{DATA}/agent/node.key 2>&1; "
                  f"for u in https://{SERVER}:6443 https://10.96.0.1:443; do "
                  "curl -sSk -m 10 -o /dev/null -w 'answer %{http_code}\\n' $u/api/v1/nodes 2>&1; done")
        self.kubectl("run", "thief", "--image=coracle/host", '--overrides={"spec":{"nodeName":"two"}}', "--command", "--", "sleep", "1000")
        self.kubectl("wait", "--for=condition=Ready", "pod/thief", "--timeout=60s", timeout=70)
        uid = self.kubectl("get", "pod", "thief", "-o", "jsonpath={.metadata.uid}")
        # As `lab exec --pod` does it: into the namespaces of the Pod's container.
        pid = self.two.pids("sleep 1000")[-1]
        said = self.two.run("nsenter", "-t", str(pid), "-m", "-n", "-p", "-i", "-u", "-r", "-w", "sh", "-c", script)[1]
        self.assertTrue(uid)
        self.assertNotIn("PRIVATE KEY", said)
        self.assertNotIn("certificate", said)
        self.assertNotIn("secret\n", said)
        self.assertNotIn("secret-of-the-node\n", said.replace("'/run/secret-of-the-node'", ""))
        self.assertIn("No such file", said)
        self.assertEqual(said.count("answer 401"), 2, said)

    def test_plain_http_is_told_so(self):
        for args in ([], ["-X", "POST", "-d", "x" * 1000]):
            code, out, err = self.two.run("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", *args, f"http://{SERVER}:6443/api/v1/nodes",
                                          check=False)
            self.assertEqual((code, out.split()[-1]), (0, "400"), out + err)
            self.assertIn("HTTPS server", out)

    def flood(self, machine, hello):
        flood = subprocess.Popen(machine.argv("python3", "-c", FLOOD, SERVER, str(MANY), hello.hex()), stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
        self.processes.append(flood)
        self.assertEqual(flood.stdout.readline(), "open\n")
        return flood

    def test_half_open_connections(self):
        attacker, late = self.node("attacker", 30), self.node("late", 31)
        floods = [self.flood(attacker, b""), self.flood(self.two, client_hello())]
        began = time.monotonic()
        for _ in range(20):
            self.kubectl("get", "nodes")
        print(f"kubectl beside two times {MANY} silent connections: {(time.monotonic() - began) / 20:.3f} s", flush=True)
        began = time.monotonic()
        self.join(late)
        print(f"an agent joins: {time.monotonic() - began:.1f} s", flush=True)
        # Even from the attackers' own address.
        self.join(attacker)
        self.assertTrue(self.ready("two"), "an agent there goes on")
        for flood in floods:
            self.assertIsNone(flood.poll(), "the flood has held on")
            opened, held = flood.communicate("\n", timeout=30)[0].split()
            print(f"{opened} connections were opened, {held} of them are held now", flush=True)
            self.assertGreater(int(held), 300)

    def test_a_clock_of_1970(self):
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            self.skipTest("libfaketime is not installed")
        machine = self.node("past", 40)
        env = {"LD_PRELOAD": library[0], "FAKETIME": "@1970-01-02 00:00:00", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "TZ": "UTC",
               "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.join(machine, env=env)
        said = self.said(machine)
        self.assertIn("time=1970-01-0", said, "it lives in the past")
        self.assertEqual(said.count("this machine's clock is wrong"), 1)
        self.kubectl("run", "past", "--image=coracle/echo", '--overrides={"spec":{"nodeName":"past"}}')
        self.kubectl("wait", "--for=condition=Ready", "pod/past", "--timeout=60s", timeout=70)
        ip = self.kubectl("get", "pod", "past", "-o", "jsonpath={.status.podIP}")
        self.assertEqual(self.two.run("curl", "-sS", "-m", "5", f"http://{ip}:8080/hostname")[1].strip(), "past")
        time_of = self.kubectl("get", "lease", "past", "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}")
        self.assertTrue(time_of.startswith("1970"), time_of)
        threading.Event().wait(12)  # longer than the grace period: its Leases count though their times do not
        self.assertTrue(self.ready("past"))


if __name__ == "__main__":
    support.main()
