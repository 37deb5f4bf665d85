"""Batches that do not fit in memory."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from zelo.errors import ZeloError
from zelo.protocols import WidthLoss
from zelo.training.share import Share

Batch = Mapping[str, Tensor]
Part = Callable[[Batch, slice, slice], Batch]
Forward = Callable[[], AbstractContextManager[object]]  # what a forward pass runs in
T = TypeVar("T")
SAID = ("out of memory", "can't allocate memory", "not enough memory")


class Pieces:
    """Scores a batch and carries the loss back, in pieces where memory does not hold the whole.

    The loss is made from the scores of all pieces, and its gradient by the scores is kept; then each piece is scored again and
    carries its share of that gradient back (GradCache, Gao et al. 2021, arXiv 2101.06983, section 3.2). So the gradient is
    that of the whole batch whatever the loss compares, at the price of one more forward pass. First queries are parted, then
    the documents of one query: a score depends on its own query and document alone.

    With several processes each scores its own share of the queries, in pieces of its own. Scores are gathered, so that each has
    the loss of the whole batch, and carries back what its own share adds to the gradient. Lightning's strategy averages gradients
    over processes, so each is taken `count` times; it does that in the last backward pass alone (`sync`). micro_batch: queries of
    the largest piece that is tried; None tries the whole share.

    Between `loss` and `backward` only this object holds the graph, so that a batch whose backward pass fails can be let go.
    """

    def __init__(self, model: Any, loss: Any, micro_batch: int | None = None) -> None:
        self.model, self.of, self.micro_batch = model, loss, micro_batch
        self.place(Share(), lambda scores: scores[None], lambda graph: None, sharded=False)
        widths = loss.widths if isinstance(loss, WidthLoss) else None
        self.scorer = partial(model.at_widths, widths=widths) if widths else model  # of W widths, the whole one first
        self.too_large = sys.maxsize  # numbers in a batch, from which on it is not tried whole
        self.split = 0  # batches

    def place(
        self, share: Share, gather: Callable[[Tensor], Tensor], sync: Callable[[Tensor], None], *, sharded: bool
    ) -> None:
        """Makes it one of several processes.

        gather: stacks equal tensors of all; sync: before the last backward pass, from this output on; sharded: weights are.
        """
        self.processes, self.gather, self.sync, self.sharded = share, gather, sync, sharded

    def score(self, batch: Batch, part: Part) -> Tensor:
        """[B, D] scores without a graph, those of the other processes among them."""
        with torch.no_grad():
            found = self._tried(batch)
            if found is None:
                found = self._leaf(batch, part)[0]
        found = found.detach() if found.dim() == 2 else found[..., 0].detach()
        return self._of_all(found, len(batch["mask"]))

    def loss(self, batch: Batch, part: Part) -> Tensor:
        """The loss of a batch: a scalar of which `backward` knows where it comes from."""
        self.batch, self.part, self.syncing = batch, part, False
        own, self.leaf = self._tried(batch), None
        if own is None:
            own, _ = self.leaf = self._leaf(batch, part)
        self.scores = self._of_all(own.detach(), len(batch["mask"]))
        found = self._loss(own) if self.leaf else self._try(lambda: self._loss(own))
        if found is None:
            del own
            self._too_large(batch)
            self.leaf = self._leaf(batch, part)
            found = self._loss(self.leaf[0])
        self.graph: Tensor | None = found
        self.held = found.detach().requires_grad_()
        return self.held

    def backward(self, loss: Tensor, context: Forward) -> None:
        """Adds to the parameters' gradients. loss: what `loss` gave, scaled perhaps; context: of the forward pass."""
        loss.backward()
        factor = self.held.grad * self.processes.count if self.held.grad is not None else None
        earlier = [(parameter, parameter.grad) for parameter in self.model.parameters() if parameter.grad is not None]
        self._forget()
        done = self.leaf is None and self._try(lambda: self._whole(factor))
        self.graph = None
        if self.leaf is None and not done:
            self._too_large(self.batch)
            self._forget()
        while not done:
            with context():
                found = self.leaf or self._leaf(self.batch, self.part)
            done = self._try(lambda found=found: self._carry(*found, factor, context))
            if not done:
                self.pieces, self.leaf = _halved(self.pieces), None
                self._forget()
        for parameter, gradient in earlier:
            parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)
        self.leaf = None

    def _whole(self, factor: Tensor | None) -> bool:
        assert self.graph is not None
        self._sync(self.graph)
        self.graph.backward(factor)
        return True

    def _sync(self, output: Tensor) -> None:
        self.syncing = self.processes.count > 1
        self.sync(output)

    def _of_all(self, own: Tensor, rows: int) -> Tensor:
        """[rows, D] the scores of all processes from the own share's, without a graph where there are others."""
        if self.processes.count == 1:
            return own
        equal = own.new_zeros((self.processes.most(rows), *own.shape[1:]), dtype=torch.float32)
        equal[: len(own)] = own.detach()
        shares = [self.processes.of(rows, rank) for rank in range(self.processes.count)]
        return torch.cat([part[: s.stop - s.start] for part, s in zip(self.gather(equal), shares, strict=True)])

    def _loss(self, own: Tensor) -> Tensor:
        """The loss of all scores, of which the own share has a graph."""
        if self.processes.count > 1:
            share = self.processes.of(len(self.scores))
            own = torch.cat([self.scores[: share.start], own.to(self.scores.dtype), self.scores[share.stop :]])
        return self.of(own, *(self.batch[key] for key in ("targets", "weights", "mask")))

    def _tried(self, batch: Batch) -> Tensor | None:
        """Scores of the whole share; None where they are to be made in pieces, which are set then."""
        self.share = self.processes.of(len(batch["mask"]))
        self.pieces = self._first_pieces(batch)
        if len(self.pieces) > 1:
            return None
        found = self._try(lambda: self._scores(batch, self.share)) if _size(batch) < self.too_large else None
        if found is None:
            self._too_large(batch)
        return found

    def _first_pieces(self, batch: Batch) -> list[tuple[slice, slice]]:
        """As many in each process, since sharded weights are gathered for each; as equal as can be."""
        columns = slice(0, batch["mask"].shape[1])
        most = self.processes.most(len(batch["mask"]))
        count = -(-most // self.micro_batch) if self.micro_batch else 1
        ends = [self.share.start + (self.share.stop - self.share.start) * n // count for n in range(count + 1)]
        return [(slice(low, high), columns) for low, high in pairwise(ends)]

    def _scores(self, batch: Batch, rows: slice) -> Tensor:
        """Scores of these rows; where there are none, of one that stands in for them, and none of it is given."""
        found = self.scorer(batch)
        return found if self.processes.count == 1 else found[: rows.stop - rows.start]

    def _leaf(self, batch: Batch, part: Part) -> tuple[Tensor, list[list[Tensor]]]:
        """Scores as a leaf of the graph, and the random state before each piece; makes pieces smaller until they fit."""

        def score() -> tuple[Tensor, list[list[Tensor]]]:
            size = self.share.stop - self.share.start
            scores, states = torch.empty(0), []
            with torch.no_grad():
                for rows, columns in self.pieces:
                    states.append(_random_state())
                    found = self._scores(part(batch, _some(rows, batch), columns), rows).float()
                    if len(states) == 1:
                        scores = found.new_zeros((size, batch["mask"].shape[1], *found.shape[2:]))
                    scores[self._own(rows), columns] = found
            return scores.requires_grad_(), states

        while (found := self._try(score)) is None:
            self.pieces = _halved(self.pieces)
        return found

    def _carry(self, leaf: Tensor, states: list[list[Tensor]], factor: Tensor | None, context: Forward) -> bool:
        with context():
            loss = self._loss(leaf)
        leaf.grad = None
        loss.backward(factor)
        assert leaf.grad is not None
        after = _random_state()
        for number, ((rows, columns), state) in enumerate(zip(self.pieces, states, strict=True), 1):
            _set_random_state(state)  # the same dropout as when it was scored
            with context():
                scores = self._scores(self.part(self.batch, _some(rows, self.batch), columns), rows)
            if number == len(self.pieces):
                self._sync(scores)
            scores.backward(leaf.grad[self._own(rows), columns].to(scores.dtype))
        _set_random_state(after)
        return True

    def _too_large(self, batch: Batch) -> None:
        self.too_large = min(self.too_large, _size(batch))
        self.pieces = _halved(self._first_pieces(batch))
        self.split += 1

    def _own(self, rows: slice) -> slice:
        """Rows of a batch as rows of the share."""
        return slice(rows.start - self.share.start, rows.stop - self.share.start)

    def _forget(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None

    def _try(self, work: Callable[[], T]) -> T | None:
        """What the work gives; None where memory did not suffice.

        Raises ZeloError then where other processes count on this pass: weights are sharded, or gradients being averaged.
        """
        try:
            return work()
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and not any(said in str(error) for said in SAID):
                raise
            if self.sharded or self.syncing:
                raise ZeloError(
                    "A batch does not fit in memory, and the other processes have begun with it. Set"
                    f" hardware.micro_batch (now {'null' if self.micro_batch is None else self.micro_batch}) to fewer queries."
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random_state(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    for cuda in state[1:]:
        torch.cuda.set_rng_state(cuda)


def _size(batch: Batch) -> int:
    return sum(tensor.numel() for tensor in batch.values())


def _some(rows: slice, batch: Batch) -> slice:
    """At least one row, so that each process reads something as often as the others."""
    start = min(rows.start, len(batch["mask"]) - 1)
    return slice(start, max(rows.stop, start + 1))


def _halved(pieces: list[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
    """Each in two: its queries, or where there is but one, its documents. Raises ZeloError when there is nothing to part."""
    parts = []
    for rows, columns in pieces:
        if rows.stop - rows.start > 1:
            parts += [(half, columns) for half in _halves(rows)]
        elif columns.stop - columns.start > 1:
            parts += [(rows, half) for half in _halves(columns)]
        else:
            parts.append((rows, columns))
    if len(parts) == len(pieces):
        raise ZeloError(
            "One query with one document does not fit in memory. Lower the backbone's or the model's max_length, take a smaller"
            " backbone, or free some memory."
        )
    return parts


def _halves(span: slice) -> tuple[slice, slice]:
    middle = (span.start + span.stop) // 2
    return slice(span.start, middle), slice(middle, span.stop)
