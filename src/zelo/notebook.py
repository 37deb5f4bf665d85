"""zelo from Python: compose a config, run it, rate preferences, ask a judge. What is heavy is imported when it is called."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from omegaconf import DictConfig

    from zelo.protocols import Solver
    from zelo.records import Questions
    from zelo.run_directory import RunDirectory


def compose(overrides: Sequence[str] = ()) -> "DictConfig":
    """The config that `zelo OVERRIDES` runs: `zelo.pipeline.run.assemble` makes its stages, `OmegaConf.to_yaml` shows it.

    Raises BadInput for an override that names nothing.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from zelo.pipeline import baselines, continued, parts

    with _composed(overrides) as (config, _):
        baselines.mount(config)
        given = [str(override) for override in HydraConfig.get().overrides.task]
        parts.complete(config, given)
        continued.complete(config, given)
        for key in _of_hydra(OmegaConf.to_container(config), ""):  # known only while Hydra's own config is
            OmegaConf.update(config, key, OmegaConf.select(config, key))
        return config


def run(overrides: Sequence[str] = ()) -> "RunDirectory":
    """Runs what `zelo OVERRIDES` runs, in this process, and gives its run directory. Raises ZeloError for what went wrong."""
    from zelo import main
    from zelo.run_directory import RunDirectory
    from zelo.tracking.run_folder import discard_if_empty

    with _composed(overrides) as (config, folder):
        _begin_command()
        try:
            main.job(config, folder, " ".join(["zelo", *overrides]))
        finally:
            discard_if_empty(folder)
    return RunDirectory(folder)


