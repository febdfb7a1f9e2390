// genfast's CUDA part: a shared object of its own beside the extension, opened when it is first
// asked for, so that all else works where there is no GPU.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "core/device.h"
#include "kernels/sample/draw_rows.h"
#include "kernels/table.h"

namespace genfast {

// Arguments of the kernels point into the device's memory. A call queues its work and returns; only
// the first thread of a team does. A row that is null has no kernel yet.
struct CudaLibrary {
    Device device;
    Kernels kernels;
    // Collectives between the GPUs of these ranks, which all call this at once; the caller deletes
    // it. Throws DeviceError where they cannot be had.
    Communicator* (*open_ranks)(Communicator& host);
    void (*draw_rows)(const DrawRowsArgs& args);
    size_t (*draw_rows_scratch_bytes)(int64_t rows);
    // Rows that an op leaves for products by w, and matrices like it (kernels/matmul/rows_for.h):
    // how; how many there may be in a step, 0: none (own: the format of the op's weights, if it is
    // a matmul); what room that many take at most.
    RowsFor (*rows_for)(const Matrix& w);
    int64_t (*prepared_rows)(const char* op, Format own, const Matrix& w);
    size_t (*prepared_bytes)(const Matrix& w, int64_t rows);
};

// What the shared object exports, by these names: the size of what it fills, and a function that
// fills it or throws DeviceError.
using CudaInterface = const size_t;       // genfast_cuda_interface
using CudaOpen = void (*)(CudaLibrary*);  // genfast_cuda_open
constexpr size_t kCudaInterface = sizeof(CudaLibrary);

// Throws DeviceError, which says what is missing and what to do. GENFAST_CUDA_LIBRARY (environment)
// names another file.
const CudaLibrary& cuda_library();

// Where the memory of what runs on `isa` lies: null for the CPU.
inline const Device* device_of(const std::string& isa) {
    return isa == "cuda" ? &cuda_library().device : nullptr;
}

// Whether a program's op, by its name, has a kernel there.
bool cuda_has_kernel(const CudaLibrary& library, const char* op);

}  // namespace genfast
