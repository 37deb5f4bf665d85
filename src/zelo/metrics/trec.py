"""Run files in the format of TREC, as trec_eval and ir-measures read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.metrics.ir_measure import positions

LINES = 1_000_000  # written at a time


def write_trec(run: pa.Table, system: str, path: Path) -> None:
    """Writes a ranked run: query_id, Q0, doc_id, rank from 1, score, system. Scores read back to the same float32."""
    rank = pa.array(positions(run) + 1)
    columns = [
        run["query_id"],
        "Q0",
        run["doc_id"],
        pc.cast(rank, pa.string()),
        pc.cast(run["score"], pa.string()),
        system,
    ]
    lines = pc.binary_join_element_wise(*columns, " ").combine_chunks()
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(lines), LINES):
            part = lines.slice(start, LINES)
            file.write(pc.binary_join(pa.ListArray.from_arrays([0, len(part)], part), "\n")[0].as_py() + "\n")
