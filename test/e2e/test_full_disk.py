"""A full disk: writers are told so, readers and the data path go on, and all is well once there is room again."""
import json
import os
import subprocess

import support
from support import LabTest, Lab, echo_pod, eventually, run

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 5000}]}
"""


class FullDisk(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.name = f"t{os.getpid() % 1000000}"
        cls.disk = f"/var/lib/coracle/lab/{cls.name}"
        os.makedirs(cls.disk, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", cls.disk])
        cls.lab = None
        try:
            cls.lab = Lab(cls.name)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        if cls.lab:
            cls.lab.down()
        subprocess.run(["umount", "-l", cls.disk], check=False, stderr=subprocess.DEVNULL)
        if os.path.isdir(cls.disk) and not os.listdir(cls.disk):
            os.rmdir(cls.disk)

    def fill(self):
        self.filler = self.disk + "/filler"
        with open(self.filler, "wb", buffering=0) as f:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        f.write(b"x" * size)
                except OSError:
                    pass

    def create(self, name):
        return self.lab.kubectl("create", "configmap", name, "--from-literal=a=" + "x" * 100_000, check=False)

    def test_writers_are_told_and_readers_go_on(self):
        self.apply(echo_pod("web", "web") + "---" + SERVICE)
        self.lab.wait_ready("web")
        ip = self.lab.get("service", "web")["spec"]["clusterIP"]
        curl = ["curl", "-sS", "--max-time", "5", f"http://{ip}/hostname"]
        eventually(lambda: self.lab.exec(*curl)[1] == "web\n", "the Service answers")
        self.lab.k("create", "configmap", "before", "--from-literal=a=1")
        self.fill()
        # What is free inside the database's files still fits: at the latest some writes later it is over.
        accepted = []
        for i in range(200):
            code, _, error = self.create(f"full-{i}")
            if code != 0:
                break
            accepted.append(f"full-{i}")
        self.assertNotEqual(code, 0, "a full disk takes no more")
        self.assertIn("the disk is full", error)

        token = open(self.lab.data_dir() + "/pki/admin.token", encoding="ascii").read().strip()
        server = json.loads(self.lab.k("config", "view", "--raw", "-o", "json"))["clusters"][0]["cluster"]["server"]
        body = json.dumps({"metadata": {"name": "more"}, "data": {"a": "x" * 100_000}})
        answer = run(["curl", "-skS", "-i", "-X", "POST", "-H", f"Authorization: Bearer {token}", "-H",
                      "Content-Type: application/json", "--data-binary", "@-",
                      server + "/api/v1/namespaces/default/configmaps"], stdin=body)[1]
        self.assertRegex(answer, r"^HTTP/1.1 (100 Continue\r?\n\r?\nHTTP/1.1 )?500 ")
        self.assertNotIn("retry-after", answer.lower())
        status = json.loads(answer[answer.index("{"):])
        self.assertEqual(status["reason"], "InternalError")
        self.assertIn("the disk is full", status["message"])

        self.assertEqual(self.lab.get("configmap", "before")["data"]["a"], "1")
        for name in accepted:
            self.assertEqual(len(self.lab.get("configmap", name)["data"]["a"]), 100_000)
        self.assertEqual(self.lab.exec(*curl)[1], "web\n", "the data path goes on")

        os.unlink(self.filler)
        eventually(lambda: self.create("after")[0] == 0, "writes work again")
        self.assertEqual(self.lab.exec(*curl)[1], "web\n")


if __name__ == "__main__":
    support.main()
