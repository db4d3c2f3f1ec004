#!/usr/bin/env bash
# Make an environment, .venv or the folder of the second argument, with the given Python (3.11 or newer). Debian keeps the venv
# module in a package of its own: it is installed where we may, else the sentence says what to type.
set -euo pipefail

python=${1:-python3}
cd "$(dirname "$0")/.."

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "$python is too old: Python 3.11 or newer is needed (make PYTHON=python3.11 ...)" >&2
  exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  scripts/apt-install.sh python3-venv || {
    echo "Python's venv module is missing: run 'apt-get install python3-venv' as root and try again" >&2
    exit 1
  }
fi
# What works stays: a service may run from it. Where its making was interrupted, pip's module may be there without its command;
# where the clone was moved or copied, the commands are those of another place.
place=$(realpath -m "${2:-.venv}")
clear=()
[[ "$("$place/bin/pip" --version 2>/dev/null)" == *" $place/"* ]] || clear=(--clear)
"$python" -m venv "${clear[@]}" "$place"