def rate(
    pairs: Sequence[tuple[str, str]],
    p: "Sequence[float] | np.ndarray",
    weight: "Sequence[float] | np.ndarray | None" = None,
    query: Sequence[str] | None = None,
    solver: "str | Solver" = "thurstone",
) -> "pa.Table":
    """Ratings from preferences: doc_id, rating (mean 0 per query) and stderr, the best first; query_id where `query` is given.

    pairs: N of (a, b); p: [N] probability that a is preferred; weight: [N] above 0, comparisons that each counts as; query: [N]
    which query each belongs to; solver: an option of the group, or an object. Raises BadInput for a row that cannot be used.
    """
    import numpy as np
    import pyarrow as pa

    from zelo.records import Comparisons

    count = len(pairs)
    for name, given in (("p", p), ("weight", weight), ("query", query)):
        if given is not None and len(given) != count:
            raise BadInput(f"rate: {name} has {len(given):,} values for {count:,} pairs; give one for each")
    if not count:
        raise BadInput("rate: there are no pairs")
    queries, query_of = np.unique(
        np.array(["" if query is None else name for name in query or pairs]), return_inverse=True
    )
    names, document = np.unique(np.array(pairs, dtype=str), return_inverse=True)
    key = query_of[:, None] * len(names) + document.reshape(count, 2)
    rows, edges = np.unique(key, return_inverse=True)
    fit = _solver(solver).fit(
        Comparisons(
            sizes=np.bincount(rows // len(names), minlength=len(queries)),
            edges=edges.reshape(count, 2),
            p=np.asarray(p, np.float64),
            weight=np.ones(count) if weight is None else np.asarray(weight, np.float64),
        )
    )
    order = np.lexsort((-fit.rating, rows // len(names)))
    columns = {
        "query_id": queries[rows // len(names)][order],
        "doc_id": names[rows % len(names)][order],
        "rating": fit.rating[order],
        "stderr": pa.array(fit.stderr[order], from_pandas=True),  # nan becomes null
    }
    return pa.table(columns if query is not None else {name: columns[name] for name in list(columns)[1:]})


def judge(
    name: str, query: str | Sequence[str], a: str | Sequence[str], b: str | Sequence[str], overrides: Sequence[str] = ()
) -> "pa.Table":
    """What the judges of an option of the group `judge` say of two texts, shown in both orders: a row per judge and question.

    query, a, b: texts, or lists of as many. overrides: as `judge.model=...` and, for a judge that costs money, `budget.usd=1`.
    p is the probability that a is preferred, the mean of p_a_first and p_b_first; null unless both are answered; cost is in US
    dollars. Raises BadInput for texts that do not go together, and what the judge raises.
    """
    import pyarrow as pa
    from omegaconf import OmegaConf

    from zelo import protocols
    from zelo.asking import Panel
    from zelo.pipeline import instantiate

    with _composed([f"judge={name}", *overrides]) as (config, _):
        stage: Any = OmegaConf.to_container(config.stages.judge, resolve=True)
        panel = Panel(instantiate.build(stage["judge"], "judge"), config.seed)
        budget = instantiate.build(stage["budget"], "budget")
    for member in panel.members.values():
        if isinstance(member, protocols.TrainedJudge) and member.path is None:
            raise BadInput(f"judge({name!r}): judge.path=null names no model; add judge.path=RUN_FOLDER/pairwise")
        if isinstance(member, protocols.Checked):
            member.check()
    import numpy as np

    questions = _questions(query, a, b)
    _begin_command()
    shown = np.repeat([False, True], len(questions) // 2)
    plans = budget.plans({one: (member, [questions]) for one, member in panel.paid.items()}) if panel.paid else []
    with budget.open(plans) as session:
        answers = panel.ask(questions, dict.fromkeys(panel.members, shown), None, session)
    return pa.concat_tables(_answer(one, rows) for one, rows in answers.items())


def _begin_command() -> None:
    """Each call has the whole budget: it is a command of its own."""
    from zelo.budget.budget import COMMAND

    os.environ[COMMAND] = uuid.uuid4().hex


def _answer(name: str, rows: "pa.Table") -> "pa.Table":
    """Both orders of each question side by side. rows: OUTCOME, all questions with a first and again with b first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from zelo.records import ANSWERED

    half = len(rows) // 2
    first, second = rows.slice(0, half), rows.slice(half)
    right = pc.equal(first["status"].cast(pa.string()), ANSWERED)
    return pa.table(
        {
            "judge": pa.array([name] * half),
            "p": pc.divide(pc.add(first["p"], second["p"]), pa.scalar(2, pa.float32())),
            "p_a_first": first["p"],
            "p_b_first": second["p"],
            "status": pc.if_else(right, second["status"].cast(pa.string()), first["status"].cast(pa.string())),
            "tokens": pc.add(first["tokens"], second["tokens"]),
            "cost": pc.add(first["cost"], second["cost"]),
        }
    )


def _questions(query: str | Sequence[str], a: str | Sequence[str], b: str | Sequence[str]) -> "Questions":
    """Each question twice, to be shown in both orders."""
    import numpy as np
    import pyarrow as pa

    from zelo.records import DOCUMENT, QUERY, TEST, Questions

    texts = {name: [given] if isinstance(given, str) else list(given) for name, given in (("a", a), ("b", b))}
    count = len(texts["a"])
    texts["query"] = [query] * count if isinstance(query, str) else list(query)
    for name, given in texts.items():
        if len(given) != count or not all(isinstance(text, str) and text.strip() for text in given):
            raise BadInput(
                f"judge: {name} must be a text that is not empty, or {count} of them, one for each text of a"
            )
    known, row = np.unique(np.array(texts["query"], dtype=object), return_inverse=True)
    documents = texts["a"] + texts["b"]
    numbered = [str(number) for number in range(len(documents))]
    return Questions(
        queries=pa.table([[f"q{n}" for n in range(len(known))], known.tolist(), [TEST] * len(known)], schema=QUERY),
        documents=pa.table([numbered, [""] * len(documents), documents], schema=DOCUMENT),
        query_row=np.tile(row, 2),
        a_row=np.tile(np.arange(count), 2),
        b_row=np.tile(np.arange(count) + count, 2),
        repeat=np.zeros(2 * count, np.int16),
    )


def _solver(solver: "str | Solver") -> "Solver":
    if not isinstance(solver, str):
        return solver
    from omegaconf import OmegaConf

    from zelo import suggestions
    from zelo.pipeline import instantiate
    from zelo.pipeline.plain import plain
    from zelo.places import config_folder

    files = {path.stem: path for path in (config_folder() / "solver").glob("*.yaml")}
    if solver not in files:
        raise BadInput(suggestions.unknown_option("solver", solver, sorted(files)))
    return instantiate.build(plain(OmegaConf.load(files[solver])), "solver")


@contextmanager
def _composed(overrides: Sequence[str]) -> "Iterator[tuple[DictConfig, Path]]":
    """The config of the command and the run directory that it names; while the block lasts, Hydra's own config is known, too."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    from zelo import arguments
    from zelo.explanation import explain
    from zelo.places import config_folder
    from zelo.tracking import sweep

    if isinstance(overrides, str):
        raise BadInput(f"overrides={overrides!r}: give a list, as in [{overrides!r}]")
    sweep.prepare()
    before = HydraConfig.instance().cfg
    try:
        with initialize_config_dir(str(config_folder()), job_name="zelo", version_base="1.3"):
            config = hydra_compose("config", arguments.prepared(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            folder = Path(config.hydra.run.dir).absolute()
            with open_dict(config):
                del config["hydra"]
            yield config, folder
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(explain(error)[1]) from error
    finally:
        HydraConfig.instance().cfg = before


def _of_hydra(node: object, key: str) -> Iterator[str]:
    """The keys whose values refer to Hydra's own config."""
    if isinstance(node, dict):
        for name, item in node.items():
            yield from _of_hydra(item, f"{key}.{name}" if key else str(name))
    elif isinstance(node, str) and "${hydra:" in node:
        yield key
