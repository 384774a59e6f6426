"""Every kubectl there is to find, over the commands people use; and hostile requests by curl."""
import json
import os
import subprocess
import unittest

import support
from support import LabTest, eventually, kubectl_binaries, run


class Kubectl(LabTest):
    def each(self):
        for version, binary in kubectl_binaries().items():
            with self.subTest(kubectl=version):
                ns = "v" + version.lower().replace(".", "-")
                yield version, ns, lambda *a, **kw: self.lab.kubectl(*a, binary=binary, **kw)  # noqa: B023

    def test_the_commands_people_use(self):
        for version, ns, k in self.each():
            k("create", "namespace", ns)
            n = ("-n", ns)
            out = k("apply", *n, "-f", support.EXAMPLES + "/services.yaml")[1]
            self.assertEqual(out.count("created"), 5, out)
            out = k("apply", *n, "-f", support.EXAMPLES + "/services.yaml")[1]
            self.assertEqual(out.count("unchanged"), 5, out)
            k("create", "configmap", "cm", "--from-literal=a=1", *n)
            k("create", "secret", "generic", "s", "--from-literal=p=x", *n)
            k("create", "serviceaccount", "sa", *n)
            k("create", "service", "nodeport", "np", "--tcp=80:8080", *n)
            k("create", "service", "externalname", "en", "--external-name=example.com", *n)
            self.assertIn("NodePort", k("get", "service", "np", *n)[1])
            self.assertIn("AGE", k("get", "services,endpoints,configmaps", *n)[1])
            self.assertIn("SELECTOR", k("get", "services", "-o", "wide", *n)[1])
            self.assertIn("NAMESPACE", k("get", "services", "-A")[1])
            self.assertIn("Endpoints:", k("describe", "service", "backend", *n)[1])
            self.assertIn("labeled", k("label", "configmap", "cm", "x=y", *n)[1])
            self.assertIn("cm", k("get", "configmap", "-l", "x=y", "-o", "name", *n)[1])
            k("label", "configmap", "cm", "x-", *n)
            k("annotate", "configmap", "cm", "note=hello", *n)
            k("patch", "configmap", "cm", "--type=merge", "-p", '{"data":{"b":"2"}}', *n)
            k("patch", "configmap", "cm", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]', *n)
            k("patch", "service", "np", "-p", '{"spec":{"ports":[{"port":80,"name":"web"}]}}', *n)
            data = json.loads(k("get", "configmap", "cm", "-o", "json", *n)[1])["data"]
            self.assertEqual(data, {"a": "1", "b": "2", "c": "3"})
            ports = json.loads(k("get", "service", "np", "-o", "json", *n)[1])["spec"]["ports"]
            self.assertEqual([(p["name"], p["port"], p["targetPort"]) for p in ports], [("web", 80, 8080)])
            k("edit", "configmap", "cm", *n, env={"EDITOR": "sed -i s/hello/edited/"})
            self.assertIn("edited", k("get", "configmap", "cm", "-o", "yaml", *n)[1])
            self.assertIn("FIELDS", k("explain", "service.spec")[1])
            self.assertIn("configured", k("apply", *n, "-f", "-", stdin=CM2)[1] + k("apply", *n, "-f", "-", stdin=CM2.replace("one", "two"))[1])
            k("apply", "--dry-run=server", *n, "-f", "-", stdin=CM2.replace("two", "three"))
            code, out, _ = k("diff", *n, "-f", "-", stdin=CM2.replace("one", "four"), check=False)
            self.assertEqual(code, 1, out)
            k("replace", *n, "-f", "-", stdin=CM2.replace("one", "five"))
            k("run", "p", "--image=coracle/echo", "--port=8080", *n)
            k("wait", "--for=condition=Ready", "pod/p", "--timeout=60s", *n)
            k("expose", "pod", "p", "--port=80", "--target-port=8080", *n)
            eventually(lambda: "Started" in k("describe", "pod", "p", *n)[1], "its Events")
            self.assertIn("Running", k("get", "pod", "p", "-o", "wide", *n)[1])
            eventually(lambda: "default-scheduler" in k("get", "events", "-o", "yaml", *n)[1], "the scheduler's Event")
            self.assertIn("Ready", k("get", "nodes")[1])
            k("describe", "node", self.lab.node())
            k("delete", "pod", "p", *n)
            self.assertIn("not found", k("get", "pod", "p", *n, check=False)[2])
            self.assertIn("services", k("api-resources")[1])
            k("version", check=False)
            k("get", "pods", "--field-selector", "status.phase=Running", "-A")
            self.more_commands(k, n, version)
            bad = k("create", "-f", "-", *n, stdin=BAD_SERVICE, check=False)
            for field in ("spec.ports[0].port", "spec.ports[1].protocol", "spec.type"):
                self.assertIn(field, bad[2])
            unknown = k("create", "-f", "-", *n, stdin=CM2.replace("data:", "datum:"), check=False)
            self.assertNotEqual(unknown[0], 0)
            self.assertIn("datum", unknown[2])
            k("delete", "namespace", ns, timeout=90)

    def more_commands(self, k, n, version):
        """Commands that need no Pod to run."""
        self.assertIn("protocol", k("explain", "services.spec.ports", "--recursive")[1])
        self.assertIn("v1", k("api-versions")[1])
        self.assertIn("is running at", k("cluster-info")[1])
        self.assertEqual(k("get", "--raw", "/readyz")[1], "ok")
        for kind in ("clusterip", "loadbalancer"):
            k("create", "service", kind, "c-" + kind, "--tcp=80:80", *n)
        names = k("get", "services", "-o", "custom-columns=N:.metadata.name", "--no-headers", *n)[1].split()
        self.assertIn("c-clusterip", names)
        self.assertEqual(sorted(names), names)
        path = "jsonpath={.items[*].metadata.name}"
        self.assertEqual(k("get", "services", "-o", path, "--chunk-size=2", *n)[1].split(), names)
        k("get", "all", *n)
        k("get", "services", "--sort-by=.metadata.creationTimestamp", *n)
        for kind in ("namespace", "configmap", "secret", "serviceaccount", "service", "endpoints", "endpointslice"):
            if (kind, version) == ("endpointslice", "1.20"):
                continue  # it asks for discovery.k8s.io/v1beta1, which is gone since Kubernetes 1.25
            # Endpoints and slices are made a moment after their Service.
            eventually(lambda: "Name:" in k("describe", kind, *(n if kind != "namespace" else ()))[1], f"a {kind}")
        k("create", "configmap", "later", *n)
        k("delete", "configmap", "later", "--wait=false", *n)
        # 1.20 calls what is gone already an error.
        k("wait", "--for=delete", "configmap/later", "--timeout=20s", *n, check=version != "1.20")
        k("create", "configmap", "group-1", *n)
        k("create", "configmap", "group-2", *n)
        k("label", "configmap", "group-1", "group-2", "group=g", *n)
        self.assertEqual(k("delete", "configmap", "-l", "group=g", *n)[1].count("deleted"), 2)
        dry = k("run", "dry", "--image=coracle/echo", "--dry-run=client", "-o", "yaml", *n)[1]
        self.assertIn("kind: Pod", dry)
        self.assertIn("created", k("create", "--dry-run=server", "-f", "-", *n, stdin=dry)[1])
        self.assertNotEqual(k("get", "pod", "dry", *n, check=False)[0], 0)
        k("cordon", self.lab.node())
        self.assertIn("SchedulingDisabled", k("get", "node", self.lab.node())[1])
        k("uncordon", self.lab.node())
        self.assertEqual(k("auth", "can-i", "create", "pods", *n)[1], "yes\n")
        self.assertIn("*.*", k("auth", "can-i", "--list", *n)[1])
        conflict = k("create", "service", "clusterip", "c-clusterip", "--tcp=80:80", *n, check=False)
        self.assertIn("already exists", conflict[2])

    def test_get_watch_sees_events(self):
        for version, ns, k in self.each():
            binary = kubectl_binaries()[version]
            env = dict(os.environ, HOME=self.lab.home, KUBECONFIG=self.lab.kubeconfig)
            with subprocess.Popen([binary, "get", "configmaps", "-w", "-o", "name"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, env=env) as watch:
                try:
                    os.set_blocking(watch.stdout.fileno(), False)
                    name, seen = f"watched-{ns}", b""

                    def grew():
                        nonlocal seen
                        seen += watch.stdout.read() or b""
                        return f"configmap/{name}".encode() in seen
                    k("create", "configmap", name)
                    eventually(grew, "the watch to print it")
                finally:
                    watch.kill()
            k("delete", "configmap", name)

    def test_every_example_applies_and_prints(self):
        self.lab.k("apply", "-f", support.EXAMPLES)
        for kind in ("namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "secrets", "serviceaccounts",
                     "events", "endpointslices", "leases"):
            self.assertIn("example" if kind not in ("pods", "services") else "backend", self.lab.k("get", kind, "-A"), kind)
            self.lab.k("explain", kind)
        self.assertIn("unchanged", self.lab.k("apply", "-f", support.EXAMPLES))
        # The Endpoints go with their Service.
        self.lab.k("delete", "-f", support.EXAMPLES, "--ignore-not-found", timeout=120)


class Hostile(LabTest):
    def curl(self, path, *extra, method="GET", data=None):
        server = self.lab.k("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
        pki = self.lab.home + "/admin"
        if not os.path.exists(pki + ".crt"):
            import base64
            view = json.loads(self.lab.k("config", "view", "--raw", "-o", "json"))
            user = view["users"][0]["user"]
            for name, value in (("crt", user["client-certificate-data"]), ("key", user["client-key-data"]),
                                ("ca", view["clusters"][0]["cluster"]["certificate-authority-data"])):
                with open(f"{pki}.{name}", "wb") as f:
                    f.write(base64.b64decode(value))
        argv = ["curl", "-sS", "--path-as-is", "--max-time", "20", "--cacert", pki + ".ca", "--cert", pki + ".crt", "--key",
                pki + ".key", "-X", method, "-w", "\n%{http_code}", *extra, server + path]
        if data is not None:
            argv[1:1] = ["--data-binary", "@-", "-H", "Content-Type: application/json"]
        out = run(argv, stdin=data, check=False)[1]
        body, _, code = out.rpartition("\n")
        return int(code), body

    def test_bad_requests_get_a_status_and_the_server_lives(self):
        cms = "/api/v1/namespaces/default/configmaps"
        deep = '{"data":' * 12000 + "1" + "}" * 12000
        head = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}'
        cases = [
            ("malformed", "POST", cms, "{", 400), ("array", "POST", cms, "[]", 400),
            ("wrong type", "POST", cms, head + ',"data":[1]}', 400), ("wrong kind", "POST", cms, '{"apiVersion":"v1","kind":"Pod"}', 400),
            ("bad name", "POST", cms, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"UPPER_"}}', 422),
            ("unknown field", "POST", cms + "?fieldValidation=Strict", head + ',"datum":{}}', 400),
            ("duplicate key", "POST", cms + "?fieldValidation=Strict", head + ',"data":{},"data":{}}', 400),
            ("deep", "POST", cms, deep, 400), ("deep array", "POST", cms, "[" * 100000, 400),
            ("large", "POST", cms, head + ',"data":{"a":"' + "x" * (3 << 20) + '"}}', 413),
            ("bad resourceVersion", "GET", cms + "?resourceVersion=abc", None, 400), ("bad limit", "GET", cms + "?limit=x", None, 400),
            ("bad selector", "GET", cms + "?labelSelector=a%20b%20c", None, 400), ("bad field", "GET", cms + "?fieldSelector=x%3Dy", None, 400),
            ("bad continue", "GET", cms + "?limit=1&continue=garbage", None, 400),
            ("encoded slash", "GET", cms + "/a%2fb", None, 400), ("dots", "GET", cms + "/..", None, 400),
            ("encoded dots", "GET", cms + "/%2e%2e/secrets", None, 400), ("no such kind", "GET", "/api/v1/gizmos", None, 404),
            ("no such namespace", "POST", "/api/v1/namespaces/nowhere/configmaps", head + "}", 404),
        ]
        for name, method, path, data, want in cases:
            with self.subTest(name):
                code, body = self.curl(path, method=method, data=data)
                self.assertTrue(400 <= code < 500, f"{code} {body[:300]}")
                if want != 400:
                    self.assertEqual(code, want, body[:300])
                status = json.loads(body)
                self.assertEqual((status["kind"], status["status"], status["code"]), ("Status", "Failure", code))
                self.assertTrue(status["message"])
        self.assertEqual(self.curl("/readyz")[0], 200)

    def test_anonymous(self):
        server = self.lab.k("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
        for path, want in (("/readyz", "200"), ("/livez", "200"), ("/healthz", "200"), ("/version", "200"), ("/api/v1/pods", "401")):
            out = run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", server + path])[1]
            self.assertEqual(out, want, path)

    def test_limit_and_continue(self):
        for i in range(5):
            self.lab.k("create", "configmap", f"page-{i}", "--from-literal=a=b")
        path = "/api/v1/namespaces/default/configmaps"
        code, body = self.curl(path + "?limit=2")
        page = json.loads(body)
        names, first = [], page["metadata"]["resourceVersion"]
        while True:
            names += [i["metadata"]["name"] for i in page["items"]]
            self.assertEqual(page["metadata"]["resourceVersion"], first)
            token = page["metadata"].get("continue")
            if not token:
                break
            page = json.loads(self.curl(path + f"?limit=2&continue={token}")[1])
        self.assertEqual(len(names), len(set(names)))
        self.assertTrue({f"page-{i}" for i in range(5)} <= set(names))
        self.lab.k("delete", "configmap", *[f"page-{i}" for i in range(5)])

    def test_nobody_else_can_read_the_kubeconfig(self):
        self.assertEqual(os.stat(self.lab.kubeconfig).st_mode & 0o777, 0o600)


CM2 = """
apiVersion: v1
kind: ConfigMap
metadata: {name: cm2}
data: {k: one}
"""
BAD_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: bad}
spec:
  type: Sideways
  ports: [{name: a, port: 0}, {name: b, port: 80, protocol: ICMP}]
"""

if __name__ == "__main__":
    support.main()
