"""What a root process inside a Pod can not do, and what a deleted Pod or lab leaves behind: nothing."""
import glob
import os
import re
import unittest

import support
from support import LabTest, eventually, run


def lines(path):
    return read(path).decode(errors="replace").splitlines()


def other_labs(own):
    return {os.path.basename(d) for d in glob.glob("/var/lib/coracle/lab/*")} - {own}


def machine_state():
    """Links, addresses, routes, namespaces, mounts and rules of this machine, without counters."""
    mounts = sorted(line.split()[4] for line in lines("/proc/self/mountinfo"))
    commands = (["ip", "-o", "link"], ["ip", "-o", "addr"], ["ip", "route"], ["ip", "netns", "list"])
    state = {" ".join(c): sorted(run(c)[1].split("\n")) for c in commands}
    for key in ("ip -o link", "ip -o addr"):
        state[key] = sorted(l.split(":", 2)[1] for l in state[key] if l)
    rules = [l for l in run(["iptables-save"], check=False)[1].split("\n") if l[:1] in "-:" and l[:1]]
    state["rules"] = sorted(l.split(" [")[0] for l in rules if l.startswith("-A") or not l.startswith(":") or
                            l.split()[0][1:] not in BUILTIN)
    state["mounts"] = mounts
    state["ip_forward"] = lines("/proc/sys/net/ipv4/ip_forward")
    return state


def without(names, state):
    """The state without lines of what else runs on the machine: labs of those names, other tests."""
    strange = re.compile(r"\b(?:%s)\b|coracle-(?:test|runtime)|ptest-" % "|".join(names or ["$^"]))
    out = {k: [l for l in v if not strange.search(l)] for k, v in state.items() if isinstance(v, list)}
    if not names:
        return out
    # What the last lab puts back.
    return dict(out, mounts=[m for m in out["mounts"] if m != "/run/netns"], ip_forward=[])


BUILTIN = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}


class Isolation(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.machine_before = machine_state()
        cls.others = other_labs(None)
        super().setUpClass()
        for name in ("a", "b"):
            cls.lab.k("run", name, "--image=coracle/host", "--command", "--", "sleep", "100000")
        cls.lab.wait_ready("a", "b")

    def in_pod(self, *argv, pod="default/a"):
        return self.lab.exec(*argv, pod=pod, check=False)

    def test_cannot_read_secrets_of_the_node(self):
        for path in (self.lab.data_dir(), self.lab.kubeconfig, "/root", "/home", "/etc/shadow", "/var/lib/coracle",
                     "/run/coracle", *glob.glob("/etc/ssh/*_key")):
            code, out, _ = self.in_pod("sh", "-c", f"if [ -d {path} ]; then ls -A {path}; else cat {path} 2>/dev/null; fi")
            self.assertEqual(out, "", f"{path} is visible")
        self.assertNotIn(self.lab.data_dir(), self.in_pod("sh", "-c", "find / -xdev -name kubeconfig 2>/dev/null")[1])

    def test_cannot_read_another_pods_files(self):
        self.in_pod("sh", "-c", "echo private > /tmp/mine; echo private > /opt/mine", pod="default/b")
        for path in ("/tmp/mine", "/opt/mine"):
            self.assertNotEqual(self.in_pod("cat", path)[0], 0, path)
        self.assertFalse(os.path.exists("/opt/mine"), "a Pod's write reached the node's files")

    def test_cannot_mount(self):
        code, _, err = self.in_pod("mount", "-t", "tmpfs", "none", "/mnt")
        self.assertNotEqual(code, 0)
        self.assertRegex(err, "denied|permitted|superuser")

    def test_sees_no_host_process(self):
        out = self.in_pod("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")[1]
        self.assertIn("sleep 100000", out)
        self.assertNotIn("coracle", out.replace("coracle lab exec", ""))
        self.assertLess(len(self.in_pod("sh", "-c", "ls -d /proc/[0-9]*")[1].split()), 8)

    def test_capabilities_and_no_new_privs(self):
        status = self.in_pod("cat", "/proc/1/status")[1]
        fields = dict(l.split(":\t", 1) for l in status.split("\n") if ":\t" in l)
        self.assertEqual(fields["CapEff"], "00000000a80425fb")
        self.assertEqual(fields["NoNewPrivs"], "1")

    def test_hostname_hosts_and_resolv_conf(self):
        self.assertEqual(self.in_pod("hostname")[1].strip(), "a")
        ip = self.lab.get("pod", "a")["status"]["podIP"]
        self.assertIn(ip, self.in_pod("cat", "/etc/hosts")[1])
        self.assertIn("default.svc.cluster.local", self.in_pod("cat", "/etc/resolv.conf")[1])

    def test_deleted_pod_leaves_nothing(self):
        def state():
            node = self.lab.node()
            links = sorted(l.split(":")[1] for l in self.lab.exec("ip", "-o", "link")[1].split("\n") if l)
            mounts = [l for l in lines("/proc/self/mountinfo") if self.lab.name in l]
            processes = [p for p in glob.glob("/proc/[0-9]*/cmdline") if self.lab.data_dir().encode() in read(p)]
            files = sorted(os.listdir(self.lab.data_dir() + "/pods"))
            return node, [l.split("@")[0] for l in links], len(mounts), len(processes), files
        before = state()
        for i in range(3):
            self.apply(support.echo_pod(f"gone-{i}", "gone"))
        self.lab.wait_ready("gone-0", "gone-1", "gone-2")
        self.assertNotEqual(state(), before)
        self.lab.k("delete", "pod", "gone-0", "gone-1", "gone-2")
        eventually(lambda: state() == before, "no trace of the Pods")

    def test_namespace_deletion_empties_it(self):
        self.lab.k("create", "namespace", "shortlived")
        self.lab.k("create", "configmap", "x", "-n", "shortlived", "--from-literal=a=b")
        self.lab.k("run", "p", "-n", "shortlived", "--image=coracle/echo")
        self.lab.k("delete", "namespace", "shortlived", "--timeout=60s")
        self.assertNotEqual(self.lab.kubectl("get", "namespace", "shortlived", check=False)[0], 0)
        self.assertEqual(self.lab.get("pods", "-A", "--field-selector=metadata.namespace=shortlived")["items"], [])

    def test_pod_states_that_kubectl_shows(self):
        self.lab.k("run", "bad", "--image=nginx")
        self.lab.k("run", "crash", "--image=coracle/host", "--command", "--", "sh", "-c", "exit 3")
        self.lab.k("run", "once", "--image=coracle/host", "--restart=Never", "--command", "--", "true")
        eventually(lambda: "Completed" in self.lab.k("get", "pod", "once"), "Completed")
        eventually(lambda: "CrashLoopBackOff" in self.lab.k("get", "pod", "crash"), "CrashLoopBackOff")
        state = self.lab.get("pod", "crash")["status"]["containerStatuses"][0]
        self.assertEqual(state["lastState"]["terminated"]["exitCode"], 3)
        eventually(lambda: "Image" in self.lab.k("get", "pod", "bad"), "an image error")
        self.assertIn("nginx", self.lab.k("describe", "pod", "bad"))
        self.lab.k("delete", "pod", "bad", "crash", "once")

    def test_z_lab_down_leaves_the_machine_as_it_was(self):
        others = self.others | other_labs(self.lab.name)
        self.lab.down()
        others |= other_labs(self.lab.name)
        self.assertEqual(without(others, machine_state()), without(others, self.machine_before))
        self.assertEqual(glob.glob(f"/var/lib/coracle/lab/{self.lab.name}"), [])


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


if __name__ == "__main__":
    support.main()
