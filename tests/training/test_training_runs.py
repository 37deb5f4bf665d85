"""Training that one can leave alone: killed, diverged, out of memory, it ends as it should."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from pytorch_lightning.plugins.precision import MixedPrecision
from safetensors import safe_open
from torch import Tensor, nn
from toy_training import ONE, Breaking, Toy, lists, train, train_in_process, weights

from zelo.errors import BadInput, ZeloError
from zelo.losses.listwise_kl import ListwiseKL
from zelo.losses.mse import MSE
from zelo.store.shards import CHECKPOINT
from zelo.store.store import Store
from zelo.training import monitor
from zelo.training.checkpoints import SafeCheckpoints
from zelo.training.datamodule import DataModule
from zelo.training.grad_cache import Pieces
from zelo.training.hardware import Hardware
from zelo.training.module import StudentModule
from zelo.training.sampler import QueryBatches
from zelo.training.trainer import LOG, Trained
from zelo.training.training_log import Lines
from zelo.training.validation import MONITOR
from zelo.training.weight_interpolation import WeightMixture, _put, learning, mix


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def logged(folder: Path) -> list[dict[str, Any]]:
    """What a training has logged, but for its speed."""
    lines = Lines(folder / CHECKPOINT / LOG).read()
    for line in lines:
        assert line["metrics"].pop(monitor.PAIRS, 1) > 0
    return lines


def stop(loss: Tensor) -> Tensor:
    raise InterruptedError("stopped")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (train(tmp_path / str(n), seed=seed)[0] for n, seed in enumerate((0, 0, 1)))
    assert same(first, again)
    assert not same(first, other)


def test_each_step_logs_loss_rate_and_gradient_and_each_validation_its_figure(tmp_path: Path) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    each = {"rates": LearningRateMonitor(logging_interval="step")}
    report = lambda step, metrics: told.append((step, dict(metrics)))  # noqa: E731
    _, trained = train(tmp_path, lr=0.01, epochs=1, report=report, callbacks=each)
    steps = {step: metrics for step, metrics in told if monitor.LOSS in metrics}
    assert list(steps) == [1, 2, 3, 4, 5]
    assert [steps[n][monitor.LR] for n in (1, 2, 5)] == pytest.approx([0.01, 0.01, 0.0025])
    assert all(steps[n][monitor.NORM] > 0 and steps[n][monitor.PAIRS] > 0 for n in steps)
    rates = [line["lr-AdamW/pg2"] for _, line in told if "lr-AdamW/pg2" in line]
    assert rates == pytest.approx([0.1, 0.1, 0.075, 0.05, 0.025]), "what Lightning's callbacks log is in the log, too"
    metric = trained.curve[0]["metric"]
    assert [(step, line[metric]) for step, line in told if metric in line] == [
        (point["step"], point["dev"]) for point in trained.curve
    ]


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> list[list[np.ndarray]]:
    """The weights at the end of each training, the best or not."""
    found: list[list[np.ndarray]] = []
    monkeypatch.setattr(StudentModule, "on_train_end", lambda module: found.append(weights(module.model)))
    return found


@pytest.mark.parametrize(("third_alone", "steps"), [(False, (1, 2, 5, 6, 8, 10, 11, 15)), (True, (1, 3, 4, 9, 15))])
def test_a_training_stopped_at_any_step_ends_with_the_weights_of_an_unbroken_one(
    third_alone: bool,
    steps: tuple[int, ...],
    last: list[list[np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 15 steps, with a checkpoint of each step before it but 5 and 10 (see Checkpoints), or of the third alone."""
    whole, unbroken = train(tmp_path / "whole", minutes=None)
    for step in steps:
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            if third_alone:
                clock = iter([0.0] * 3 + [60.0] * 20)
                patch.setattr("zelo.training.checkpoints.time", SimpleNamespace(monotonic=clock.__next__))
            with pytest.raises(InterruptedError):
                train(folder, Breaking(step, stop), minutes=1.0 if third_alone else 0.0)
        resumed, trained = train(folder)
        kept = [3] if third_alone else [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14]
        assert trained.resumed_at == max((k for k in kept if k < step), default=None)
        assert trained.curve == unbroken.curve
        assert logged(folder) == logged(tmp_path / "whole")
        assert same(whole, resumed)
        assert all(np.array_equal(a, b) for a, b in zip(last[0], last[-1], strict=True))
    assert len(last) == 1 + len(steps)


