"""What Pods are given and how they live: environment, probes, restarts, ends, host network, and what kubectl shows of it."""
import json
import os
import time

import support
from support import LabTest, eventually


def host_pod(name, script, spec="", container=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}, tier: test}}, annotations: {{note: "a note"}}}}
spec:
  terminationGracePeriodSeconds: 2
{spec}
  containers:
  - name: main
    image: coracle/host
    command: ["sh", "-c", {json.dumps(script)}]
{container}
"""


class Pods(LabTest):
    def status(self, name):
        return self.lab.get("pod", name)["status"]

    def state(self, name):
        return self.status(name)["containerStatuses"][0]

    def log(self, name, restart=0):
        uid = self.lab.get("pod", name)["metadata"]["uid"]
        with open(f"{self.lab.data_dir()}/pods/{uid}/containers/main/{restart}.log", encoding="utf-8") as f:
            return "".join(line.split(" ", 3)[3] for line in f)

    def describes(self, name, text):
        """Events come a moment after what they tell of."""
        eventually(lambda: text in self.lab.k("describe", "pod", name), f"'{text}' in describe")

    def drop(self, *names):
        self.lab.k("delete", "pod", *names, "--grace-period=0", "--force")

    def test_environment_and_downward_fields(self):
        self.apply(host_pod("env", "env; echo END=1; sleep 100000", container="""
    env:
    - {name: GREETING, value: hello}
    - {name: TWICE, value: "$(GREETING) $(GREETING) $$(GREETING) $(ABSENT)"}
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: MILLIS, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    resources: {requests: {cpu: 250m}}
"""))
        self.lab.wait_ready("env")
        text = eventually(lambda: "END=1\n" in self.log("env") and self.log("env"), "all of its output")
        env = dict(l.split("=", 1) for l in text.strip().split("\n"))
        self.assertEqual(env["TWICE"], "hello hello $(GREETING) $(ABSENT)")
        self.assertEqual((env["WHO"], env["TIER"], env["NODE"], env["HOSTNAME"]), ("env", "test", self.lab.node(), "env"))
        self.assertEqual((env["IP"], env["HOST_IP"]), (self.status("env")["podIP"], self.status("env")["hostIP"]))
        self.assertEqual(env["MILLIS"], "250")
        self.assertEqual(env["CPUS"], self.lab.get("node", self.lab.node())["status"]["allocatable"]["cpu"])
        self.assertEqual(env["KUBERNETES_SERVICE_HOST"], "10.96.0.1")
        self.drop("env")

    def test_services_in_the_environment(self):
        self.lab.k("create", "service", "clusterip", "told-1", "--tcp=80:8080")
        host = self.lab.get("service", "told-1")["spec"]["clusterIP"]
        for name, spec in (("links", ""), ("nolinks", "  enableServiceLinks: false")):
            self.apply(host_pod(name, "env; echo END=1; sleep 100000", spec=spec))
            text = eventually(lambda n=name: "END=1\n" in self.log(n) and self.log(n), "all of its output")
            env = dict(l.split("=", 1) for l in text.strip().split("\n"))
            told = {k: v for k, v in env.items() if k.startswith("TOLD_1_")}
            self.assertEqual(env["KUBERNETES_SERVICE_PORT_HTTPS"], "443")
            if name == "nolinks":
                self.assertEqual(told, {})
            else:
                self.assertEqual((told["TOLD_1_SERVICE_HOST"], told["TOLD_1_SERVICE_PORT"]), (host, "80"))
                self.assertEqual(told["TOLD_1_PORT_80_TCP"], f"tcp://{host}:80")
        self.drop("links", "nolinks")
        self.lab.k("delete", "service", "told-1")

    def test_last_words(self):
        """What a container leaves in its termination log, or in its log, is what kubectl describe tells."""
        self.apply(host_pod("words", "echo out; printf 'line one\\nline two' >/dev/termination-log; exit 3",
                            spec="  restartPolicy: Never"))
        self.apply(host_pod("elsewhere", "printf done >/tmp/why", spec="  restartPolicy: Never",
                            container="    terminationMessagePath: /tmp/why"))
        self.apply(host_pod("logged", "echo to its log; exit 1",
                            container="    terminationMessagePolicy: FallbackToLogsOnError"))
        eventually(lambda: self.status("words")["phase"] == "Failed", "its end")
        self.assertEqual(self.state("words")["state"]["terminated"]["message"], "line one\nline two")
        self.assertRegex(self.lab.k("describe", "pod", "words"), r"Message: +line one\nline two\n +Exit Code: +3")
        eventually(lambda: self.status("elsewhere")["phase"] == "Succeeded", "its end")
        self.assertEqual(self.state("elsewhere")["state"]["terminated"]["message"], "done")
        eventually(lambda: self.state("logged")["restartCount"] >= 1, "a restart")
        self.assertEqual(self.state("logged")["lastState"]["terminated"]["message"], "to its log\n")
        self.describes("logged", "to its log")
        self.drop("words", "elsewhere", "logged")

    def test_liveness_and_startup(self):
        probe = '{exec: {command: ["test", "-e", "/tmp/%s"]}, periodSeconds: 1, failureThreshold: %d%s}'
        self.apply(host_pod("lively", "trap '' TERM; touch /tmp/alive; while true; do sleep 0.1; done",
                            spec="  restartPolicy: Always", container=f"""
    startupProbe: {probe % ("started", 600, "")}
    livenessProbe: {probe % ("alive", 1, ", terminationGracePeriodSeconds: 1")}
