#!/usr/bin/env bash
# The GPU figures of docs/performance.md, on a machine with one CUDA GPU: bench/gpu.sh [OPTION …]
# First on a new kind of machine: STAGES=probe bench/gpu.sh --data PATH --out DIR     does it compile, to the same losses?
# Then three stages, each of at most ten minutes; called one by one where a call may not take longer:
#   STAGES=published bench/gpu.sh --data PATH --runs DIR --out DIR     this stage goes on where it was cut off
# Options: python -m bench.gpu --help
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
for stage in ${STAGES:-speed published concurrent}; do
    PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "$python" -m bench.gpu "$stage" "$@"
done
