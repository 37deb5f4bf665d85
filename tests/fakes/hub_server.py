"""A Hugging Face hub on this machine: a few datasets, their commits and files, as huggingface_hub asks for them."""

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
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written to the terminal."""


def _hash(raw: bytes) -> str:
    return hashlib.sha1(raw).hexdigest()


@contextmanager
def served(
    repos: Mapping[str, Mapping[str, Mapping[str, bytes]]], gated: frozenset[str] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with these repositories, and the list of what was fetched."""
    asked: list[str] = []
    handler = type("Hub", (HubServer,), {"repos": repos, "gated": gated, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
