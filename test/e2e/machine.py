"""A machine of the test's own: namespaces for network, mounts and processes, with directories that start empty. What is in it
can be compared before and after, and all of it is gone with its first process.
"""
import difflib
import json
import os
import signal
import subprocess
import time

from support import CORACLE, eventually, run

# Directories that the machine has for itself, so that nothing else on the real one can change them.
START = """
set -e
mount -t sysfs sysfs /sys
[ ! -d /sys/fs/cgroup ] || mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
etc=$(mktemp -d /tmp/coracle-etc-XXXXXX)
mount -t tmpfs tmpfs $etc
cp -a /etc/. $etc/
mount --move $etc /etc
rmdir $etc
# Others' namespaces come and go there.
awk '$5 ~ "^/(run|var/lib|tmp)/" {print $5}' /proc/self/mountinfo | sort -r | xargs -r umount -l 2>/dev/null || true
for own in /run /var/lib /tmp; do mount -t tmpfs -o mode=755 tmpfs $own; done
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0  # addresses are there at once
ip link set lo up
echo ready
# Nobody has to wait for orphans that end.
exec python3 -c 'import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp("sleep", ["sleep", "infinity"])'
"""

# Prints what there is, as {section: [line]}. Counters, timers and what the kernel learns by itself are left out.
LOOK = r'''
import hashlib, json, os, re, subprocess, sys

def said(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return [l for l in done.stdout.splitlines() if not l.startswith("#")]

def cleaned(lines, *patterns):
    for pattern, by in patterns:
        lines = [re.sub(pattern, by, l) for l in lines]
    return lines

def about(path):
    of = os.lstat(path)
    text = f"{path} {of.st_mode:o} {of.st_uid} {of.st_gid}"
    if os.path.islink(path):
        text += " -> " + os.readlink(path)
    elif os.path.isfile(path):
        with open(path, "rb") as f:
            text += " " + hashlib.sha256(f.read()).hexdigest()
    return text

def files(top):
    for directory, names, others in os.walk(top):
        for name in names + others:
            try:
                yield about(os.path.join(directory, name))
            except OSError:
                pass  # gone meanwhile

def sysctls():
    for directory, _, names in os.walk("/proc/sys/net"):
        for name in names:
            path = os.path.join(directory, name)
            if name in ("nf_conntrack_count", "stable_secret"):
                continue
            try:
                with open(path) as f:
                    yield path + " = " + f.read().strip()
            except OSError:
                pass

def mounts():
    with open("/proc/self/mountinfo") as f:
        for line in f:
            fields = line.split()
            yield " ".join(fields[2:6] + fields[fields.index("-"):])

def processes():
    own = {os.getpid(), os.getppid()}
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) not in own:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f, open(f"/proc/{pid}/stat") as stat:
                    yield stat.read().split(")")[0] + ") " + f.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass

def sockets():
    with open("/proc/net/unix") as f:
        return [l.split()[7] for l in f if len(l.split()) > 7]

def rules(*argv):
    return cleaned(said(*argv), (r"\[\d+:\d+\]", ""), (r"packets \d+ bytes \d+", ""))

timers = (r"(\w*timer|expires|updated|used) +\S+", r"\1")
looked = {
    "links": cleaned(said("ip", "-d", "link"), timers),
    "addresses": said("ip", "address"),
    "routes": said("ip", "-4", "route", "show", "table", "all"),
    "routes6": cleaned(said("ip", "-6", "route", "show", "table", "all"), (r"expires \S+", "")),
    "ip rules": said("ip", "rule") + said("ip", "-6", "rule"),
    "neighbours": said("ip", "neigh", "show", "nud", "permanent"),
    "fdb": [l for l in said("bridge", "fdb") if "permanent" in l],
    "nft": rules("nft", "list", "ruleset"),
    "iptables-nft": rules("iptables-nft-save"), "ip6tables-nft": rules("ip6tables-nft-save"),
    "iptables-legacy": rules("iptables-legacy-save"), "ip6tables-legacy": rules("ip6tables-legacy-save"),
    "legacy tables": open("/proc/net/ip_tables_names").read().split() if os.path.exists("/proc/net/ip_tables_names") else [],
    "sysctls": sysctls(), "mounts": mounts(), "namespaces": said("ip", "netns"),
    "processes": processes(), "sockets": sockets(),
    "cgroups": [d for d, _, _ in os.walk("/sys/fs/cgroup") if re.search("cora|kube|pod", d)],
}
for top in ("/run", "/var/lib", "/etc", "/tmp", "/dev/shm"):
    looked[top] = files(top)
ordered = ("links", "addresses", "nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
print(json.dumps({section: list(lines) if section in ordered else sorted(lines) for section, lines in looked.items()}))
'''


