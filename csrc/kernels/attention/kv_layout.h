// Where the keys and values of a token lie.
//
// A page holds 32 tokens. Pages are numbered; sixteen consecutive pages form an aligned run of 512
// tokens. Storage is one block per (run, KV head): all K of the run, then all V, then (int8, int4)
// the scales, so that a sequence whose pages are consecutive streams through memory; an allocator
// should therefore give a sequence consecutive pages, but any page list is valid.
//
//   K, per page      f32 [Ds][32]       bf16 [Ds/2][32][2]      int8, fp8 [Ds/4][32][4]
//                    int4 [Ds/8][32][8]
//   V, per run       panels of w = 64 d, int8, fp8 and int4 32 d (the last may be narrower):
//                    f32 [512][w]       bf16 [256][w][2]        int8, fp8 [128][w][4]
//                    int4 [64][w][8]
//   scales, per run  int8, fp8: f32 K [512], f32 V [512]: one per token and head
//                    int4: f16 K [16][G][32], f16 V [16][G][32]: one per token, head and group of
//                    32 d (G = Ds / 32, rounded up); all of a page together
//
// Ds is D padded to 16, so that sixteen lanes never leave a panel. Whatever the type, a dword holds
// 32 / bits neighbours along the axis that is summed over (d for K, tokens for V), and a vector of
// 64 bytes holds such a dword for sixteen outputs: one product kernel serves both (product.h).
// An int8 value is (byte - 128) * scale, an fp8 value E4M3 (core/e4m3.h) times scale. An int4 value
// is (nibble - 8) * scale, rounded by round_int4.h; byte i of a dword holds neighbour i low and
// neighbour i + 4 high.
//
// Latent attention has one plane of rows, token by token, where others have K and V: [Ds] numbers
// of the type, and int8's or fp8's two scales: of the last P numbers in place of K's, of the first
// R in place of V's.
//
// int4 keys are rotated: each whole group of 32 d is stored times a Hadamard matrix (round_int4.h),
// and queries are turned likewise. A few channels of keys are far larger than the others, and a
// group would spend its sixteen levels on them; rotated, all of a group are alike. 4.5 bits a value
// in all. On the bundled model's keys of Shakespeare the error of attention's output is 5.8 %, 6.3
// % without rotation; with three channels made 8 to 12 times larger 9.8 % and 25 %. A minimum
// beside each scale, 5 bits in all, gives 5.8 % too. Values: 6.9 %, 6.5 % with a minimum, 6.8 %
// rotated.
//
// fp8's scale makes a token's largest number 448. Without one, as others store such a cache, or
// with powers of two, the bundled model is 1.4 times as far from a float32 cache (KL 2.5e-4, 1.8e-4
// with it; int8 1.0e-5), larger numbers would be cut off, and NaN would have to be looked for in
// every number instead of in a scale.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "quant/format.h"

namespace genfast {

enum class KvType : uint8_t { f32, bf16, int8, int4, fp8 };

// A dword of the cache holds 1 << interleave_bits neighbours.
GENFAST_ANYWHERE constexpr int interleave_bits(KvType type) {
    return type == KvType::fp8 ? 2 : int(type);
}
// Whether a token has a scale, a float, in K and in V.
GENFAST_ANYWHERE constexpr bool has_token_scales(KvType type) {
    return type == KvType::int8 || type == KvType::fp8;
}

constexpr int kPageTokens = 32;
constexpr int kRunPages = 16;
constexpr int kRunTokens = kPageTokens * kRunPages;
constexpr int kMaxHeadDim = 256;
constexpr int kMaxLatentDim = 640;

struct KvLayout {
    KvType type = KvType::f32;
    int heads = 0;     // Hkv
    int head_dim = 0;  // D, 1 .. kMaxHeadDim; where latent, R + P, to kMaxLatentDim
    int latent = 0;    // R, where rows are both keys and values (latent_attention.h); else 0

