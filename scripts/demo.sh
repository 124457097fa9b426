#!/bin/sh
# The whole of advrec on the data set that comes with it: `make demo` calls this.
#
# Trains MF and LightGCN, continues each with adversarial training, attacks all four runs with
# random and adversarial noise side by side, and measures them clean. About a minute of work on two
# cores. Safe to run again: it makes its own runs anew and touches no others.
set -eu

runs=${ADVREC_DEMO_RUNS:-runs/demo}
rm -rf "$runs"

say() {
  printf '\n\033[1m$ %s\033[0m\n' "$*" >&2
  "$@"
}

say advrec pretrain  --model mf       --epochs 60 --metric NDCG@100 --runs-dir "$runs" --name mf
say advrec adv-train --from mf        --epochs 60 --eps 0.5         --runs-dir "$runs" --name mf-apr
say advrec pretrain  --model lightgcn --epochs 60 --metric NDCG@100 --runs-dir "$runs" --name lightgcn
say advrec adv-train --from lightgcn  --epochs 20 --eps 0.5         --runs-dir "$runs" --name lightgcn-apr
say advrec eval   mf mf-apr lightgcn lightgcn-apr --metrics NDCG,HR -k 100 --runs-dir "$runs"
say advrec attack mf mf-apr lightgcn lightgcn-apr --noise both --eps 0.5,1,2 --metric NDCG@100 \
  --runs-dir "$runs" --plot "$runs/robustness.png" --out "$runs/robustness.md"

printf '\nThe table is kept as %s/robustness.md, the plot as %s/robustness.png.\n' "$runs" "$runs"
