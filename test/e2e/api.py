"""The API as a program sees it: HTTPS with the admin's certificate over one connection that is kept, and watches."""
import http.client
import json
import socket
import ssl


class Down(Exception):
    """Nobody answered: whether the request was carried out is unknown."""


class Api:
    """One connection of one thread to a lab's API server; it is opened again after an error."""

    def __init__(self, host, data_dir, timeout=30):
        self.host, self.timeout = host, timeout
        self.context = ssl.create_default_context(cafile=data_dir + "/pki/ca.crt")
        self.context.load_cert_chain(data_dir + "/pki/admin.crt", data_dir + "/pki/admin.key")
        self.connection = None

    def connect(self):
        connection = http.client.HTTPSConnection(self.host, 6443, context=self.context, timeout=self.timeout)
        try:
            connection.connect()
        except OSError:
            connection.close()
            raise
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, method, path, body=None, content_type="application/json"):
        """(HTTP status, document). Down when the connection broke or there was none."""
        kept = self.connection is not None
        try:
            if not kept:
                self.connection = self.connect()
            self.connection.request(method, path, None if body is None else json.dumps(body),
                                    {"Content-Type": content_type})
            response = self.connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            if kept and method == "GET":  # the server ends connections that are silent for long
                return self.request(method, path)
            raise Down(f"{method} {path}: {error}") from error

    def patch(self, path, body):
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def get(self, path):
        """The document; anything but 200 is an error."""
        status, document = self.request("GET", path)
        if status != 200:
            raise AssertionError(f"GET {path}: {status} {document}")
        return document

    def watch(self, path, revision, seconds=60):
        """The events after the revision, from now on. The path may have a query."""
        try:
            return Watch(self.connect(), path, revision, seconds)
        except OSError as error:
            raise Down(f"watch of {path}: {error}") from error

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Watch:
    """Iterates over (type, object) until the server ends the watch; Down when it breaks. Close it to end it."""

    def __init__(self, connection, path, revision, seconds):
        self.connection, self.path = connection, path
        query = f"watch=1&resourceVersion={revision}&timeoutSeconds={seconds}"
        connection.request("GET", path + ("&" if "?" in path else "?") + query)

    def __iter__(self):
        try:
            response = self.connection.getresponse()
            if response.status != 200:
                yield "ERROR", json.loads(response.read())
                return
            rest = b""
            for chunk in chunks(response.fp):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Down(f"watch of {self.path}: {error}") from error

    def close(self):
        self.connection.close()


def chunks(stream):
    """The chunks of a body. ValueError when it breaks off: http.client takes that for an orderly end."""
    while size := int(stream.readline(), 16):
        chunk = stream.read(size + 2)
        if len(chunk) < size + 2:
            raise ValueError("half a chunk")
        yield chunk[:-2]
