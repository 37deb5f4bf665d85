#!/usr/bin/env bash
# What one GPU does with decoders: training, scoring, encoding, judging. At most 8 minutes.
# Usage: benchmarks/gpu.sh [--tiny] [--out gpu.json]; --tiny runs the same code on the CPU with tiny models.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec timeout 480 "$python" benchmarks/gpu.py "$@"
