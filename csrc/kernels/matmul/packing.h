// Tokens into tiles: rows of x, or patches of images, 64 columns of a tile's tokens at a time.
#pragma once

#include "kernels/matmul/across.h"
#include "kernels/matmul/activations.h"
#include "kernels/matmul/patches.h"
#include "kernels/matmul/plan.h"

namespace genfast::GENFAST_ISA {

// What row_scale says of a patch, by what is known of its pixels.
static inline RowScale patch_scale(const Patches& p, const Corner& from) {
    float largest = 0, poison = 0;
    for (int64_t tap = 0; tap < p.kernel_h * p.kernel_w; ++tap) {
        const int64_t pixel = band_pixel(p, from, tap);
        if (pixel < 0) continue;
        const float value = p.band.largest[pixel];
        poison += value - value;  // 0, or NaN
        largest = value > largest ? value : largest;
    }
    return {int8::scale_of(largest) + poison, int8::inverse_of(largest)};
}

// A tile's tokens, and where their columns lie.
class Tokens {
  public:
    // rotated [MT, K]: room for rows of int8. patch [MT, K]: for patches without a band.
    Tokens(const MatmulArgs& a, Layout layout, int64_t first, int MT, float* rotated, float* patch)
        : a_(a),
          layout_(layout),
          band_(a.patches && a.patches->band.pixels ? &a.patches->band : nullptr),
          count_(int(a.M - first < MT ? a.M - first : MT)) {
        const int64_t K = a.w.K;
        for (int j = 0; j < MT; ++j) {
            scales_[j] = inverses_[j] = 0;
            at_[j] = nullptr;
            if (j >= count_) continue;  // tokens that fill up the last tile are zeros
            if (band_) {
                corners_[j] = corner_of(*a.patches, a.patches->first + first + j);
                if (is_quantised(layout)) set_scale(j, patch_scale(*a.patches, corners_[j]));
                continue;
            }
            const float* x = a.x + (first + j) * x_row(a);
            if (a.patches) {
                gather_patch(*a.patches, a.x, a.patches->first + first + j, patch + j * K);
                x = patch + j * K;
            }
            if (a.w.format == Format::int8) {
                rotate_row(x, K, rotated + j * round_up(K, 16));
                x = rotated + j * round_up(K, 16);
            }
            if (is_quantised(layout)) set_scale(j, row_scale(x, K));
            at_[j] = reinterpret_cast<const std::byte*>(x);
        }
    }

    float scale(int j) const { return scales_[j]; }

    // Columns [k, k + 64), of which a tile stores `stored`, to column `to` of the tile.
    void pack(int64_t k, int64_t to, int stored, int MT, std::byte* tile) {
        const int64_t C = band_ ? a_.patches->C : a_.w.K;
        if (band_ && (tap_ < 0 || k / C != tap_)) turn_to(k / C);
        const int64_t left = a_.w.K - k;
        const int valid = int(left < 0 ? 0 : left < kChunk ? left : kChunk);
        if (columns_of_dwords(layout_) && fits_across(MT))
            return pack_across(k % C, valid, to, stored, MT, tile);
        for (int j = 0; j < MT; ++j) {
            Chunk chunk;
            const std::byte* numbers = converted(j, k % C, valid, &chunk);
            place_row(layout_, numbers, chunk.sums, to, stored, j, MT, tile);
        }
    }

  private:
    // The numbers of a token's next columns: where they lie, if the layout wants them as they are.
    const std::byte* converted(int j, int64_t column, int valid, Chunk* chunk) const {
        const std::byte* x = at(j, column);
        if (ready(valid)) return x;
        convert(layout_, reinterpret_cast<const float*>(x), valid, inverses_[j], chunk);
        return chunk->numbers;
    }
    void pack_across(int64_t column, int valid, int64_t to, int stored, int MT, std::byte* tile) {
        const int columns = columns_of_dwords(layout_), dwords = stored / columns;
        std::byte* first = tile + to / columns * MT * 4;
        const std::byte* numbers[kLanes];
        if (layout_ == Layout::u8_quads && valid == kChunk) {
            for (int j = 0; j < MT; ++j) numbers[j] = at(j, column);
            return quads_across(numbers, inverses_, MT, first);
        }
        Chunk chunks[kLanes];
        for (int j = 0; j < MT; ++j) numbers[j] = converted(j, column, valid, &chunks[j]);
        for (int d = 0; d < dwords; d += kLanes)
            dwords_across(numbers, d * 4, dwords - d < kLanes ? dwords - d : kLanes, MT,
                          first + d * MT * 4, layout_ == Layout::bf16_floats);
    }

    const std::byte* at(int j, int64_t column) const {
        static const Chunk zeros = {};
        return j < count_ && at_[j] ? at_[j] + column * (band_ ? band_->bytes : 4) : zeros.numbers;
    }
    bool ready(int valid) const {
        return (band_ && band_->bytes == 2) || (layout_ == Layout::f32 && valid == kChunk);
    }
    void set_scale(int j, RowScale scale) {
        scales_[j] = scale.scale;
        inverses_[j] = scale.inverse;
    }
    void turn_to(int64_t tap) {
        tap_ = tap;
        for (int j = 0; j < count_; ++j) {
            const int64_t pixel = band_pixel(*a_.patches, corners_[j], tap);
            at_[j] =
                pixel < 0 ? nullptr : band_->pixels + pixel * a_.patches->C * int64_t(band_->bytes);
        }
    }

    const MatmulArgs& a_;
    const Layout layout_;
    const Band* band_;
    const int count_;
    int64_t tap_ = -1;
    float scales_[kMaxTokens], inverses_[kMaxTokens];
    Corner corners_[kMaxTokens];
    const std::byte* at_[kMaxTokens];  // null: zeros
};

// Columns [begin, end) of the tokens of tiles [first, last); their scales too, unless null.
static void pack(const MatmulArgs& a, const Plan& p, Layout layout, int64_t first, int64_t last,
                 int64_t begin, int64_t end, std::byte* acts, float* scales, float* rotated,
                 float* patch) {
    for (int64_t t = first; t < last; ++t) {
        Tokens tokens(a, layout, t * p.MT, p.MT, rotated, patch);
        for (int j = 0; scales && j < p.MT; ++j) scales[t * p.MT + j] = tokens.scale(j);
        for (int64_t k = begin; k < end; k += kChunk) {
            const int64_t block = k / p.k_block * p.k_block;  // of columns
            const int stored = int(p.K - k < kChunk ? p.K - k : kChunk);
            tokens.pack(k, k - block, stored, p.MT, acts + p.part(k, t));
        }
    }
}

}  // namespace genfast::GENFAST_ISA
