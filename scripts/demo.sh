#!/bin/sh
# The four steps on the data set that comes with advrec, for two models, one table of it all, and an
# audit.
# Needs `advrec` and `python` on the PATH, as `make demo` provides. Each run starts from scratch.
set -eu

runs=${ADVREC_RUNS:-runs}
models="demo-mf demo-mf-apr demo-lightgcn demo-lightgcn-apr"

for name in $models; do
  rm -rf "${runs:?}/$name"
done

bold='' plain=''
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

step() {
  printf '\n%s$ advrec %s%s\n' "$bold" "$*" "$plain" >&2
  advrec "$@"
}

# 1. Train with BPR: score the items that a user has above the others.
step pretrain --model mf --epochs 60 --eval-every 20 --name demo-mf
step pretrain --model lightgcn --lr 0.005 --epochs 20 --eval-every 10 --name demo-lightgcn

# 2. Keep training, now against the worst perturbation of norm 0.5.
step adv-train --from demo-mf --eps 0.5 --epochs 60 --name demo-mf-apr
step adv-train --from demo-lightgcn --eps 0.5 --adv-weight 1 --site final --epochs 10 \
  --name demo-lightgcn-apr

# 3. and 4. Attack and evaluate all four; their tables are one table below.
step attack demo-mf demo-mf-apr demo-lightgcn demo-lightgcn-apr --site final >/dev/null
step eval demo-mf demo-mf-apr demo-lightgcn demo-lightgcn-apr >/dev/null

# shellcheck disable=SC2086 # the names are words
python "$(dirname "$0")/demo_table.py" "$runs" $models

# What attacks leave, what is certain to survive, and what int8 would cost: one page to open.
step audit demo-mf demo-mf-apr --quick --out "$runs/demo.html"
