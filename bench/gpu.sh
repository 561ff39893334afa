#!/usr/bin/env bash
# What needs a GPU, in stages: STAGES="probe published" bench/gpu.sh --data PATH --out DIR     (see bench/gpu.py)
# Call again with the same arguments where it says so: it goes on. Without a GPU, all stages in small: bench/gpu.sh --tiny --out DIR
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m bench.gpu ${STAGES:-} "$@"
