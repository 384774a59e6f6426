"""The commands themselves: coracle lab, url, status, and what the server refuses to start with."""
import os
import re
import signal
import socket
import subprocess
import tempfile

import support
from support import CORACLE, Lab, LabTest, echo_pod, eventually, run


def coracle(*args, stdin=None):
    return run([CORACLE, *args], check=False, stdin=stdin)


class LabCommands(LabTest):
    def lab_command(self, *args, **kwargs):
        return coracle("lab", args[0], "--name", self.lab.name, *args[1:], **kwargs)

    def test_up_says_what_it_does(self):
        for text in ("bridge", "namespace", "starting", "Ready", "kubeconfig"):
            self.assertIn(text, self.lab.up_output)

    def test_kubeconfig_is_private(self):
        self.assertEqual(os.stat(self.lab.kubeconfig).st_mode & 0o777, 0o600)

    def test_exec_passes_input_output_and_exit_code(self):
        self.assertEqual(self.lab_command("exec", self.lab.node(), "--", "cat", stdin="through")[1], "through")
        self.assertEqual(self.lab_command("exec", self.lab.node(), "--", "sh", "-c", "exit 41")[0], 41)
        self.lab.k("run", "box", "--image=coracle/host", "--command", "--", "sleep", "100000")
        self.lab.wait_ready("box")
        pod = ("--pod", "default/box", "--")
        self.assertEqual(self.lab_command("exec", self.lab.node(), *pod, "cat", stdin="through")[1], "through")
        self.assertEqual(self.lab_command("exec", self.lab.node(), *pod, "sh", "-c", "exit 42")[0], 42)
        self.assertEqual(self.lab_command("exec", self.lab.node(), *pod, "nothing-like-it")[0], 127)
        code, _, err = self.lab_command("exec", self.lab.node(), "--pod", "default/nobody", "--", "true")
        self.assertNotEqual(code, 0)
        self.assertIn("nobody", err)
        self.lab.k("delete", "pod", "box", "--grace-period=0", "--force")

    def test_status(self):
        out = self.lab_command("status")[1]
        self.assertIn(self.lab.node(), out)
        self.assertIn("running", out)
        self.assertIn("Ready", out)

    def test_the_log_is_of_keys_and_values(self):
        value = r'(?:[^ "=\\]+|"(?:[^"\\\x00-\x1f]|\\(?:["\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}))*")'
        line = re.compile(rf"time=\S+Z level=(debug|info|warning|error) component={value} msg={value}(?: \w+={value})*")
        with open(os.path.join(os.path.dirname(self.lab.data_dir()), self.lab.node() + ".log"), encoding="utf-8") as f:
            said = f.read()
        # What the server of a new cluster says to people, not in its log.
        said, invited = re.subn(r"Another machine joins with:\n\n  coracle agent --server https://\S+:6443 --token \S{88}\n\n", "", said)
        self.assertEqual(invited, 1)
        lines = said.splitlines()
        self.assertTrue(any('component=server msg="serving the API" port=6443' in l for l in lines), lines)
        for text in lines:
            self.assertTrue(line.fullmatch(text), text)

    def test_up_again_starts_what_is_missing(self):
        pid = self.lab.server_pid()
        code, out, err = self.lab_command("up")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(self.lab.server_pid(), pid, "what runs was left alone")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.lab.server_pid() is None, "the server dead")
        self.assertEqual(self.lab_command("up")[0], 0)
        self.assertNotEqual(self.lab.server_pid(), pid)
        self.assertIn("Ready", self.lab.k("get", "nodes"))

    def test_two_labs_at_once_and_down_after_a_crash(self):
        other = Lab(name=f"u{os.getpid() % 1000000:06}")
        try:
            subnets = {l.get("nodes")["items"][0]["status"]["addresses"][0]["address"].rsplit(".", 1)[0]
                       for l in (self.lab, other)}
            self.assertEqual(len(subnets), 2)
            other.apply = lambda text: other.k("apply", "-f", "-", stdin=text)
            other.apply(echo_pod("left", "left"))
            other.wait_ready("left")
            os.kill(other.server_pid(), signal.SIGKILL)
        finally:
            other.down()
        left = run(["sh", "-c", f"ps ax -o args | grep -c '[/]lab/{other.name}/' || true"])[1].strip()
        self.assertEqual(left, "0")
        self.assertNotIn(other.name, run(["ip", "link"])[1] + run(["ip", "netns"])[1] + run(["iptables-save"])[1])
        self.assertFalse(os.path.exists(f"/var/lib/coracle/lab/{other.name}"))
        self.assertEqual(self.lab_command("status")[0], 0, "the other lab lives on")

    def test_a_lab_keeps_its_backend(self):
        other = Lab(name=f"w{os.getpid() % 1000000:06}", nodes=2, backend="host-gw")
        try:
            up = lambda *args: coracle("lab", "up", "--name", other.name, *args)
            for node in (1, 2):
                other.k("apply", "-f", "-", stdin=echo_pod(f"p{node}", "echo").replace("spec:", f"spec:\n  nodeName: {other.node(node)}", 1))
            other.wait_ready("p1", "p2")
            ip = other.get("pod", "p2")["status"]["podIP"]

            def direct():
                """Pods reach each other across nodes, and no packet is wrapped."""
                self.assertIn("p2", other.hostname_of(f"http://{ip}:5000", pod="default/p1"))
                self.assertNotIn("cora.vx", other.exec("ip", "link")[1])
                self.assertRegex(other.exec("ip", "route")[1], r"via 10\.250\.\d+\.2 dev eth0")
                return True
            eventually(direct, "direct routes")
            self.assertEqual(up()[0], 0)
            self.assertEqual(up("--backend", "host-gw")[0], 0)
            code, _, err = up("--backend", "vxlan")
            self.assertEqual(code, 1)
            self.assertIn("has the backend host-gw, not vxlan", err)
            self.assertEqual(coracle("lab", "power-cut", "--name", other.name, other.node(1))[0], 0)
            self.assertEqual(up()[0], 0)
            other.wait_ready("p1", "p2")
            ip = other.get("pod", "p2")["status"]["podIP"]
            eventually(direct, "direct routes after a power cut")
            self.assertNotEqual(up("--backend", "wireguard")[0], 0)
        finally:
            other.down()

    def test_url_of_services(self):
        self.lab.k("create", "service", "clusterip", "inside", "--tcp=80:80")
        code, _, err = self.lab_command("url", "inside")
        self.assertNotEqual(code, 0)
        self.assertIn("no node port", err)
        self.assertNotEqual(self.lab_command("url", "absent")[0], 0)
        self.lab.k("create", "namespace", "urls")
        self.lab.k("create", "service", "nodeport", "outside", "--tcp=80:80", "-n", "urls")
        url = self.lab_command("url", "outside", "-n", "urls")[1].strip()
        self.assertEqual(coracle("url", "outside", "-n", "urls", "--data-dir", self.lab.data_dir())[1].strip(), url)
        self.assertRegex(url, r"^http://10\.250\.\d+\.1:3\d{4}$")

    def test_load_balancer_port_goes_to_one_service(self):
        for name in ("first", "second"):
            self.lab.k("create", "service", "loadbalancer", name, "--tcp=8088:8088")
            eventually(lambda n=name: n != "first" or
                       self.lab.get("service", n)["status"]["loadBalancer"].get("ingress"), "an address")
        eventually(lambda: "PortTaken" in self.lab.k("describe", "service", "second"), "an Event")
        self.assertIn("<pending>", self.lab.k("get", "service", "second"))
        self.lab.k("delete", "service", "first")
        eventually(lambda: self.lab.get("service", "second")["status"]["loadBalancer"].get("ingress"), "its turn")
        self.lab.k("delete", "service", "second")


