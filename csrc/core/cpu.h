// What this processor can do, and how many threads this process may use.
#pragma once

#include <string>

namespace genfast {

struct CpuFeatures {
    bool avx2 = false;                                // AVX2 + FMA + F16C
    bool avx512 = false;                              // AVX-512 F, BW, DQ, VL and VNNI
    bool avx512_bf16 = false;                         // vdpbf16ps
    bool amx_int8 = false, amx_bf16 = false;          // the CPU has the instructions,
    std::string amx_missing = "this CPU has no AMX";  // and this is empty where they can be used
    bool neon = false, dotprod = false;  // the neon kernels need both; without: reference kernels
    bool i8mm = false;                   // smmla
    std::string brand;
};

const CpuFeatures& cpu_features();

// Threads to use by default: the CPUs in the affinity mask, at most the cgroup's quota, at least
// one.
int default_threads();

}  // namespace genfast
