"""What the tests of the cluster's DNS share: a lab with an upstream server of its own, Pods with three resolver libraries,
and dig's answers as text."""
import os
import shutil
import subprocess
import tempfile

from support import Lab, eventually, run

DNS = "10.96.0.10"
ZONE = "cluster.local"

BACKEND = """
apiVersion: v1
kind: Service
metadata: {name: backend}
spec:
  selector: {app: backend}
  ports: [{name: http, port: 5000}]
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec:
  clusterIP: None
  selector: {app: backend}
  ports: [{name: http, port: 5000}]
---
apiVersion: v1
kind: Service
metadata: {name: ext}
spec: {type: ExternalName, externalName: www.example.com}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
"""

# Asks getaddrinfo for IPv4 addresses, as `getent ahostsv4` does; linked with musl.
MUSL_PROGRAM = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  int error = argc == 2 ? getaddrinfo(argv[1], 0, &hints, &found) : EAI_FAIL;
  if (error) { fprintf(stderr, "%s\n", gai_strerror(error)); return 2; }
  for (; found; found = found->ai_next) {
    char text[64];
    inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
    puts(text);
  }
  return 0;
}
"""

# A server that knows what it is told and notes what it is asked for, as lines "NAME TYPE PEER edns|plain".
# argv: address, port, file of the questions, edns|plain: whether it takes EDNS, and any number of NAME=IP[,IP...].
SERVER = r"""
import ipaddress, socket, struct, sys
address, port, asked, takes = sys.argv[1:5]
known = {name: [ipaddress.ip_address(ip) for ip in ips.split(",")] for name, ips in (word.split("=") for word in sys.argv[5:])}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((address, int(port)))
print("up", flush=True)
while True:
    packet, peer = s.recvfrom(4096)
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode()); at += packet[at] + 1
    name, kind = ".".join(labels).lower(), struct.unpack("!H", packet[at + 1:at + 3])[0]
    edns = packet[10:12] != b"\0\0"
    with open(asked, "a") as f:
        f.write(f"{name} {kind} {peer[0]} {'edns' if edns else 'plain'}\n")
    if edns and takes == "plain":  # as old servers do: without even the question
        s.sendto(packet[:2] + struct.pack("!HHHHH", 0x8181, 0, 0, 0, 0), peer)
        continue
    found = [ip.packed for ip in known.get(name, ()) if kind == {4: 1, 6: 28}[ip.version]]
    answer = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(ip)) + ip for ip in found)
    head = packet[:2] + struct.pack("!HHHHH", 0x8180 | (0 if name in known else 3), 1, len(found), 0, 0)
    s.sendto(head + packet[12:at + 5] + answer, peer)
"""


class DnsLab(Lab):
    """Its nodes ask a server in a namespace `outside` on the lab's network, which is neither node nor Pod, and nobody else."""

    def __init__(self, nodes):
        self.shared = tempfile.mkdtemp(prefix="coracle-dns-", dir="/var/tmp")
        os.chmod(self.shared, 0o755)
        self.resolv_file = os.path.join(self.shared, "resolv.conf")
        self.write_resolv_conf("")
        self.servers = []
        super().__init__(nodes=nodes, resolv_conf=self.resolv_file)
        self.outside = f"{self.name}-outside"
        self.outside_ip = self.address(1).rsplit(".", 1)[0] + ".200"
        self.asked = os.path.join(self.shared, "asked")

    def write_resolv_conf(self, text):
        with open(self.resolv_file + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.rename(self.resolv_file + ".new", self.resolv_file)

    def start_upstream(self):
        run(["ip", "netns", "add", self.outside])
        end = f"{self.name}-o"
        run(["ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", self.outside])
        run(["ip", "link", "set", end, "master", f"{self.name}-net", "up"])
        for argv in (["addr", "add", self.outside_ip + "/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            run(["ip", "-n", self.outside, *argv])
        self.start_server(53, "edns", "www.example.com=192.0.2.80", "many.example.com=192.0.2.1,192.0.2.2,192.0.2.3")
        self.write_resolv_conf(f"nameserver {self.outside_ip}\nsearch corp.example\n")

    def start_server(self, port, takes, *known):
        """Beside the upstream server, or that itself: at port 53."""
        asked = f"{self.asked}-{port}"
        open(asked, "w", encoding="ascii").close()
        server = subprocess.Popen(["ip", "netns", "exec", self.outside, "python3", "-u", "-c", SERVER, self.outside_ip, str(port), asked, takes,
                                   *known], stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stdout.readline().strip() == "up"

    def questions_outside(self, port=53):
        """(name, type, who asked, edns or plain)"""
        with open(f"{self.asked}-{port}", encoding="ascii") as f:
            return [tuple(line.split()) for line in f]

    def build_musl(self):
        source, program = os.path.join(self.shared, "ask.c"), os.path.join(self.shared, "ask")
        with open(source, "w", encoding="ascii") as f:
            f.write(MUSL_PROGRAM)
        run(["musl-gcc", "-static", "-O1", "-o", program, source])

    def down(self):
        if not self.is_down:
            for server in self.servers:
                server.kill()
                server.wait()
                server.stdout.close()
            if self.servers:
                run(["ip", "netns", "del", self.outside], check=False)
            super().down()
            shutil.rmtree(self.shared, ignore_errors=True)

    def dig(self, *args, node=1, pod=None, check=True):
        argv = ["dig", f"@{DNS}", "+tries=2", "+time=10", *args]
        code, out, err = self.exec(*argv, node=node, pod=pod, check=False, timeout=90)
        if check and code != 0:
            raise AssertionError(f"{argv}: exit {code}\n{out}\n{err}")
        return out

    def short(self, *args, **kwargs):
        return sorted(self.dig("+short", *args, **kwargs).split("\n")[:-1])


def client_pod(lab, name, node, ns="default", extra=""):
    """Has a shell, dig, busybox and /shared with the program that is linked with musl."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {ns}}}
spec:
  nodeName: {lab.node(node)}
  terminationGracePeriodSeconds: 1
{extra}
  volumes: [{{name: shared, hostPath: {{path: {lab.shared}}}}}]
  containers:
  - name: c
    image: coracle/host
    command: [sleep, infinity]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
---
"""


def parse_dig(text):
    """(rcode, {section: [record]}) of one answer; a record's fields are separated by one space."""
    rcode, sections, section = None, {}, None
    for line in text.split("\n"):
        if "status: " in line:
            rcode = line.split("status: ")[1].split(",")[0]
        elif line.startswith(";; ") and line.endswith(" SECTION:"):
            section = line.split()[1].lower()
        elif line and not line.startswith(";") and section:
            sections.setdefault(section, []).append(" ".join(line.split()))
    return rcode, sections


def await_name(lab, name, node=1, pod=None):
    """Until the node's table has it: an agent learns of Services by its watches."""
    return eventually(lambda: lab.short(name, node=node, pod=pod), f"node {node} knows {name}")
