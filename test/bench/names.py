"""The cluster's names: how soon a new one can be used, and how many are answered, beside dnsmasq with the same names on the same node."""
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
COUNT, ROUNDS, SECONDS, CLUSTER_DNS, DNSMASQ_PORT = 1000, 100, 5, "10.96.0.10", 5353

# Runs in a Pod. Of every name that it reads: when the first byte of an answer over HTTP came from there.
FIRST_BYTE = r"""
import socket, sys, time
print("here", flush=True)
for line in sys.stdin:
    deadline = time.time() + 20
    while time.time() < deadline:
        try:
            with socket.create_connection((line.strip(), 80), timeout=1) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if s.recv(1): break
        except OSError:
            time.sleep(0.001)
    print(time.time(), flush=True)
"""


def made(answer, status=201):
    if answer[0] != status:
        raise RuntimeError(answer)
    return answer[1]


def service(name, port=80):
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "named"}, "ports": [{"port": port, "targetPort": 8080}]}}


def running(api, name, spec):
    """Makes the Pod; waits until it is Ready."""
    version = api.get(PODS)["metadata"]["resourceVersion"]
    made(api.request("POST", PODS, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}))
    watch = api.watch(PODS, version)
    for _, pod in watch:
        if pod["metadata"]["name"] == name and any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", [])):
            break
    watch.close()


