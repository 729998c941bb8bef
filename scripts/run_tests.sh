#!/usr/bin/env bash
# Run all tests, two files at a time; arguments go to pytest. Sets up .venv with the requirements if no Python with them
# is active.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
source scripts/find_python.sh
exec "$PYTHON" -m pytest -n 2 --dist loadfile "$@"
