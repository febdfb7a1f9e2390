#include "bindings/bindings.h"

// append.h belongs to whoever includes it: kernels compile it once per instruction set.
#define GENFAST_ISA caches
#include "kernels/attention/append.h"

namespace genfast {
namespace {

// One layer's paged cache, for tests and benches.
class KvCache {
  public:
    using Span = std::tuple<int64_t, int64_t, int64_t, std::vector<int32_t>>;

    KvCache(const std::string& kv_dtype, int kv_heads, int head_dim, int64_t pages) {
        require(kv_heads >= 1, "kv_heads=", kv_heads, " must be at least 1");
        require(head_dim >= 1 && head_dim <= kMaxHeadDim, "head_dim=", head_dim, " must be 1 to ",
                kMaxHeadDim);
        require(pages >= 1 && pages < (int64_t(1) << 31), "pages=", pages, " must be at least 1");
        layout_ = {kv_type_named(kv_dtype), kv_heads, head_dim};
        pages_ = pages;
        storage_ = Buffer(size_t((pages + kRunPages - 1) / kRunPages) * layout_.run_bytes());
    }

    // k, v [S, Hkv, D] become tokens start, start + 1, ... of the sequence whose pages are given.
    void append(const FloatArray& k, const FloatArray& v, const std::vector<int32_t>& pages,
                int64_t start) {
        for (const auto* x : {&k, &v})
            require(x->ndim() == 3 && x->shape(1) == layout_.heads &&
                        x->shape(2) == layout_.head_dim && x->shape(0) == k.shape(0),
                    x == &k ? "k" : "v", " must have shape [S, ", layout_.heads, ", ",
                    layout_.head_dim, "], the same for k and v");
        check_pages(pages, start, k.shape(0));
        for (int64_t t = 0; t < k.shape(0); ++t)
            for (int head = 0; head < layout_.heads; ++head) {
                int64_t from = (t * layout_.heads + head) * layout_.head_dim;
                caches::append_token(storage_.data(), layout_, pages[(start + t) / kPageTokens],
                                     (start + t) % kPageTokens, head, k.data() + from,
                                     v.data() + from);
            }
    }

    FloatArray attention(const FloatArray& qkv, const std::vector<Span>& spans,
                         std::optional<float> scale, int64_t window, int64_t sinks, float cap,
                         const std::optional<FloatArray>& slopes,
                         const std::optional<FloatArray>& sink_logits, const std::string& isa,
                         int threads) {
        int64_t D = layout_.head_dim, T = qkv.ndim() == 2 ? qkv.shape(0) : 0;
        int64_t heads = qkv.ndim() == 2 ? qkv.shape(1) / D - 2 * layout_.heads : 0;
        require(
            qkv.ndim() == 2 && qkv.shape(1) % D == 0 && heads >= 1 && heads % layout_.heads == 0,
            "qkv must have shape [T, (H + 2 Hkv) D] with Hkv=", layout_.heads, ", D=", D,
            " and H a multiple of Hkv");
        float factor = scale ? *scale : 1 / std::sqrt(float(D));
        require(factor > 0 && std::isfinite(factor), "scale=", factor, " must be positive");
        require(window >= 0, "window=", window, " must be 0 (all) or positive");
        check_sinks(window, sinks);
        require(cap >= 0, "cap=", cap, " must be 0 (none) or positive");
        for (const auto* x : {&slopes, &sink_logits})
            require(!*x || ((*x)->ndim() == 1 && (*x)->shape(0) == heads),
                    x == &slopes ? "slopes" : "sink_logits", " must have shape [", heads, "]");
        require(threads >= 0 && threads <= 1024, "threads=", threads,
                " must be 0 (default) to 1024");
        std::vector<SequenceSpan> rows;
        int64_t covered = 0, context = 0;
        for (const auto& [row, count, start, pages] : spans) {
            require(row == covered && count >= 1 && count <= T - row,
                    "spans must cover the rows of qkv in order: expected one that starts at row ",
                    covered, " within ", T, " rows, found row ", row, " and ", count, " rows");
            check_pages(pages, start, count);
            covered += count;
            context = std::max(context, start + count);
            rows.push_back({row, count, start, pages.data()});
        }
        require(covered == T, "spans must cover all ", T, " rows, found ", covered);

        FloatArray out({py::ssize_t(T), py::ssize_t(heads * D)});
        const Kernels& kernels = kernels_for(isa);
        int team = threads ? threads : default_threads();
        size_t bytes = kernels.attention_scratch_bytes(layout_, int(heads), T, team, context,
                                                       int64_t(rows.size()));
        if (scratch_.size() < bytes) scratch_ = Buffer(bytes);
        AttentionArgs args{qkv.data(),
                           out.mutable_data(),
                           storage_.data(),
                           layout_,
                           rows.data(),
                           scratch_.data(),
                           int64_t(rows.size()),
                           T,
                           int(heads),
                           factor,
                           window,
                           sinks,
                           cap,
                           optional_data(slopes),
                           optional_data(sink_logits)};
        run_kernel(kernels.attention, args, team);
        return out;
    }

    size_t bytes() const { return storage_.size(); }

  private:
    void check_pages(const std::vector<int32_t>& pages, int64_t start, int64_t count) const {
        require(start >= 0, "start=", start, " must not be negative");
        int64_t needed = (start + count + kPageTokens - 1) / kPageTokens;
        require(int64_t(pages.size()) >= needed, "pages must list at least ", needed,
                " pages of 32 tokens for ", start + count, " tokens, found ", pages.size());
        for (int32_t page : pages)
            require(page >= 0 && page < pages_, "pages must be in [0, ", pages_, "), found ", page);
    }

    KvLayout layout_;
    int64_t pages_;
    Buffer storage_, scratch_;
};

}  // namespace

void bind_attention(py::module_& m) {
    py::class_<KvCache>(m, "KvCache")
        .def(py::init<const std::string&, int, int, int64_t>(), py::arg("kv_dtype"),
             py::arg("kv_heads"), py::arg("head_dim"), py::arg("pages"))
        .def("append", &KvCache::append, py::arg("k"), py::arg("v"), py::arg("pages"),
             py::arg("start") = 0)
        .def("attention", &KvCache::attention, py::arg("qkv"), py::arg("spans"),
             py::arg("scale") = py::none(), py::arg("window") = 0, py::arg("sinks") = 0,
             py::arg("cap") = 0.0f, py::arg("slopes") = py::none(),
             py::arg("sink_logits") = py::none(), py::kw_only(), py::arg("isa") = "",
             py::arg("threads") = 0)
        .def_property_readonly("nbytes", &KvCache::bytes);
}

}  // namespace genfast