def in_pod(coracle, lab, node, pod, script):
    return subprocess.Popen([coracle, "lab", "exec", "--name", lab, node, "--pod", f"default/{pod}", "--", "python3", "-c", script],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_bytes(coracle, lab, node, api):
    """(metric, value, unit): a Service is made until a Pod has an answer from its name, and until a Pod of another node has."""
    running(api, "named", {"nodeName": f"{lab}-node-1", "containers": [{"name": "echo", "image": "coracle/echo"}]})
    for where, number in (("own node", 1), ("another node", 2)):
        asks = f"asks-{number}"
        running(api, asks, {"nodeName": f"{lab}-node-{number}",
                            "containers": [{"name": "c", "image": "coracle/host", "command": ["sleep", "1000"]}]})
        process = in_pod(coracle, lab, f"{lab}-node-{number}", asks, FIRST_BYTE)
        process.stdout.readline()
        took = []
        for i in range(ROUNDS):
            name = f"fresh-{number}-{i}"
            process.stdin.write(name + "\n")
            process.stdin.flush()
            began = time.time()
            made(api.request("POST", SERVICES, service(name)))
            took.append(float(process.stdout.readline()) - began)
        process.communicate(timeout=30)
        took.sort()
        yield f"a Service is made, to the first byte from its name, {where}, p50", took[len(took) // 2] * 1e3, "ms"
        yield f"a Service is made, to the first byte from its name, {where}, p99", took[len(took) * 99 // 100] * 1e3, "ms"


def dnsperf(prefix, server, port, questions, *options):
    done = subprocess.run([*prefix, "dnsperf", "-s", server, "-p", str(port), "-d", questions, "-l", str(SECONDS), "-c", "8", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, timeout=120)
    answered = re.search(r"Response codes:.*NOERROR \d+ \(100\.00%\)", done.stdout)
    if not answered or not re.search(r"Queries lost: +0 ", done.stdout):
        raise RuntimeError(done.stdout[-2000:])
    return done.stdout


def asked(prefix, bench, server, port, questions):
    """Answers a second to a client that costs less than dnsperf, which on two cores is what is measured."""
    done = subprocess.run([*prefix, bench, "ask", server, str(port), questions, str(SECONDS)], stdout=subprocess.PIPE, check=True, timeout=120)
    return json.loads(done.stdout)["answers_per_second"]


def await_name(prefix, server, port, name):
    deadline = time.time() + 30
    ask = [*prefix, "dig", "+short", "+tries=1", "+time=1", "-p", str(port), f"@{server}", name]
    while not subprocess.run(ask, stdout=subprocess.PIPE, timeout=30, check=False).stdout:
        if time.time() > deadline:
            raise RuntimeError(f"{server} does not know {name}")


def rate(output):
    return float(re.search(r"Queries per second: +([\d.]+)", output)[1])


def latencies(output):
    """Seconds of every question, sorted, from what -v prints: "> NOERROR <name> A 0.000123"."""
    return sorted(float(line.rsplit(" ", 1)[1]) for line in output.splitlines() if line.startswith("> "))


def cpu_seconds(pid):
    """Of the process, and of what it runs."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return own_seconds(pid) + sum(own_seconds(child) for child in f.read().split())


def own_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rates(coracle, lab, node, api, server_pid, bench):
    """(metric, value, unit) of dnsperf against the node's DNS and against dnsmasq, both in the node's network namespace."""
    addresses = {}
    for i in range(COUNT):
        addresses[f"name-{i}"] = made(api.request("POST", SERVICES, service(f"name-{i}")))["spec"]["clusterIP"]
    directory = tempfile.mkdtemp(prefix="coracle-bench-names-")
    hosts, questions = os.path.join(directory, "hosts"), os.path.join(directory, "questions")
    full = {f"{name}.default.svc.cluster.local": ip for name, ip in addresses.items()}
    with open(hosts, "w", encoding="utf-8") as f:
        f.writelines(f"{ip} {name}\n" for name, ip in full.items())
    with open(questions, "w", encoding="utf-8") as f:
        f.writelines(f"{name} A\n" for name in random.Random(1).choices(list(full), k=20000))
    prefix = [coracle, "lab", "exec", "--name", lab, node, "--"]
    dnsmasq = subprocess.Popen([*prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                                f"--addn-hosts={hosts}", "--listen-address=127.0.0.1", "--bind-interfaces", f"--port={DNSMASQ_PORT}",
                                "--pid-file=", "--user=root"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for server, port in ((CLUSTER_DNS, 53), ("127.0.0.1", DNSMASQ_PORT)):
            await_name(prefix, server, port, list(full)[-1])
        for _ in range(2):  # once to be warm
            before = own_seconds(server_pid), cpu_seconds(dnsmasq.pid)
            ours = rate(dnsperf(prefix, CLUSTER_DNS, 53, questions))
            theirs = rate(dnsperf(prefix, "127.0.0.1", DNSMASQ_PORT, questions))
            spent = own_seconds(server_pid) - before[0], cpu_seconds(dnsmasq.pid) - before[1]
        light = asked(prefix, bench, CLUSTER_DNS, 53, questions), asked(prefix, bench, "127.0.0.1", DNSMASQ_PORT, questions)
        half = dnsperf(prefix, CLUSTER_DNS, 53, questions, "-Q", str(int(ours / 2)), "-v")
    finally:
        dnsmasq.kill()
        dnsmasq.wait()
        shutil.rmtree(directory)
    times = latencies(half)
    yield "names of 1,000 Services, answers a second (dnsperf)", ours, ""
    yield "dnsmasq with the same names, answers a second", theirs, ""
    yield "ratio of the two", ours / theirs, "x"
    yield "answers a second to a lighter client", light[0], ""
    yield "dnsmasq's answers a second to that client", light[1], ""
    yield "ratio of the two", light[0] / light[1], "x"
    yield "CPU time for an answer", spent[0] / (ours * SECONDS) * 1e6, "us"
    yield "CPU time for an answer of dnsmasq", spent[1] / (theirs * SECONDS) * 1e6, "us"
    yield "asked for half as many a second", rate(half), ""
    yield "  latency then, p50", times[len(times) // 2] * 1e3, "ms"
    yield "  latency then, p99", times[len(times) * 99 // 100] * 1e3, "ms"


def measure(coracle, lab, api, server_pid, bench):
    node = f"{lab}-node-1"
    yield from first_bytes(coracle, lab, node, api)
    if shutil.which("dnsperf") and shutil.which("dnsmasq"):
        yield from rates(coracle, lab, node, api, server_pid, bench)
