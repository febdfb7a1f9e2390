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
#endif

namespace {

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> tables = {&ref::kernels};
#if defined(GENFAST_X86)
    if (cpu_features().avx2) tables.push_back(&avx2::kernels);
    if (cpu_features().avx512) tables.push_back(&avx512::kernels);
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
