"""What a lab's node has left in the machine: to be equal before and after. Nothing here changes anything."""
import collections
import os
import re

from support import run


def chains_of(saved):
    """An iptables-save text as {table/chain: its rules in order}, without counters and comments."""
    chains, table = collections.defaultdict(list), ""
    for line in saved.split("\n"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chains[f"{table}/{line[1:].split()[0]}"] += []
        elif line.startswith("-A "):
            chains[f"{table}/{line.split()[1]}"].append(line)
    return dict(chains)


def rules(lab):
    return chains_of(lab.exec("iptables-save")[1])


def processes(lab):
    """Command lines of everything that carries the lab's mark: its nodes, supervisors, and what lives on mounts of its Pods."""
    mark = f"/lab/{lab.name}/".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                command = f.read()
            with open(f"/proc/{pid}/mountinfo", "rb") as f:
                mounts = f.read()
        except OSError:
            continue
        if command and (mark in command or mark in mounts):
            found.append(re.sub(r"\s*\0\s*", " ", command.decode(errors="replace")).strip())
    return sorted(found)


def files(lab):
    """Every path under the lab's directory, but the database and its copies, and what one lab hands over to another."""
    top = os.path.dirname(lab.data_dir())
    out = []
    for directory, _, names in os.walk(top):
        path = os.path.relpath(directory, top)
        out += [f"{path}/{n}" for n in [".", *names] if "coracle.db" not in n and "/snapshots" not in path and n != "sysctls.json"]
    return sorted(out)


def traces(lab):
    """All of it, comparable with ==."""
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        mounts = sorted(line.split()[4] for line in f if lab.name in line)
    links = [line.split(": ")[1].split("@")[0] for line in lab.exec("ip", "-o", "link")[1].split("\n") if line]
    return {"processes": processes(lab), "files": files(lab), "mounts": mounts, "links": sorted(links),
            "routes": sorted(lab.exec("ip", "-4", "route", "show", "table", "all")[1].split("\n")),
            "links here": sorted(n for n in os.listdir("/sys/class/net") if lab.name in n),
            "namespaces": sorted(n for n in os.listdir("/run/netns") if lab.name in n),
            "cgroups": sorted(d for d, _, _ in os.walk("/sys/fs/cgroup") if lab.name in d), "rules": rules(lab)}


def differences(before, after):
    """What is not equal, to be read."""
    said = []
    for key in before:
        if isinstance(before[key], dict):
            for name in sorted({*before[key], *after[key]}):
                said += difference(f"{key} {name}", before[key].get(name), after[key].get(name))
        else:
            said += difference(key, before[key], after[key])
    return said


def difference(what, before, after):
    if before == after:
        return []
    if before is None or after is None:
        return [f"{what}: {'new' if before is None else 'gone'}"]
    gone = collections.Counter(before) - collections.Counter(after)
    new = collections.Counter(after) - collections.Counter(before)
    if not gone and not new:
        return [f"{what}: another order: {before} -> {after}"]
    return [f"{what}: gone {sorted(gone.elements())[:5]}, new {sorted(new.elements())[:5]}"]
