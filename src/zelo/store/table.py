"""A finished folder of the store: its manifest, and its files as Arrow tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zelo.facts import Facts
from zelo.store.hashing import hash_file, hash_json
from zelo.store.liveness import half_of
from zelo.store.shards import WHOLE

MANIFEST = "manifest.json"
PARTIAL = ".partial-"
MADE_OF = "made_of"  # in the manifest of a table that is partial because of its inputs: role -> their content


@dataclass(frozen=True)
class Table:
    """A finished folder of the store."""

    kind: str
    identity: str
    path: Path
    manifest: Facts

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table `name`, all shards together; category columns come back as dictionaries."""
        parts = [pq.read_table(path, columns=columns) for path in self.shards(name)]
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts).unify_dictionaries()

    def mapped(self, name: str, folder: Path) -> pa.Table:
        """The table `name` as the system maps it from a file in `folder`, made if it is not there: memory holds what is used."""
        path = folder / f"{name}.arrow"
        if not path.is_file():
            folder.mkdir(exist_ok=True)
            half = half_of(path)
            with pa.ipc.new_file(half, pq.read_schema(self.shards(name)[0]).remove_metadata()) as file:
                for shard in self.shards(name):
                    for batch in pq.ParquetFile(shard).iter_batches():
                        file.write(batch)
            half.rename(path)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def shards(self, name: str) -> list[Path]:
        """The parquet files of the table `name`, in order: its shards, or the one file that it is."""
        return sorted((self.path / name).glob("*.parquet")) or [self.path / f"{name}.parquet"]

    def has(self, name: str) -> bool:
        """Whether there is a table of that name."""
        return self.shards(name)[0].is_file()

    @property
    def partial(self) -> bool:
        """Some outcomes are missing or failed, here or in what it was made of: the next attempt asks for those only."""
        return bool(self.manifest.get("partial"))

    @property
    def content(self) -> str:
        """Hash of the files: of two partial tables of one name, whether they say the same."""
        return hash_json(self.manifest["files"])

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(facts["bytes"] for facts in self.manifest["files"].values())

    def faults(self) -> list[str]:
        """What is wrong with the files, one line each; empty when they are as they were written."""
        faults = []
        for name, facts in self.manifest["files"].items():
            path = self.path / name
            if not path.is_file():
                faults.append(f"{path} is missing")
            elif path.stat().st_size != facts["bytes"] or hash_file(path) != facts["hash"]:
                faults.append(f"{path} is not what was written")
        return faults


def contents(inputs: Mapping[str, Table]) -> dict[str, str]:
    """Role -> content."""
    return {role: table.content for role, table in inputs.items()}


def made_of(tables: Mapping[str, Table]) -> str:
    """What the inputs of a stage say, in short: of partial tables one identity says several things."""
    return hash_json(contents(tables)) if any(table.partial for table in tables.values()) else WHOLE
