#!/usr/bin/env bash
# What wants a GPU, in one go: tests, training beside the peer, the simulator, ten minutes of training weights, one cell of
# the paper's Table 1. Each step leaves its own JSON, with the device's name, and NAME.step.json, which says how it ended.
#
#     make gpu                                                 # on a machine with a GPU: some forty minutes
#     benchmarks/gpu.sh --device cpu --out build/gpu-rehearsal # everything, small, without one: some minutes
#
# A step that fails hinders no other; the exit status is the number of those that did.
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda out=""
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    *) echo "gpu.sh: unknown option $1; known: --device cuda|cpu, --out DIR" >&2; exit 2 ;;
  esac
done
python=${PYTHON:-.venv/bin/python}
out=${out:-benchmarks/results/gpu}
work=${WORK:-build/gpu}
mkdir -p "$out" "$work"

if [ "$device" = cuda ]; then
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    { echo "gpu.sh: torch finds no CUDA device here; --device cpu rehearses the steps" >&2; exit 2; }
  rounds=4 steps=200 scenes=20000 minutes=10 scale=1 structures=""
else
  rounds=1 steps=6 scenes=64 minutes=0.5 scale=0.02 structures="--structures 40 --epochs 30 --per-class 8"
fi

failed=0
step() { # NAME COMMAND ...
  local name=$1; shift
  echo "== $name"
  "$python" benchmarks/gpu_step.py --device "$device" --out "$out" "$name" -- "$@" || failed=$((failed + 1))
}

export CRYOREG_GPU_TESTS_ON=$device
step tests "$python" -m pytest -q -m gpu tests/test_gpu.py
step engine "$python" benchmarks/engine.py --device "$device" --rounds "$rounds" --steps "$steps" --out "$out/engine.json"
step simulation "$python" benchmarks/simulation.py --device "$device" --count "$scenes" --out "$out/simulation.json"
# ---- `make weights` for some minutes: trains the shipped encoder from nothing
step weights "$python" benchmarks/weights.py --device "$device" --minutes "$minutes" --work "$work/weights" $structures --out "$out/weights.json"
step table1_cell "$python" benchmarks/table1_cell.py --device "$device" --scale "$scale" --work "$work/table1" --out "$out/table1_cell.json"

echo "$failed steps failed; JSON in $out"
exit "$failed"
