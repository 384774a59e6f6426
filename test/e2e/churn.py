"""The threads of the churn test: writers that remember what was acknowledged, watchers that check what they see."""
import random
import threading

from api import Api, Down

NAMESPACE = "churn"
CORE = f"/api/v1/namespaces/{NAMESPACE}/"
GROUPS = 6
ABSENT = None
VALUE = "churn/value"
KINDS = {"services": CORE + "services", "pods": CORE + "pods", "endpoints": CORE + "endpoints",
         "endpointslices": f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"}


def revision_of(document):
    return int(document["metadata"]["resourceVersion"])


def bare(document):
    return document and {k: v for k, v in document.items() if k not in ("kind", "apiVersion")}


class Client(threading.Thread):
    """A thread that works until it is told to stop, also across deaths of the server; its first error is kept."""

    def __init__(self, name, lab, seed):
        super().__init__(name=name, daemon=True)
        self.api = Api(lab.address(), lab.data_dir())
        self.random = random.Random(f"{seed}/{name}")
        self.ending = threading.Event()
        self.error = None
        self.done = 0
        self.broken = 0  # connections that ended under a request

    def run(self):
        try:
            while not self.ending.is_set():
                try:
                    self.step()
                except Down:
                    self.broken += 1
                    self.recover()
        except Exception as error:  # pylint: disable=broad-except; told by end()
            self.error = error
        self.api.close()

    def step(self):
        raise NotImplementedError

    def recover(self):
        """The server may have died: waits until it answers again."""
        while not self.ending.wait(0.05):
            try:
                return self.look()
            except Down:
                continue
        return None

    def look(self):
        """A first look at the server that is back."""
        raise NotImplementedError

    def end(self):
        """Stops the thread; raises what it found wrong."""
        self.ending.set()
        self.join(60)
        if self.is_alive():
            raise AssertionError(f"{self.name} does not end")
        if self.error:
            raise AssertionError(f"{self.name}: {self.error!r}") from self.error


class Writer(Client):
    """Creates, patches and deletes objects of its own. Each carries a number: its latest acknowledged write.

    `known` holds for each name the states that may be: one after an answer, two after none."""
    kind = ""

    def __init__(self, name, lab, seed):
        super().__init__(name, lab, seed)
        self.known = {}
        self.number = 0
        self.verified = 0

    def path(self, name=""):
        return KINDS[self.kind] + ("/" + name if name else "")

    def metadata(self, name, labels):
        return {"name": name, "labels": {"writer": self.name, **labels}, "annotations": {VALUE: str(self.number)}}

    def write(self, name, after, *request):
        """Sends it; `known` is right whatever becomes of it. None when the server refused it."""
        before = self.known.get(name, {ABSENT})
        self.known[name] = before | {after}
        status, document = self.api.request(*request)
        if status >= 300:
            self.known[name] = before
            if status in (409, 429):
                return None
            raise AssertionError(f"{request}: {status} {document}")
        self.known[name] = {after}
        self.done += 1
        return document

    def state_of(self, document):
        return document["metadata"]["annotations"][VALUE]

    def verify(self):
        """What is there is what was acknowledged."""
        items = self.api.get(self.path() + "?labelSelector=writer%3D" + self.name)["items"]
        found = {i["metadata"]["name"]: self.state_of(i) for i in items}
        for name in set(self.known) | set(found):
            state, possible = found.get(name, ABSENT), self.known.get(name, {ABSENT})
            if not self.may_be(state, possible):
                raise AssertionError(f"{self.kind} {name}: acknowledged {possible}, found {state}")
            self.known[name] = {state}
        self.known = {n: s for n, s in self.known.items() if s != {ABSENT}}
        self.verified += 1

    def may_be(self, state, possible):
        return state in possible

    look = verify


class ServiceWriter(Writer):
    kind = "services"

    def __init__(self, name, lab, seed, most=60):
        super().__init__(name, lab, seed)
        self.names = [f"{name}-{i}" for i in range(most)]
        self.cluster_ips = {}  # of a Service as it was acknowledged: it never changes

    def spec(self):
        kind = self.random.choice(["ClusterIP", "ClusterIP", "NodePort"])
        ports = [{"name": f"p{i}", "port": 80 + i, "targetPort": 8080} for i in range(self.random.randint(1, 3))]
        return {"type": kind, "selector": {"group": f"g{self.random.randrange(GROUPS)}"}, "ports": ports}

    def step(self):
        name = self.random.choice(self.names)
        self.number += 1
        if self.known.get(name, {ABSENT}) == {ABSENT}:
            body = {"metadata": self.metadata(name, {}), "spec": self.spec()}
            made = self.write(name, str(self.number), "POST", self.path(), body)
            if made:
                self.cluster_ips[made["metadata"]["uid"]] = made["spec"]["clusterIP"]
        elif self.random.random() < 0.3:
            self.write(name, ABSENT, "DELETE", self.path(name))
        else:
            body = {"metadata": {"annotations": {VALUE: str(self.number)}}, "spec": self.spec()}
            done = self.write(name, str(self.number), "PATCH", self.path(name), body, "application/merge-patch+json")
            if done and self.cluster_ips.get(done["metadata"]["uid"], "") not in ("", done["spec"]["clusterIP"]):
                raise AssertionError(f"{name} has another ClusterIP: {done}")


DELETING = "deleting"


class PodWriter(Writer):
    """Real Pods: echo servers, and some that end by themselves again and again."""
    kind = "pods"

    def __init__(self, name, lab, seed, most=8):
        super().__init__(name, lab, seed)
        self.most, self.count = most, 0

    def state_of(self, document):
        return DELETING if "deletionTimestamp" in document["metadata"] else super().state_of(document)

    def may_be(self, state, possible):
        return state in possible or (state is ABSENT and DELETING in possible)

    def labels(self):
        return {"group": f"g{self.random.randrange(GROUPS)}"}

    def container(self):
        if self.random.random() < 0.1:
            return {"name": "short", "image": "coracle/host", "command": ["sh", "-c", "echo short; exit 3"]}
        probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10}
        return {"name": "echo", "image": "coracle/echo", "ports": [{"containerPort": 8080}], "readinessProbe": probe}

    def step(self):
        living = [n for n, s in self.known.items() if DELETING not in s]
        if len(self.known) > 2 * self.most:  # let the node keep up
            self.ending.wait(0.1)
            return self.verify()
        self.number += 1
        if len(living) < self.most:
            self.count += 1
            name = f"{self.name}-{self.count}"
            spec = {"terminationGracePeriodSeconds": 1, "containers": [self.container()]}
            self.write(name, str(self.number), "POST", self.path(), {"metadata": self.metadata(name, self.labels()), "spec": spec})
        elif self.random.random() < 0.5:
            grace = self.random.choice(["", "?gracePeriodSeconds=0"])
            name = self.random.choice(living)
            self.write(name, DELETING, "DELETE", self.path(name) + grace)
        else:
            name = self.random.choice(living)
            body = {"metadata": {"labels": self.labels(), "annotations": {VALUE: str(self.number)}}}
            self.write(name, str(self.number), "PATCH", self.path(name), body, "application/merge-patch+json")
            self.ending.wait(0.02)
        return None


