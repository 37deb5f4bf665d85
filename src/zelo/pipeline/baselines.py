"""Makes a stage of each baseline that a user has named, and a system of it wherever systems are compared."""

import re

from omegaconf import DictConfig, OmegaConf, open_dict

from zelo.errors import BadInput

GROUPS = ("scorer", "retriever")  # that a baseline may be an option of


def mount(config: DictConfig) -> None:
    """Adds to `stages`, for each of `baselines`, what `baseline.stage` says, under the baseline's name.

    The stages in `baseline.systems_of` read it as a system of that name, and the evaluation tests the students in
    `baseline.against` against it. Raises BadInput for a name that is taken, and for a pipeline that measures none.
    """
    named = [str(name) for name in config.get("baselines") or {} if config.baselines[name] is not None]
    if not named:
        return
    if "baseline" not in config:
        options = " or ".join(f"+{group}@baselines.{named[0]}=..." for group in GROUPS)
        raise BadInput(
            f"baselines.{named[0]}: this pipeline compares no systems, so it has no use for a baseline. Leave out {options},"
            " or choose pipeline=default."
        )
    if config.baseline.stage is None:  # a stage of the pipeline reads `baselines` itself
        return
    for name in named:
        if name in config.stages or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise BadInput(
                f"baselines.{name}: a baseline becomes a stage of its name, made of letters, digits and _, and"
                f" {', '.join(str(stage) for stage in config.stages)} are taken. Choose another name."
            )
        _mount(config, name)


def _mount(config: DictConfig, name: str) -> None:
    with open_dict(config):
        stage = OmegaConf.to_container(config.baseline.stage)
        assert isinstance(stage, dict)
        config.stages[name] = stage | {"scorer": f"${{baselines.{name}}}"}
        for reader in config.baseline.systems_of:
            node = config.stages.get(reader)
            if node is None:
                continue
            node.inputs[name] = name
            if "first_stage_of" in node:
                node.first_stage_of[name] = "candidates"
        students = config.stages.evaluate.students if config.stages.get("evaluate") is not None else {}
        for student in config.baseline.against:
            if student in students:
                students[student] = [*students[student], name]
