// The little of cpu.h that kernels ask. No STL: per-ISA sources include it.
#pragma once

namespace genfast {

bool cpu_has_avx512_bf16();  // cpu.cc
bool cpu_has_i8mm();

}  // namespace genfast
