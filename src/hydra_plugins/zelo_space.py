"""What a search may try, read from overrides in Hydra's syntax."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG = "log"  # the one tag of a sweep that means something here
DIGITS = 6  # of a suggested number
SYNTAX = "2,4,8 or range(2,9,2) or interval(0.1,1) or int(interval(1,9)) or tag(log,interval(1e-5,1e-3))"


@dataclass(frozen=True)
class Space:
    """What is searched. keys: parameter -> its key as the override has it; fixed: the other overrides."""

    keys: dict[str, str]
    distributions: "dict[str, BaseDistribution]"
    fixed: list[str]

    def job(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *(f"{self.keys[name]}={self._written(name, values[name])}" for name in self.keys)]

    def said(self) -> dict[str, str]:
        """Parameter -> what it may be, in words that are the same for the same values."""
        return {name: _said(distribution) for name, distribution in self.distributions.items()}

    def _written(self, name: str, value: Any) -> str:
        """As an override has it: numbers stand in tables and in the names of folders, and have DIGITS digits."""
        if not isinstance(value, float):
            return str(value)
        bounds: Any = self.distributions[name]
        return repr(min(max(float(f"{value:.{DIGITS}g}"), bounds.low), bounds.high))


def searched(overrides: Sequence[Override]) -> Space:
    """The space of these overrides; of two for one key the later counts.

    Raises BadInput where no key has several values, and for a range that has none.
    """
    from zelo.errors import BadInput

    last = {override.get_key_element(): override for override in overrides}
    swept = {key: override for key, override in last.items() if override.is_sweep_override()}
    if not swept:
        raise BadInput(
            f"hydra/sweeper=optuna has nothing to search: give a key several values, as in 'graph.degree=range(2,9,2)'. {SYNTAX}."
        )
    keys = {key.lstrip("+"): key for key in swept}
    distributions = {key.lstrip("+"): _distribution(override) for key, override in swept.items()}
    return Space(keys, distributions, [str(last[key].input_line) for key in last if key not in swept])


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution

    from zelo.errors import BadInput

    line, sweep = override.input_line, override.value()
    assert isinstance(sweep, Sweep)
    if unknown := sorted(sweep.tags - {LOG}):
        raise BadInput(
            f"{line}: the tag {unknown[0]} means nothing here; tag(log,interval(1e-5,1e-3)) is a logarithmic scale."
        )
    log = LOG in sweep.tags
    if isinstance(sweep, IntervalSweep):
        return _interval(line, sweep.start, sweep.end, log)
    if isinstance(sweep, RangeSweep):
        return _range(line, sweep, log)
    choices = list(dict.fromkeys(override.sweep_string_iterator()))
    if not choices:
        raise BadInput(f"{line}: an empty space, it has no value. Write the values one after the other: 2,4,8.")
    if log:
        raise BadInput(f"{line}: a logarithmic scale is of an interval: tag(log,interval(1e-5,1e-3)).")
    return CategoricalDistribution(choices)


def _interval(line: str | None, low: Any, high: Any, log: bool) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    from zelo.errors import BadInput

    if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise BadInput(
            f"{line}: an impossible range. The first number of an interval is the smaller one: interval(0.1,1)."
        )
    if log and low <= 0:
        raise BadInput(
            f"{line}: an impossible range. A logarithmic scale begins above 0: tag(log,interval(1e-5,1e-3))."
        )
    whole = isinstance(low, int) and isinstance(high, int)
    return IntDistribution(low, high, log=log) if whole else FloatDistribution(low, high, log=log)


def _range(line: str | None, sweep: RangeSweep, log: bool) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    from zelo.errors import BadInput

    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    count = math.ceil(round((stop - start) / step, 9)) if step else 0
    if count < 1:
        raise BadInput(f"{line}: an impossible range, it has no value. As in Python, range(2,9,2) is 2, 4, 6 and 8.")
    if log:
        raise BadInput(f"{line}: a logarithmic scale is of an interval: tag(log,int(interval(1,64))).")
    low, high = sorted((start, start + (count - 1) * step))
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, step=abs(int(step)))
    return FloatDistribution(float(low), float(high), step=abs(float(step)))


def _said(distribution: Any) -> str:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return " or ".join(map(str, distribution.choices))
    whole = isinstance(distribution, IntDistribution)
    step = distribution.step if not whole or distribution.step > 1 else None
    scale = " on a logarithmic scale" if distribution.log else f" in steps of {step}" if step else ""
    return f"{distribution.low} to {distribution.high}{scale}"
