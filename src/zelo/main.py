"""The command `zelo`: composes a config, runs its stages, and says what came out.

Exit status: 0 done, 1 a bug, 2 bad input, 3 a limit was reached and everything is kept, 130 interrupted.
"""

import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zelo.errors import ZeloError
from zelo.tracking import sweep

INTERRUPTED = 130


def config_folder() -> Path:
    """conf/ inside the installed package, or at the top of a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def app(config: DictConfig) -> float | None:
    """One job: runs the stages up to `until`; returns nDCG@10 of the system that `optimize` names, for a sweep."""
    from zelo.tracking.run_folder import discard_if_empty

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return job(config, folder)
    finally:
        discard_if_empty(folder)  # Hydra makes it before anything is known to be right


def job(config: DictConfig, folder: Path) -> float | None:
    """Checks everything, then runs; from then on the run folder says how far it came, even where it fails."""
    from zelo import pipeline
    from zelo.store import Store
    from zelo.tracking import run_folder, terminal
    from zelo.tracking.figures import Figures

    if "folder" in config.logger:
        config.logger.folder = str(folder)
    steps = pipeline.assemble(config)
    terminal.check_optimize(steps, config.optimize)
    logger = pipeline.build(OmegaConf.to_container(config.logger, resolve=True), "logger")
    store = Store.default()
    if config.plan:
        terminal.print_plan(steps, store)
        return None
    described = composed(config)
    run = run_folder.RunFolder(folder, OmegaConf.to_yaml(described), config.seed)
    store.register_run(folder)
    try:
        logger.start(described)
        result = None
        for result, name in pipeline.run(steps, store):
            terminal.print_stage(result, name)
            run.write_manifest(result, pipeline.versions())
        assert result is not None
        run.publish(result, config.optimize)
        logger.finish(Figures.of(result))
    except BaseException as error:
        run.fail(error)
        logger.fail()
        raise
    return terminal.print_results(result, folder, config.optimize)


def composed(config: DictConfig) -> Any:
    """The config with every reference resolved but those to the environment, and without any secret."""
    from zelo.tracking import redact

    def keep(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: keep(item) for key, item in node.items()}
        if isinstance(node, list):
            return [keep(item) for item in node]
        # An escaped reference resolves to itself, wherever it is copied to.
        return node.replace("${", "\\${") if isinstance(node, str) and "${oc.env:" in node else node

    return redact.tree(OmegaConf.to_container(OmegaConf.create(keep(OmegaConf.to_container(config))), resolve=True))


def main() -> int:
    """Runs Hydra and turns every error into one clear line and an exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    debug = "debug=true" in sys.argv[1:]
    sweep.register_resolver()
    try:
        app()
        sweep.discard_unused()
        if sweep.CURRENT.failures:
            raise sweep.CURRENT.failures[0]
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
