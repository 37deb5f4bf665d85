"""A public name of a component is a field or a member of a protocol of its family: a misspelt capability fails here."""

import importlib
import inspect
import pkgutil
from typing import Any

import pytest
import yaml

from zelo import protocols as p
from zelo import stages
from zelo.dashboards.shown import Dashboard
from zelo.graphs.matching import GreedyRounds
from zelo.graphs.static import StaticGraph
from zelo.likelihood.links import LinkFunction
from zelo.places import config_folder
from zelo.solvers.posterior_mode import Iterative
from zelo.targets.selection import Selection
from zelo.tracking.job import RunLogger

ANY = (p.Content, p.FieldsOutsideIdentity)
# Group -> protocols, and classes that its components share; the first is what each component of it must offer.
FAMILIES: dict[str, tuple[type, ...]] = {
    "acquisition": (p.Acquisition,),
    "backbone": (
        p.VectorSource,
        p.TokenVectorSource,
        p.VectorsById,
        p.NamedModel,
        p.Precision,
        p.LanguageModel,
        p.Backbone,
    ),
    "calibrator": (p.Calibrator, p.AskingCalibrator),
    "dashboard": (Dashboard,),
    "executor": (p.Executor, p.ProcessesExecutor),
    "dataset": (p.Dataset, p.MayLackQueries, p.TrainJudged),
    "graph": (
        p.Graph,
        p.AdaptiveGraph,
        p.DegreeGraph,
        p.ExpectedLossGraph,
        p.CrossQueryGraph,
        StaticGraph,
        GreedyRounds,
    ),
    "judge": (
        p.Judge,
        p.Checked,
        p.CountingJudge,
        p.JudgeEnsemble,
        p.LedgerJudge,
        p.PaidJudge,
        p.ReportingJudge,
        p.SamplingJudge,
        p.SpreadJudge,
        p.StateJudge,
        p.TextJudge,
        p.TrainedJudge,
        p.TruncatingJudge,
        p.WholeListJudge,
    ),
    "logger": (RunLogger, p.Logger),
    "loss": (p.Loss, p.ListLoss, p.WidthLoss),
    "metric": (p.Metric,),
    "model": (p.Model, p.BackboneCheck, p.QueryPreparer, p.PairwiseModel, p.WidthModel, p.ExportedScores, p.Embedder),
    "queries": (p.QueryMaker, p.LocalQueryMaker, p.CheapQueryMaker, p.PaidQueryMaker, p.Checked),
    "retriever": (p.Retriever, p.SpreadRetriever, p.FileRetriever, p.PaidRetriever, p.Scorer, p.BackboneScorer),
    "scorer": (p.Scorer, p.Checked, p.BackboneScorer, p.PaidScorer, p.WindowScorer, p.ModelScorer),
    "selection": (Selection,),
    "splitter": (p.Splitter, p.LeavesWhole, p.Checked),
    "solver": (p.Solver, p.PerJudgeSolver, LinkFunction, Iterative),
    "stage": (
        p.Stage,
        p.CheapStage,
        p.JudgingStage,
        p.PaidStage,
        p.PassingStage,
        p.PredictsCost,
        p.ProcessesStage,
        p.SometimesCheapStage,
        p.SpreadStage,
        p.StageWithCheck,
        p.StageWithInputCheck,
        p.StageWithOptionalInputs,
        p.StageWithUnread,
        p.TrainingStage,
    ),
    "target": (p.Target, p.CrossQueryTarget),
}
# Public names that only the class's own package uses; TORCH: what torch calls or what an instance sets.
OWN = {
    "judge Chat": {"READ_BY", "tokens_out"},
    "judge Decision": {"READ_BY"},
    "judge Human": {"known"},
    "model Embedding": {"encode"},
    "model LateInteraction": {"encode"},
    "queries Generate": {"READ_BY"},
    "retriever Api": {"READ_BY", "endpoint"},
    "backbone Decoder": {"transformer"},
    "backbone Encoder": {"transformer"},
    "retriever Bm25": {"of", "index", "words"},  # the hybrid says with which words it searches
    "retriever Random": {"drawn"},
    "scorer Hosted": {"READ_BY"},
    "scorer Listwise": {"READ_BY"},
    "stage Evaluate": {"systems"},  # main asks this very class
    "stage Train": {"train_part"},
}
TORCH = {
    "loss": {"forward"},
    "model": {"forward", "state_dict", "load_state_dict", "to", "scale", "temperature", "backbone"},
}


def components() -> list[tuple[str, type]]:
    """(group, class) of each component yaml of a family, and of each stage."""
    found = {}
    for path in config_folder().glob("*/*.yaml"):
        target = (yaml.safe_load(path.read_text()) or {}).get("_target_", "")
        if path.parent.name in FAMILIES and target.startswith("zelo."):
            module, _, name = target.rpartition(".")
            found[path.parent.name, target] = getattr(importlib.import_module(module), name)
    for path in pkgutil.iter_modules(stages.__path__):
        module = importlib.import_module(f"zelo.stages.{path.name}")
        for name, made in vars(module).items():
            if inspect.isclass(made) and made.__module__ == module.__name__ and "run" in vars(made):
                found["stage", name] = made
    return [(group, made) for (group, _), made in sorted(found.items(), key=lambda item: item[0])]


def members(protocol: type) -> set[str]:
    """Public names that a protocol asks for, those of the protocols that it extends included."""
    names: set[str] = set()
    for base in protocol.__mro__:
        if base.__module__.startswith("zelo."):
            names |= {*vars(base), *vars(base).get("__annotations__", {})}
    return {name for name in names if not name.startswith("_")}


def names(made: Any) -> set[str]:
    """Public names that the classes of zelo behind a component define."""
    own = (base for base in made.__mro__ if base.__module__.startswith("zelo."))
    return {name for base in own for name in vars(base) if not name.startswith("_")}


@pytest.mark.parametrize(("group", "made"), components(), ids=lambda part: getattr(part, "__name__", part))
def test_a_public_name_is_a_field_or_a_capability(group: str, made: type) -> None:
    fields = set(inspect.signature(made).parameters)
    known = set().union(*(members(protocol) for protocol in (*ANY, *FAMILIES[group])))
    own = OWN.get(f"{group} {made.__name__}", set()) | TORCH.get(group, set())
    stray = names(made) - fields - known - own
    assert not stray, f"{made.__name__}: {sorted(stray)} belongs to no protocol of {group}: misspelt, or to be declared"
    first = p.PaidJudge if "requests" in names(made) else FAMILIES[group][0]
    lacks = members(first) - names(made) - fields - TORCH.get(group, set())
    assert not lacks, f"{made.__name__} lacks {sorted(lacks)} of {first.__name__}"


def test_what_is_declared_exists() -> None:
    made = {f"{group} {part.__name__}": part for group, part in components()}
    for name, own in OWN.items():
        assert own <= names(made[name]), f"{name} has no {sorted(own - names(made[name]))}"


def test_a_misspelt_capability_is_refused() -> None:
    class Misspelt:
        def propose(self) -> None: ...
        def most(self) -> None: ...
        def ovre(self) -> None: ...

    Misspelt.__module__ = "zelo.graphs.misspelt"
    with pytest.raises(AssertionError, match=r"Misspelt: \['ovre'\]"):
        test_a_public_name_is_a_field_or_a_capability("graph", Misspelt)
