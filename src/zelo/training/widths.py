"""Whether a student can be scored at the widths that a loss asks for."""

from zelo.errors import BadInput
from zelo.protocols import WidthLoss, WidthModel
from zelo.training.student import Student


def check_widths(name: str, student: Student) -> None:
    """Raises BadInput for a loss at several widths where the model knows none, or has vectors that are not wider."""
    loss, model, backbone = student.loss, student.model, student.backbone
    if not isinstance(loss, WidthLoss):
        return
    widths = loss.widths
    if not isinstance(model, WidthModel):
        raise BadInput(
            f"{name}.loss={type(loss).__name__} needs vectors that can be cut, and {type(model).__name__} has none: use"
            " model=embedding, or the loss that it holds alone."
        )
    width = backbone.width()
    if max(widths) >= width:
        raise BadInput(
            f"{name}.loss.widths={widths}: {type(backbone).__name__}'s vectors have {width} numbers, and the whole vector counts"
            " anyway; give smaller widths."
        )
