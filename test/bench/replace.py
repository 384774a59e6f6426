"""From the deletion of a Deployment's Pod until the rules of every node have the address of the one that takes its place."""
import json
import subprocess
import threading
import time

PODS = "/api/v1/namespaces/default/pods"
ROUNDS = 50

# Runs on a node. A line for every transaction of nf_tables: when the kernel told, and where its DNAT rules lead to then. It
# reads the rules from the notifications themselves, because a listing at each would take the time that is to be measured.
RULES = r"""
import re, socket, struct, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
s.bind((0, 1 << 6))  # NFNLGRP_NFTABLES
NEW_RULE, DELETE_RULE, NEW_GENERATION, HANDLE = 10 << 8 | 6, 10 << 8 | 8, 10 << 8 | 15, 3
rules = {}  # address by handle


def attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3fff, data[4:length]
        data = data[length + 3 & ~3:]


print("0", flush=True)
while True:
    packet, now = s.recv(1 << 20), time.time()
    while len(packet) >= 16:
        length, kind = struct.unpack_from("=IH", packet)
        message, packet = packet[20:length], packet[length + 3 & ~3:]
        if kind in (NEW_RULE, DELETE_RULE):
            handle = next(v for k, v in attributes(message) if k == HANDLE)
            # struct nf_nat_range2: flags, then the first address
            found = kind == NEW_RULE and b"DNAT\0" in message and re.search(rb"\x0a\x2a..", message[message.index(b"DNAT\0"):], re.S)
            if found: rules[handle] = socket.inet_ntoa(found[0])
            else: rules.pop(handle, None)
        elif kind == NEW_GENERATION:
            print(now, *sorted(set(rules.values())), flush=True)
"""


class Rules:
    """When the rules of a node had which addresses."""

    def __init__(self, coracle, lab, node):
        self.seen, self.changed = [], threading.Condition()
        self.process = subprocess.Popen([coracle, "lab", "exec", "--name", lab, node, "--", "python3", "-c", RULES],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.read, daemon=True).start()
        with self.changed:
            if not self.changed.wait_for(lambda: self.seen, 30):
                raise RuntimeError(f"no rules of {node} to be seen")

    def read(self):
        for line in self.process.stdout:
            when, *addresses = line.split()
            with self.changed:
                self.seen.append((float(when), set(addresses)))
                self.changed.notify_all()

    def when(self, has, lacks, since):
        """The moment since when they have the one address and not the other."""
        def found():
            return next((t for t, a in self.seen if t >= since and has in a and lacks not in a), None)
        with self.changed:
            if not self.changed.wait_for(lambda: found() is not None, 30):
                raise RuntimeError(f"no rules with {has} and without {lacks}")
            return found()

    def end(self):
        self.process.kill()
        self.process.wait()


def condition(pod, name):
    return any(c["type"] == name and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def replace_one(api, rules):
    """Seconds after the DELETE was sent: the new Pod is made, bound, Ready, and in the rules of all nodes."""
    listed = api.get(PODS + "?labelSelector=app%3Dechoes")
    known = {p["metadata"]["uid"] for p in listed["items"]}
    victim = next(p for p in listed["items"] if condition(p, "Ready") and "deletionTimestamp" not in p["metadata"])
    watch = api.watch(PODS, listed["metadata"]["resourceVersion"])
    began = time.time()
    status, answer = api.request("DELETE", f"{PODS}/{victim['metadata']['name']}")
    if status != 200:
        raise RuntimeError(answer)
    stages, address = {}, None
    for _, pod in watch:
        if pod["metadata"]["uid"] in known or pod["metadata"].get("labels", {}).get("app") != "echoes":
            continue
        now = time.time() - began
        stages.setdefault("made", now)
        if pod["spec"].get("nodeName"):
            stages.setdefault("bound", now)
        if condition(pod, "Ready"):
            stages["Ready"] = now
            address = pod["status"]["podIP"]
            break
    watch.close()
    old = victim["status"]["podIP"]
    stages["rules"] = max(r.when(address, old, began) for r in rules) - began
    while any(p["metadata"]["uid"] == victim["metadata"]["uid"] for p in api.get(PODS)["items"]):
        time.sleep(0.02)  # the next round begins with three Pods
    return stages


def measure(coracle, lab, nodes, api):
    """Yields (metric, value, unit)."""
    labels = {"app": "echoes"}
    rules = [Rules(coracle, lab, node) for node in nodes]
    try:
        for path, kind, spec in (
                ("/apis/apps/v1/namespaces/default/deployments", "Deployment", {
                    "replicas": 3, "selector": {"matchLabels": labels}, "template": {
                        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "echo", "image": "coracle/echo"}]}}}),
                ("/api/v1/namespaces/default/services", "Service", {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]})):
            status, answer = api.request("POST", path, {"kind": kind, "metadata": {"name": "echoes"}, "spec": spec})
            if status != 201:
                raise RuntimeError(json.dumps(answer))
        while sum(condition(p, "Ready") for p in api.get(PODS)["items"]) < 3:
            time.sleep(0.05)
        rounds = [replace_one(api, rules) for _ in range(ROUNDS)]
    finally:
        for r in rules:
            r.end()
    own = [r["rules"] - (r["Ready"] - r["bound"]) for r in rounds]
    for what, values in (("deleted Pod to its successor's creation", [r["made"] for r in rounds]),
                         ("  binding", [r["bound"] - r["made"] for r in rounds]),
                         ("  sandbox, network and container, to Ready", [r["Ready"] - r["bound"] for r in rounds]),
                         ("  Endpoints and rules of three nodes", [r["rules"] - r["Ready"] for r in rounds]),
                         ("deleted Pod to the new one in all rules", [r["rules"] for r in rounds]),
                         ("  of it without the Pod's start", own)):
        values.sort()
        yield what + ", p50", values[len(values) // 2] * 1e3, "ms"
        yield what + ", p99", values[len(values) * 99 // 100] * 1e3, "ms"
