// Shared by the binding files; the only folder that knows pybind11.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings/without_gil.h"
#include "core/buffer.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "program/ops.h"

namespace genfast {

namespace py = pybind11;

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using IntArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// [rows, cols] of an array of any rank >= 1: the last axis is cols.
struct Rows {
    int64_t rows, cols;
};

inline Rows as_rows(const py::array& array, const char* name) {
    require(array.ndim() >= 1, name, " must have at least one axis, found a scalar");
    int64_t cols = array.shape(array.ndim() - 1);
    return {cols ? int64_t(array.size()) / cols : 0, cols};
}

// Of each group that a norm of rows with `cols` numbers takes; groups 0: the row is one.
inline int64_t check_norm_weight(const FloatArray& weight, int64_t cols, int64_t groups) {
    require(groups >= 0, "groups=", groups, " must not be negative");
    const int64_t n = weight.size();
    require(weight.ndim() == 1 && (groups ? n <= cols && n % groups == 0 : n == cols),
            "weight must have shape [", cols, "] as x's last axis",
            groups ? cat(", or less: a multiple of groups=", groups) : "", ", found ", n,
            " elements");
    return groups ? n / groups : n;
}

inline FloatArray like(const FloatArray& array) {
    return FloatArray(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

inline const float* optional_data(const std::optional<FloatArray>& array) {
    return array ? array->data() : nullptr;
}

// Kept between calls, as an engine keeps its own.
inline std::byte* scratch_of(size_t bytes) {
    thread_local Buffer scratch;
    if (scratch.size() < bytes) scratch = Buffer(bytes);
    return scratch.data();
}

inline ThreadPool& pool_of(int threads) {
    require(threads >= 0 && threads <= 1024, "threads=", threads, " must be 0 (default) to 1024");
    return shared_pool(threads ? threads : default_threads());
}

// Runs one kernel on `threads` threads (0: the default) with the GIL released.
template <class Args>
void run_kernel(void (*kernel)(const Args&, Team&), const Args& args, int threads) {
    ThreadPool& pool = pool_of(threads);
    WithoutGil release;
    pool.run([&](Team& team) { kernel(args, team); });
}

}  // namespace genfast