"""))
        eventually(lambda: self.status("lively")["phase"] == "Running", "running")
        self.describes("lively", "Startup probe failed")
        # Not alive, but as long as it has not started nobody asks.
        self.lab.exec("rm", "/tmp/alive", pod="default/lively")
        failures = self.startup_failures("lively")
        eventually(lambda: self.startup_failures("lively") > failures + 1, "two more failed startup probes")
        state = self.state("lively")
        self.assertEqual((state["restartCount"], state["started"], state["ready"]), (0, False, False))
        self.assertNotIn("Liveness probe failed", self.lab.k("describe", "pod", "lively"))
        self.lab.exec("touch", "/tmp/started", pod="default/lively")
        eventually(lambda: self.state("lively")["restartCount"] == 1, "a restart")
        self.describes("lively", "Liveness probe failed")
        self.describes("lively", "Container main failed liveness probe, will be restarted")
        # It ignores SIGTERM.
        self.assertEqual(self.state("lively")["lastState"]["terminated"]["exitCode"], 137)
        self.drop("lively")

    def startup_failures(self, name):
        events = self.lab.get("events", f"--field-selector=involvedObject.name={name}")["items"]
        return sum(e["count"] for e in events if e["message"].startswith("Startup probe failed"))

    def test_config_comes_from_config_maps_and_secrets(self):
        self.apply(host_pod("late", 'echo "$FROM_MAP $FROM_SECRET"; sleep 100000', container="""
    env:
    - {name: FROM_MAP, valueFrom: {configMapKeyRef: {name: late, key: a}}}
    - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: late, key: b}}}
"""))
        eventually(lambda: self.state("late")["state"]["waiting"]["reason"] == "CreateContainerConfigError", "its reason")
        self.lab.k("create", "configmap", "late", "--from-literal=a=one")
        self.lab.k("create", "secret", "generic", "late", "--from-literal=b=two")
        self.lab.wait_ready("late")
        eventually(lambda: self.log("late") == "one two\n", "both values")
        self.drop("late")

    def test_restart_policies(self):
        self.apply(host_pod("never", "exit 3", spec="  restartPolicy: Never"))
        self.apply(host_pod("fine", "exit 0", spec="  restartPolicy: OnFailure"))
        self.apply(host_pod("again", "echo run; exit 4", spec="  restartPolicy: OnFailure"))
        eventually(lambda: self.status("never")["phase"] == "Failed", "Failed")
        self.assertEqual(self.state("never")["state"]["terminated"]["exitCode"], 3)
        eventually(lambda: self.status("fine")["phase"] == "Succeeded", "Succeeded")
        eventually(lambda: self.state("again")["restartCount"] >= 1 and
                   self.state("again")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff", "back-off")
        self.assertEqual(self.state("again")["lastState"]["terminated"]["exitCode"], 4)
        self.describes("again", "Back-off restarting")
        self.drop("never", "fine", "again")

    def test_init_containers_come_first(self):
        self.apply(host_pod("ordered", "sleep 100000", spec="""
  initContainers:
  - {name: one, image: coracle/host, command: ["sh", "-c", "echo first"]}
  - {name: two, image: coracle/host, command: ["sh", "-c", "exit 0"]}
