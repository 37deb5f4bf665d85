"""Sends the models of a run, with their cards, to the Hugging Face hub."""

import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from zelo.backbones.exported import MATRIX, STUDENTS, opened
from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.run_directory import RunDirectory
from zelo.store.hashing import hash_file
from zelo.store.table import MANIFEST, Table

NAME = re.compile(r"(?:[\w-][\w.-]*/)?[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")
LONGEST = 96 - len("-embedding")  # characters of a repository's name on the hub
UPLOAD = re.compile(r"^## Upload$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)  # of a card: what has been done then


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Sends RUN/embedding to the repository REPO-embedding and RUN/reranker to REPO-reranker.

    By sentence-transformers' own push_to_hub. A repository is made where there is none. Each call sends: what is on the hub is
    not known here.
    """

    inputs: dict[str, str]  # none
    path: str | None  # a run directory
    repo: str | None  # OWNER/NAME; a name alone is one of the token's owner
    private: bool  # of repositories that are made

    def __post_init__(self) -> None:
        if self.repo is None or not NAME.fullmatch(self.repo) or "--" in self.repo or ".." in self.repo:
            raise BadInput(f"repo={self.repo}: name the repositories of the hub, repo=OWNER/NAME or repo=NAME.")
        if len(self.repo.rpartition("/")[2]) > LONGEST:
            raise BadInput(f"repo={self.repo}: the name has more than {LONGEST} characters.")
        if self.path is None or not (Path(self.path).expanduser() / MANIFEST).is_file():
            raise BadInput(
                f"run={self.path}: that is no run directory; name one with a {MANIFEST}, run=multirun/NAME/TIME."
            )
        if not self._models():
            done = ", ".join(RunDirectory(self.path).manifest["stages"]) or "none"
            raise BadInput(
                f"run={self.path}: the run has no {' and no '.join(STUDENTS)} of sentence-transformers. Its finished stages:"
                f" {done}."
            )

    def content(self) -> dict[str, str]:
        """Hash of what is sent, and the time: whoever asks again wants it sent again."""
        files = [path for folder in self._models().values() for path in sorted(folder.rglob("*")) if path.is_file()]
        return {"models": " ".join(hash_file(path) for path in files), "asked": str(time.time_ns())}

    def check(self) -> None:
        """Raises BadInput without a token of the hub."""
        _token()

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a model that cannot be loaded, ZeloError for what the hub refuses."""
        from huggingface_hub import HfApi

        token, notes = _token(), []
        try:
            repo = str(self.repo) if "/" in str(self.repo) else f"{HfApi(token=token).whoami()['name']}/{self.repo}"
            for name, folder in self._models().items():
                with tempfile.TemporaryDirectory() as place:
                    sent = _staged(folder, Path(place) / name, f"{repo}-{name}")
                    model = opened(folder, "cpu", f"run={self.path}")
                    how = {"private": self.private, "exist_ok": True, "local_model_path": str(sent)}
                    url = model.push_to_hub(f"{repo}-{name}", token=token, commit_message=f"zelo: {name}", **how)
                notes.append(f"{name} is sent: {url}")
        except ZeloError:
            raise
        except Exception as error:  # of the hub, or of what carries its requests: they have no class in common
            reason = " ".join(str(error).replace(token, "TOKEN").split())[:300]
            raise ZeloError(
                f"repo={self.repo}: the hub did not take it ({reason}). {'; '.join(notes) or 'Nothing was sent'}."
            ) from error
        return {"rows": len(notes), "notes": notes}

    def _models(self) -> dict[str, Path]:
        """What can be sent, by name: folders that sentence-transformers opens."""
        folders = {name: Path(str(self.path)).expanduser() / name for name in STUDENTS}
        return {name: folder for name, folder in folders.items() if folder.is_dir() and not (folder / MATRIX).exists()}


def _token() -> str:
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise BadInput(
            "pipeline=publish needs a token of the Hugging Face hub that may write: hf auth login, or HF_TOKEN in the"
            " environment."
        )
    return token


def _staged(folder: Path, target: Path, repo: str) -> Path:
    """The folder as it is sent: its card names the repository, and not how to upload it."""
    shutil.copytree(folder, target, copy_function=_linked)
    card = target / "README.md"
    if card.exists():
        text = card.read_text(encoding="utf-8").replace(f'"{folder.name}"', f'"{repo}"')
        card.unlink()  # a link
        card.write_text(UPLOAD.sub("", text).rstrip() + "\n", encoding="utf-8")
    return target


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)
