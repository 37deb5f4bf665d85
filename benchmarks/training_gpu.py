"""LoRA training of decoders on a GPU, as a share of the matrix rate that the card shows: python benchmarks/training.py --gpu.

Models of the shapes of Qwen3-0.6B and 1.7B with random weights: their speed is that of the real ones. The share counts what a
step must compute: 4 operations for each weight and token (forward, and backward to the activations, as the weights are
frozen) and 6 for the adapters', attention left out, so that it is a lower bound. No GPU was at hand when this was written.
"""

import time
from typing import Any

from zelo.errors import BadInput

SHAPES: dict[str, dict[str, int]] = {
    "qwen3-0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "qwen3-1.7b": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
PAIRS, LENGTH, STEPS = 16, 1024, 10


def main() -> None:
    """Prints tokens per second and their share of the measured matrix rate. Raises BadInput without a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise BadInput("--gpu measures on a GPU, and torch sees none; without it the benchmark runs on the CPU.")
    peak = matrix_rate()
    print(f"{torch.cuda.get_device_name()}: {peak / 1e12:.0f} TFLOP/s in bfloat16 matrices of 8192")
    for name, shape in SHAPES.items():
        rate, operations = trained(shape)
        memory = torch.cuda.max_memory_allocated() / 1e9
        print(f"{name}: {rate:,.0f} tokens/s training, {rate * operations / peak:.0%} of it, {memory:.1f} GB")


def matrix_rate() -> float:
    """Operations per second of a large product of matrices in bfloat16."""
    import torch

    one = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        torch.matmul(one, one)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        torch.matmul(one, one)
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - start)


def trained(shape: dict[str, int]) -> tuple[float, float]:
    """(tokens per second of a training step, operations a token) of a classifier with adapters in all linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    torch.cuda.reset_peak_memory_stats()
    options: dict[str, Any] = {**shape, "num_labels": 1}
    config = Qwen3Config(**options, vocab_size=151_936, pad_token_id=0, max_position_embeddings=LENGTH)
    with torch.device("cuda"):
        network: Any = Qwen3ForSequenceClassification(config)
        network = network.to(torch.bfloat16)
    network = get_peft_model(network, LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="SEQ_CLS"))
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    adapters = sum(weight.numel() for weight in learning)
    matrices = sum(w.numel() for n, w in network.named_parameters() if "embed_tokens" not in n) - adapters
    ids = torch.randint(1, 150_000, (PAIRS, LENGTH), device="cuda")
    mask = torch.ones_like(ids)

    def step() -> None:
        network(input_ids=ids, attention_mask=mask).logits.float().sigmoid().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return STEPS * PAIRS * LENGTH / (time.perf_counter() - start), 4 * matrices + 6 * adapters