class Watcher(Client):
    """Lists, watches for a while, and compares: what the events made of the first list is what a second list says."""

    def __init__(self, name, lab, seed):
        super().__init__(name, lab, seed)
        self.newest = 0  # no revision ever goes back, across deaths of the server neither
        self.events = 0
        self.marks = 0

    def step(self):
        kind = self.random.choice(list(KINDS))
        first = self.list(kind)
        state = {i["metadata"]["name"]: i for i in first["items"]}
        events = self.api.watch(KINDS[kind], revision_of(first))
        try:
            if self.ending.wait(self.random.choice([0, 0.1, 1, 3])):
                return
            # A list, then a write of our own: a watch that shows the write has shown all that is in the list.
            second = self.list(kind)
            self.follow(kind, state, revision_of(first), events, second, self.mark(kind))
        finally:
            events.close()

    def follow(self, kind, state, seen, events, second, marked):
        leave_after = self.random.choice([self.random.randrange(50), 1 << 30, 1 << 30, 1 << 30])
        for event, item in events:
            if event == "ERROR":
                if item.get("code") not in (410, 429):
                    raise AssertionError(f"watch of {kind} from {seen}: {item}")
                return
            if revision_of(item) <= seen:
                raise AssertionError(f"watch of {kind}: {revision_of(item)} after {seen}")
            seen = revision_of(item)
            self.newest = max(self.newest, seen)
            self.events += 1
            leave_after -= 1
            if seen <= revision_of(second):
                self.take(kind, state, event, item)
            if seen >= marked:
                self.compare(kind, state, second)
            if seen >= marked or leave_after < 0:
                return
        raise AssertionError(f"watch of {kind} ended at {seen} before its time")

    def look(self):
        self.list("services")

    def take(self, kind, state, event, item):
        name = item["metadata"]["name"]
        if (event == "ADDED") == (name in state):
            raise AssertionError(f"watch of {kind}: {event} {item['metadata']} and it was {state.get(name)}")
        if event == "DELETED":
            del state[name]
        else:
            state[name] = item

    def list(self, kind):
        found = self.api.get(KINDS[kind])
        if revision_of(found) < self.newest:
            raise AssertionError(f"revision {revision_of(found)} after {self.newest}")
        self.newest = revision_of(found)
        return found

    def mark(self, kind):
        """Changes an object of that kind that is there for this; the change's revision."""
        path = KINDS[kind] + "/marker"
        self.marks += 1
        status, document = self.api.patch(path, {"metadata": {"annotations": {self.name: str(self.marks)}}})
        if status != 200:
            raise AssertionError(f"PATCH {path}: {status} {document}")
        return revision_of(document)

    def compare(self, kind, state, listed):
        wanted = {i["metadata"]["name"]: i for i in listed["items"]}
        for name in set(state) | set(wanted):
            if bare(state.get(name)) != bare(wanted.get(name)):  # a list's items do not say their kind
                raise AssertionError(f"{kind} {name}: the watch says {state.get(name)}, the list {wanted.get(name)}")
        self.done += 1
