"""A sweep of many jobs that differ after `rate`: processor seconds of a job beyond the work of its stages.

Usage: python benchmarks/sweep_overhead.py [--jobs 200] [--until target] [--profile FILE]
The jobs are those of experiment=smoke with as many temperatures; what they share is computed before. They run twice: first each
computes its own targets, then everything is cached. --until evaluate: the jobs differ in the evaluation alone.
"""

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path

from zelo import main as command

VARIED = {"target": "target.temperature", "evaluate": "stages.evaluate.seed"}  # until -> key that only this stage reads


def main() -> None:
    """A line for each of the two sweeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--until", choices=list(VARIED), default="target")
    parser.add_argument("--profile", type=Path, help="where cProfile's table of the second sweep goes")
    options = parser.parse_args()
    values = ",".join(str(n + 1) for n in range(options.jobs))
    shared = ["experiment=smoke", f"until={options.until}"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["ZELO_HOME"] = str(Path(folder) / "home")
        run(shared)
        for name in ("first", "cached"):
            profile = cProfile.Profile(time.process_time) if options.profile and name == "cached" else None
            wall, work = time.perf_counter(), time.process_time()
            with profile or contextlib.nullcontext():
                run(["-m", *shared, f"{VARIED[options.until]}={values}"])
            wall, work = time.perf_counter() - wall, time.process_time() - work
            print(
                f"{name}: {options.jobs} jobs until={options.until}: {work / options.jobs:.2f} s of processor time a job,"
                f" {wall / options.jobs:.2f} s"
            )
            if profile:
                with options.profile.open("w") as file:
                    pstats.Stats(profile, stream=file).sort_stats("cumulative").print_stats(150)


def run(arguments: list[str]) -> None:
    """`zelo ARGUMENTS` in this process. Raises RuntimeError where it fails."""
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = command.main()
    if status:
        raise RuntimeError(f"zelo {' '.join(arguments)} ended with status {status}:\n{said.getvalue()[-2000:]}")


if __name__ == "__main__":
    main()
