#!/usr/bin/env bash
# Builds the wheelhouse of a release: one archive with every wheel that the service needs, the service's own wheel
# among them, and a requirements.txt with the hash of each. Hosts install from it without a package index.
#
# Usage: wheelhouse.sh [--source DIR] [--output DIR] [--python 3.11]... [--name]
#   --source   the tree to build (default: the one that this script stands in)
#   --output   where the archives are kept (default: SOURCE/build/wheelhouse)
#   --python   the Python version of the hosts, once for each kind (default: that of the python3 in use)
#   --name     only print the name of the release
#
# A release is named VERSION-DIGEST, the digest being that of everything that goes into the wheel: the same sources
# always have the same name, and are not built twice for a version of Python. Another one, as another inventory may
# want, is added to those that the archive has. Prints `built NAME` or `present NAME`.
#
#     OUTPUT/NAME.tar.gz
#         NAME/requirements.txt     name==version --hash=sha256:...
#         NAME/*.whl
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
output=""
pythons=()
only_name=false
while [ $# -gt 0 ]; do
  case $1 in
    --source) source_dir=$(cd "$2" && pwd); shift 2 ;;
    --output) output=$2; shift 2 ;;
    --python) pythons+=("$2"); shift 2 ;;
    --name) only_name=true; shift ;;
    *) echo "wheelhouse.sh: unknown argument '$1' (see the head of the script)" >&2; exit 2 ;;
  esac
done
output=${output:-$source_dir/build/wheelhouse}
python=${PYTHON:-python3}
[ ${#pythons[@]} -gt 0 ] || pythons=("$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')")

cd "$source_dir"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
digest=$({ printf '%s\0' pyproject.toml requirements/runtime.txt
           find image_service -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z; } |
         xargs -0 sha256sum | sha256sum | cut -c 1-12)
name=$version-$digest
if $only_name; then
  echo "$name"
  exit 0
fi

mkdir -p "$output"
# One at a time: of two that build at once, the later would replace what the earlier has made for another Python.
exec 9> "$output/.lock"
flock 9
archive=$output/$name.tar.gz
read -ra there < <(if [ -f "$archive" ]; then cat "$archive.pythons"; fi) || true
mapfile -t pythons < <(printf '%s\n' "${pythons[@]}" "${there[@]}" | sort -u)
if [ ${#pythons[@]} -eq ${#there[@]} ]; then
  echo "present $name"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work" "$archive.part.$$"' EXIT
wheels=$work/$name
mkdir "$wheels"
"$python" -m venv "$work/venv"
pip=("$work/venv/bin/pip" --quiet --disable-pip-version-check)

for wanted in "${pythons[@]}"; do
  # Named platforms, so that a wheel fits the hosts' C library even where the controller's is newer.
  "${pip[@]}" download --dest "$wheels" --no-deps --only-binary=:all: --require-hashes -r requirements/runtime.txt \
    --implementation cp --python-version "$wanted" --abi "cp${wanted/./}" --abi abi3 --abi none \
    --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
    --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_12_$(uname -m)" \
    --platform "manylinux_2_5_$(uname -m)" --platform "manylinux1_$(uname -m)" --platform any
done

# The build back end comes from the wheels that were just checked; the build itself reaches for nothing. It works
# on a copy, because setuptools leaves folders behind in the tree that it builds.
"$python" -m venv "$work/build"
"$work/build/bin/pip" --quiet --disable-pip-version-check install --no-index --no-deps "$wheels"/setuptools-*.whl
mkdir "$work/tree"
tar -c --exclude __pycache__ pyproject.toml README.md LICENSE image_service | tar -x -C "$work/tree"
# A fixed date inside the wheel: the same sources give the same bytes.
SOURCE_DATE_EPOCH=946684800 "$work/build/bin/pip" --quiet --disable-pip-version-check wheel \
  --no-index --no-deps --no-build-isolation --wheel-dir "$wheels" "$work/tree"

own=$(basename "$wheels"/image_service-*.whl)
{
  cat requirements/runtime.txt
  printf 'image_service==%s \\\n    --hash=sha256:%s\n' "$version" "$(sha256sum "$wheels/$own" | cut -d ' ' -f 1)"
} > "$wheels/requirements.txt"
tar -C "$work" --sort=name --mtime='2000-01-01 00:00Z' --owner=0 --group=0 --numeric-owner -c "$name" | gzip -n > "$archive.part.$$"
mv "$archive.part.$$" "$archive"
printf '%s\n' "${pythons[*]}" > "$archive.pythons"
echo "built $name"
