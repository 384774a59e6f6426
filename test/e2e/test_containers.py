"""Who containers are, what they may use, what happens around their start and their end: as kubectl and the kernel show it."""
import json
import os
import signal
import time

import support
from support import LabTest, eventually
from traces import differences, traces


def container(name, script, extra=""):
    return f"""
  - name: {name}
    image: coracle/host
    command: ["sh", "-c", {json.dumps(script)}]
{extra}"""


def pod(name, script, spec="", extra="", grace=2, more=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: {grace}
{spec}
  containers:{container("main", script, extra)}{more}
"""


WAIT = "trap 'echo TERM $(date +%s.%N); exit 0' TERM; echo UP $(date +%s.%N); while :; do sleep 0.1; done"


class Containers(LabTest):
    def status(self, name):
        return self.lab.get("pod", name)["status"]

    def state(self, name, container="main"):
        status = self.status(name)
        return next(c for c in status.get("initContainerStatuses", []) + status["containerStatuses"] if c["name"] == container)

    def log(self, name, container="main", restart=0):
        uid = self.lab.get("pod", name)["metadata"]["uid"]
        with open(f"{self.lab.data_dir()}/pods/{uid}/containers/{container}/{restart}.log", encoding="utf-8") as f:
            return "".join(line.split(" ", 3)[3] for line in f)

    def saved(self, name, container="main"):
        """The log, open, so that it can be read to its end when the Pod is gone."""
        uid = self.lab.get("pod", name)["metadata"]["uid"]
        return open(f"{self.lab.data_dir()}/pods/{uid}/containers/{container}/0.log", encoding="utf-8")

    def times(self, file):
        """{first word: its time} of a log's lines."""
        with file:
            return {w[0]: float(w[1]) for w in (line.split(" ", 3)[3].split() for line in file) if len(w) == 2}

    def describes(self, name, *texts):
        """Events come a moment after what they tell of."""
        def all_there():
            said = self.lab.k("describe", "pod", name)
            return all(text in said for text in texts) or said[:0]
        eventually(all_there, f"{texts} in describe {name}")

    def ended(self, name):
        return eventually(lambda: self.status(name)["phase"] in ("Succeeded", "Failed") and self.status(name), f"{name} ends")

    def drop(self, *names):
        self.lab.k("delete", "pod", *names, "--grace-period=0", "--force")

    def test_users_capabilities_and_a_read_only_root(self):
        self.apply(pod("who", "id -u; id -g; id -G; echo $HOME; grep -E 'CapBnd|NoNewPrivs' /proc/self/status; "
                       "touch /tmp/x 2>&1 | grep -o Read-only", """
  restartPolicy: Never
  securityContext: {runAsUser: 4321, runAsGroup: 5432, supplementalGroups: [7], fsGroup: 6543, seccompProfile: {type: RuntimeDefault}}
""", """
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: true
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE, CAP_KILL]}
"""))
        self.ended("who")
        self.assertEqual(self.log("who"), "4321\n5432\n5432 7 6543\n/\nCapBnd:\t0000000000000420\nNoNewPrivs:\t0\nRead-only\n")
        self.assertNotIn("Unsupported", self.lab.k("describe", "pod", "who"))
        self.apply(pod("root", "id -u", "  securityContext: {runAsNonRoot: true}\n"))
        eventually(lambda: self.state("root")["state"]["waiting"]["reason"] == "CreateContainerConfigError", "it is refused")
        self.describes("root", "Error: container has runAsNonRoot and image will run as root (pod: \"root_default(")
        code, _, err = self.lab.kubectl("apply", "-f", "-", stdin=pod("bad", "id", "  securityContext: {runAsUser: -1}\n"), check=False)
        self.assertEqual(code, 1)
        self.assertIn("spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive", err)
        self.drop("who", "root")

    def test_limits(self):
        self.apply(pod("hungry", "head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null", "  restartPolicy: Never\n",
                       "    resources: {limits: {memory: 32Mi, cpu: 500m}}\n"))
        if "LimitsNotEnforced" in self.lab.k("describe", "pod", "hungry"):
            self.skipTest("no memory cgroup here")
        self.ended("hungry")
        ended = self.state("hungry")["state"]["terminated"]
        self.assertEqual((ended["reason"], ended["exitCode"]), ("OOMKilled", 137))
        self.apply(pod("sparing", "cat /proc/self/cgroup; sleep 1000", "", "    resources: {limits: {cpu: 250m}}\n"))
        self.lab.wait_ready("sparing")
        uid = self.lab.get("pod", "sparing")["metadata"]["uid"]
        with open(f"{self.lab.data_dir()}/pods/{uid}/cgroups", encoding="utf-8") as f:
            mine = f.read().split()
        files = [f"{d}/main/{name}" for d in mine for name in ("cpu.cfs_quota_us", "cpu.max")]
        quotas = [support.run(["cat", path])[1] for path in files if os.path.exists(path)]
        self.assertIn(quotas, (["25000\n"], ["25000 100000\n"]))
        counted = [support.run(["cat", f"{d}/pids.max"])[1] for d in mine if os.path.exists(f"{d}/pids.max")]
        self.assertIn(counted, ([], ["4096\n"]))
        self.drop("hungry", "sparing")
        eventually(lambda: not any(map(os.path.exists, mine)), "its cgroups are gone")

    def test_hooks_run_in_their_order(self):
        self.apply(pod("hooks", WAIT, "", """
    lifecycle:
      postStart: {exec: {command: [sh, -c, "sleep 1; echo STARTED $(date +%s.%N) > /proc/1/fd/1"]}}
      preStop: {exec: {command: [sh, -c, "echo STOPPING $(date +%s.%N) > /proc/1/fd/1; sleep 2; echo STOPPED $(date +%s.%N) > /proc/1/fd/1"]}}
""", grace=20, more=container("later", "echo UP $(date +%s.%N); sleep 1000")))
        self.lab.wait_ready("hooks")
        logs = self.saved("hooks"), self.saved("hooks", "later")
        self.lab.k("delete", "pod", "hooks")
        main, later = map(self.times, logs)
        self.assertLess(main["UP"], main["STARTED"])
        self.assertLess(main["STARTED"], later["UP"])
        self.assertLess(main["STOPPING"] + 2, main["STOPPED"])
        self.assertLess(main["STOPPED"], main["TERM"])

    def test_a_sleep_before_the_end_and_an_end_that_is_shortened(self):
        self.apply(pod("sleeps", WAIT, "", "    lifecycle: {preStop: {sleep: {seconds: 2}}}\n", grace=20))
        self.apply(pod("hurried", WAIT, "", "    lifecycle: {preStop: {exec: {command: [sleep, \"1000\"]}}}\n", grace=1000))
        self.lab.wait_ready("sleeps", "hurried")
        logs = self.saved("sleeps"), self.saved("hurried")
        before = time.time()
        self.lab.k("delete", "pod", "sleeps")
        self.lab.k("delete", "pod", "hurried", "--grace-period=1")
        sleeps, hurried = map(self.times, logs)
        self.assertGreaterEqual(sleeps["TERM"], before + 2)
        self.assertIn("TERM", hurried)

    def test_hooks_that_fail(self):
        self.apply(pod("fails", "echo again; sleep 1000", "", "    lifecycle: {postStart: {exec: {command: [\"false\"]}}}\n", grace=1))
        eventually(lambda: self.state("fails")["restartCount"] >= 1, "it is started again")
        self.describes("fails", "FailedPostStartHook", "PostStartHook failed", "Back-off restarting failed container")
        self.apply(pod("unwilling", WAIT, "", "    lifecycle: {preStop: {exec: {command: [\"false\"]}}}\n"))
        self.lab.wait_ready("unwilling")
        log = self.saved("unwilling")
        self.lab.k("delete", "pod", "unwilling")
        self.assertIn("TERM", self.times(log))
        eventually(lambda: "PreStopHook failed" in self.lab.k("get", "events"), "the Event of it")
        self.drop("fails")

    def test_an_agent_killed_during_a_hook(self):
        self.apply(pod("killed", WAIT, "", """
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo HOOK $(date +%s.%N) > /proc/1/fd/1; sleep 2; echo DONE $(date +%s.%N) > /proc/1/fd/1"]}}}
""", grace=30))
        self.lab.wait_ready("killed")
        log, path = self.saved("killed"), self.lab.data_dir()
        self.lab.k("delete", "pod", "killed", "--wait=false")
        eventually(lambda: "HOOK" in self.log("killed"), "the hook has begun")
        self.lab.kill_server()
        self.lab.bring_up()
        eventually(lambda: self.lab.kubectl("get", "pod", "killed", check=False)[0] != 0, f"the Pod in {path} goes")
        times = self.times(log)
        self.assertLess(times["DONE"], times["TERM"])

    def test_sidecars_end_last(self):
        text = pod("sides", WAIT, "  initContainers:" + "".join(
            container(name, WAIT, "    restartPolicy: Always\n    startupProbe: {exec: {command: [\"true\"]}, periodSeconds: 1}\n") for name in ("one", "two"))
            + container("init", "echo INIT $(date +%s.%N)"), grace=20)
        self.apply(text)
        self.lab.wait_ready("sides")
        logs = [self.saved("sides", c) for c in ("one", "two", "init", "main")]
        self.lab.k("delete", "pod", "sides")
        one, two, init, main = map(self.times, logs)
        self.assertEqual(sorted([one["UP"], two["UP"], init["INIT"], main["UP"]]), [one["UP"], two["UP"], init["INIT"], main["UP"]])
        self.assertEqual(sorted([main["TERM"], two["TERM"], one["TERM"]]), [main["TERM"], two["TERM"], one["TERM"]])

    def test_a_deadline(self):
        self.apply(pod("late", "sleep 1000", "  activeDeadlineSeconds: 2\n", grace=1))
        status = self.ended("late")
        self.assertEqual((status["phase"], status["reason"], status["message"]),
                         ("Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"))
        self.describes("late", "DeadlineExceeded")
        self.assertEqual(self.state("late")["restartCount"], 0)
        self.drop("late")

    def test_shared_processes(self):
        self.apply(pod("shared", "exec sleep 4242", "  shareProcessNamespace: true\n", more=container("other", "sleep 1000")))
        self.lab.wait_ready("shared")
        seen = self.lab.exec("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", pod="default/shared")[1]
        self.assertIn("sleep 4242", seen)
        self.assertIn("sleep 1000", seen)
        self.drop("shared")

    def test_init_containers_that_fail(self):
        init = "  initContainers:" + container("init", "exit 3")
        self.apply(pod("never", "sleep 1000", "  restartPolicy: Never\n" + init))
        self.apply(pod("always", "sleep 1000", init))
        self.assertEqual(self.ended("never")["phase"], "Failed")
        self.assertEqual(self.state("never", "init")["state"]["terminated"]["exitCode"], 3)
        self.assertEqual(self.state("never")["state"]["waiting"]["reason"], "PodInitializing")
        eventually(lambda: self.state("always", "init")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff", "it waits")
        self.assertIn("Init:", self.lab.k("get", "pod", "always"))
        self.describes("always", "CrashLoopBackOff", "Back-off restarting failed container init in pod always_default(")
        self.drop("never", "always")

    def test_images_that_are_not_there(self):
        self.apply(pod("absent", "true").replace("coracle/host", "nginx"))
        self.apply(pod("never", "true").replace("coracle/host", "nginx\n    imagePullPolicy: Never"))
        self.apply(pod("none", "true").replace("coracle/host", "Nginx"))

        def waiting(name):
            return self.state(name)["state"].get("waiting", {})
        eventually(lambda: waiting("absent").get("reason") == "ImagePullBackOff", "it is backed off from")
        self.assertTrue(waiting("absent")["message"].startswith('Back-off pulling image "nginx"') or
                        waiting("absent")["reason"] == "ErrImagePull")
        self.describes("absent", 'Pulling image "nginx"', 'Failed to pull image "nginx"', "Error: ErrImagePull",
                       'Back-off pulling image "nginx"', "Error: ImagePullBackOff")

        def pulls():
            return sum(e["count"] for e in self.lab.get("events")["items"]
                       if e["reason"] == "Pulling" and e["involvedObject"]["name"] == "absent")
        eventually(lambda: pulls() >= 2, "it is tried again")
        eventually(lambda: waiting("absent").get("reason") == "ImagePullBackOff", "and backed off from again")
        eventually(lambda: waiting("never").get("reason") == "ErrImageNeverPull", "never pulled")
        self.describes("never", 'Container image "nginx" is not present with pull policy of Never', "Error: ErrImageNeverPull")
        eventually(lambda: waiting("none").get("reason") == "InvalidImageName", "no name at all")
        self.describes("none", "invalid reference format: repository name (library/Nginx) must be lowercase")
        self.drop("absent", "never", "none")

    def test_describe_says_what_is_wrong(self):
        self.lab.k("create", "configmap", "described", "--from-literal=a=one")
        self.apply(pod("no-key", "true", "", """
    env: [{name: A, valueFrom: {configMapKeyRef: {name: described, key: nope}}}]
"""))
        self.apply(pod("no-secret", "true", "", """
    env: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: a}}}]
"""))
        self.apply(pod("no-file", "true", "  volumes: [{name: v, configMap: {name: described, items: [{key: nope, path: f}]}}]\n",
                       "    volumeMounts: [{name: v, mountPath: /v}]\n"))
        self.apply(pod("too-big", "true", "", "    resources: {requests: {memory: 1000Ti}}\n"))
        self.apply(pod("silent", "sleep 1000", "", """
    readinessProbe: {httpGet: {path: /x, port: 81}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 82}, periodSeconds: 1, failureThreshold: 1000}
"""))
        self.describes("no-key", "CreateContainerConfigError", "Error: couldn't find key nope in ConfigMap default/described")
        self.describes("no-secret", "CreateContainerConfigError", 'Error: secret "absent" not found')
        self.describes("no-file", 'MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: nope')
        self.describes("too-big", "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available:")
        ip = eventually(lambda: self.status("silent").get("podIP"), "an address")
        self.describes("silent", f'Readiness probe failed: Get "http://{ip}:81/x": dial tcp {ip}:81: connect: connection refused',
                       f"Liveness probe failed: dial tcp {ip}:82: connect: connection refused")
        code, _, err = self.lab.kubectl("apply", "-f", "-", check=False, stdin=pod(
            "upside-down", "true", "", "    resources: {requests: {cpu: 2}, limits: {cpu: 1}}\n"))
        self.assertNotEqual(code, 0)
        self.assertIn('The Pod "upside-down" is invalid: spec.containers[0].resources.requests: Invalid value: "2": '
                      "must be less than or equal to cpu limit of 1", err)
        self.drop("no-key", "no-secret", "no-file", "too-big", "silent")

    def test_nothing_stays(self):
        self.lab.k("delete", "pod", "--all", "--grace-period=0", "--force")
        eventually(lambda: not os.listdir(self.lab.data_dir() + "/pods"), "the node is empty")
        empty = traces(self.lab)
        self.apply(pod("all", WAIT, """
  shareProcessNamespace: true
  securityContext: {runAsUser: 4321}
""", """
    resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {cpu: 10m}}
    lifecycle: {preStop: {sleep: {seconds: 1}}}
"""))
        self.lab.wait_ready("all")
        pid = self.lab.server_pid()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "it is gone")
        self.lab.bring_up()
        self.lab.k("delete", "pod", "all")
        eventually(lambda: not differences(empty, traces(self.lab)), "everything is as before")


if __name__ == "__main__":
    support.main()
