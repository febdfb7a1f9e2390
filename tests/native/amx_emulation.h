// AMX's tile registers in plain C++, as the operations are defined in Intel's manual. The self-test
// compiles matmul's AMX tiles against this in place of kernels/matmul/amx_instructions.h, so that
// their addresses and their arithmetic are tested where there is no AMX. No STL: see simd sources.
#pragma once

#include <cstdint>

namespace genfast {

// What one thread has of them. What would raise an exception is a failure of the self-test.
class TileRegisters {
  public:
    void configure(const void* config);
    void release();
    bool in_use() const { return in_use_; }
    int64_t products() const { return products_; }  // dot_… so far

    void zero(int tile);
    void load(int tile, const void* from, int64_t stride);
    void store(int tile, void* to, int64_t stride);
    void dot_s8(int sums, int a, int b);
    void dot_bf16(int sums, int a, int b);

  private:
    struct Tile {
        int rows = 0, row_bytes = 0;
        unsigned char data[16][64] = {};
    };
    Tile& configured(int tile);
    void check_product(int sums, int a, int b);

    bool in_use_ = false;
    int64_t products_ = 0;
    Tile tiles_[8];
};

TileRegisters& tile_registers();  // this thread's

#if defined(GENFAST_TILE_EMULATION)
namespace GENFAST_ISA {

static inline void tile_configure(const void* config) {
    tile_registers().configure(config);
}
static inline void tile_release() {
    tile_registers().release();
}
template <int tile>
static inline void tile_zero() {
    tile_registers().zero(tile);
}
template <int tile>
static inline void tile_load(const void* from, int64_t stride) {
    tile_registers().load(tile, from, stride);
}
template <int tile>
static inline void tile_store(void* to, int64_t stride) {
    tile_registers().store(tile, to, stride);
}
template <int sums, int a, int b>
static inline void tile_dot_s8() {
    tile_registers().dot_s8(sums, a, b);
}
template <int sums, int a, int b>
static inline void tile_dot_bf16() {
    tile_registers().dot_bf16(sums, a, b);
}

}  // namespace GENFAST_ISA
#endif

}  // namespace genfast
