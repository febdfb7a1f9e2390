// The kernel table: one row a kernel, one table an instruction set.
//
// Kernel sources are compiled once per instruction set with GENFAST_ISA naming the namespace (ref,
// avx2, avx512, neon); each defines `void <op>(const <Op>Args&, Team&)` there, and table.cc
// collects them.
#pragma once

#include <cstddef>

#include "core/team.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/bound/bound.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv_transpose2d/conv_transpose2d.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"
#include "kernels/embed/embed.h"
#include "kernels/full_attention/full_attention.h"
#include "kernels/group_norm/group_norm.h"
#include "kernels/head_matmul/head_matmul.h"
#include "kernels/latent_attention/latent_attention.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/logprobs/logprobs.h"
#include "kernels/matmul/matmul.h"
#include "kernels/max_pool2d/max_pool2d.h"
#include "kernels/modulate/modulate.h"
#include "kernels/moe/moe.h"
#include "kernels/pack/pack.h"
#include "kernels/probe/probe.h"
#include "kernels/rearrange/rearrange.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/route/route.h"
#include "kernels/sample/sample.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/softmax/softmax.h"
#include "kernels/swiglu/swiglu.h"
#include "kernels/truncate/truncate.h"
#include "kernels/winograd_conv2d/winograd_conv2d.h"
#include "kernels/wkv4/wkv4.h"
#include "kernels/wkv6/wkv6.h"
#include "kernels/wkv7/wkv7.h"

#define GENFAST_KERNELS(row)                                                                      \
    row(activation, ActivationArgs) row(attention, AttentionArgs) row(bound, BoundArgs)           \
        row(causal_conv1d, CausalConv1dArgs) row(selective_scan, SelectiveScanArgs) row(          \
            embed, EmbedArgs) row(head_matmul, HeadMatmulArgs) row(latent_attention, LatentArgs)  \
            row(layer_norm, LayerNormArgs) row(logprobs, LogprobsArgs) row(matmul, MatmulArgs)    \
                row(moe, MoeArgs) row(pack, PackArgs) row(probe, ProbeArgs) row(                  \
                    rms_norm, RmsNormArgs) row(rope, RopeArgs) row(rope_table, RopeTableArgs)     \
                    row(route, RouteArgs) row(sample, SampleArgs) row(softmax, SoftmaxArgs) row(  \
                        swiglu, SwigluArgs) row(truncate, TruncateArgs) row(add, AddArgs)         \
                        row(conv2d, Conv2dArgs) row(conv_transpose2d, ConvTranspose2dArgs) row(   \
                            depthwise_conv2d, DepthwiseConv2dArgs) row(max_pool2d, MaxPool2dArgs) \
                            row(full_attention, FullAttentionArgs) row(group_norm, GroupNormArgs) \
                                row(modulate, ModulateArgs) row(pixel_shuffle, PixelShuffleArgs)  \
                                    row(place, PlaceArgs) row(upsample, UpsampleArgs)             \
                                        row(wkv4, Wkv4Args) row(wkv6, Wkv6Args)                   \
                                            row(wkv7, Wkv7Args)                                   \
                                                row(winograd_conv2d, WinogradConv2dArgs)

namespace genfast {

struct Kernels {
    const char* isa;
#define GENFAST_ROW(op, Args) void (*op)(const Args&, Team&);
    GENFAST_KERNELS(GENFAST_ROW)
#undef GENFAST_ROW
    // Scratch a call needs, for at most M rows (T tokens, H heads, ...).
    size_t (*matmul_scratch_bytes)(const Matrix& w, int64_t M, int threads);
    size_t (*attention_scratch_bytes)(const KvLayout& layout, int heads, int64_t T, int threads,
                                      int64_t max_context, int64_t spans);
    size_t (*head_matmul_scratch_bytes)(const Matrix& w, int64_t M, int threads);
    size_t (*latent_attention_scratch_bytes)(const LatentArgs& sizes, int threads,
                                             int64_t max_context);
    size_t (*moe_scratch_bytes)(const MoeArgs& sizes, int threads);
    size_t (*conv2d_scratch_bytes)(const Conv2dArgs& sizes, int threads);
    size_t (*conv_transpose2d_scratch_bytes)(const ConvTranspose2dArgs& sizes, int threads);
    size_t (*full_attention_scratch_bytes)(const FullAttentionArgs& sizes, int threads);
    size_t (*group_norm_scratch_bytes)(const GroupNormArgs& sizes, int threads);
    size_t (*winograd_conv2d_scratch_bytes)(const WinogradConv2dArgs& sizes, int threads);
    // What a matmul and attention run as, for dump() and for tests that prove which kernel was
    // chosen.
    const char* (*matmul_variant)(Format format);
    const char* (*attention_variant)(KvType type);
};

#ifdef GENFAST_ISA
namespace GENFAST_ISA {
#define GENFAST_ROW(op, Args) void op(const Args&, Team&);
GENFAST_KERNELS(GENFAST_ROW)
#undef GENFAST_ROW
size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
size_t attention_scratch_bytes(const KvLayout& layout, int heads, int64_t T, int threads,
                               int64_t max_context, int64_t spans);
size_t head_matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
size_t latent_attention_scratch_bytes(const LatentArgs& sizes, int threads, int64_t max_context);
size_t moe_scratch_bytes(const MoeArgs& sizes, int threads);
size_t conv2d_scratch_bytes(const Conv2dArgs& sizes, int threads);
size_t conv_transpose2d_scratch_bytes(const ConvTranspose2dArgs& sizes, int threads);
size_t full_attention_scratch_bytes(const FullAttentionArgs& sizes, int threads);
size_t group_norm_scratch_bytes(const GroupNormArgs& sizes, int threads);
size_t winograd_conv2d_scratch_bytes(const WinogradConv2dArgs& sizes, int threads);
const char* matmul_variant(Format format);
const char* attention_variant(KvType type);
}  // namespace GENFAST_ISA
#endif

}  // namespace genfast
