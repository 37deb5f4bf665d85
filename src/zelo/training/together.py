"""What the processes of one training do together. One process alone does none of it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BUCKET = 1 << 24  # numbers that are added up at once


class Together:
    """This process among `count`, each with a copy of the model, or with a part of its weights where they are `sharded`.

    Each scores its share of a batch's queries. Scores are exchanged, so that each has the loss of the whole batch, and its
    gradient by the scores; each carries its own share of that back, and the sum is the gradient of one process, whatever the
    loss compares and however unequal the shares are. Scores and gradients are all that travels.
    """

    def __init__(self, rank: int = 0, count: int = 1, sharded: bool = False) -> None:
        self.rank, self.count, self.sharded = rank, count, sharded

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """The consecutive rows of a batch that are this process's; none perhaps."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def most(self, rows: int) -> int:
        """Rows of the largest share."""
        return -(-rows // self.count)

    def exchange(self, own: "Tensor", rows: int) -> "Tensor":
        """[rows, D] the scores of all from the own share's; without a graph where there are others."""
        if self.count == 1:
            return own
        import torch
        import torch.distributed as processes

        whole = torch.zeros((rows, *own.shape[1:]), device=own.device)
        whole[self.share(rows)] = own.detach().float()
        processes.all_reduce(whole)
        return whole

    def add_up(self, parameters: "Iterable[nn.Parameter]") -> None:
        """Replaces gradients by their sum over processes; one that no process has stays absent, as in one process."""
        if self.count == 1 or self.sharded:  # sharded ones were added up as they came
            return
        import torch
        import torch.distributed as processes

        learning = [parameter for parameter in parameters if parameter.requires_grad]
        known = torch.tensor([parameter.grad is not None for parameter in learning], dtype=torch.int32)
        known = known.to(learning[0].device)
        processes.all_reduce(known)
        gradients: dict[torch.dtype, list[Tensor]] = {}
        for parameter, holders in zip(learning, known.tolist(), strict=True):
            if holders:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.setdefault(parameter.dtype, []).append(parameter.grad)
        for bucket in (bucket for group in gradients.values() for bucket in _buckets(group)):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            processes.all_reduce(flat)
            for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def own_randomness(self, seed: int) -> None:
        """From here on each process draws numbers of its own, such as those of dropout; until here all drew the same."""
        if self.count > 1:
            import torch

            torch.manual_seed(seed + self.rank)

    def of_first(self, number: float, device: "torch.device | None" = None) -> float:
        """What the first process says."""
        if self.count == 1:
            return number
        import torch
        import torch.distributed as processes

        value = torch.tensor([number], dtype=torch.float64, device=device)
        processes.broadcast(value, 0)
        return value.item()

    def every(self, tensor: "Tensor", device: "torch.device | None" = None) -> "list[Tensor]":
        """One tensor of each process, all of one shape, on the CPU."""
        if self.count == 1:
            return [tensor]
        import torch
        import torch.distributed as processes

        own = tensor.to(device)
        found = [torch.empty_like(own) for _ in range(self.count)]
        processes.all_gather(found, own)
        return [other.cpu() for other in found]


ALONE = Together()


def _buckets(gradients: "list[Tensor]") -> "Iterable[list[Tensor]]":
    bucket, size = [], 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
