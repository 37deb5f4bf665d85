"""Puts the ratings of all queries on one scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.protocols import Calibrator
from zelo.records import RATING
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Writes ratings (RATING) with rating * scale + offset, and standard errors on the same scale."""

    inputs: dict[str, str]  # ratings: the rate stage; preferences (optional): a judge stage with cross-query pairs
    calibrator: Calibrator

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Calibrates all queries at once."""
        ratings = tables["ratings"].read("ratings")
        preferences = tables["preferences"].read("outcomes") if "preferences" in tables else None
        offset, scale = self.calibrator.fit(ratings, preferences)
        calibrated = pa.table(
            {
                "query_id": ratings["query_id"],
                "doc_id": ratings["doc_id"],
                "rating": ratings["rating"].to_numpy() * scale + offset,
                "stderr": ratings["stderr"].to_numpy() * scale,
                "degree": ratings["degree"],
                "offset": offset,
                "scale": scale,
            }
        )
        write_parquet(calibrated, RATING, out, "ratings")
        return {"rows": len(calibrated), "offset_sd": float(np.std(offset)), "scale_sd": float(np.std(scale))}
