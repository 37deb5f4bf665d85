"""What an error of a command means to the user: an exit status and one line."""

import errno
import re
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from zelo import arguments, suggestions
from zelo.errors import ZeloError

SURROUNDINGS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENAMETOOLONG)


def explain(error: Exception) -> tuple[int, str]:
    """Exit status and what went wrong in one line, with the nearest known name where one was misspelt."""
    if isinstance(error, ZeloError):
        return error.exit_status, str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        missing = str(error.missing_cfg_file)  # an option that is a path has slashes of its own
        group, _, option = missing.rpartition("/") if missing.startswith("hydra/") else missing.partition("/")
        return 2, suggestions.unknown_option(group, option, error.options)
    cause = error.__cause__
    if (
        isinstance(error, HydraException)
        and isinstance(cause, OmegaConfBaseException)
        and cause.parent_node is not None
    ):
        written = re.match(r"Could not (?:override|delete|append)\D* '([^']+)'", str(error))
        root: Any = cause.parent_node._get_root()
        return 2, suggestions.unknown_key(written[1] if written else str(cause.full_key), root)
    if isinstance(error, OverrideParseException):
        return 2, arguments.explain(error) if "=" in error.override else suggestions.bare_word(error.override)
    if comma := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
        return 2, arguments.explain_comma(comma[1])
    if isinstance(error, MissingMandatoryValue):
        return 2, f"{error.full_key} has no value yet; write {error.full_key}=..."
    if isinstance(error, HydraException) and "'hydra/sweeper/pruner'" in str(error):  # no other sweeper has the group
        return 2, "hydra/sweeper/pruner ends trials of a search: write hydra/sweeper=optuna, too."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        words = str(error).partition("\n    full_key")[0].partition("\nSee https")[0]
        words = re.sub(r"\n(To append|Either|Or add|Config search path).*", "", words, flags=re.DOTALL)
        return 2, re.sub(r"\s*\n\s*", " ", words)
    if isinstance(error, RuntimeError) and "hydra_joblib_launcher" in str(error):
        return (
            2,
            "hydra/launcher=joblib needs hydra-joblib-launcher, which is not installed: pip install 'zelo[sweeps]'.",
        )
    if isinstance(error, RuntimeError) and "hydra_submitit_launcher" in str(error):
        return 2, "hardware=slurm needs submitit, which is not installed: pip install 'zelo[slurm]'."
    if isinstance(error, RuntimeError) and "slurm cluster" in str(error):  # of submitit
        return 2, "hardware=slurm: there is no srun here. Run the command on a login node of a SLURM cluster."
    if type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):  # of joblib
        return 1, (
            "a process that ran jobs was ended from outside, often for want of memory. Finished stages are kept: the same command"
            " goes on from there; hydra.launcher.n_jobs=1 needs least memory."
        )
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return 2, "a group is given one of its options by name, as in solver=thurstone; zelo --help lists them."
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        return 2, f"{error.strerror}: {error.filename or 'while writing'}."
    return 1, f"a bug, {type(error).__name__}: {error}\nRun again with debug=true for the traceback."
