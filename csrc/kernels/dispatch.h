// Chooses the kernel table: the best this CPU runs, or the one GENFAST_ISA (environment) names.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace genfast {

std::vector<std::string> available_isas();  // best last: {"ref", "avx2", "avx512", "amx"}

// Empty name: the default. Throws std::invalid_argument when this machine or build lacks it.
const Kernels& kernels_for(const std::string& isa = "");

}  // namespace genfast