@pytest.mark.long
def test_a_killed_process_leaves_its_checkpoint_and_a_finished_table_has_none(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=train_in_process, args=(tmp_path, True))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (tmp_path / "train" / ".toy.unfinished" / "half").write_text("of something")
    train_in_process(tmp_path, False)
    table = Store(tmp_path).find("train", "toy")
    assert table is not None
    assert table.manifest["resumed_at"] == 8
    assert list(table.manifest["files"]) == ["weights.npz"]
    assert [path.name for path in table.path.iterdir() if path.is_dir()] == []
    whole, _ = train(tmp_path / "whole")
    found = np.load(table.path / "weights.npz")
    assert all(np.array_equal(found[name], weight) for name, weight in zip(found, weights(whole), strict=True))


def test_a_checkpoint_is_tensors_and_json_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    state = {"a": tied, "b": [tied, tied.T, (1, 2.5, None)], 3: {"deep": True}, "view": tied[1], "empty": {}}
    path, files = tmp_path / "c" / "x.safetensors", SafeCheckpoints()
    files.save_checkpoint(state, path)
    with safe_open(path, "pt") as file:
        assert len(list(file.keys())) == 3, "tied weights once"
    found = files.load_checkpoint(path)
    assert torch.equal(found["b"][1], tied.T)
    assert torch.equal(found["view"], tied[1])
    assert found["b"][2] == (1, 2.5, None)
    assert list(found) == list(state)
    monkeypatch.setattr("zelo.training.checkpoints.os.fsync", stop)
    with pytest.raises(InterruptedError):
        files.save_checkpoint({"a": 1}, path)
    assert list(files.load_checkpoint(path)) == list(state), "the earlier one is whole"
    with pytest.raises(TypeError, match="Lists"):
        files.save_checkpoint({"a": lists(0)}, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BadInput, match=r"x\.safetensors is damaged"):
        files.load_checkpoint(path)


def _terminate(loss: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


@pytest.mark.parametrize(("deed", "error"), [(stop, InterruptedError), (_terminate, KeyboardInterrupt)])
def test_a_training_that_breaks_off_leaves_signals_and_logs_as_they_were(
    deed: Any, error: type[BaseException], tmp_path: Path
) -> None:
    """SIGTERM, too, which Lightning would answer with an exit that looks like a success."""
    log = logging.getLogger("pytorch_lightning")
    before = (log.level, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    log.setLevel(logging.INFO)
    try:
        with pytest.raises(error):
            train(tmp_path, Breaking(3, deed))
        assert log.level == logging.INFO
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before[1:]
    finally:
        log.setLevel(before[0])
    assert train(tmp_path)[1].resumed_at == 3 - (deed is stop)


def test_a_loss_that_is_no_number_ends_the_training_and_the_best_weights_stand(tmp_path: Path) -> None:
    _, unbroken = train(tmp_path / "whole")
    model, trained = train(tmp_path, Breaking(8, lambda loss: loss * torch.nan))
    assert trained.diverged == (
        "The training loss became nan at step 7, so training was stopped there. Lower optimizer.lr (now 0.01), or set"
        " trainer.precision=32-true where it is not."
    )
    assert trained.curve == [point for point in unbroken.curve if point["step"] <= 7]
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())
    (note,) = trained.notes("toy", 1.0)
    assert note.startswith("toy: The training loss became nan at step 7")


def test_weights_that_are_no_numbers_are_found_at_the_next_validation(tmp_path: Path) -> None:
    def ruin(model_gradient: Tensor) -> Tensor:
        return model_gradient * torch.nan

    def deed(loss: Tensor) -> Tensor:
        loss.register_hook(ruin)
        return loss

    _, trained = train(tmp_path, Breaking(4, deed), gradient_clip=0.0)
    assert trained.diverged is not None
    assert "A score of a dev query became no finite number at step 4" in trained.diverged
    assert len(trained.curve) == 2


def test_an_untuned_model_without_numbers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "forward", lambda model, batch: torch.full(batch["doc_rows"].shape, torch.nan))
    with pytest.raises(ZeloError, match="the untuned model already gives scores that are no numbers"):
        train(tmp_path)


def dev_of(model: Toy) -> DataModule:
    return DataModule(
        train=lists(1), dev=lists(2), loader=QueryBatches(queries=4, documents=8), seed=0, collate=model.collate
    )


def mixed(model: Toy, start: dict[str, Tensor], dev: dict[float, float], shares: list[float]) -> WeightMixture:
    return mix(model, start, dev, shares, dev_of(model), Hardware(**ONE), "32-true", "train toy")


def test_the_untuned_model_is_kept_where_training_harms_and_it_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = Toy(dropout=0.3)
    with pytest.MonkeyPatch.context() as patch:
        falling = iter(np.linspace(0.9, 0.1, 100))
        patch.setattr("zelo.training.listwise_dataset.ndcg", lambda scores, *_: np.full(len(scores), next(falling)))
        model, trained = train(
            tmp_path, callbacks={"stop": EarlyStopping(MONITOR, mode="max", patience=3, check_on_train_epoch_end=False)}
        )
        assert len(trained.curve) == 1 + 1 + 3, "three points without a gain over the first, then it stops"
        assert trained.best == 1, "the best of the trained weights"
        assert not same(model, before)
        mixture = mixed(model, learning(before), trained.dev, [0.5])
    assert mixture.share == 0
    assert same(model, before)
    (note,) = trained.notes("toy", mixture.share)
    assert "toy: training made it worse" in note
    assert "the untuned model is kept" in note


