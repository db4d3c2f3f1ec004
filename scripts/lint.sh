#!/usr/bin/env bash
# Run every linter, also after one has complained, and fail if any has.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
export PATH="$PWD/.venv/bin:$PATH"
failed=()
check() {
  echo "lint: $1"
  "$@" || failed+=("$1")
}

check ruff check --quiet --output-format concise .
check ruff format --quiet --check .
check mypy --no-error-summary
mapfile -t shell_scripts < <(grep -rlE --exclude-dir={.venv,'.venv-*',.git,build,var} '^#!.*\b(ba)?sh$' .)
check shellcheck --external-sources "${shell_scripts[@]}"
check yamllint --strict .
if [ -e site.yml ]; then
  check ansible-lint --offline --nocolor -qq
fi

[ ${#failed[@]} -eq 0 ] || { echo "lint: failed: ${failed[*]}" >&2; exit 1; }
