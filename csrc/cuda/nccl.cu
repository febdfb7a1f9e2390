#include "cuda/nccl.h"

#include <dlfcn.h>

#include <string>

#include "cuda/launch.h"

namespace genfast::cuda {
namespace {

// As nccl.h declares them.
struct UniqueId {
    char bytes[128];
};
using Handle = void*;
constexpr int kFloat32 = 7;

struct Library {
    int (*get_unique_id)(UniqueId*);
    int (*init_rank)(Handle*, int ranks, UniqueId, int rank);
    int (*destroy)(Handle);
    int (*abort)(Handle);
    int (*all_gather)(const void*, void*, size_t, int type, Handle, cudaStream_t);
    const char* (*error)(int);
};

template <class Function>
void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (!function) throw DeviceError(cat("tensor_parallel: NCCL's library lacks ", name));
}

// Where pip puts it, beside this package.
std::string packaged() {
    Dl_info self{};
    dladdr(reinterpret_cast<void*>(&packaged), &self);
    std::string folder = self.dli_fname ? self.dli_fname : "";
    for (int up = 0; up < 2; ++up) folder = folder.substr(0, folder.find_last_of('/'));
    return folder + "/nvidia/nccl/lib/libnccl.so.2";
}

Library open() {
    void* opened = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!opened) opened = dlopen(packaged().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        throw DeviceError(
            "tensor_parallel with device='cuda' needs NCCL's libnccl.so.2: pip install "
            "nvidia-nccl-cu13");
    Library library{};
    find(opened, "ncclGetUniqueId", library.get_unique_id);
    find(opened, "ncclCommInitRank", library.init_rank);
    find(opened, "ncclCommDestroy", library.destroy);
    find(opened, "ncclCommAbort", library.abort);
    find(opened, "ncclAllGather", library.all_gather);
    find(opened, "ncclGetErrorString", library.error);
    return library;
}

const Library& library() {
    static const Library opened = open();
    return opened;
}

void check_nccl(int status, const char* what) {
    if (status != 0) throw DeviceError(cat("NCCL: ", what, ": ", library().error(status)));
}

}  // namespace

NcclRanks* nccl_join(Communicator& host) {
    UniqueId id{};
    const Library& nccl = library();
    if (host.rank() == 0) check_nccl(nccl.get_unique_id(&id), "a name for the ranks");
    host.broadcast(&id, sizeof id);
    host.check();
    Handle handle = nullptr;
    check_nccl(nccl.init_rank(&handle, host.size(), id, host.rank()), "the ranks");
    return static_cast<NcclRanks*>(handle);
}

void nccl_leave(NcclRanks* ranks) {
    library().destroy(ranks);
}

void nccl_abort(NcclRanks* ranks) {
    library().abort(ranks);
}

bool nccl_all_gather(NcclRanks* ranks, const float* from, float* to, int64_t n) {
    return library().all_gather(from, to, size_t(n), kFloat32, ranks, cudaStreamPerThread) == 0;
}

}  // namespace genfast::cuda
