"""Which stages a parameter of a search changes: trials that differ in later stages only share the tables of the earlier ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.zelo_space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from zelo.facts import Facts


@dataclass(frozen=True)
class Upstream:
    """first: stage -> parameters that change it and none before it, in the order of the stages; kept: what stays for a while.

    stages: what the kept parameters change, and no other does.
    """

    first: dict[str, list[str]]
    kept: list[str]
    stages: list[str]

    def said(self, trials: int) -> str:
        """The parameters by stage, and for how long they stay."""
        named = "; ".join(f"{stage}: {', '.join(keys)}" for stage, keys in self.first.items())
        return f"Parameters by the first stage that they change: {named}. {', '.join(self.kept)}: new every {trials} trials."

    def reused(self, manifests: "Sequence[Facts]") -> str:
        """How often these stages were there already. manifests: of the trials that have run."""
        found = [one["stages"][name]["status"] for one in manifests for name in self.stages if name in one["stages"]]
        return f"Stages upstream ({', '.join(self.stages)}): {found.count('cached')} of {len(found)} were reused"


def upstream(
    context: HydraContext, config: DictConfig, space: Space, values: Mapping[str, Any], place: str
) -> Upstream:
    """What the parameters of a search change. config: of the sweep; values: of a trial that can be composed; place: who asks.

    A parameter is tried at the ends of its range, a choice at each of its values. Raises BadInput where all parameters reach the
    same stage first.
    """
    from zelo.errors import BadInput

    before = _identities(context, config, space.job(values))
    changed = {}
    for name, distribution in space.distributions.items():
        others = [dict(values) | {name: value} for value in _values(distribution) if value != values[name]]
        changed[name] = set().union(*(_differing(before, context, config, space.job(other)) for other in others))
    first: dict[str, list[str]] = {}
    for stage in before:
        reach = [
            name for name in changed if stage in changed[name] and not any(name in keys for keys in first.values())
        ]
        first |= {stage: reach} if reach else {}
    if len(first) < 2:
        reached = f"the first stage that they change is {next(iter(first))}" if first else "they change no stage"
        raise BadInput(
            f"{place}: of {', '.join(changed)} none is upstream of another: {reached}. Leave it out, or search parameters of"
            " several stages."
        )
    kept = [name for keys in list(first.values())[:-1] for name in keys]
    others = set().union(*(changed[name] for name in changed if name not in kept))
    own = set().union(*(changed[name] for name in kept))
    return Upstream(first, kept, [stage for stage in before if stage in own - others])


def _identities(context: HydraContext, config: DictConfig, job: Sequence[str]) -> dict[str, str]:
    """Stage -> the name of its table, in the order in which stages run."""
    from zelo import main

    steps = main.stages(context.config_loader.load_sweep_config(config, list(job)))
    return {step.name: step.identity for step in steps}


def _differing(before: Mapping[str, str], context: HydraContext, config: DictConfig, job: Sequence[str]) -> set[str]:
    """The stages that another job makes otherwise; none of a job that cannot be composed, as one of an odd degree."""
    from zelo.errors import ZeloError

    try:
        now = _identities(context, config, job)
    except (ZeloError, HydraException, OmegaConfBaseException):
        return set()
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def _values(distribution: "BaseDistribution") -> Iterator[Any]:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
    else:
        yield from (distribution.low, distribution.high)  # type: ignore[attr-defined]
