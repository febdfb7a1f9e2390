// What attention's two products are made of.
//
// Queries are a panel's rows (quant/format.h), 32 of them in lanes side by side; keys, and the
// numbers of values, are the tokens of matmul's tiles. So scores come out as [keys][32], which is
// how the panel of the second product lies: weights by values. Nothing is transposed between the
// two, and the softmax never crosses lanes.
#pragma once

#include "kernels/full_attention/full_attention.h"
#include "kernels/matmul/activations.h"
#include "simd/columns.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kQueries = kPanelRows;  // a job
// A block: its weights as floats, 24 KB, stay in L1. Blocks begin at absolute positions.
constexpr int64_t kKeys = 192;
static_assert(kKeys % kLanes == 0);

// Sixteen pairs of bf16. instruction: the CPU has one that rounds them.
GENFAST_INLINE void store_pairs(float* to, Vec first, Vec second,
                                [[maybe_unused]] bool instruction) {
#if defined(__AVX512F__)
    if (instruction) return vstore_round_bf16_pairs(to, first, second);
#endif
    uint32_t low[kLanes], high[kLanes];
    vstore(reinterpret_cast<float*>(low), vround_bf16(first));
    vstore(reinterpret_cast<float*>(high), vround_bf16(second));
    for (int i = 0; i < kLanes; ++i) low[i] = low[i] >> 16 | high[i];
    __builtin_memcpy(to, low, sizeof low);
}

// A panel's columns, and how tiles are packed to meet them.
struct Factors {
    const Tiles* packed;   // whose layout keys and values have
    const Tiles* kernels;  // that multiply them
    bool pairs;            // the panel holds pairs of bf16, else floats
    bool swapped;          // of each two columns the second comes first
    bool rounded;
    bool instruction;  // for bf16, to round and to multiply them

    explicit Factors(bool bfloat16) : rounded(bfloat16) {
        packed = &tiles_for(bfloat16 ? Format::bf16 : Format::f32, INT64_MAX);
        kernels = packed->expand ? &f32_tiles : packed;
        pairs = bfloat16 && kernels == packed;
        swapped = bfloat16 && !pairs;
        const Layout layout = packed->layout;
        instruction = layout == Layout::bf16_pairs || layout == Layout::bf16_rows;
    }
    int64_t columns(int64_t K) const { return rounded ? round_up(K, 2) : K; }

    // Columns k and k + 1 of sixteen rows, from `row` on, to where the panel at x has them. That is
    // no further than where they lay as floats [columns][32].
    GENFAST_MEMBER void place(float* x, int64_t k, int row, Vec first, Vec second) const {
        if (pairs) return store_pairs(x + k / 2 * kPanelRows + row, first, second, instruction);
        if (rounded) first = vround_bf16(first), second = vround_bf16(second);
        vstore(x + (k + int(swapped)) * kPanelRows + row, first);
        vstore(x + (k + int(!swapped)) * kPanelRows + row, second);
    }
    // Floats [columns][32] become a panel, in their own place.
    void make_panel(float* x, int64_t columns) const {
        for (int64_t k = 0; rounded && k < columns; k += 2)
            for (int row = 0; row < kPanelRows; row += kLanes) {
                const float* at = x + k * kPanelRows + row;
                place(x, k, row, vload(at), vload(at + kPanelRows));
            }
    }
};

// Where things lie in scratch, in bytes from its start: packed keys and values of all heads, block
// by block, then of each thread what it works with.
struct Operands {
    Factors factors;
    int64_t blocks, most_keys;  // of a block
    int key_rows, value_rows;   // a tile
    int64_t key_tiles, value_tiles;
    size_t key_tile, value_tile, block_bytes, head_bytes;
    size_t queries, scores, bias, sums, result;  // from a thread's start
    size_t thread_bytes, bytes;

