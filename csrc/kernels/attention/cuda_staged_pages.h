// Four pages' keys or values of a head in bf16 as they wait in the block's memory for tensor cores,
// and how they come there: by copies of 16 bytes, so that of each line of keys (two numbers of 32
// tokens) and of values (two tokens of 64 numbers) the pieces can be exchanged. The lanes of a
// load, which come from four lines, then meet all of the banks.
#pragma once

#include "cuda/copy_async.h"
#include "kernels/attention/cuda_bf16_pages.h"

namespace genfast::cuda {

// `sixteens`: of a head's numbers by each of four warps.
template <int sixteens>
struct StagedPages {
    static constexpr int kNumbers = sixteens * kWarps * kSixteen;
    static constexpr int kKeyLines = kNumbers / 2, kValueLines = kPageTokens / 2;
    static constexpr int kPanel = 64, kPanels = kNumbers / kPanel;

    uint4 pieces[kWarps * kPageTokens * kNumbers / 8];

    __device__ static int key_place(int page, int line, int piece) {
        return (page * kKeyLines + line) * 8 + (piece ^ (line % 4 * 2 + line / 4 % 2));
    }
    __device__ static int value_place(int page, int panel, int line, int piece) {
        return ((page * kPanels + panel) * kValueLines + line) * 16 + (piece ^ line % 4 * 2);
    }

    // Begins to copy a chunk's keys; by `kWarpgroup` threads. Zeros beyond the head and where no
    // row sees a page.
    __device__ void copy_keys(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                              Tokens by_some, int thread) {
        const int lines = (a.layout.head_dim + 1) / 2;  // what lies beyond is anything
#pragma unroll 1
        for (int page = 0; page < kWarps; ++page) {
            const int64_t first = chunk + page * kPageTokens;
            const bool seen = first < by_some.end && first + kPageTokens > by_some.begin;
            const std::byte* keys = a.cache;
            if (seen) keys += a.layout.keys(tile.span->pages[first / kPageTokens], tile.kv);
#pragma unroll
            for (int i = 0; i < kKeyLines * 8; i += kThreads) {
                const int line = (i + thread) / 8, piece = thread % 8;
                copy_async(&pieces[key_place(page, line, piece)],
                           keys + (line * 8 + piece) * sizeof(uint4), seen && line < lines);
            }
        }
    }
    __device__ void copy_values(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                                Tokens by_some, int thread) {
#pragma unroll 1
        for (int i = 0; i < kWarps * kPanels; ++i) {
            const int page = i / kPanels, panel = i % kPanels;
            const int64_t first = chunk + page * kPageTokens;
            const bool seen = first < by_some.end && first + kPageTokens > by_some.begin &&
                              panel < a.layout.panels();
            const std::byte* values = a.cache;
            int width = 0;
            if (seen) {
                values += a.layout.values(tile.span->pages[first / kPageTokens], tile.kv, panel);
                width = int(a.layout.panel_width(panel)) / 4;
            }
#pragma unroll
            for (int j = 0; j < kValueLines * 16; j += kThreads) {
                const int line = (j + thread) / 16, piece = thread % 16;
                copy_async(&pieces[value_place(page, panel, line, piece)],
                           values + (line * width + piece) * sizeof(uint4), piece < width);
            }
        }
    }

    // The lane's words of its warp's page: two tiles of 16 tokens by 16 numbers. Here and below a
    // lane's place and a constant are added up, so that one place is enough.
    __device__ TwoTiles keys(int unit) const {
        const int t = lane_word();
        const uint4* lines = pieces + (warp() % kWarps * kKeyLines + t) * 8 + unit * 64;
        return TwoTiles(lines[lane_row() ^ t * 2], lines[32 + (lane_row() ^ (t * 2 + 1))]);
    }
    // The lane's words of its sixteen numbers of 16 tokens.
    __device__ void values(int unit, int i, uint32_t (&words)[4]) const {
        const int t = lane_word(), d = first_number<sixteens>(i) + sixteenth(0);
        const uint4* lines = pieces + (d / kPanel * kValueLines + t) * 16 +
                             unit / 2 * kPanels * kValueLines * 16 + unit % 2 * 128;
        const int at = (d % kPanel / 4 ^ t * 2) * 2 + d % 4 / 2;
        const uint2 low = reinterpret_cast<const uint2*>(lines)[at],
                    high = reinterpret_cast<const uint2*>(lines + 64)[at];
        words[0] = low.x, words[1] = low.y, words[2] = high.x, words[3] = high.y;
    }
    // Two numbers d and d + 1 of two tokens: (d, token), (d, token + 1); the same of d + 1.
    __device__ uint2 value_pairs(int token, int d) const {
        const int at =
            value_place(token / kPageTokens, d / kPanel, token % kPageTokens / 2, d % kPanel / 4);
        return reinterpret_cast<const uint2*>(pieces)[at * 2 + d % 4 / 2];
    }
};

}  // namespace genfast::cuda
