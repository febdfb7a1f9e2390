#include "program/ops.h"

#include <initializer_list>

#include "core/error.h"

namespace genfast {

const OpSpec* find_op(const std::string& name) {
    std::string known;
    for (const OpSpec* table : {kAttentionOps, kFilterOps, kImageOps, kLatentOps, kMatrixOps,
                                kRankOps, kRearrangeOps, kRowOps, kStateOps})
        for (const OpSpec* op = table; op->name; ++op) {
            if (name == op->name) return op;
            known += cat(known.empty() ? "" : ", ", op->name);
        }
    throw std::invalid_argument(cat("no op named '", name, "'; there are ", known));
}

Activation activation_named(const std::string& name) {
    if (name == "none") return Activation::none;
    if (name == "relu") return Activation::relu;
    if (name == "silu") return Activation::silu;
    if (name == "gelu") return Activation::gelu;
    if (name == "gelu_tanh") return Activation::gelu_tanh;
    if (name == "clamped_silu") return Activation::clamped_silu;
    if (name == "quick_gelu") return Activation::quick_gelu;
    if (name == "tanh") return Activation::tanh;
    if (name == "leaky_relu") return Activation::leaky_relu;
    if (name == "relu2") return Activation::relu2;
    if (name == "sigmoid") return Activation::sigmoid;
    throw std::invalid_argument(cat("activation=\"", name,
                                    "\" must be one of none, relu, silu, gelu, gelu_tanh, "
                                    "clamped_silu, quick_gelu, tanh, leaky_relu, relu2, sigmoid"));
}

KvType kv_type_named(const std::string& name) {
    if (name == "float32") return KvType::f32;
    if (name == "bfloat16") return KvType::bf16;
    if (name == "int8") return KvType::int8;
    if (name == "int4") return KvType::int4;
    if (name == "fp8") return KvType::fp8;
    throw std::invalid_argument(
        cat("kv_dtype='", name, "' must be one of float32, bfloat16, int8, int4, fp8"));
}

Scoring scoring_named(const std::string& name) {
    if (name == "softmax") return Scoring::softmax;
    if (name == "softmax_of_chosen") return Scoring::softmax_of_chosen;
    if (name == "sigmoid") return Scoring::sigmoid;
    throw std::invalid_argument(
        cat("scoring='", name, "' must be one of softmax, softmax_of_chosen, sigmoid"));
}

void check_route_sizes(int64_t experts, int64_t k, int64_t groups, int64_t kept_groups) {
    require(experts > 0 && experts <= kMaxExperts, experts, " experts, expected 1 to ",
            kMaxExperts);
    require(k > 0 && k <= experts, "k=", k, " must be 1 to ", experts);
    require(groups > 0 && experts % groups == 0 && kept_groups > 0 && kept_groups <= groups &&
                k <= experts / groups * kept_groups,
            "groups=", groups, ", kept_groups=", kept_groups, " must leave k=", k, " of ", experts,
            " experts");
}

void check_sinks(int64_t window, int64_t sinks) {
    require(sinks >= 0 && sinks <= kPageTokens, "sinks=", sinks, " must be 0 to ", kPageTokens);
    require(sinks == 0 || window > 0, "sinks=", sinks, " without a window: all is seen anyway");
}

}  // namespace genfast
