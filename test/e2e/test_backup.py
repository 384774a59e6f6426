"""The database survives: live backups, checked restores, and a start with a damaged database."""
import json
import os
import random
import signal

import support
from support import CORACLE, LabTest, eventually, run


class Backup(LabTest):
    def setUp(self):
        self.file = os.path.join(self.lab.home, self.id() + ".backup")

    def database(self):
        return self.lab.data_dir() + "/coracle.db"

    def stop(self, how=signal.SIGTERM):
        self.lab.end_server(how)

    def start(self):
        run([CORACLE, "lab", "up", "--nodes", "1", "--name", self.lab.name], timeout=150)

    def copy(self, verb, *args, check=True):
        return run([CORACLE, verb, self.file, "--data-dir", self.lab.data_dir(), *args], check=check)

    def config_map(self, name):
        return self.lab.kubectl("get", "configmap", name, "-o", "name", check=False)[0] == 0

    def version(self):
        # kubectl leaves it out of the lists it prints itself.
        return int(json.loads(self.lab.k("get", "--raw", "/api/v1/configmaps"))["metadata"]["resourceVersion"])

    def aside(self, label):
        return [f for f in os.listdir(self.lab.data_dir()) if f.startswith(f"coracle.db.{label}-")]

    def test_backup_while_it_runs_and_restore(self):
        self.lab.k("create", "configmap", "saved", "--from-literal=a=1")
        self.copy("backup")
        code, _, error = self.copy("backup", check=False)
        self.assertEqual(code, 1)
        self.assertIn("--force", error)
        self.copy("backup", "--force")
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        self.lab.k("create", "configmap", "unsaved", "--from-literal=a=1")
        version = self.version()
        code, _, error = self.copy("restore", check=False)
        self.assertEqual(code, 1, "a server runs on it")
        self.assertIn("stop the server", error)
        self.stop()
        with open(self.file, "r+b") as f:
            sound = f.read()
            f.truncate(len(sound) // 2)
        code, _, error = self.copy("restore", check=False)
        self.assertEqual(code, 1, "half a backup")
        self.assertFalse(self.aside("replaced"))
        with open(self.file, "wb") as f:
            f.write(sound)
        self.copy("restore")
        self.assertTrue(self.aside("replaced"))
        self.start()
        self.assertTrue(self.config_map("saved"))
        self.assertFalse(self.config_map("unsaved"))
        self.assertGreater(self.version(), version)

    def test_a_damaged_database_starts_from_the_snapshot(self):
        self.lab.k("create", "configmap", "early", "--from-literal=a=1")
        self.stop()
        before = set(self.snapshots())
        self.start()
        eventually(lambda: set(self.snapshots()) - before, "a snapshot at start")
        version = self.version()
        self.stop(signal.SIGKILL)
        with open(self.database(), "r+b") as f:
            size = os.path.getsize(self.database())
            for _ in range(200):
                f.seek(random.randrange(size))
                f.write(bytes([random.randrange(256)]))
        self.start()
        self.assertTrue(self.config_map("early"))
        self.assertTrue(self.aside("damaged"))
        self.assertGreater(self.version(), version)
        events = eventually(lambda: [e for e in self.lab.get("events")["items"] if e["reason"] == "DatabaseRecovered"],
                            "an Event")
        self.assertEqual(events[0]["type"], "Warning")
        self.assertIn("snapshot", events[0]["message"])
        with open(os.path.join(os.path.dirname(self.lab.data_dir()), self.lab.node() + ".log")) as f:
            self.assertIn("the database was damaged", f.read())

    def snapshots(self):
        directory = self.lab.data_dir() + "/snapshots"
        return [f for f in os.listdir(directory) if f.endswith(".db")] if os.path.isdir(directory) else []


if __name__ == "__main__":
    support.main()
