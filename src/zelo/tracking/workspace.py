"""Saves a run or a sweep as a W&B workspace, where logger.workspace=true asks for one."""

import netrc
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from zelo.dashboards.shown import Dashboard, Shown
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.pipeline import instantiate
from zelo.tracking import outage, whole_file

FILE = "workspace.json"
NO_KEY = "there is no key; type `wandb login`, or set WANDB_API_KEY, and run the same command again"


def of_run(folder: Path) -> None:
    """Writes workspace.json into a run directory and saves it in W&B, where the run's logger asks for it.

    What W&B raises is told in a line: the run is done.
    """
    shown = Shown.of_run(folder)
    if settings := _settings(shown):
        _save(folder, shown, "run", settings)


def of_sweep(folder: Path, group: str) -> None:
    """The same for a sweep, of its finished jobs. group: what a logger calls the sweep, unless logger.group does."""
    try:
        shown = Shown.of_sweep(folder, group)
    except BadInput:  # no job has finished
        return
    if settings := _settings(shown):
        named = settings["group"]
        _save(folder, Shown.of_sweep(folder, named) if named else shown, "sweep", settings)


def _settings(shown: Shown) -> Facts | None:
    """The logger of the run that is to save a workspace; None where none is."""
    logger: Facts = instantiate.followed(shown.run.config["logger"])
    several = [logger, *(logger.get("loggers") or {}).values()]
    return next((one for one in several if one.get("workspace") is True), None)


def _save(folder: Path, shown: Shown, kind: str, settings: Facts) -> None:
    dashboard: Dashboard = instantiate.build(shown.run.config["dashboards"][kind], f"dashboards.{kind}")
    project: str = settings["project"] or os.environ.get("WANDB_PROJECT") or "zelo"
    entity: str = settings["entity"] or os.environ.get("WANDB_ENTITY") or ""
    path = folder / FILE
    try:
        workspace = dashboard.build(shown, entity, project)
        model = workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1)
        whole_file.replace(path, model + "\n")
        if why := _missing():
            print(f"W&B: the workspace is in {path}, not in W&B: {why}.")
            return
        if not entity:
            workspace.entity = _own_entity()
        workspace.save()
        print(f"W&B: the workspace is saved, {workspace.url}")
    except Exception as error:  # of wandb, of its service and of requests
        said = outage.reason(error)
        print(f"W&B did not save the workspace in {entity or '(own entity)'}/{project} ({said}).", file=sys.stderr)


def _missing() -> str | None:
    """Why nothing can be saved; None where it can."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled", "dryrun"):
        return f"WANDB_MODE={mode}; unset it and run the same command again"
    return None if _has_key() else NO_KEY


def _has_key() -> bool:
    """Whether W&B has a login, where it looks for one, without asking the user."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    host = urlsplit(wandb.setup().settings.base_url).hostname or ""
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in files):
        try:
            if path.is_file() and netrc.netrc(path).authenticators(host):
                return True
        except (netrc.NetrcParseError, OSError):
            continue
    return False


def _own_entity() -> str:
    import wandb

    return wandb.Api().default_entity or ""
