"""What the server asks of its nodes. kubectl logs: every option, Pods on every node, to the end and while it goes on; agents
and the server die meanwhile. The metrics of every node."""
import json
import os
import re
import select
import signal
import subprocess
import time

import support
from support import Lab, LabTest, eventually


def pod(name, script, node=None, spec="", more=""):
    where = f"  nodeName: {node}\n" if node else ""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
{where}{spec}
  containers:
  - name: main
    image: coracle/host
    command: ["sh", "-c", {json.dumps(script)}]
{more}
"""


class Follower:
    """A `kubectl logs -f` whose output is read as it comes."""

    def __init__(self, lab, *args):
        env = dict(os.environ, HOME=lab.home, KUBECONFIG=lab.kubeconfig)
        self.process = subprocess.Popen(["kubectl", "--cache-dir", lab.home + "/cache-kubectl", "logs", "-f", *args],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        self.text = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()
        self.process.stderr.close()

    def read_until(self, text, timeout=60):
        deadline = time.monotonic() + timeout
        while text.encode() not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"no {text!r} in {self.text[-300:]!r}")
            block = os.read(self.process.stdout.fileno(), 65536)
            if not block:
                raise AssertionError(f"the end, and no {text!r} in {self.text[-300:]!r}")
            self.text += block
        return self.text.decode()

    def finish(self, timeout=60):
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, (self.text + out).decode(), err.decode()


class ThreeNodes(LabTest):
    @classmethod
    def setUpClass(cls):
        if LabTest.lab is None:
            LabTest.lab = Lab(nodes=3)
        super().setUpClass()

    def agent_pid(self, index):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    argv = f.read().split(b"\0")
            except OSError:
                continue
            if len(argv) > 2 and argv[1] == b"agent" and self.lab.data_dir(index).encode() in argv:
                return int(entry)
        return None


class Logs(ThreeNodes):
    def tearDown(self):
        self.lab.k("delete", "deployment,pod", "--all", "--force", "--grace-period=0", "--ignore-not-found", timeout=120)
        eventually(lambda: self.lab.get("pods")["items"] == [], "no Pods left")

    def started(self, *names):
        self.lab.wait_ready(*names)

    def finished(self, *names):
        def done():
            return all(self.lab.get("pod", n)["status"]["phase"] in ("Succeeded", "Failed") for n in names)
        eventually(done, f"{names} finished")

    def refusal(self, *args):
        code, out, err = self.lab.kubectl("logs", *args, check=False)
        self.assertNotEqual(code, 0, out)
        return err

    def supervisor_pid(self, name, index):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    argv = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if argv[:2] == ["coracle-supervisor", "default/" + name] and f"/{self.lab.node(index)}/" in argv[-2] + argv[-1]:
                return int(entry)
        raise AssertionError(f"no supervisor of {name}")

    def test_every_node_and_every_option(self):
        script = "for i in 1 2 3; do echo line $i; done; echo error >&2; printf unfinished"
        names = [f"p{i}" for i in (1, 2, 3)]
        for i, name in enumerate(names, 1):
            self.apply(pod(name, script, node=self.lab.node(i), spec="  restartPolicy: Never"))
        self.finished(*names)
        for version, binary in support.kubectl_binaries().items():
            for name in names:
                with self.subTest(kubectl=version, pod=name):
                    def logs(*args):
                        return self.lab.k("logs", name, *args, binary=binary)
                    whole = logs()
                    self.assertEqual(sorted(whole.split("\n")), ["", "error", "line 1", "line 2", "line 3", "unfinished"])
                    self.assertEqual(logs("-c", "main", "-f"), whole)
                    self.assertEqual(logs("--tail=2"), "".join(whole.splitlines(keepends=True)[-2:]))
                    self.assertEqual(logs("--tail=0"), "")
                    self.assertEqual(logs("--limit-bytes=9"), whole[:9])
                    self.assertEqual(logs("--since=1h"), whole)
                    self.assertEqual(logs("--since-time=2020-01-01T00:00:00Z"), whole)
                    self.assertEqual(logs("--since-time=2040-01-01T00:00:00Z"), "")
                    stamped = logs("--timestamps").splitlines()
                    self.assertEqual(len(stamped), 5)
                    for line in stamped:
                        self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \S")
                    self.assertEqual(self.lab.k("logs", "-l", f"app={name}", binary=binary), whole)
        path = "/api/v1/namespaces/default/pods/p3/log"
        self.assertEqual(self.lab.k("get", "--raw", path + "?stream=Stderr"), "error\n")

    def test_what_cannot_be_is_said(self):
        self.apply(pod("two", "sleep 100000", more="  - {name: other, image: coracle/echo}"))
        self.started("two")
        self.assertIn("container nobody is not valid for pod two", self.refusal("two", "-c", "nobody"))
        self.assertIn('previous terminated container "main" in pod "two" not found', self.refusal("two", "-c", "main", "-p"))
        code, _, err = self.lab.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/two/log", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("a container name must be specified for pod two, choose one of: [main other]", err)
        self.assertIn('pods "nobody" not found', self.refusal("nobody"))
        self.apply(pod("bad", "true").replace("coracle/host", "nowhere.example/none"))
        eventually(lambda: "image" in self.refusal("bad"), "the image is named as the reason")
        self.assertRegex(self.refusal("bad"), 'container "main" in pod "bad" is waiting to start: (image can\'t be pulled|'
                                              'trying and failing to pull image)')

    def test_follows_to_the_end_on_every_node(self):
        for i in (1, 2, 3):
            self.apply(pod(f"f{i}", "echo begin; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo end",
                           node=self.lab.node(i), spec="  restartPolicy: Never"))
        self.started("f1", "f2", "f3")
        for i in (1, 2, 3):
            with Follower(self.lab, f"f{i}") as follower:
                follower.read_until("begin\n")
                self.lab.exec("touch", "/tmp/end", node=i, pod=f"default/f{i}")
                self.assertEqual(follower.finish(), (0, "begin\nend\n", ""))

    def test_a_pod_that_is_deleted_ends_it(self):
        self.apply(pod("gone", "echo begin; sleep 100000", node=self.lab.node(2)))
        self.started("gone")
        with Follower(self.lab, "gone") as follower:
            follower.read_until("begin\n")
            self.lab.k("delete", "pod", "gone", "--wait=false")
            code, out, _ = follower.finish()
            self.assertEqual((code, out), (0, "begin\n"))

    def test_a_supervisor_that_is_killed_ends_it_for_the_silent_too(self):
        self.apply(pod("mute", "sleep 100000", node=self.lab.node(2), spec="  restartPolicy: Never"))
        self.started("mute")
        uid = self.lab.get("pod", "mute")["metadata"]["uid"]
        inode = os.stat(f"{self.lab.data_dir(2)}/pods/{uid}/containers/main").st_ino
        with Follower(self.lab, "mute") as follower:
            eventually(lambda: self.watches(self.agent_pid(2), inode), "the node follows the log")
            os.kill(self.supervisor_pid("mute", 2), signal.SIGKILL)
            self.assertEqual(follower.finish(90), (0, "", ""), "an end, not a broken connection")

    @staticmethod
    def watches(pid, inode):
        """Whether the process awaits changes of that directory."""
        for entry in os.listdir(f"/proc/{pid}/fdinfo"):
            try:
                with open(f"/proc/{pid}/fdinfo/{entry}", encoding="ascii") as f:
                    if re.search(rf"^inotify .*\bino:{inode:x} ", f.read(), re.MULTILINE):
                        return True
            except OSError:
                continue
        return False

    def test_previous_after_a_crash(self):
        script = "echo start $(date +%s%N); [ -e /tmp/nothing ] || sleep 1; echo crash; exit 3"
        self.apply(pod("crash", script, node=self.lab.node(3)))
        def restarts():
            statuses = self.lab.get("pod", "crash")["status"].get("containerStatuses", [])
            return statuses[0]["restartCount"] if statuses else 0
        first = eventually(lambda: self.lab.kubectl("logs", "crash", check=False)[1], "the first log")
        first = first.splitlines()[0]
        eventually(lambda: restarts() == 1, "a restart")
        previous = eventually(lambda: self.lab.kubectl("logs", "crash", "-p", check=False)[1], "the log before")
        if restarts() == 1:
            self.assertEqual(previous.splitlines()[0], first)
        eventually(lambda: restarts() >= 2, "another restart")
        self.assertNotIn(first, self.lab.k("logs", "crash", "--previous"))  # only one is kept

    def test_logs_of_a_deployment(self):
        self.lab.k("create", "deployment", "web", "--image=coracle/host", "--replicas=3", "--", "sh", "-c",
                   "echo I am $(hostname); sleep 100000")
        self.lab.k("wait", "--for=condition=Available", "deployment/web", "--timeout=90s", timeout=120)
        names = {p["metadata"]["name"] for p in self.lab.get("pods", "-l", "app=web")["items"]}
        said = self.lab.k("logs", "-l", "app=web", "--prefix")
        self.assertEqual({m for m in re.findall(r"I am (\S+)", said)}, names)
        self.assertRegex(self.lab.k("logs", "deployment/web"), r"I am web-")

    def test_agents_and_servers_that_die(self):
        for i in (1, 2, 3):
            self.apply(pod(f"d{i}", f"echo I am d{i}; while sleep 0.2; do echo tick; done", node=self.lab.node(i)))
        self.started("d1", "d2", "d3")
        with Follower(self.lab, "d2") as follower:
            follower.read_until("tick\ntick\n")
            os.kill(self.agent_pid(2), signal.SIGKILL)
            self.assertNotEqual(follower.finish()[0], 0)  # not taken for the container's end
        err = self.refusal("d2")
        self.assertIn(f'node "{self.lab.node(2)}" is not connected to the server', err)
        self.assertIn("I am d3", self.lab.k("logs", "d3"))
        self.lab.bring_up()
        eventually(lambda: "I am d2" in self.lab.k("logs", "d2"), "the agent is back")

        self.lab.kill_server()
        self.lab.bring_up()
        for i in (1, 2, 3):
            eventually(lambda: f"I am d{i}" in self.lab.k("logs", f"d{i}"), f"logs of d{i} again")
        with Follower(self.lab, "d3", "--tail=1") as follower:
            follower.read_until("tick\ntick\ntick\n")

    def test_the_log_lives_through_rotation(self):
        count = 300_000  # some 25 MB
        self.apply(pod("much", f"seq -f 'line %.0f {'x' * 40}' {count}; sleep 100000", node=self.lab.node(2)))
        self.started("much")
        eventually(lambda: f"line {count} " in self.lab.k("logs", "much", "--tail=1"), "all lines", timeout=120)
        lines = self.lab.k("logs", "much", timeout=120).splitlines()
        numbers = [int(l.split()[1]) for l in lines]
        self.assertEqual(numbers, list(range(numbers[0], count + 1)))  # the newest, without a gap
        self.assertGreater(len(numbers), 100_000)
        self.assertEqual(self.lab.k("logs", "much", "--tail=150000", timeout=120).splitlines(), lines[-150_000:])

    def test_a_hundred_slow_followers(self):
        self.apply(pod("loud", f"while :; do echo {'x' * 200}; done", node=self.lab.node(2)))
        self.apply(pod("calm", "echo calm; sleep 100000", node=self.lab.node(2)))
        self.started("loud", "calm")
        server = json.loads(self.lab.k("config", "view", "--raw", "-o", "json"))["clusters"][0]["cluster"]["server"]
        pki = self.lab.data_dir() + "/pki"
        slow = [subprocess.Popen(["curl", "-sN", "--limit-rate", "1k", "--cacert", pki + "/ca.crt", "--cert", pki + "/admin.crt",
                                  "--key", pki + "/admin.key",
                                  f"{server}/api/v1/namespaces/default/pods/loud/log?follow=true"],
                                 stdout=subprocess.PIPE) for _ in range(100)]
        try:
            for process in slow:
                self.assertTrue(select.select([process.stdout], [], [], 60)[0], "each has begun")
            for _ in range(5):
                self.assertEqual(self.lab.k("logs", "calm", timeout=30), "calm\n")
            self.assertEqual(len(self.lab.get("nodes")["items"]), 3)
        finally:
            for process in slow:
                process.kill()
                process.wait(30)
                process.stdout.close()


class NodeProxy(ThreeNodes):
    def proxy(self, index, path, **kwargs):
        return self.lab.kubectl("get", "--raw", f"/api/v1/nodes/{self.lab.node(index)}/proxy/{path}", **kwargs)

    def dns_requests(self, index):
        _, text, _ = self.proxy(index, "metrics")
        return sum(float(value) for value in re.findall(r"^coracle_dns_requests_total(?:{.*})? (\S+)$", text, re.MULTILINE))

    def dig(self, index):
        self.lab.exec("dig", "@10.96.0.10", "+tries=2", "+time=10", "kubernetes.default.svc.cluster.local", node=index)

    def test_metrics_of_the_server_s_node_and_of_an_agent_s(self):
        started = {}
        for version, binary in support.kubectl_binaries().items():
            for index in (1, 2):
                with self.subTest(kubectl=version, node=index):
                    text = self.proxy(index, "metrics", binary=binary)[1]
                    self.assertRegex(text, r"(?m)^coracle_dns_requests_total")
                    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds"):
                        self.assertGreater(float(re.search(rf"(?m)^process_{name} (\S+)$", text)[1]), 0)
                    started[index] = re.search(r"(?m)^process_start_time_seconds (\S+)$", text)[1]
                    self.assertEqual("\napiserver_request_total{" in text, index == 1)
                    self.assertEqual(self.proxy(index, "healthz", binary=binary)[1], "ok")
        self.assertNotEqual(started[1], started[2], "each is a process of its own")

    def test_a_question_counts_at_the_node_that_answered_it(self):
        for asked, other in ((2, 3), (1, 2)):
            with self.subTest(node=asked):
                before, elsewhere = self.dns_requests(asked), self.dns_requests(other)
                for _ in range(3):
                    self.dig(asked)
                self.assertEqual(self.dns_requests(asked), before + 3)
                self.assertEqual(self.dns_requests(other), elsewhere)

    def test_what_there_is_not(self):
        code, _, err = self.proxy(2, "stats/summary", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn('there is no "stats/summary" at a node, only these: healthz, metrics', err)
        code, _, err = self.lab.kubectl("get", "--raw", "/api/v1/nodes/nobody/proxy/metrics", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn('nodes "nobody" not found', err)
        self.assertEqual(self.lab.k("auth", "can-i", "get", "nodes/proxy").strip(), "yes")

    def test_an_agent_that_is_stopped(self):
        os.kill(self.agent_pid(2), signal.SIGTERM)
        eventually(lambda: self.agent_pid(2) is None, "the agent is gone")
        try:
            for path in ("metrics", "healthz"):
                code, _, err = self.proxy(2, path, check=False)
                self.assertNotEqual(code, 0)
                self.assertIn("ServiceUnavailable", err)
                self.assertIn(f'the {path} of node "{self.lab.node(2)}" cannot be read', err)
                self.assertIn("is not connected to the server", err)
            self.assertIn("process_open_fds", self.proxy(3, "metrics")[1])
        finally:
            self.lab.bring_up()
        eventually(lambda: "process_open_fds" in self.proxy(2, "metrics")[1], "the agent is back")


if __name__ == "__main__":
    support.main()
