// Compiled once per instruction set.
#include "kernels/table.h"

#define GENFAST_STRING_(x) #x
#define GENFAST_STRING(x) GENFAST_STRING_(x)

namespace genfast::GENFAST_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    GENFAST_STRING(GENFAST_ISA),
#define GENFAST_ROW(op, Args) op,
    GENFAST_KERNELS(GENFAST_ROW)
#undef GENFAST_ROW
        matmul_scratch_bytes,
    attention_scratch_bytes,
    head_matmul_scratch_bytes,
    latent_attention_scratch_bytes,
    moe_scratch_bytes,
    conv2d_scratch_bytes,
    conv_transpose2d_scratch_bytes,
    full_attention_scratch_bytes,
    group_norm_scratch_bytes,
    winograd_conv2d_scratch_bytes,
    matmul_variant,
    attention_variant,
};

}  // namespace genfast::GENFAST_ISA
