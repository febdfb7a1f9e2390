#include "amx_emulation.h"

#include <cfloat>
#include <cmath>
#include <cstring>

#include "core/dtype.h"
#include "selftest.h"

namespace genfast {
namespace {

// Denormals are zeros, read (DAZ) and written (FTZ), whatever MXCSR says.
float flush(float x) {
    return std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x;
}
float fma_flushed(float a, float b, float c) {
    return flush(std::fma(flush(a), flush(b), flush(c)));
}
float add_flushed(float a, float b) {
    return flush(flush(a) + flush(b));
}

template <class T>
T element(const unsigned char* row, int index) {
    T value;
    std::memcpy(&value, row + size_t(index) * sizeof(T), sizeof(T));
    return value;
}
template <class T>
void set_element(unsigned char* row, int index, T value) {
    std::memcpy(row + size_t(index) * sizeof(T), &value, sizeof(T));
}
float bf16_element(const unsigned char* row, int index) {
    return bf16_to_f32(element<uint16_t>(row, index));
}

}  // namespace

// Bytes 0: palette, 1: start row, 16-47: bytes a row (u16 each), 48-63: rows; the others zero.
void TileRegisters::configure(const void* config) {
    const unsigned char* bytes = static_cast<const unsigned char*>(config);
    expect(bytes[0] == 1, "ldtilecfg: palette 1 is the one with tiles");
    for (int i = 1; i < 16; ++i) expect(bytes[i] == 0, "ldtilecfg: reserved bytes are zero");
    for (int i = 0; i < 16; ++i) {
        const int row_bytes = element<uint16_t>(bytes + 16, i), rows = bytes[48 + i];
        expect(row_bytes <= 64 && rows <= 16, "ldtilecfg: a tile is 16 rows of 64 bytes at most");
        expect((row_bytes == 0) == (rows == 0), "ldtilecfg: a tile has rows and bytes, or neither");
        if (i < 8)
            tiles_[i] = Tile{rows, row_bytes, {}};
        else
            expect(rows == 0, "ldtilecfg: there are eight tiles");
    }
    in_use_ = true;
}

void TileRegisters::release() {
    for (Tile& tile : tiles_) tile = {};
    in_use_ = false;
}

TileRegisters::Tile& TileRegisters::configured(int tile) {
    expect(in_use_ && tiles_[tile].rows > 0, "a tile is used as configured");
    return tiles_[tile];
}

void TileRegisters::zero(int tile) {
    std::memset(configured(tile).data, 0, sizeof(Tile::data));
}

void TileRegisters::load(int tile, const void* from, int64_t stride) {
    Tile& t = configured(tile);
    zero(tile);
    for (int row = 0; row < t.rows; ++row)
        std::memcpy(t.data[row], static_cast<const char*>(from) + row * stride,
                    size_t(t.row_bytes));
}

void TileRegisters::store(int tile, void* to, int64_t stride) {
    const Tile& t = configured(tile);
    for (int row = 0; row < t.rows; ++row)
        std::memcpy(static_cast<char*>(to) + row * stride, t.data[row], size_t(t.row_bytes));
}

// sums [m][n] += a [m][k] * b [k][n]: dwords all of them.
void TileRegisters::check_product(int sums, int a, int b) {
    const Tile &c = configured(sums), &left = configured(a), &right = configured(b);
    expect(sums != a && sums != b && a != b, "a product's tiles are three");
    expect(c.row_bytes % 4 == 0 && left.row_bytes % 4 == 0, "a product's rows are of dwords");
    expect(
        c.rows == left.rows && c.row_bytes == right.row_bytes && left.row_bytes == right.rows * 4,
        "a product's shapes agree");
    ++products_;
}

void TileRegisters::dot_s8(int sums, int a, int b) {
    check_product(sums, a, b);
    Tile& c = tiles_[sums];
    for (int m = 0; m < c.rows; ++m)
        for (int k = 0; k < tiles_[a].row_bytes / 4; ++k)
            for (int n = 0; n < c.row_bytes / 4; ++n) {
                uint32_t sum = element<uint32_t>(c.data[m], n);  // modulo 2^32: nothing saturates
                for (int i = 0; i < 4; ++i)
                    sum += uint32_t(element<int8_t>(tiles_[a].data[m], 4 * k + i) *
                                    element<int8_t>(tiles_[b].data[k], 4 * n + i));
                set_element(c.data[m], n, sum);
            }
}

void TileRegisters::dot_bf16(int sums, int a, int b) {
    check_product(sums, a, b);
    Tile& c = tiles_[sums];
    for (int m = 0; m < c.rows; ++m) {
        float partial[32] = {};  // of the first and the second of each pair, for each n
        for (int k = 0; k < tiles_[a].row_bytes / 4; ++k)
            for (int i = 0; i < c.row_bytes / 2; ++i)
                partial[i] = fma_flushed(bf16_element(tiles_[a].data[m], 2 * k + i % 2),
                                         bf16_element(tiles_[b].data[k], i), partial[i]);
        for (int n = 0; n < c.row_bytes / 4; ++n) {
            const float pair = add_flushed(partial[2 * n], partial[2 * n + 1]);
            set_element(c.data[m], n, add_flushed(element<float>(c.data[m], n), pair));
        }
    }
}

TileRegisters& tile_registers() {
    static thread_local TileRegisters registers;
    return registers;
}

}  // namespace genfast
