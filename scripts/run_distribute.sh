#!/usr/bin/env bash
# Train on every device of this machine and evaluate: see --help.
set -euo pipefail

usage() {
  cat <<'HELP'
bash scripts/run_distribute.sh [CONFIG] [DEVICES] [key=value ...]

  CONFIG     a YAML file, or the name of one that is shipped in configs/; without one, demo: builds the demo data, trains
             and evaluates on it
  DEVICES    processes on this machine, one per device; default: all NPUs, or 2 CPU workers where there are none
  key=value  overrides of the configuration, for example train.batch_size=256 device=cpu

Relative paths, those in CONFIG too, are relative to the folder in which the command is given. Sets up .venv beside scripts/
with the requirements if no Python with them is active. Resumes from the last checkpoint of output_dir.
Exit code: 0 done; 75 stopped by Ctrl-C or SIGTERM and saved, the same command resumes; 2 wrong input; 1 failed.

Several machines: the same command on each, with
  NNODES=4 NODE_RANK=0 MASTER_ADDR=10.0.0.1 MASTER_PORT=8118 bash scripts/run_distribute.sh resnet18 8
where NODE_RANK is 0 to NNODES-1, MASTER_ADDR is the address of node 0 and output_dir a folder that all of them share.
HELP
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

config=demo devices=0
if [[ $# -gt 0 && $1 != *=* && ! $1 =~ ^[0-9]+$ ]]; then config=$1; shift; fi
if [[ ${1:-} =~ ^[0-9]+$ ]]; then devices=$1; shift; fi
for override in "$@"; do
  if [[ $override != *=* ]]; then
    echo "error: $override is not key=value, which is all that may follow CONFIG and DEVICES; see --help" >&2
    exit 2
  fi
done

export LIGHTCLIP_SHELL=$$ # the training ends with this script, see lightclip_ms/runtime/supervise.py
source "$ROOT/scripts/find_python.sh"
train=("$PYTHON" "$ROOT/scripts/train.py" --config "$config")
run=$("${train[@]}" --print-output-dir "$@") # a mistake in the configuration ends here
demo=no
[[ $(basename "$config" .yaml) == demo && ${NNODES:-1} == 1 ]] && demo=yes
if [[ $demo == yes ]]; then
  "$PYTHON" "$ROOT/scripts/make_demo_data.py" --out demo_data
fi
"${train[@]}" --devices "$devices" "$@"
samples=
if [[ $demo == yes ]]; then
  "$PYTHON" "$ROOT/scripts/demo_report.py" --run "$run" --data demo_data
  samples=" --pictures demo_data/val.tar"
fi
page=$ROOT/scripts/serve_demo.py
if [[ ${NODE_RANK:-0} == 0 ]]; then
  printf '\n%s\n  %s\n' "A page that runs this model in your browser (its runtime is a download of 33 MB, once):" \
    "${PYTHON#"$PWD"/} ${page#"$PWD"/} $run$samples --fetch-runtime"
fi
