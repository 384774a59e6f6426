"""What the end-to-end tests share: a lab of their own, kubectl with a home of its own, bounded waiting.

Each test module brings up one lab named after its process id and takes it down again, also when it fails.
"""
import atexit
import functools
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORACLE = os.environ.get("CORACLE", os.path.join(ROOT, "build/release/coracle"))
EXAMPLES = os.path.join(ROOT, "manifests/examples")


def run(argv, *, check=True, timeout=60, stdin=None, env=None):
    """Runs a command; returns (exit code, stdout, stderr). With check, a failure raises with everything it said."""
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          env=env, text=True, errors="replace")
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.returncode, done.stdout, done.stderr


def eventually(condition, what, timeout=60.0):
    """Polls until condition() is true; its last value is returned. The bound is generous, it is no measurement."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, subprocess.TimeoutExpired, KeyError, IndexError, ValueError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {last})")
        time.sleep(0.1)


@functools.lru_cache
def kubectl_binaries():
    """Every kubectl to test with, by its version ("1.27"): the one on PATH, others beside it, and the oldest supported."""
    candidates = [os.path.join(ROOT, "build/deps/kubectl-1.20/kubectl")]
    path = shutil.which("kubectl")
    if path:
        candidates += [path, *glob.glob(os.path.join(os.path.dirname(os.path.realpath(path)), "kubectl.1.*"))]
    found = {}
    for binary in candidates:
        if os.path.exists(binary):
            client = json.loads(run([binary, "version", "--client", "-o", "json"])[1])["clientVersion"]
            found[".".join(client["gitVersion"].lstrip("v").split(".")[:2])] = binary
    return dict(sorted(found.items(), key=lambda item: int(item[0].split(".")[1])))


class Lab:
    def __init__(self, name=None, nodes=1, backend=None, resolv_conf=""):
        self.name = name or f"t{os.getpid() % 1000000:06}"  # none is the beginning of another
        self.nodes = nodes
        self.backend = backend
        self.resolv_conf = resolv_conf  # none: what a test asks for stays on this machine
        self.home = tempfile.mkdtemp(prefix="coracle-e2e-")
        atexit.register(self.down)
        self.is_down = False
        self.up_output = self.bring_up()
        self.kubeconfig = run([CORACLE, "lab", "kubeconfig", "--name", self.name])[1].strip()

    def bring_up(self):
        argv = [CORACLE, "lab", "up", "--nodes", str(self.nodes), "--name", self.name]
        argv += ["--backend", self.backend] if self.backend else []
        argv += ["--resolv-conf", self.resolv_conf]
        for _ in range(5):
            code, out, err = run(argv, check=False, timeout=150)
            if code == 0:
                return out
            if "try again" not in err:  # another lab of this machine took the subnet first
                break
        raise AssertionError(f"lab up: exit {code}\n{out}\n{err}")

    def node(self, index=1):
        return f"{self.name}-node-{index}"

    def data_dir(self, index=1):
        return f"/var/lib/coracle/lab/{self.name}/{self.node(index)}"

    def log_path(self, index=1):
        return self.data_dir(index) + ".log"

    def address(self, index=1):
        """The node's address, as the kubeconfig or the plan of the lab has it."""
        return run([CORACLE, "lab", "status", "--name", self.name])[1].split("\n")[index - 1].split()[1]

    def kill_server(self):
        """As a power cut takes it: nothing is told. Returns when it is gone."""
        self.end_server(signal.SIGKILL)

    def end_server(self, how=signal.SIGTERM):
        """Returns once its last thread is gone, and with it its files and ports."""
        pidfd = os.pidfd_open(self.server_pid())
        try:
            signal.pidfd_send_signal(pidfd, how)
            if not select.select([pidfd], [], [], 30)[0]:
                raise AssertionError("the server does not end")
        finally:
            os.close(pidfd)

    def down(self):
        if not self.is_down:
            self.is_down = True
            for candidate in glob.glob(os.path.dirname(self.data_dir()) + "/*.log"):
                if os.environ.get("CORACLE_E2E_KEEP_LOGS"):
                    shutil.copy(candidate, "/tmp/" + os.path.basename(candidate))
            subprocess.run([CORACLE, "lab", "down", "--name", self.name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=60, check=False)
            shutil.rmtree(self.home, ignore_errors=True)

    def kubectl(self, *args, binary=None, check=True, stdin=None, timeout=60, env=None):
        base = dict(os.environ, HOME=self.home, KUBECONFIG=self.kubeconfig, **(env or {}))
        binary = binary or "kubectl"
        cache = os.path.join(self.home, "cache-" + os.path.basename(binary))
        return run([binary, "--cache-dir", cache, *args], check=check, stdin=stdin, timeout=timeout, env=base)

    def k(self, *args, **kwargs):
        return self.kubectl(*args, **kwargs)[1]

    def get(self, *args):
        return json.loads(self.k("get", *args, "-o", "json"))

    def exec(self, *argv, node=1, pod=None, check=True, timeout=60):
        target = ["--pod", pod] if pod else []
        return run([CORACLE, "lab", "exec", "--name", self.name, self.node(node), *target, "--", *argv], check=check,
                   timeout=timeout)

    def server_pid(self):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/cmdline", "rb") as f:
                        argv = f.read().split(b"\0")
                except OSError:
                    continue
                if len(argv) > 2 and argv[1] == b"server" and self.data_dir().encode() in argv:
                    return int(entry)
        return None

    def wait_ready(self, *names, timeout=60):
        self.k("wait", "--for=condition=Ready", f"--timeout={timeout}s", *[f"pod/{n}" for n in names],
               timeout=timeout + 10)

    def hostname_of(self, url, pod=None):
        """Which Pod answers at URL; curl runs on the machine, or inside a Pod."""
        argv = ["curl", "-sS", "--max-time", "5", url + "/hostname"]
        if pod:
            return self.exec(*argv, pod=pod)[1].strip()
        return run(argv)[1].strip()


def echo_pod(name, app, port=5000, extra=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: coracle/echo
    ports: [{{containerPort: {port}}}]
    readinessProbe:
      httpGet: {{path: /healthz, port: {port}}}
      periodSeconds: 1
{extra}
"""


class LabTest(unittest.TestCase):
    """One lab for the module's tests."""
    lab = None

    @classmethod
    def setUpClass(cls):
        if LabTest.lab is None:
            LabTest.lab = Lab()
        cls.lab = LabTest.lab

    def apply(self, text):
        return self.lab.k("apply", "-f", "-", stdin=text)


def main():
    if os.geteuid() != 0:
        print("end-to-end tests need root", file=sys.stderr)
        sys.exit(1)
    unittest.main(verbosity=2)
