#include "core/cpu.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/cgroup.h"
#include "core/cpu_flags.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace genfast {
namespace {

#if defined(__x86_64__)
struct Registers {
    unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
    Registers r;
    __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
    return r;
}

bool bit(unsigned word, int index) {
    return (word >> index) & 1;
}

// Linux keeps AMX's registers, 8 KiB a thread, only for processes that ask (once) and whose signal
// stacks are large enough.
bool may_use_amx() {
#if defined(__linux__)
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

// Why AMX cannot be used: the first of its conditions that does not hold, or nothing.
std::string why_no_amx(const CpuFeatures& f, unsigned saved) {
    constexpr unsigned kTileConfigAndData = 0x60000;  // in XCR0
    if (!f.amx_int8 || !f.amx_bf16) return "this CPU has no AMX";
    if (!f.avx512) return "the AVX-512 kernels beside it cannot run";
    if ((saved & kTileConfigAndData) != kTileConfigAndData)
        return "the operating system does not save AMX's registers";
    if (!may_use_amx()) return "the operating system refuses AMX to this process";
    return "";
}

CpuFeatures detect() {
    CpuFeatures f;
    Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven1 = cpuid(7, 1);
    // The operating system must save the wide registers, or using them corrupts other threads.
    unsigned saved = 0;
    if (bit(one.c, 27)) {
        unsigned high;
        asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    }
    bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6;
    f.avx2 = ymm && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29);
    f.avx512 = f.avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) &&
               bit(seven.b, 31) && bit(seven.c, 11);
    f.avx512_bf16 = f.avx512 && bit(seven1.a, 5);
    f.amx_bf16 = bit(seven.d, 22) && bit(seven.d, 24);
    f.amx_int8 = bit(seven.d, 25) && bit(seven.d, 24);
    f.amx_missing = why_no_amx(f, saved);
    char brand[49] = {};
    for (unsigned part = 0; part < 3; ++part) {
        Registers r = cpuid(0x80000002u + part, 0);
        unsigned words[4] = {r.a, r.b, r.c, r.d};
        std::copy_n(reinterpret_cast<char*>(words), 16, brand + 16 * part);
    }
    f.brand = brand;
    return f;
}
#elif defined(__linux__) && defined(__aarch64__)
CpuFeatures detect() {
    // asm/hwcap.h's names, which older headers lack
    constexpr unsigned long kAsimd = 1ul << 1, kDotprod = 1ul << 20, kI8mm2 = 1ul << 13;
    CpuFeatures f;
    f.neon = getauxval(AT_HWCAP) & kAsimd;
    f.dotprod = getauxval(AT_HWCAP) & kDotprod;
    f.i8mm = getauxval(AT_HWCAP2) & kI8mm2;
    return f;
}
#else
CpuFeatures detect() {
    return {};
}
#endif

}  // namespace

const CpuFeatures& cpu_features() {
    static const CpuFeatures features = detect();
    return features;
}

bool cpu_has_avx512_bf16() {
    return cpu_features().avx512_bf16;
}

bool cpu_has_i8mm() {
    return cpu_features().i8mm;
}

int default_threads() {
    int threads = int(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) threads = CPU_COUNT(&set);
#endif
    try {
        static const double quota = cgroup_quota();  // files, which take longer than a small op
        if (quota > 0) threads = std::min(threads, std::max(1, int(std::ceil(quota))));
    } catch (const std::exception&) {  // an unreadable quota is no quota
    }
    return std::max(1, threads);
}

}  // namespace genfast
