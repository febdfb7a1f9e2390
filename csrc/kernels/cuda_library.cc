#include "kernels/cuda_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "core/error.h"

namespace genfast {
namespace {

constexpr char kName[] = "libgenfast_cuda.so";

std::string library_path() {
    if (const char* named = std::getenv("GENFAST_CUDA_LIBRARY")) return named;
    Dl_info self{};
    dladdr(reinterpret_cast<void*>(&library_path), &self);
    const std::string file = self.dli_fname ? self.dli_fname : "";
    return file.substr(0, file.find_last_of('/') + 1) + kName;
}

CudaLibrary open_library(const std::string& path) {
    void* opened = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        throw DeviceError(
            cat("device='cuda' needs genfast's CUDA part, which this installation "
                "lacks (",
                dlerror(),
                "): install genfast from its source where nvcc is, with "
                "pip install . -C cmake.define.GENFAST_CUDA=ON (docs/cuda.md)"));
    auto* interface = static_cast<CudaInterface*>(dlsym(opened, "genfast_cuda_interface"));
    auto open = reinterpret_cast<CudaOpen>(dlsym(opened, "genfast_cuda_open"));
    if (!interface || !open || *interface != kCudaInterface)
        throw DeviceError(cat(path,
                              " belongs to another version of genfast: install both parts "
                              "together"));
    CudaLibrary library{};
    open(&library);
    return library;
}

}  // namespace

const CudaLibrary& cuda_library() {
    static std::mutex mutex;
    static std::map<std::string, CudaLibrary> opened;  // by path; never closed
    const std::string path = library_path();
    std::lock_guard lock(mutex);
    auto found = opened.find(path);
    if (found == opened.end()) found = opened.emplace(path, open_library(path)).first;
    return found->second;
}

bool cuda_has_kernel(const CudaLibrary& library, const char* op) {
    // Ops that are other kernels' (program/ops_*.cc).
    static const std::map<std::string, std::string> others = {{"output_rows", "embed"},
                                                              {"multiply", "modulate"},
                                                              {"concat", "place"},
                                                              {"slice", "place"}};
    const auto other = others.find(op);
    const std::string name = other == others.end() ? op : other->second;
#define GENFAST_ROW(row, Args) \
    if (name == #row) return library.kernels.row != nullptr;
    GENFAST_KERNELS(GENFAST_ROW)
#undef GENFAST_ROW
    return false;
}

}  // namespace genfast
