"""What a run came to, for a logger."""

from zelo.facts import Facts
from zelo.reporting.evaluation import Evaluation


def of_run(figures: Evaluation | None, manifest: Facts) -> dict[str, float | str]:
    """The deciding metric of each system on dev and test under its full name, with interval and p-value, then what stages came
    to, took and made.

    Before anything is trained the teacher is measured, where there are labels. manifest: of the run directory.
    """
    found = dict(figures.keyed | figures.tested if figures else manifest.get("figures", {}).get("values", {}))
    found |= {f"figures/{name}": value for name, value in manifest.get("compared", {}).items()}
    stages = manifest["stages"].items()
    found |= {f"seconds/{name}": stage["seconds"] for name, stage in stages}
    return found | {f"tables/{name}": stage["identity"] for name, stage in stages}