class Refusals(support.unittest.TestCase):
    def refused(self, *args):
        with tempfile.TemporaryDirectory() as data:
            code, _, err = coracle("server", "--data-dir", data + "/d", "--node-ip", "127.0.0.1", *args)
        self.assertNotEqual(code, 0)
        return err

    def test_values_that_are_not_built_name_those_that_are(self):
        self.assertRegex(self.refused("--proxy-mode", "nftables"), "nftables.*iptables")
        self.assertRegex(self.refused("--runtime", "oci"), "oci.*process")
        self.assertRegex(self.refused("--backend", "wireguard"), "wireguard.*vxlan.*host-gw.*auto")

    def test_bad_addresses_are_named(self):
        self.assertIn("--pod-cidr", self.refused("--pod-cidr", "10.42.0.0/99"))
        self.assertIn("--service-cidr", self.refused("--service-cidr", "nonsense"))
        self.assertIn("overlaps", self.refused("--pod-cidr", "10.96.0.0/16"))
        self.assertIn("--cluster-dns", self.refused("--cluster-dns", "10.0.0.1"))

    def test_lab_names_and_sizes(self):
        for args in (("--name", "much-too-long"), ("--name", "UPPER"), ("--nodes", "0"), ("--nodes", "251")):
            code, _, err = coracle("lab", "up", *args)
            self.assertNotEqual(code, 0, args)
            self.assertTrue(err.strip(), args)

    def test_a_data_directory_has_one_server(self):
        with tempfile.TemporaryDirectory() as data:
            with socket.socket() as free:  # a port that was free a moment ago
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            args = [CORACLE, "server", "--data-dir", data, "--no-agent", "--node-ip", "127.0.0.1", "--bind-address",
                    "127.0.0.1", "--secure-port", str(port)]
            with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
                try:
                    eventually(lambda: os.path.exists(data + "/kubeconfig"), "a server", timeout=60)
                    code, _, err = run(args, check=False)
                    self.assertNotEqual(code, 0)
                    self.assertTrue(err.strip())
                finally:
                    first.terminate()
                    self.assertEqual(first.wait(20), 0, "an orderly end")


if __name__ == "__main__":
    support.main()
