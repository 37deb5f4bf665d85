"""torchrun's agent: `python -m zelo.training.agent FOLDER PROCESSES`, started by `launch`, never by hand."""

import json
import logging
import sys
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from zelo.training.launch import ENDED, PATIENCE, POLL, end_with_command


def main(folder: Path, processes: int) -> int:
    """Starts the workers of a job and watches them; what became of those that failed is left in the folder."""
    end_with_command()
    logging.disable()  # errors are told by the one who started this
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,  # the next command resumes
        monitor_interval=POLL,
        shutdown_timeout=int(PATIENCE),
        logs_specs=DefaultLogsSpecs(  # the first shows its progress
            log_dir=str(folder), redirects=dict.fromkeys(range(1, processes), Std.ALL)
        ),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "zelo.rank", str(folder))
    except ChildFailedError as error:
        ended = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        (folder / ENDED).write_text(json.dumps(ended), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
