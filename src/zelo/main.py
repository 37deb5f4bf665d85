"""The command `zelo`: composes a config, runs its stages, and says what came out.

Exit status: 0 done, 1 a bug, 2 bad input, 3 a limit was reached and everything is kept, 130 interrupted.
"""

import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zelo.errors import ZeloError

INTERRUPTED = 130


def config_folder() -> Path:
    """conf/ inside the installed package, or at the top of a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def app(config: DictConfig) -> float | None:
    """One job: runs the stages up to `until`; returns nDCG@10 of the system that `optimize` names, for a sweep."""
    from zelo import pipeline
    from zelo.store import Store
    from zelo.tracking import run_folder, terminal

    folder = Path(HydraConfig.get().runtime.output_dir)
    if "folder" in config.logger:
        config.logger.folder = str(folder)
    steps = pipeline.assemble(config)
    store = Store.default()
    if config.plan:
        terminal.print_plan(steps, store)
        return None
    run = run_folder.RunFolder(folder, OmegaConf.to_yaml(config, resolve=True), config.seed)
    store.register_run(folder)
    result = None
    for result, name in pipeline.run(steps, store):
        terminal.print_stage(result, name)
        run.write_manifest(result, pipeline.versions())
    assert result is not None
    run.publish(result)
    return terminal.print_results(result, folder, config.optimize)


def main() -> int:
    """Runs Hydra and turns every error into one clear line and an exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    debug = "debug=true" in sys.argv[1:]
    try:
        app()
    except KeyboardInterrupt:
        print("\nInterrupted. Finished stages are kept: the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except (ZeloError, HydraException, OmegaConfBaseException) as error:
        if debug:
            raise
        print(f"zelo: {explain(error)}", file=sys.stderr)
        return error.exit_status if isinstance(error, ZeloError) else 2
    except Exception as error:
        if debug:
            raise
        print(
            f"zelo: a bug, {type(error).__name__}: {error}\nRun again with debug=true for the traceback.",
            file=sys.stderr,
        )
        return 1
    return 0


def explain(error: Exception) -> str:
    """What went wrong in one line, with the nearest known option where one was misspelt."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        near = get_close_matches(option, error.options, 1, 0.0)
        known = ", ".join(sorted(error.options))
        return f"{group}={option}: no such option. Did you mean {group}={near[0] if near else '?'}? There are: {known}."
    text = str(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        text = re.sub(r"\s*\n\s*", " ", text.partition("\n    full_key")[0])
    return text
