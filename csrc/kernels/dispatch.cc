#include "kernels/dispatch.h"

#include <cstdlib>

#include "core/cpu.h"
#include "core/error.h"

namespace genfast {

namespace ref {
extern const Kernels kernels;
}
#if defined(GENFAST_X86)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace amx {
void conv2d(const Conv2dArgs&, Team&);
size_t conv2d_scratch_bytes(const Conv2dArgs& sizes, int threads);
void conv_transpose2d(const ConvTranspose2dArgs&, Team&);
size_t conv_transpose2d_scratch_bytes(const ConvTranspose2dArgs& sizes, int threads);
void full_attention(const FullAttentionArgs&, Team&);
size_t full_attention_scratch_bytes(const FullAttentionArgs& sizes, int threads);
void matmul(const MatmulArgs&, Team&);
void head_matmul(const HeadMatmulArgs&, Team&);
size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
size_t head_matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
const char* matmul_variant(Format format);
void moe(const MoeArgs&, Team&);
size_t moe_scratch_bytes(const MoeArgs& sizes, int threads);
void winograd_conv2d(const WinogradConv2dArgs&, Team&);
size_t winograd_conv2d_scratch_bytes(const WinogradConv2dArgs& sizes, int threads);
}  // namespace amx
#elif defined(GENFAST_ARM64)
namespace neon {
extern const Kernels kernels;
}
#endif

namespace {

#if defined(GENFAST_X86)
// AMX multiplies matrices; all else is AVX-512's. A table of its own, because its bf16 sums are
// other bits, and so that GENFAST_ISA=avx512 turns it off.
const Kernels& amx_kernels() {
    static const Kernels table = [] {
        Kernels kernels = avx512::kernels;
        kernels.isa = "amx";
        kernels.matmul = amx::matmul;
        kernels.matmul_scratch_bytes = amx::matmul_scratch_bytes;
        kernels.head_matmul = amx::head_matmul;  // its products are matmul's
        kernels.head_matmul_scratch_bytes = amx::head_matmul_scratch_bytes;
        kernels.matmul_variant = amx::matmul_variant;
        // The products of all these are matmul's.
        kernels.conv2d = amx::conv2d;
        kernels.conv2d_scratch_bytes = amx::conv2d_scratch_bytes;
        kernels.conv_transpose2d = amx::conv_transpose2d;
        kernels.conv_transpose2d_scratch_bytes = amx::conv_transpose2d_scratch_bytes;
        kernels.full_attention = amx::full_attention;
        kernels.full_attention_scratch_bytes = amx::full_attention_scratch_bytes;
        kernels.winograd_conv2d = amx::winograd_conv2d;
        kernels.winograd_conv2d_scratch_bytes = amx::winograd_conv2d_scratch_bytes;
        kernels.moe = amx::moe;
        kernels.moe_scratch_bytes = amx::moe_scratch_bytes;
        return kernels;
    }();
    return table;
}
#endif

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> tables = {&ref::kernels};
#if defined(GENFAST_X86)
    if (cpu_features().avx2) tables.push_back(&avx2::kernels);
    // The last is the default. AMX is for those who ask for it: its bf16 sums are other bits.
    if (cpu_features().amx_missing.empty()) tables.push_back(&amx_kernels());
    if (cpu_features().avx512) tables.push_back(&avx512::kernels);
#elif defined(GENFAST_ARM64)
    if (cpu_features().neon && cpu_features().dotprod) tables.push_back(&neon::kernels);
#endif
    return tables;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* table : runnable()) names.push_back(table->isa);
    return names;
}

const Kernels& kernels_for(const std::string& isa) {
    std::string name = isa;
    if (name.empty()) {
        const char* forced = std::getenv("GENFAST_ISA");
        if (forced) name = forced;
    }
    auto tables = runnable();
    if (name.empty()) return *tables.back();
    std::string choices;
    for (const Kernels* table : tables) {
        if (name == table->isa) return *table;
        choices += cat(choices.empty() ? "" : ", ", table->isa);
    }
    throw std::invalid_argument(cat(isa.empty() ? "GENFAST_ISA=" : "isa=", name,
                                    " cannot run here; this machine runs: ", choices));
}

}  // namespace genfast
