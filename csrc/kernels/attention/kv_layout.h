// Where the keys and values of a token lie.
//
// A page holds 32 tokens. Pages are numbered; sixteen consecutive pages form an aligned run of 512
// tokens. Storage is one block per (run, KV head): all K of the run, then all V, then (int8) the
// scales, so that a sequence whose pages are consecutive streams through memory; an allocator
// should therefore give a sequence consecutive pages, but any page list is valid.
//
//   K, per page      f32 [Ds][32]       bf16 [Ds/2][32][2]      int8 [Ds/4][32][4]
//   V, per run       panels of w = 64 d, int8 32 d (the last may be narrower):
//                    f32 [512][w]       bf16 [256][w][2]        int8 [128][w][4]
//   scales (int8)    f32 K [512], f32 V [512]: one per token and head, value = (byte - 128) * scale
//
// Ds is D padded to 16, so that sixteen lanes never leave a panel. Whatever the type, a dword holds
// 4 / itemsize neighbours along the axis that is summed over (d for K, tokens for V), and a vector
// of 64 bytes holds such a dword for sixteen outputs: one product kernel serves both (product.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "quant/format.h"

namespace genfast {

enum class KvType : uint8_t { f32, bf16, int8 };

constexpr int kPageTokens = 32;
constexpr int kRunPages = 16;
constexpr int kRunTokens = kPageTokens * kRunPages;
constexpr int kMaxHeadDim = 256;

// Inlined always: this header is compiled for several instruction sets, and the linker must not
// keep one set's copy for all.
#define KV_INLINE [[gnu::always_inline]] inline

struct KvLayout {
    KvType type = KvType::f32;
    int heads = 0;     // Hkv
    int head_dim = 0;  // D, 1 .. kMaxHeadDim

    KV_INLINE int64_t stored_dim() const { return round_up(head_dim, 16); }
    KV_INLINE int itemsize() const {
        return type == KvType::f32 ? 4 : type == KvType::bf16 ? 2 : 1;
    }
    KV_INLINE int interleave_bits() const {
        return type == KvType::f32 ? 0 : type == KvType::bf16 ? 1 : 2;
    }
    KV_INLINE int interleave() const { return 1 << interleave_bits(); }
    // Bytes of the K (or of the V) of one head: of a page, of a run.
    KV_INLINE size_t page_bytes() const { return size_t(kPageTokens) * stored_dim() * itemsize(); }
    KV_INLINE size_t plane_bytes() const { return kRunPages * page_bytes(); }
    KV_INLINE size_t scale_bytes() const {
        return type == KvType::int8 ? size_t(kRunTokens) * 8 : 0;
    }
    KV_INLINE size_t head_bytes() const { return 2 * plane_bytes() + scale_bytes(); }
    KV_INLINE size_t run_bytes() const { return head_bytes() * heads; }

    // V lies in panels of this many d: what a few rows' accumulators can hold at once.
    KV_INLINE int64_t panel() const { return type == KvType::int8 ? 32 : 64; }
    KV_INLINE int64_t panels() const { return (stored_dim() + panel() - 1) / panel(); }
    KV_INLINE int64_t panel_width(int64_t index) const {
        int64_t left = stored_dim() - index * panel();
        return left < panel() ? left : panel();
    }

    // Byte offsets from the layer's storage: of a page's keys, of its part of a value panel, and of
    // its 32 key or value scales.
    KV_INLINE size_t head_offset(int32_t page, int head) const {
        return size_t(page / kRunPages) * run_bytes() + head * head_bytes();
    }
    KV_INLINE size_t keys(int32_t page, int head) const {
        return head_offset(page, head) + page % kRunPages * page_bytes();
    }
    KV_INLINE size_t values(int32_t page, int head, int64_t index) const {
        return head_offset(page, head) + plane_bytes() +
               size_t(itemsize()) * (index * panel() * kRunTokens +
                                     page % kRunPages * kPageTokens * panel_width(index));
    }
    KV_INLINE size_t key_scales(int32_t page, int head) const {
        return head_offset(page, head) + 2 * plane_bytes() +
               page % kRunPages * kPageTokens * sizeof(float);
    }
    KV_INLINE size_t value_scales(int32_t page, int head) const {
        return key_scales(page, head) + kRunTokens * sizeof(float);
    }
    // Of element d of token s (0 .. 31), from keys(page, head) and from values(page, head, d /
    // panel()).
    KV_INLINE int64_t key_element(int64_t s, int64_t d) const {
        return ((d >> interleave_bits()) * kPageTokens + s) * 4 +
               (d & (interleave() - 1)) * itemsize();
    }
    KV_INLINE int64_t value_element(int64_t s, int64_t d) const {
        return ((s >> interleave_bits()) * panel_width(d / panel()) + d % panel()) * 4 +
               (s & (interleave() - 1)) * itemsize();
    }
};

#undef KV_INLINE

}  // namespace genfast
