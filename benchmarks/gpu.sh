#!/usr/bin/env bash
# Everything that only a machine with a CUDA GPU can show, in under 25 minutes, as benchmarks/measured_gpu.md; see --help.
# Beside TUT with what its tests need, it takes nothing. Liger Kernel and cut-cross-entropy are compared where they are
# installed: pip install liger-kernel cut-cross-entropy
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
PYTHONPATH=. exec "$python" -m benchmarks.gpu "$@"
