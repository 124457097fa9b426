#!/bin/sh
# Compiles, links and loads the CUDA operators against a CUDA build of torch. Needs nvcc, no GPU.
#
#   tests/cuda_check.sh                in a fresh environment: about 6 GB, removed afterwards
#   PYTHON=/path tests/cuda_check.sh   with a Python that has a CUDA build of torch already
#   TORCH=torch==2.14.1                which torch to install
set -eu
cd "$(dirname "$0")/.."

command -v nvcc >/dev/null || { echo "cuda-check: no nvcc on PATH, so nothing to compile with" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/advrec-cuda-check.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ -z "${PYTHON:-}" ]; then
  free=$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1024) }')
  if [ "$free" -lt 8192 ]; then
    echo "cuda-check: $free MB free in $work, wanted 8 GB for a CUDA build of torch" >&2
    exit 1
  fi
  python3 -m venv "$work/venv"
  PYTHON=$work/venv/bin/python
  "$PYTHON" -m pip install --quiet --no-cache-dir "${TORCH:-torch}" ninja numpy pybind11 setuptools
fi
ADVREC_CACHE=$work/cache "$PYTHON" tests/cuda_check.py
