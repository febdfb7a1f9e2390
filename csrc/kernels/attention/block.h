// A block of one KV head's keys and values as the products read them: pointers to its pages.
#pragma once

#include "kernels/attention/rows.h"

namespace genfast::GENFAST_ISA {

constexpr int kMostPanels = kMaxHeadDim / 32;

struct Block {
    const std::byte* keys[kRunPages];
    const std::byte* values[kMostPanels][kRunPages];
    const std::byte* scales[2][kRunPages];  // int8, int4, fp8: of keys, of values
    int64_t next;  // bytes from here to the block that this thread takes next, or 0
};

// Points at the pages holding tokens [begin, end) of the block, whose `next` is set; others stay
// unset.
static void view_block(const AttentionArgs& a, const SequenceSpan& span, int head, int64_t block,
                       int begin, int end, Block* view) {
    const int32_t* pages = span.pages + first_page(block);
    for (int i = begin / kPageTokens; i * kPageTokens < end; ++i) {
        view->keys[i] = a.cache + a.layout.keys(pages[i], head);
        for (int64_t panel = 0; panel < a.layout.panels(); ++panel)
            view->values[panel][i] = a.cache + a.layout.values(pages[i], head, panel);
        if (a.layout.page_scale_bytes() == 0) continue;
        // Tokens' are needed only after the scores: they may arrive meanwhile.
        view->scales[0][i] = a.cache + a.layout.key_scales(pages[i], head);
        view->scales[1][i] = a.cache + a.layout.value_scales(pages[i], head);
        for (const auto& kind : view->scales)
            for (size_t byte = 0; byte < a.layout.page_scale_bytes(); byte += 64) {
                __builtin_prefetch(kind[i] + byte);
                __builtin_prefetch(kind[i] + byte + view->next, 0, 2);
            }
    }
}

// int8, fp8: brings the scales of tokens [begin, end) together, [2][512]: of keys, of values.
static void gather_scales(const Block& block, int begin, int end, float* scales) {
    for (int kind = 0; kind < 2; ++kind)
        for (int t = begin / kLanes * kLanes; t < end; t += kLanes) {
            const std::byte* page = block.scales[kind][t / kPageTokens];
            vstore(scales + kind * kRunTokens + t,
                   vload(reinterpret_cast<const float*>(page) + t % kPageTokens));
        }
}

}  // namespace genfast::GENFAST_ISA
