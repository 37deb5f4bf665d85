"""A random Qwen2 model as a GGUF file, and the same as a folder."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from tiny_models import CHATML, CONTEXT, save
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

LAYERS, WIDTH, INNER, HEADS, GROUPS, EPSILON = 2, 32, 64, 4, 2, 1e-6


def write(folder: Path, architecture: str = "qwen2") -> tuple[Path, Path]:
    """(the file, the folder) of one model; the file names this architecture."""
    plain = folder / "plain"
    plain.mkdir(parents=True)
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(
        save("qwen3", plain)
    )  # its tokenizer is that of Qwen2, too
    torch.manual_seed(0)
    network = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=GROUPS,
            max_position_embeddings=CONTEXT,
            rms_norm_eps=EPSILON,
            tie_word_embeddings=False,
            initializer_range=0.3,
        )
    )
    file = folder / "tiny.gguf"
    _write(file, architecture, network, tokenizer)
    network.save_pretrained(plain)
    return file, plain


def _write(file: Path, architecture: str, network: Any, tokenizer: Any) -> None:
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_freq_base(10000.0)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token in special else 1 for token, _ in vocabulary])
    pairs = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in pairs])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(CHATML)
    names: Any = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, LAYERS)
    for name, weight in network.state_dict().items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
