# Sourced by the other scripts from the checkout's root: sets PYTHON to one with the requirements, making .venv if needed.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [[ -x .venv/bin/python ]]; then
  PYTHON=$PWD/.venv/bin/python
else
  PYTHON=$(command -v python3 || command -v python || true)
fi

has_requirements() {
  [[ -n $1 ]] && "$1" - <<'PYTHON' 2>/dev/null
import importlib.metadata
import re

for line in open("requirements.txt"):
    importlib.metadata.version(re.match(r"[\w.-]+", line).group())
PYTHON
}

if ! has_requirements "$PYTHON"; then
  base=
  for candidate in python3.11 python3.12 python3.10 python3; do
    if "$candidate" -c 'import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      base=$candidate
      break
    fi
  done
  if [[ -z $base ]]; then
    echo "error: Python 3.10, 3.11 or 3.12 is needed; none was found on PATH" >&2
    exit 2
  fi
  echo "installing the requirements into .venv, once"
  "$base" -m venv .venv
  PYTHON=$PWD/.venv/bin/python
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -e .
fi
