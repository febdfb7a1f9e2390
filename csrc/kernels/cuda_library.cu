#include "kernels/cuda_library.h"

#include "cuda/device.h"
#include "cuda/ranks.h"

namespace genfast {
namespace cuda {

void draw_rows(const DrawRowsArgs& args);
size_t draw_rows_scratch_bytes(int64_t rows);
RowsFor rows_for(const Matrix& w);
int64_t prepared_rows(const char* op, Format own, const Matrix& w);
size_t prepared_bytes(const Matrix& w, int64_t rows);

Kernels kernel_table() {
    Kernels table{};
    table.isa = "cuda";
    table.activation = activation;
    table.add = add;
    table.attention = attention;
    table.bound = bound;
    table.causal_conv1d = causal_conv1d;
    table.embed = embed;
    table.head_matmul = head_matmul;
    table.latent_attention = latent_attention;
    table.layer_norm = layer_norm;
    table.matmul = matmul;
    table.modulate = modulate;
    table.moe = moe;
    table.pixel_shuffle = pixel_shuffle;
    table.place = place;
    table.rms_norm = rms_norm;
    table.rope = rope;
    table.rope_table = rope_table;
    table.route = route;
    table.selective_scan = selective_scan;
    table.softmax = softmax;
    table.swiglu = swiglu;
    table.upsample = upsample;
    table.wkv4 = wkv4;
    table.wkv6 = wkv6;
    table.wkv7 = wkv7;
    table.matmul_scratch_bytes = matmul_scratch_bytes;
    table.attention_scratch_bytes = attention_scratch_bytes;
    table.head_matmul_scratch_bytes = head_matmul_scratch_bytes;
    table.latent_attention_scratch_bytes = latent_attention_scratch_bytes;
    table.moe_scratch_bytes = moe_scratch_bytes;
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
    *library = {genfast::cuda::open_device(),
                genfast::cuda::kernel_table(),
                genfast::cuda::open_ranks,
                genfast::cuda::draw_rows,
                genfast::cuda::draw_rows_scratch_bytes,
                genfast::cuda::rows_for,
                genfast::cuda::prepared_rows,
                genfast::cuda::prepared_bytes};
}
