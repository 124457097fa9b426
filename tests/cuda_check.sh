#!/usr/bin/env bash
# Compiles, links and loads the CUDA operators against a CUDA build of torch. Needs nvcc, no GPU.
#
#   tests/cuda_check.sh            a fresh environment in a temporary folder: about 6 GB, removed after
#   PYTHON=/path tests/cuda_check.sh   an environment that has a CUDA build of torch already
#   TORCH=torch==2.14.1            which torch to install
set -euo pipefail
cd "$(dirname "$0")/.."

command -v nvcc >/dev/null || { echo "cuda-check: no nvcc on PATH: nothing to compile with" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/advrec-cuda-check.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [[ -z ${PYTHON:-} ]]; then
  free=$(df --output=avail -k "$work" | tail -1)
  if ((free < 8 * 1024 * 1024)); then
    echo "cuda-check: $((free / 1024)) MB free in $work, wanted 8 GB for a CUDA build of torch" >&2
    exit 1
  fi
  python3 -m venv "$work/venv"
  PYTHON=$work/venv/bin/python
  "$PYTHON" -m pip install --quiet --no-cache-dir "${TORCH:-torch}" ninja numpy pybind11 setuptools
fi
ADVREC_CACHE=$work/cache "$PYTHON" tests/cuda_check.py
