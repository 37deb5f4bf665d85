"""What a run directory holds for others to take: models, ratings and figures, each with what it was made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zelo.facts import Facts
from zelo.run_directory import MODELS
from zelo.store.hashing import hash_json

FIGURES = ("metrics.json", "verdicts.json", "compared.json", "hybrid.json")


@dataclass(frozen=True)
class Artifact:
    """Some files of a run directory under one name."""

    name: str
    kind: str  # model, ratings or evaluation
    paths: list[Path]  # files, or one folder
    metadata: Facts

    def files(self) -> Iterator[tuple[str, Path]]:
        """(name within the artifact, file) of each."""
        for path in self.paths:
            inside = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else []
            yield from [(one.relative_to(path).as_posix(), one) for one in inside] or [(path.name, path)]


def of_run(folder: Path, manifest: Facts, choices: dict[str, str]) -> Iterator[Artifact]:
    """All that are there. Metadata: the data with a hash, the stages with the identity of each table, and the choices."""
    made_of = {
        "dataset": choices.get("dataset"),
        "data": {name: hash_json(files) for name, files in manifest["data"].items()},
        "tables": {name: stage["identity"] for name, stage in manifest["stages"].items()},
        "choices": choices,
        "seed": manifest["seed"],
        "git": manifest["git"],
    }
    for name in (name for model in MODELS for name in (model, f"{model}-small")):
        if (folder / name).is_dir():
            yield Artifact(name, "model", [folder / name], made_of)
    if (ratings := folder / "ratings.parquet").exists():  # a folder where there are many
        yield Artifact("ratings", "ratings", [ratings], made_of)
    if found := [folder / name for name in FIGURES if (folder / name).is_file()]:
        yield Artifact("evaluation", "evaluation", found, made_of)
