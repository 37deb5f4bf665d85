"""A Hugging Face hub on this machine: datasets, their commits and files, as huggingface_hub asks for them, and models sent."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

_INFO = re.compile(r"/api/datasets/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/?]+)")
_FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
TOKEN = "hf_of_a_reader"
WRITER = "hf_of_a_writer"


class HubServer(BaseHTTPRequestHandler):
    """`repos` is repository -> commit -> file -> content; the last commit is main's. A repository of `gated` wants TOKEN."""

    repos: ClassVar[Mapping[str, Mapping[str, Mapping[str, bytes]]]] = {}
    gated: ClassVar[frozenset[str]] = frozenset()
    asked: ClassVar[list[str]] = []  # files that were fetched

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """A commit, the files of one, or one of them."""
        found = _INFO.match(self.path) or _FILE.match(self.path)
        commits = self.repos.get(found["repo"]) if found else None
        if not found or not commits:
            return self._say(401, {"X-Error-Code": "RepoNotFound"}, b"")
        commit = list(commits)[-1] if found["revision"] == "main" else found["revision"]
        if commit not in commits:
            return self._say(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        files = commits[commit]
        if "file" in found.groupdict():
            return self._file(found["repo"], commit, found["file"], files)
        tree = [{"type": "file", "path": name, "size": len(raw), "oid": _hash(raw)} for name, raw in files.items()]
        info = {"id": found["repo"], "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        return self._say(200, {}, json.dumps(info if found["what"] == "revision" else tree).encode())

    def _file(self, repo: str, commit: str, name: str, files: Mapping[str, bytes]) -> None:
        if repo in self.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(403, {"X-Error-Code": "GatedRepo"}, b"")
        if self.command == "GET":
            self.asked.append(name)
        return self._say(200, {"ETag": f'"{_hash(files[name])}"', "X-Repo-Commit": commit}, files[name])

    def _say(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written to the terminal."""


class Receiver(HubServer):
    """Takes models from whoever has WRITER: `sent` is repository -> file -> content, `made` what repositories were asked for."""

    sent: ClassVar[dict[str, dict[str, bytes]]] = {}
    made: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        """Whose the token is."""
        if self.path != "/api/whoami-v2":
            return self._say(404, {"X-Error-Code": "RepoNotFound"}, b"")
        return self._say(200, {}, json.dumps({"type": "user", "name": "someone", "auth": {}}).encode())

    def do_POST(self) -> None:
        """A repository, how its files are to be sent, and the files."""
        body, address = self.rfile.read(int(self.headers["Content-Length"])), f"http://{self.headers['Host']}"
        if self.headers.get("Authorization") != f"Bearer {WRITER}":
            return self._say(403, {}, b'{"error": "this token may not write"}')
        if self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            asked = self.made[-1]
            name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            return self._say(200, {}, json.dumps({"url": f"{address}/{name}", "name": name}).encode())
        if self.path == "/api/validate-yaml":
            return self._say(200, {}, b'{"errors": [], "warnings": []}')
        repo = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._say(200, {}, json.dumps({"files": files}).encode())
        lines = [json.loads(line) for line in body.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        self.sent[repo] = {file["path"]: base64.b64decode(file["content"]) for file in files}
        commit = {"commitUrl": f"{address}/{repo}/commit/1", "commitOid": "1" * 40, "success": True}
        return self._say(200, {}, json.dumps(commit).encode())


def _hash(raw: bytes) -> str:
    return hashlib.sha1(raw).hexdigest()


@contextmanager
def served(
    repos: Mapping[str, Mapping[str, Mapping[str, bytes]]], gated: frozenset[str] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with these repositories, and the list of what was fetched."""
    asked: list[str] = []
    with _running(type("Hub", (HubServer,), {"repos": repos, "gated": gated, "asked": asked})) as address:
        yield address, asked


@contextmanager
def receiving() -> Iterator[tuple[str, type[Receiver]]]:
    """The address of a hub that takes models, and what it got."""
    handler = type("Hub", (Receiver,), {"sent": {}, "made": []})
    with _running(handler) as address:
        yield address, handler


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