def test_weights_between_untuned_and_trained_are_kept_where_they_rank_dev_best(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = learning(Toy(dropout=0.3))
    model, _ = train(tmp_path)
    trained, seen = learning(model), []

    def ranking(scores: np.ndarray, *_: Any) -> np.ndarray:  # best at a quarter of the way
        seen.append(model.query.weight.detach().clone())
        way = (seen[-1] - start["query.weight"]).norm() / (trained["query.weight"] - start["query.weight"]).norm()
        return np.full(len(scores), 1 - abs(float(way) - 0.25))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zelo.training.listwise_dataset.ndcg", ranking)
        mixture = mixed(model, start, {0.0: 0.75, 1.0: 0.25}, [0.25, 0.75])
    assert mixture.share == 0.25
    assert mixture.dev == pytest.approx({0: 0.75, 0.25: 1, 0.75: 0.5, 1: 0.25})
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.detach(), 0.75 * start[name] + 0.25 * trained[name])


@pytest.mark.parametrize(("dev", "share"), [({0.0: 0.5, 1.0: 0.4}, 0), ({0.0: 0.4, 1.0: 0.5}, 1), ({0.0: 0.4}, 0)])
def test_the_ends_are_kept_to_the_last_bit_and_measured_once(
    tmp_path: Path, dev: dict[float, float], share: int
) -> None:
    torch.manual_seed(0)
    start = learning(Toy(dropout=0.3))
    model, _ = train(tmp_path)
    ends = [start, learning(model)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zelo.training.listwise_dataset.ndcg", lambda scores, *_: np.zeros(len(scores)))
        found = mixed(model, start, dev, [0.5])
    assert found.share == share
    assert found.dev == dev | ({0.5: 0.0} if 1.0 in dev else {})
    for name, weight in model.named_parameters():
        assert torch.equal(weight, ends[share][name])


def test_of_equal_mixtures_the_one_that_changes_least_is_kept(tmp_path: Path) -> None:
    model, _ = train(tmp_path)
    value = mixed(model, learning(model), {0.0: 0.0, 1.0: 0.0}, [0.5]).dev[0.5]
    assert mixed(model, learning(model), {0.0: value, 1.0: value}, [0.5]).share == 0


def test_weights_in_half_precision_are_trained_and_mixed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = learning(Toy(dropout=0.3))
    model, trained = train(tmp_path, precision="bf16-true")
    assert len(trained.curve) > 2
    assert mixed(model, start, trained.dev, [0.5]).dev[0.5] > 0


def test_gradients_of_a_fused_optimizer_are_clipped_in_mixed_precision(tmp_path: Path, monkeypatch) -> None:
    """Where they are scaled, too, as on a GPU with 16-mixed: Lightning scales none on a CPU."""
    fused = partial(torch.optim.AdamW, fused=True, weight_decay=0.0)  # fused as in conf/optimizer/adamw.yaml
    monkeypatch.setattr(torch.optim, "AdamW", fused)
    torch.manual_seed(0)
    start, moved = weights(Toy(0.3)), {}
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=64.0)):
        monkeypatch.setattr(
            MixedPrecision, "scaler", property(lambda self, one=scaler: one, lambda self, new: None), False
        )
        for clip in (1.0, 1e-12):
            folder = tmp_path / f"{clip}-{scaler is None}"
            after = weights(train(folder, epochs=1, precision="bf16-mixed", gradient_clip=clip)[0])
            moved[clip] = max(np.abs(one - other).max() for one, other in zip(after, start, strict=True))
        assert moved[1e-12] < 1e-3 * moved[1.0], "so small a gradient is below the optimizer's epsilon"


def test_what_lora_adds_lies_on_the_line() -> None:
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lora_A, self.lora_B = (nn.Parameter(torch.zeros(2, 2)) for _ in range(2))

    model = Adapted()
    nn.init.normal_(model.lora_A)
    start = learning(model)
    nn.init.normal_(model.lora_A)
    nn.init.normal_(model.lora_B)
    trained = learning(model)
    _put(model, start, trained, 0.25)
    torch.testing.assert_close(model.lora_B @ model.lora_A, 0.25 * trained["lora_B"] @ trained["lora_A"])
    _put(model, start, trained, 0.0)
    assert torch.equal(model.lora_A, start["lora_A"])