class Machine:
    """Ends with close(), and with the thread that has made it."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--ipc", "--fork",
                                        "--kill-child", "--mount-proc", "sh", "-c", START], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if self.holder.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError(f"machine {name} does not start")
        children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
        with open(children, encoding="ascii") as f:
            self.pid = int(f.read().split()[0])
        eventually(self.asleep, f"machine {name} has come to rest")

    def asleep(self):
        """Its first process has become what it stays."""
        with open(f"/proc/{self.pid}/comm", encoding="ascii") as f:
            return f.read() == "sleep\n"

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def argv(self, *argv):
        """The command line that runs argv there."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", *argv]

    def run(self, *argv, check=True, timeout=60, env=None, stdin=None):
        return run(self.argv(*argv), check=check, timeout=timeout, env=env, stdin=stdin)

    def sh(self, script, **kwargs):
        return self.run("sh", "-ec", script, **kwargs)[1]

    def coracle(self, *argv, **kwargs):
        return self.run(CORACLE, *argv, **kwargs)

    def start(self, *argv, log, env=None):
        """A process there; `log` is a file of the real machine's."""
        with open(log, "ab") as out:
            return subprocess.Popen(self.argv(*argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)

    def look(self):
        return json.loads(self.run("python3", "-c", LOOK)[1])

    def settled(self):
        """As look(), when nothing changes any more by itself, as a carrier that comes."""
        looks = [None]

        def same():
            looks.append(self.look())
            time.sleep(0.5)
            return looks[-1] == looks[-2]
        eventually(same, f"{self.name} comes to rest")
        return looks[-1]

    def pids(self, *marks):
        """The processes whose command line holds all the marks, by their numbers there."""
        script = "for p in /proc/[0-9]*; do printf '%s ' ${p#/proc/}; tr '\\0' ' ' <$p/cmdline 2>/dev/null || true; echo; done"
        lines = [l.split(" ", 1) for l in self.run("sh", "-c", script)[1].splitlines() if " " in l]
        return [int(pid) for pid, text in lines if all(m in text for m in marks) and "for p in" not in text]

    def kill(self, pids, number=signal.SIGTERM, timeout=30):
        """Returns when they have ended."""
        if pids:
            names = [str(pid) for pid in pids]
            self.run("kill", f"-{int(number)}", *names, check=False)
            self.run("timeout", str(timeout), "tail", "-f", "/dev/null", *[f"--pid={n}" for n in names], timeout=timeout + 10)


def join(first, second, addresses=("10.251.8.1/24", "10.251.8.2/24")):
    """A cable between two machines: eth0 at both ends."""
    run(["ip", "link", "add", "eth0", "netns", str(first.pid), "type", "veth", "peer", "name", "eth0", "netns", str(second.pid)])
    for machine, address in zip((first, second), addresses):
        machine.sh(f"ip addr add {address} dev eth0; ip link set eth0 up")


def differences(before, after):
    """As lines of diff, each with its section."""
    out = []
    for section in before:
        out += [f"{section}: {line}" for line in difflib.ndiff(before[section], after[section]) if line[0] in "+-"]
    return out


def warm_up():
    """Loads the kernel modules whose sysctls appear with them."""
    machine = Machine("warm")
    try:
        machine.sh("ip link add name warm0 type bridge; ip link add name warm1 type vxlan id 9 dstport 4789; "
                   "iptables -t nat -A POSTROUTING -j MASQUERADE; iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP")
    finally:
        machine.close()
