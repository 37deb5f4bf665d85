"""Batches that do not fit in memory."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zelo.errors import ZeloError

Batch = Mapping[str, Tensor]
Part = Callable[[Batch, slice, slice], Batch]
SAID = ("out of memory", "can't allocate memory", "not enough memory")


class Pieces:
    """Scores a batch and carries the loss back, in pieces where memory does not hold the whole.

    The loss is made from the scores of all pieces, and its gradient by the scores is kept; then each piece is scored again and
    carries its share of that gradient back (GradCache, Gao et al. 2021, arXiv 2101.06983, section 3.2). So the gradient is
    that of the whole batch whatever the loss compares, at the price of one more forward pass. First queries are parted, then
    the documents of one query: a score depends on its own query and document alone.

    Between `loss` and `backward` only this object holds the graph, so that a batch whose backward pass fails can be let go.
    """

    def __init__(self, model: Any, loss: Any) -> None:
        self.model, self.of = model, loss
        widths = getattr(loss, "widths", None)
        self.scorer = (
            partial(model.at_widths, widths=widths) if widths else model
        )  # the whole vectors' scores come first
        self.too_large = sys.maxsize  # numbers in a batch, from which on it is not tried whole
        self.split = 0  # batches

    def score(self, batch: Batch, part: Part) -> Tensor:
        """[B, D] scores without a graph."""
        with torch.no_grad():
            found = self._try(lambda: self.scorer(batch)) if _size(batch) < self.too_large else None
            if found is None:
                self._too_large(batch)
                found = self._leaf(batch, part)[0]
        return found.detach() if found.dim() == 2 else found[..., 0].detach()

    def loss(self, batch: Batch, part: Part) -> Tensor:
        """The loss of a batch: a scalar of which `backward` knows where it comes from."""
        self.batch, self.part = batch, part
        self.leaf = None
        found = self._try(lambda: self._loss(self.scorer(batch))) if _size(batch) < self.too_large else None
        if found is None:
            self._too_large(batch)
            self.leaf = self._leaf(batch, part)
            found = self._loss(self.leaf[0])
        self.graph: Tensor | None = found
        self.held = found.detach().requires_grad_()
        return self.held

    def backward(self, loss: Tensor, context: Callable[[], AbstractContextManager[Any]]) -> None:
        """Adds to the parameters' gradients. loss: what `loss` gave, scaled perhaps; context: of the forward pass."""
        loss.backward()
        factor = self.held.grad
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

    def _whole(self, factor: Any) -> bool:
        assert self.graph is not None
        self.graph.backward(factor)
        return True

    def _loss(self, scores: Tensor) -> Tensor:
        return self.of(scores, *(self.batch[key] for key in ("targets", "weights", "mask")))

    def _leaf(self, batch: Batch, part: Part) -> tuple[Tensor, list[list[Tensor]]]:
        """Scores as a leaf of the graph, and the random state before each piece; makes pieces smaller until they fit."""

        def score() -> tuple[Tensor, list[list[Tensor]]]:
            scores, states = torch.zeros(batch["mask"].shape, device=batch["mask"].device), []
            with torch.no_grad():
                for rows, columns in self.pieces:
                    states.append(_random_state())
                    found = self.scorer(part(batch, rows, columns)).float()
                    if found.dim() > scores.dim():  # at several widths
                        scores = scores.unsqueeze(-1).repeat(1, 1, found.shape[-1])
                    scores[rows, columns] = found
            return scores.requires_grad_(), states

        while (found := self._try(score)) is None:
            self.pieces = _halved(self.pieces)
        return found

    def _carry(self, leaf: Tensor, states: list[list[Tensor]], factor: Any, context: Any) -> bool:
        with context():
            loss = self._loss(leaf)
        leaf.grad = None
        loss.backward(factor)
        assert leaf.grad is not None
        after = _random_state()
        for (rows, columns), state in zip(self.pieces, states, strict=True):
            _set_random_state(state)  # the same dropout as when it was scored
            with context():
                scores = self.scorer(self.part(self.batch, rows, columns))
            scores.backward(leaf.grad[rows, columns].to(scores.dtype))
        _set_random_state(after)
        return True

    def _too_large(self, batch: Batch) -> None:
        self.too_large = min(self.too_large, _size(batch))
        rows, columns = batch["mask"].shape
        self.pieces = _halved([(slice(0, rows), slice(0, columns))])
        self.split += 1

    def _forget(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None

    @staticmethod
    def _try(work: Callable[[], Any]) -> Any:
        """What the work gives; None where memory did not suffice."""
        try:
            return work()
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and not any(said in str(error) for said in SAID):
                raise
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