def point(step: int, value: float) -> dict[str, Any]:
    return {"step": step, "epoch": 0, "train_loss": 0.1, "dev": value, "metric": "judge_agreement/dev/nDCG@10"}


def test_a_good_training_is_not_remarked_on() -> None:
    assert Trained([point(0, 0.5), point(5, 0.7), point(9, 0.6)], None, 0, None).notes("toy", 1.0) == []
    worse = Trained([point(0, 0.5), point(5, 0.7), point(9, 0.4)], None, 0, None)
    (note,) = worse.notes("toy", 0.25)
    assert note == "toy: 25% of the trained weights and 75% of the untuned weights are best on dev."
    (note,) = worse.notes("toy", 1.0)
    assert "the weights of step 5 are kept" in note
    assert "judge_agreement/dev/nDCG@10 0.500 untuned, 0.700 best, 0.400 at its end, step 9" in note


def test_the_last_weights_are_measured_where_no_validation_falls_on_them(tmp_path: Path) -> None:
    _, trained = train(tmp_path)
    assert [point["step"] for point in trained.curve] == [0, 2, 4, 7, 9, 12, 14, 15]


class Small:
    """A model on a machine that holds `room` scores with a graph: more are out of memory, forward or backward."""

    def __init__(self, model: Toy, room: int, backward: bool) -> None:
        self.model, self.room, self.backward, self.failures, self.scored = model, room, backward, 0, 0

    def parameters(self) -> Any:
        return self.model.parameters()

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        scores = self.model(batch)
        if torch.is_grad_enabled() and scores.numel() > self.room:
            if not self.backward:
                self._fail(scores)
            # the gradient has reached the documents when it fails: half of it is there
            self.model.query.weight.register_hook(lambda gradient: gradient)
            scores.register_hook(self._fail_once)
        return scores

    def _fail_once(self, gradient: Tensor) -> Tensor:
        self.model.document.weight.grad = torch.ones_like(self.model.document.weight)
        return self._fail(gradient)

    def _fail(self, _: Tensor) -> Tensor:
        self.failures += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("room", [48, 24, 7, 1])
@pytest.mark.parametrize("loss", [ListwiseKL(sharpness=2.0, temperature=None), MSE()])
def test_a_batch_that_does_not_fit_is_split_and_its_gradient_is_the_same(
    loss: nn.Module, room: int, backward: bool
) -> None:
    """Weights differ from query to query, so the mean over halves is not the mean of their means."""
    torch.manual_seed(0)
    model, data = Toy(), lists(1)
    batch = data.batch(np.arange(6), None, model.collate)
    part = partial(data.part, collate=model.collate)

    def gradient(room: int, steps: int) -> tuple[list[Tensor], Small, float]:
        small = Small(model, room, backward)
        pieces, value = Pieces(small, loss), torch.tensor(0.0)
        model.zero_grad()
        for _ in range(steps):  # gradients of an earlier batch are kept: that is accumulation
            value = pieces.loss(batch, part)
            pieces.backward(value / 2, torch.enable_grad)
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None], small, value.item()

    wanted, _, exact = gradient(10_000, 2)
    plain = loss(model(batch), batch["targets"], batch["weights"], batch["mask"])
    for found, weight in zip(wanted, torch.autograd.grad(plain, list(model.parameters())), strict=True):
        assert torch.equal(found, weight)
    found, small, value = gradient(room, 2)
    assert small.failures >= 1
    assert value == pytest.approx(exact, rel=1e-6)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_one_pair_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    model, data = Toy(), lists(1)
    batch = data.batch(np.arange(2), None, model.collate)
    pieces = Pieces(Small(model, 0, backward=False), MSE())
    value = pieces.loss(batch, partial(data.part, collate=model.collate))
    with pytest.raises(ZeloError, match="One query with one document does not fit in memory"):
        pieces.backward(value, torch.enable_grad)


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    def fail(loss: Tensor) -> Tensor:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        train(tmp_path, Breaking(3, fail))


def test_a_training_with_too_little_memory_ends_like_one_with_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Toy.forward

    def forward(model: Toy, batch: Mapping[str, Tensor]) -> Tensor:
        if torch.is_grad_enabled() and batch["doc_rows"].numel() > 16:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return original(model, batch)

    monkeypatch.setattr(Toy, "forward", forward)
    monkeypatch.setattr(nn.Dropout, "forward", lambda module, x: x)
    _, split = train(tmp_path / "split")
    monkeypatch.setattr(Toy, "forward", original)
    _, plain = train(tmp_path / "plain")
    assert split.split_batches > 0
    assert [p["dev"] for p in split.curve] == pytest.approx([p["dev"] for p in plain.curve], abs=1e-6)
    assert [p["train_loss"] for p in split.curve[1:-1]] == pytest.approx(
        [p["train_loss"] for p in plain.curve[1:-1]], rel=1e-4
    )