    GENFAST_MEMBER_ANYWHERE int64_t stored_dim() const { return round_up(head_dim, 16); }
    GENFAST_MEMBER_ANYWHERE int interleave_bits() const { return genfast::interleave_bits(type); }
    GENFAST_MEMBER_ANYWHERE int interleave() const { return 1 << interleave_bits(); }
    GENFAST_MEMBER_ANYWHERE size_t bytes_of(int64_t elements) const {
        return size_t(elements * 4) >> interleave_bits();
    }
    // Bytes of the K (or of the V) of one head: of a page, of a run.
    GENFAST_MEMBER_ANYWHERE size_t page_bytes() const {
        return bytes_of(kPageTokens * stored_dim());
    }
    GENFAST_MEMBER_ANYWHERE size_t plane_bytes() const { return kRunPages * page_bytes(); }
    // Bytes of the scales of the K (or of the V) of one head in a page.
    GENFAST_MEMBER_ANYWHERE size_t page_scale_bytes() const {
        return has_token_scales(type) ? kPageTokens * sizeof(float)
               : type == KvType::int4 ? size_t(kPageTokens) * 2 * size_t(panels())
                                      : 0;
    }
    GENFAST_MEMBER_ANYWHERE int64_t planes() const { return latent ? 1 : 2; }
    GENFAST_MEMBER_ANYWHERE size_t head_bytes() const {
        return planes() * plane_bytes() + 2 * kRunPages * page_scale_bytes();
    }
    GENFAST_MEMBER_ANYWHERE size_t run_bytes() const { return head_bytes() * heads; }

    // V lies in panels of this many d: what a few rows' accumulators can hold at once. int4: also
    // the group of d that shares a scale, in K and V.
    GENFAST_MEMBER_ANYWHERE int64_t panel() const {
        return has_token_scales(type) || type == KvType::int4 ? 32 : 64;
    }
    GENFAST_MEMBER_ANYWHERE int64_t panels() const {
        return latent ? 0 : (stored_dim() + panel() - 1) / panel();
    }
    GENFAST_MEMBER_ANYWHERE int64_t panel_width(int64_t index) const {
        int64_t left = stored_dim() - index * panel();
        return left < panel() ? left : panel();
    }

    // Byte offsets from the layer's storage: of a page's keys, of its part of a value panel, and of
    // its key or value scales.
    GENFAST_MEMBER_ANYWHERE size_t head_offset(int32_t page, int head) const {
        return size_t(page / kRunPages) * run_bytes() + head * head_bytes();
    }
    GENFAST_MEMBER_ANYWHERE size_t keys(int32_t page, int head) const {
        return head_offset(page, head) + page % kRunPages * page_bytes();
    }
    GENFAST_MEMBER_ANYWHERE size_t values(int32_t page, int head, int64_t index) const {
        return head_offset(page, head) + plane_bytes() +
               bytes_of(index * panel() * kRunTokens +
                        page % kRunPages * kPageTokens * panel_width(index));
    }
    GENFAST_MEMBER_ANYWHERE size_t key_scales(int32_t page, int head) const {
        return head_offset(page, head) + planes() * plane_bytes() +
               page % kRunPages * page_scale_bytes();
    }
    GENFAST_MEMBER_ANYWHERE size_t value_scales(int32_t page, int head) const {
        return key_scales(page, head) + kRunPages * page_scale_bytes();
    }
    // The byte where element d of token s (0 .. 31) begins, from keys(page, head) and from
    // values(page, head, d / panel()).
    GENFAST_MEMBER_ANYWHERE int64_t key_element(int64_t s, int64_t d) const {
        return ((d >> interleave_bits()) * kPageTokens + s) * 4 + neighbour(d);
    }
    GENFAST_MEMBER_ANYWHERE int64_t value_element(int64_t s, int64_t d) const {
        return ((s >> interleave_bits()) * panel_width(d / panel()) + d % panel()) * 4 +
               neighbour(s);
    }

  private:
    GENFAST_MEMBER_ANYWHERE int64_t neighbour(int64_t i) const {
        return type == KvType::int4 ? i & 3 : int64_t(bytes_of(i & (interleave() - 1)));
    }
};

}  // namespace genfast
