"""Random models of real architectures, two layers each, saved as their makers save them: with a tokenizer and a chat template."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

DECODERS, ENCODERS = ("qwen3", "llama"), ("modernbert", "xlm_r")
CONTEXT = 256  # tokens; XLM-R counts its positions from two on
WORDS = (
    "how do I order a list Sort the list in place Yes No system user assistant Read rows delete a file Today Date: 2024"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (  # as Llama 3.2 writes it: with the day, and with a token of its own to begin with
    "{{ bos_token }}{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{% if m.role == 'system' %}Today Date: {{ date_string }}\n\n{% endif %}{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# How Qwen3 and Llama 3 split a text before their byte pairs.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def save(family: str, folder: Path) -> Path:
    """The folder, with a model of the family in it, the same at each call."""
    torch.manual_seed(0)
    {"qwen3": _qwen3, "llama": _llama, "modernbert": _modernbert, "xlm_r": _xlm_r, "bert": _bert}[family](folder)
    return folder


def _trained(special: list[str]) -> Tokenizer:
    """Byte pairs over a few words; the special tokens have the first numbers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([WORDS, "Yes"] * 9, trainer)
    return tokenizer


def _qwen3(folder: Path) -> None:
    plain = _trained(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    more = {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}
    Qwen3ForCausalLM(Qwen3Config(**_SHAPE, **more, max_position_embeddings=CONTEXT)).save_pretrained(folder)


def _llama(folder: Path) -> None:
    """No token pads, one is put before every text, the head is no embedding, and the weights lie in several files."""
    plain = _trained(["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    plain.post_processor = processors.TemplateProcessing("<|begin_of_text|> $0", None, [("<|begin_of_text|>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", padding_side="left"
    )
    tokenizer.chat_template = HEADERS
    tokenizer.save_pretrained(folder)
    more = {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "tie_word_embeddings": False}
    model = LlamaForCausalLM(LlamaConfig(**_SHAPE, **more, max_position_embeddings=CONTEXT))
    model.save_pretrained(folder, max_shard_size="60KB")


def _bert_tokenizer(folder: Path, second: str) -> PreTrainedTokenizerFast:
    """second: how the template writes the second text of a pair."""
    plain = _trained(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    plain.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", f"[CLS] $A [SEP] {second}", [("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _bert(folder: Path) -> None:
    """As MiniLM: the texts of a pair have types."""
    tokenizer = _bert_tokenizer(folder, "$B:1 [SEP]:1")
    config = BertConfig(**_SHAPE, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, pad_token_id=0)
    BertModel(config).save_pretrained(folder)


def _modernbert(folder: Path) -> None:
    tokenizer = _bert_tokenizer(folder, "$B [SEP]")
    numbers = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    config = ModernBertConfig(
        **_SHAPE, **numbers, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, local_attention=16
    )
    ModernBertForMaskedLM(config).save_pretrained(folder)


def _xlm_r(folder: Path) -> None:
    plain = _trained(["<s>", "<pad>", "</s>", "<mask>"])
    plain.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    numbers = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
    config = XLMRobertaConfig(**_SHAPE, **numbers, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT + 2)
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