    Operands(const FullAttentionArgs& a, int threads) : factors(a.bfloat16) {
        const Layout layout = factors.packed->layout;
        blocks = (a.Tk + kKeys - 1) / kKeys;
        most_keys = a.Tk < kKeys ? a.Tk : kKeys;
        cut(most_keys, &key_tiles, &key_rows);
        cut(a.D, &value_tiles, &value_rows);
        const int64_t D = factors.columns(a.D), keys = factors.columns(most_keys);
        key_tile = aligned(int64_t(tile_bytes(layout, D, key_rows)));
        value_tile = aligned(int64_t(tile_bytes(layout, keys, value_rows)));
        block_bytes = key_tile * size_t(key_tiles) + value_tile * size_t(value_tiles);
        head_bytes = block_bytes * size_t(blocks);
        const int64_t row = kPanelRows * sizeof(float);
        queries = 0;
        scores = queries + aligned(D * row);
        bias = scores + aligned((key_tiles * key_rows + 1) * row);
        sums = bias + aligned(most_keys * row);
        result = sums + aligned(value_rows * row);
        thread_bytes = result + aligned((value_tiles * value_rows) * row);
        // Before any job, the thread's memory holds the values of a block across.
        const size_t across = aligned(a.D * kKeys * int64_t(sizeof(float)));
        thread_bytes = thread_bytes > across ? thread_bytes : across;
        bytes = head_bytes * size_t(a.N * a.H) + thread_bytes * size_t(threads);
    }

    int64_t keys(const FullAttentionArgs& a, int64_t block) const {
        return a.Tk - block * kKeys < kKeys ? a.Tk - block * kKeys : kKeys;
    }

  private:
    static size_t aligned(int64_t bytes) { return size_t(round_up(bytes, 64)); }
    void cut(int64_t rows, int64_t* tiles, int* of_a_tile) const {
        const int64_t most = factors.kernels->max_tokens;
        *tiles = (rows + most - 1) / most;
        *of_a_tile = int((rows + *tiles - 1) / *tiles);
    }
};

// Rows [count, K], `stride` floats apart, as tiles of `of_a_tile` rows; the last is filled up with
// zeros.
static void pack_rows(const Factors& factors, const float* rows, int64_t stride, int64_t count,
                      int64_t K, int of_a_tile, size_t tile_bytes, std::byte* tiles) {
    for (int64_t r = 0; r < round_up(count, of_a_tile); ++r)
        for (int64_t k = 0; k < factors.columns(K); k += kChunk)
            pack_chunk(factors.packed->layout, rows + r * stride, k, r < count ? K : 0,
                       factors.columns(K), 1, int(r % of_a_tile), of_a_tile,
                       tiles + size_t(r / of_a_tile) * tile_bytes);
}

// k, v: of the head's first key. own: of this thread.
static void pack_block(const FullAttentionArgs& a, const Operands& p, int64_t block, const float* k,
                       const float* v, std::byte* head, std::byte* own) {
    const int64_t E = a.H * a.D, keys = p.keys(a, block), first = block * kKeys * E;
    std::byte* to = head + p.block_bytes * size_t(block);
    pack_rows(p.factors, k + first, E, keys, a.D, p.key_rows, p.key_tile, to);
    float* across = reinterpret_cast<float*>(own);  // [D][kKeys]
    for (int64_t s = 0; s < keys; s += kLanes)
        to_columns(v + first + s * E, E, int(keys - s < kLanes ? keys - s : kLanes), a.D,
                   across + s, kKeys);
    pack_rows(p.factors, across, kKeys, a.D, keys, p.value_rows, p.value_tile,
              to + p.key_tile * size_t(p.key_tiles));
}

// Rows [rows, D] as lanes [D][32]; rows that are not there become 0.
static void to_lanes(const float* x, int64_t stride, int64_t rows, int64_t D, float* lanes) {
    for (int v = 0; v < kPanelRows; v += kLanes) {
        const int64_t some = rows - v < 0 ? 0 : rows - v < kLanes ? rows - v : kLanes;
        to_columns(x + v * stride, stride, int(some), D, lanes + v, kPanelRows);
    }
}
static void from_lanes(const float* lanes, int64_t rows, int64_t D, float* x, int64_t stride) {
    for (int v = 0; v < kPanelRows && v < rows; v += kLanes)
        to_rows(lanes + v, int(rows - v < kLanes ? rows - v : kLanes), D, x + v * stride, stride,
                kPanelRows);
}

}  // namespace genfast::GENFAST_ISA
