#include "kernels/cuda_library.h"

#include "cuda/device.h"
#include "cuda/ranks.h"

namespace genfast {
namespace cuda {

void draw_rows(const DrawRowsArgs& args);
size_t draw_rows_scratch_bytes(int64_t rows);

Kernels kernel_table() {
    Kernels table{};
    table.isa = "cuda";
    table.activation = activation;
    table.attention = attention;
    table.embed = embed;
    table.matmul = matmul;
    table.rms_norm = rms_norm;
    table.rope = rope;
    table.rope_table = rope_table;
    table.swiglu = swiglu;
    table.matmul_scratch_bytes = matmul_scratch_bytes;
    table.attention_scratch_bytes = attention_scratch_bytes;
    table.matmul_variant = matmul_variant;
    table.attention_variant = attention_variant;
    return table;
}

}  // namespace cuda
}  // namespace genfast

#define GENFAST_EXPORT extern "C" __attribute__((visibility("default")))

GENFAST_EXPORT const size_t genfast_cuda_interface;
const size_t genfast_cuda_interface = genfast::kCudaInterface;

GENFAST_EXPORT void genfast_cuda_open(genfast::CudaLibrary* library) {
    *library = {genfast::cuda::open_device(), genfast::cuda::kernel_table(),
                genfast::cuda::open_ranks, genfast::cuda::draw_rows,
                genfast::cuda::draw_rows_scratch_bytes};
}
