"""Learning-rate schedules."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.errors import BadInput

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Rises linearly over the first `warmup` share of the steps, then falls linearly to zero."""

    warmup: float

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise BadInput(f"scheduler.warmup={self.warmup}: a share of the steps, at least 0 and below 1.")

    def make(self, optimizer: "Optimizer", steps: int) -> "LambdaLR":
        """A torch scheduler to be stepped after each of `steps` optimizer steps."""
        from torch.optim.lr_scheduler import LambdaLR

        rising = max(1.0, self.warmup * steps)
        return LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1.0, steps - rising)))
        )
