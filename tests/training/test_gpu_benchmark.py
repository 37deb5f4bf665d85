"""The benchmark of a GPU, by the same code on the CPU."""

import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"


@pytest.mark.long
def test_each_part_of_the_gpu_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = subprocess.run([SCRIPT, "--tiny", "--out", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(out.read_text())["parts"]
    rows = [row for part in parts.values() for row in part]
    assert len(parts) == 10
    assert all(row["tokens/s"] > 0 and row["share"] > 0 for row in rows if "GB" in row)
    assert len([row for row in rows if "GB" in row]) == 11
