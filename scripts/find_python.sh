# Sourced by the other scripts, which set ROOT to the checkout: sets PYTHON to one with the requirements, making
# $ROOT/.venv if needed. The working directory stays the user's. On a machine with NPUs, or with the argument
# device=ascend, that Python must also have what CANN needs to compile operators.
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
if [[ -x $ROOT/.venv/bin/python ]]; then
  PYTHON=$ROOT/.venv/bin/python
else
  PYTHON=$(command -v python3 || command -v python || true)
fi

has_requirements() {
  [[ -n $1 ]] && "$1" - "$ROOT/requirements.txt" <<'PYTHON' 2>/dev/null
import importlib.metadata
import re
import sys

for name in re.findall(r"^[\w.-]+", open(sys.argv[1]).read(), re.MULTILINE):
    importlib.metadata.version(name)
PYTHON
}

needs_cann() {
  [[ " $* " != *" device=cpu "* ]] && { [[ " $* " == *" device=ascend "* ]] || compgen -G "/dev/davinci[0-9]*" >/dev/null; }
}

requirements=("-e" "$ROOT")
if needs_cann "$@"; then
  requirements+=("-r" "$ROOT/requirements-ascend.txt")
  if [[ -z ${ASCEND_HOME_PATH:-} ]]; then
    for settings in "$HOME/Ascend/ascend-toolkit/set_env.sh" /usr/local/Ascend/ascend-toolkit/set_env.sh; do
      if [[ -f $settings ]]; then
        set +u # the settings of CANN read variables that may be unset
        source "$settings"
        set -u
        break
      fi
    done
  fi
fi

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
  echo "installing the requirements into $ROOT/.venv, once"
  "$base" -m venv "$ROOT/.venv"
  PYTHON=$ROOT/.venv/bin/python
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "${requirements[@]}"
fi

if needs_cann "$@" && ! reason=$("$PYTHON" -c 'import te, absl, attr, cffi, decorator, sympy, requests' 2>&1); then
  echo "error: CANN cannot compile operators with $PYTHON (${reason##*$'\n'}); run: $PYTHON -m pip install -r" \
    "$ROOT/requirements-ascend.txt; source /usr/local/Ascend/ascend-toolkit/set_env.sh; scripts/doctor.py shows more" >&2
  exit 2
fi
