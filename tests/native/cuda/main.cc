// CUDA's kernels against the reference, on the CPU: on random shapes, as those of every other
// instruction set. GENFAST_SEED repeats a run. What has no CUDA kernel yet is the CPU's.
#include <cstdlib>
#include <random>

#include "cuda/emulation.h"
#include "kernels/check.h"
#include "kernels/cuda_library.h"

namespace genfast {
void check_drawing(Check&);   // drawing.cc
void check_prepared(Check&);  // prepared.cc
void check_hopper(Check&);    // hopper.cc
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
    cuda::wait_for_earlier_launches();
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

void never_wait() {}

// What a kernel reads before it waits is what was there before the earlier launch; after, what that
// wrote. One that does not wait is found, and so is a fault of the earlier one.
void check_overlap(Check& c) {
    static int number, before, after;
    number = before = after = 0;
    const emulation::Launch earlier{dim3(2), 32, 0, [] {
                                        cuda::wait_for_earlier_launches();
                                        if (threadIdx.x == 7) ++number;
                                    }};
    const emulation::Launch later{dim3(3), 64, 0, [] {
                                      before += number;
                                      cuda::wait_for_earlier_launches();
                                      if (threadIdx.x == 33 && blockIdx.x == 1) after = number;
                                  }};
    emulation::run(later, &earlier);
    c.expect(after == 2 && number == 2 && before < 3 * 64 * 2, "launches that overlap");
    auto fails = [](const emulation::Launch& launch, const emulation::Launch* first) {
        try {
            emulation::run(launch, first);
        } catch (const std::logic_error&) {
            return true;
        }
        return false;
    };
    const emulation::Launch careless{dim3(1), 32, 0, never_wait}, apart{dim3(1), 64, 0, wait_apart};
    c.expect(fails(careless, nullptr), "a kernel that does not wait");
    c.expect(fails(later, &apart), "a fault of the earlier launch");
    c.expect(!fails(later, &earlier), "launches after a fault");
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
    check_overlap(check);
    check_hopper(check);
    check_matmul(check);
    check_prepared(check);
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