"""))
        self.lab.wait_ready("ordered")
        states = self.status("ordered")["initContainerStatuses"]
        self.assertEqual([s["state"]["terminated"]["reason"] for s in states], ["Completed", "Completed"])
        self.assertLessEqual(states[0]["state"]["terminated"]["finishedAt"], states[1]["state"]["terminated"]["startedAt"])
        self.drop("ordered")

    def test_terminates_politely_then_firmly(self):
        self.apply(host_pod("polite", "trap 'exit 0' TERM; while true; do sleep 0.1; done"))
        self.apply(host_pod("stubborn", "trap '' TERM; while true; do sleep 0.1; done"))
        self.lab.wait_ready("polite", "stubborn")
        began = time.monotonic()
        self.lab.k("delete", "pod", "stubborn")
        self.assertGreater(time.monotonic() - began, 1.9, "it had its grace period")
        self.lab.k("delete", "pod", "polite")
        self.assertEqual(self.lab.kubectl("get", "pod", "polite", check=False)[0], 1)

    def test_probes_of_every_kind(self):
        self.apply(support.echo_pod("by-http", "probed"))
        self.apply(support.echo_pod("by-tcp", "probed").replace("httpGet: {path: /healthz, port: 5000}", "tcpSocket: {port: 5000}"))
        self.apply(host_pod("by-exec", "sleep 100000", container="""
    readinessProbe: {exec: {command: ["test", "-e", "/tmp/ready"]}, periodSeconds: 1, failureThreshold: 1}
"""))
        self.lab.wait_ready("by-http", "by-tcp")
        eventually(lambda: self.status("by-exec")["phase"] == "Running", "running")
        self.assertIn("0/1", self.lab.k("get", "pod", "by-exec"))
        self.lab.exec("touch", "/tmp/ready", pod="default/by-exec")
        self.lab.wait_ready("by-exec")
        ip = self.status("by-http")["podIP"]
        self.lab.exec("curl", "-sS", "--max-time", "5", "-X", "POST", f"http://{ip}:5000/healthz/fail")
        eventually(lambda: "0/1" in self.lab.k("get", "pod", "by-http"), "unready")
        self.describes("by-http", "Unhealthy")
        self.drop("by-http", "by-tcp", "by-exec")

    def test_host_network(self):
        self.apply(host_pod("hostnet", "sleep 100000", spec="  hostNetwork: true"))
        self.lab.wait_ready("hostnet")
        status = self.status("hostnet")
        self.assertEqual(status["podIP"], status["hostIP"])
        self.assertIn("cora0", self.lab.exec("ls", "/sys/class/net", pod="default/hostnet")[1])
        self.drop("hostnet")

    def test_echo_listens_where_it_is_told(self):
        self.apply(support.echo_pod("port", "port", port=5000).replace("    image: coracle/echo",
                   "    image: coracle/echo\n    env: [{name: PORT, value: '7777'}]").replace("port: 5000}\n", "port: 7777}\n"))
        self.lab.wait_ready("port")
        ip = self.status("port")["podIP"]
        text = self.lab.exec("curl", "-sS", "--max-time", "5", "-H", "Accept: application/json", f"http://{ip}:7777/")[1]
        answer = json.loads(text)
        self.assertEqual((answer["pod"], answer["namespace"], answer["podIP"], answer["node"]),
                         ("port", "default", ip, self.lab.node()))
        self.assertNotEqual(self.lab.exec("curl", "-sS", "--max-time", "5", f"http://{ip}:5000/", check=False)[0], 0)
        self.drop("port")

    def test_an_unknown_image_waits_and_says_why(self):
        self.lab.k("run", "strange", "--image=registry.example/app:1")
        eventually(lambda: "Image" in self.state("strange")["state"]["waiting"]["reason"], "a reason")
        self.describes("strange", 'Failed to pull image "registry.example/app:1"')
        self.drop("strange")

    def test_the_address_stays_and_comes_back_last(self):
        self.lab.k("run", "one", "--image=coracle/host", "--command", "--", "sleep", "100000")
        self.lab.wait_ready("one")
        first, uid = self.status("one")["podIP"], self.lab.get("pod", "one")["metadata"]["uid"]
        self.lab.exec("sh", "-c", "kill -9 -1", pod="default/one", check=False)
        self.drop("one")
        self.lab.k("run", "two", "--image=coracle/host", "--command", "--", "sleep", "100000")
        self.lab.wait_ready("two")
        self.assertNotEqual(self.status("two")["podIP"], first, "reused while others are free")
        self.drop("two")
        eventually(lambda: not os.path.exists(f"{self.lab.data_dir()}/pods/{uid}"), "no files of the Pod")

    def test_a_pod_talks_to_the_api(self):
        """The kubernetes Service leads to the API server, whose certificate names its address."""
        self.lab.k("run", "asks", "--image=coracle/host", "--command", "--", "sleep", "100000")
        self.lab.wait_ready("asks")
        ca = self.lab.k("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}")
        script = f"echo {ca} | base64 -d > /tmp/ca; curl -sS --max-time 5 --cacert /tmp/ca https://10.96.0.1/readyz"
        self.assertEqual(self.lab.exec("sh", "-c", script, pod="default/asks")[1], "ok")
        self.drop("asks")


if __name__ == "__main__":
    support.main()
