#!/usr/bin/env bash
# The trainings that need a GPU, a stage a call, each of at most ten minutes; call again until it says that all is done:
#   bench/reproduce.sh --out DIR [-- data.root=PATH …]      see bench/reproduce.py
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
exec "$PYTHON" bench/reproduce.py "$@"
