"""What sentence-transformers asks of optimum, over onnxruntime alone: optimum itself needs an older transformers."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

OUTPUTS = {"last_hidden_state": BaseModelOutput, "logits": SequenceClassifierOutput}


class OrtModel:
    """A graph that is read from the one file that sentence-transformers names; it exports nothing."""

    output = "last_hidden_state"

    def __init__(self, path: Path, config: Any) -> None:
        self.config, self.device = config, torch.device("cpu")
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    @classmethod
    def from_pretrained(
        cls, model_id: str, *, config: Any, export: bool, subfolder: str = "", file_name: str = "", **_: Any
    ) -> "OrtModel":
        """Fails where sentence-transformers found no graph and would make one."""
        assert not export, f"no graph was found in {model_id}, {subfolder}"
        return cls(Path(model_id, subfolder, file_name), config)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None, **_: Any) -> Any:
        """The output of the name that optimum takes, by this name."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        asked = {one.name: given[one.name].numpy() for one in self.session.get_inputs()}
        [found] = self.session.run([self.output], asked)
        return OUTPUTS[self.output](**{self.output: torch.from_numpy(found)})

    __call__ = forward

    def _save_pretrained(self, *_: Any) -> None:
        raise NotImplementedError

    def eval(self) -> "OrtModel":
        return self


class OrtClassifier(OrtModel):
    output = "logits"


def install(patch: pytest.MonkeyPatch) -> None:
    """For this test optimum.onnxruntime is there."""
    module: Any = ModuleType("optimum.onnxruntime")
    module.ONNX_WEIGHTS_NAME = "model.onnx"
    module.ORTModelForFeatureExtraction = module.ORTModelForMaskedLM = module.ORTModelForCausalLM = OrtModel
    module.ORTModelForSequenceClassification = OrtClassifier
    patch.setitem(sys.modules, "optimum", ModuleType("optimum"))
    patch.setitem(sys.modules, "optimum.onnxruntime", module)
