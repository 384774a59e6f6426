"""Many Pods at once on a lab: how soon they are Ready and gone, and what each of them costs."""
import os
import time

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


def fields(pid):
    """KiB of a process by the names of smaps_rollup; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            return {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith("kB\n")}
    except (OSError, ProcessLookupError):
        return {}


def private(pid):
    found = fields(pid)
    return found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def all_ready(api, count):
    """The uids, once there are so many."""
    ready, deadline = set(), time.perf_counter() + 600
    while time.perf_counter() < deadline:
        listed = api.get(PODS)
        ready = {p["metadata"]["uid"] for p in listed["items"] if is_ready(p)}
        watch = api.watch(PODS, listed["metadata"]["resourceVersion"])
        for _, pod in watch if len(ready) < count else ():
            if is_ready(pod):
                ready.add(pod["metadata"]["uid"])
            if len(ready) == count:
                break
        watch.close()
        if len(ready) >= count:
            return ready
    raise RuntimeError(f"only {len(ready)} of {count} Pods are Ready")


def pod_dirs(lab):
    """Of all nodes, what the Pods have there."""
    found = []
    for node in os.listdir(lab.directory):
        path = os.path.join(lab.directory, node, "pods")
        found += os.listdir(path) if os.path.isdir(path) else []
    return found


def cgroups_of(uids):
    return [d for d, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(d) in uids]


def wait(condition, what, seconds=600):
    deadline = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def measure(lab, api, count):
    """(metric, value, unit) of `count` Pods of one Deployment, from their creation until nothing of them is left."""
    def nodes():
        return [pid for pid, name in lab.processes().items() if name == "server" or name.endswith("coracle")]

    def spent(before, after):
        return {n: (t - before["cpu"].get(n, 0)) / 1e9 for n, t in after["cpu"].items()}

    before, node_memory = lab.used(), sum(private(p) for p in nodes())
    labels = {"app": "many"}
    container = {"name": "echo", "image": "coracle/echo", "ports": [{"containerPort": 5000}]}
    began = time.perf_counter()
    status, answer = api.request("POST", DEPLOYMENTS, {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
        "spec": {"replicas": count, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}})
    if status != 201:
        raise RuntimeError(answer)
    ready = all_ready(api, count)
    yield f"{count} Pods on three nodes, to all Ready", (time.perf_counter() - began) * 1e3, "ms"
    after = lab.used()
    for name, seconds in sorted(spent(before, after).items()):
        if seconds > 0.05:
            yield f"CPU time for them: {os.path.basename(name)}", seconds * 1e3, "ms"
    yield "CPU time for each, all together", sum(spent(before, after).values()) * 1e3 / count, "ms"
    yield "memory of the nodes' processes for each, private", (sum(private(p) for p in nodes()) - node_memory) / count, "KiB"
    supervisors = [private(pid) for pid, name in lab.processes().items() if name == "coracle-supervisor"]
    yield "memory of a supervisor, private, on average", sum(supervisors) / max(1, len(supervisors)), "KiB"
    yield "memory of a supervisor, private, the largest", max(supervisors, default=0), "KiB"

    began = time.perf_counter()
    api.request("DELETE", f"{DEPLOYMENTS}/many", {"propagationPolicy": "Background"})
    wait(lambda: not api.get(PODS)["items"], "the API knows of no Pod")
    yield f"{count} Pods, until the last is gone", (time.perf_counter() - began) * 1e3, "ms"
    wait(lambda: not pod_dirs(lab), "no Pod's directory is left")
    left = [pid for pid, name in lab.processes().items() if name.startswith("coracle-")]
    yield "processes and cgroups left behind", len(left) + len(cgroups_of(ready)), ""
