#!/usr/bin/env bash
# Train on every card of this machine and evaluate: see --help.
set -euo pipefail

usage() {
  cat <<'HELP'
bash scripts/run_distribute.sh [CONFIG] [DEVICES] [key=value ...]

  CONFIG     a file of configs/; without one, configs/demo.yaml: builds the demo data, trains and evaluates on it
  DEVICES    processes on this machine, one a card; default: all NPUs, or 2 CPU workers where there are none
  key=value  overrides of the configuration, for example train.batch_size=256 device=cpu

Sets up .venv with the requirements if no Python with them is active. Continues from the last checkpoint of output_dir.
Exit code: 0 done; 75 stopped by Ctrl-C or SIGTERM and saved, the same command goes on; 2 wrong input; 1 failed.

Several machines: the same command on each, with
  NNODES=4 NODE_RANK=0 MASTER_ADDR=10.0.0.1 MASTER_PORT=8118 bash scripts/run_distribute.sh configs/resnet18.yaml 8
where NODE_RANK is 0 to NNODES-1, MASTER_ADDR is the address of node 0 and output_dir a folder that all of them share.
HELP
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
cd "$(dirname "$0")/.."

config=configs/demo.yaml devices=0
if [[ ${1:-} == *.yaml || ${1:-} == *.yml ]]; then config=$1; shift; fi
if [[ ${1:-} =~ ^[0-9]+$ ]]; then devices=$1; shift; fi
for override in "$@"; do
  if [[ $override != *=* ]]; then
    echo "error: $override is neither a .yaml file, a number of devices nor key=value; see --help" >&2
    exit 2
  fi
done

source scripts/find_python.sh
demo=no
[[ $(basename "$config") == demo.yaml && ${NNODES:-1} == 1 ]] && demo=yes
if [[ $demo == yes ]]; then
  "$PYTHON" scripts/make_demo_data.py --out demo_data --train 16000
fi
"$PYTHON" scripts/train.py --config "$config" --devices "$devices" "$@"
run=$("$PYTHON" scripts/train.py --config "$config" --print-output-dir "$@")
if [[ $demo == yes ]]; then
  "$PYTHON" scripts/demo_report.py --run "$run" --data demo_data
fi
