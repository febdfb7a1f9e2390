// CUDA's kernels against the reference, on the CPU: on random shapes, as those of every other
// instruction set. GENFAST_SEED repeats a run. What has no CUDA kernel yet is the CPU's.
#include <cstdlib>
#include <random>

#include "cuda/emulation.h"
#include "kernels/check.h"
#include "kernels/cuda_library.h"

namespace genfast {
void check_drawing(Check&);  // drawing.cc
void check_hopper(Check&);   // hopper.cc
namespace cuda {
Kernels kernel_table();  // kernels/cuda_library.cu
}
namespace {

Kernels filled_up(const Kernels& kernels) {
    Kernels table = kernels_for();
    table.isa = kernels.isa;
#define GENFAST_ROW(op, Args) \
    if (kernels.op) table.op = kernels.op;
    GENFAST_KERNELS(GENFAST_ROW)
#undef GENFAST_ROW
    table.matmul_scratch_bytes = kernels.matmul_scratch_bytes;
    table.attention_scratch_bytes = kernels.attention_scratch_bytes;
    table.head_matmul_scratch_bytes = kernels.head_matmul_scratch_bytes;
    table.latent_attention_scratch_bytes = kernels.latent_attention_scratch_bytes;
    table.moe_scratch_bytes = kernels.moe_scratch_bytes;
    table.matmul_variant = kernels.matmul_variant;
    table.attention_variant = kernels.attention_variant;
    return table;
}

void wait_apart() {
    if (threadIdx.x == 5) __syncwarp();
    __syncthreads();
}

// A barrier that not all threads reach is found, not waited at for ever.
void check_barriers(Check& c) {
    bool found = false;
    try {
        cuda::launch_with_shared(wait_apart, 0, dim3(2), 64);
    } catch (const std::logic_error&) {
        found = true;
    }
    c.expect(found, "threads that wait for each other at different places");
}

}  // namespace
}  // namespace genfast

int main() {
    using namespace genfast;
    const char* given = std::getenv("GENFAST_SEED");
    const uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::fprintf(stderr, "GENFAST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    Kernels kernels = filled_up(cuda::kernel_table());
    Check check(kernels, seed);
    check_barriers(check);
    check_hopper(check);
    check_matmul(check);
    check_attention(check);
    check_rows(check);
    check_state(check);
    check_experts(check);
    check_images(check);
    check_drawing(check);
    // Once more what Hopper does in its own way.
    setenv("GENFAST_EMULATED_CAPABILITY", "90", 1);
    kernels.isa = "cuda, 9.0";
    check_matmul(check);
    check_experts(check);
    check_attention(check);
    std::fprintf(stderr, "%d failures\n", check.failures);
    return check.failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
