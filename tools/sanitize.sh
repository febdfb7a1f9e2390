#!/usr/bin/env bash
# The C++ core under AddressSanitizer + UndefinedBehaviorSanitizer and under ThreadSanitizer.
#     tools/sanitize.sh PYTHON [--bindings]
# PYTHON's environment holds the test dependencies, cmake, ninja and pybind11. --bindings: its
# extension too, on all ops and on broken files: half an hour more.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "$1")
PATH=$(dirname "$python"):$PATH
[ "${2:-}" = --bindings ] && bindings=ON || bindings=OFF

build() {
    cmake --preset "$1" -DGENFAST_BUILD_PYTHON="$2" -DPython_EXECUTABLE="$python" \
        -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" >/dev/null
    cmake --build --preset "$1"
}

build tsan OFF
# Without address randomisation: g++ 12's ThreadSanitizer knows fewer layouts than kernels use.
setarch "$(uname -m)" --addr-no-randomize ctest --preset tsan

build asan $bindings
ctest --preset asan -j 2
[ $bindings = ON ] || exit 0

# The same kernels and bindings from Python: the corpus of broken files, and every op.
package=build/asan/python/genfast
rm -rf "$package" && mkdir -p "$package"
cp -r python/genfast/. "$package"
rm -f "$package"/_core*.so && cp build/asan/_core*.so "$package"
export PYTHONPATH=$PWD/build/asan/python
export ASAN_OPTIONS=detect_leaks=0 # Python keeps what it interned
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for library in libasan.so libubsan.so libstdc++.so; do
    LD_PRELOAD="${LD_PRELOAD:-} $(g++ -print-file-name=$library)"
done
export LD_PRELOAD
"$python" - <<'PYTHON'
from genfast import _core
assert "build/asan/" in _core.__file__, _core.__file__
assert any("libasan" in line for line in open("/proc/self/maps"))
PYTHON
# Not capturing descriptors: a sanitizer's report goes straight to the terminal.
"$python" -m pytest -q --capture=sys -p no:cacheprovider -m "not slow" tests/load tests/text/test_broken_files.py tests/kernels
