#include "bindings/bindings.h"

// append.h belongs to whoever includes it: kernels compile it once per instruction set.
#define GENFAST_ISA caches
#include "kernels/attention/append.h"
#include "kernels/latent_attention/rows.h"

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
        set_layout({kv_type_named(kv_dtype), kv_heads, head_dim}, pages);
    }

    static KvCache latent(const std::string& kv_dtype, int64_t latent, int64_t rotated,
                          int64_t pages) {
        KvCache cache;
        cache.set_layout(latent_layout(kv_type_named(kv_dtype), latent, rotated), pages);
        return cache;
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
        check_sight(factor, window, sinks);
        require(cap >= 0, "cap=", cap, " must be 0 (none) or positive");
        for (const auto* x : {&slopes, &sink_logits})
            require(!*x || ((*x)->ndim() == 1 && (*x)->shape(0) == heads),
                    x == &slopes ? "slopes" : "sink_logits", " must have shape [", heads, "]");
        const auto [rows, context] = rows_of(spans, T);
        FloatArray out({py::ssize_t(T), py::ssize_t(heads * D)});
        const Kernels& kernels = kernels_for(isa);
        const int team = pool_of(threads).size();
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

    // Latent attention. rows [S, P + R] become tokens start, start + 1, ...
    void append_rows(const FloatArray& rows, const std::vector<int32_t>& pages, int64_t start) {
        check_rows(rows);
        check_pages(pages, start, rows.shape(0));
        LatentArgs args = latent_args();
        const SequenceSpan span{0, rows.shape(0), start, pages.data()};
        args.rows = rows.data();
        args.spans = &span;
        args.span_count = 1;
        Team alone;
        caches::append_rows(args, alone);
    }

    FloatArray latent_attention(const FloatArray& q, const FloatArray& turned,
                                const FloatArray& rows, const std::vector<Span>& spans, float scale,
                                int64_t window, int64_t sinks, const std::string& isa,
                                int threads) {
        check_rows(rows);
        const int64_t T = rows.shape(0), R = layout_.latent, P = layout_.head_dim - R;
        const int64_t heads = q.ndim() == 2 ? q.shape(1) / R : 0;
        require(q.ndim() == 2 && q.shape(0) == T && heads >= 1 && q.shape(1) == heads * R &&
                    turned.ndim() == 2 && turned.shape(0) == T && turned.shape(1) >= heads * P,
                "q must have shape [", T, ", H ", R, "], turned [", T, ", at least H ", P, "]");
        check_sight(scale, window, sinks);
        const auto [sequences, context] = rows_of(spans, T);
        FloatArray out = like(q);
        LatentArgs args = latent_args();
        args.q = q.data();
        args.turned = turned.data();
        args.rows = rows.data();
        args.out = out.mutable_data();
        args.spans = sequences.data();
        args.span_count = int64_t(sequences.size());
        args.T = T;
        args.columns = turned.shape(1);
        args.heads = int(heads);
        args.scale = scale;
        args.window = window;
        args.sinks = sinks;
        const Kernels& kernels = kernels_for(isa);
        const int team = pool_of(threads).size();
        const size_t bytes = kernels.latent_attention_scratch_bytes(args, team, context);
        if (scratch_.size() < bytes) scratch_ = Buffer(bytes);
        args.scratch = scratch_.data();
        run_kernel(kernels.latent_attention, args, team);
        return out;
    }

    size_t bytes() const { return storage_.size(); }

  private:
    KvCache() = default;

    void set_layout(const KvLayout& layout, int64_t pages) {
        require(pages >= 1 && pages < (int64_t(1) << 31), "pages=", pages, " must be at least 1");
        layout_ = layout;
        pages_ = pages;
        storage_ = Buffer(size_t((pages + kRunPages - 1) / kRunPages) * layout_.run_bytes());
    }

    LatentArgs latent_args() {
        LatentArgs args{};
        args.cache = storage_.data();
        args.layout = layout_;
        return args;
    }

    void check_rows(const FloatArray& rows) const {
        require(layout_.latent > 0, "this cache is not one of latent attention");
        require(rows.ndim() == 2 && rows.shape(1) == layout_.head_dim,
                "rows must have shape [T, P + R = ", layout_.head_dim, "]");
    }

    static void check_sight(float scale, int64_t window, int64_t sinks) {
        require(scale > 0 && std::isfinite(scale), "scale=", scale, " must be positive");
        require(window >= 0, "window=", window, " must be 0 (all) or positive");
        check_sinks(window, sinks);
    }

    // What the kernels know of the spans, and the longest context.
    std::pair<std::vector<SequenceSpan>, int64_t> rows_of(const std::vector<Span>& spans,
                                                          int64_t T) const {
        std::vector<SequenceSpan> rows;
        int64_t covered = 0, context = 0;
        for (const auto& [row, count, start, pages] : spans) {
            require(row == covered && count >= 1 && count <= T - row,
                    "spans must cover the rows in order: expected one that starts at row ", covered,
                    " within ", T, " rows, found row ", row, " and ", count, " rows");
            check_pages(pages, start, count);
            covered += count;
            context = std::max(context, start + count);
            rows.push_back({row, count, start, pages.data()});
        }
        require(covered == T, "spans must cover all ", T, " rows, found ", covered);
        return {std::move(rows), context};
    }

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
        .def_static("latent", &KvCache::latent, py::arg("kv_dtype"), py::arg("latent"),
                    py::arg("rotated"), py::arg("pages"))
        .def("append_rows", &KvCache::append_rows, py::arg("rows"), py::arg("pages"),
             py::arg("start") = 0)
        .def("latent_attention", &KvCache::latent_attention, py::arg("q"), py::arg("turned"),
             py::arg("rows"), py::arg("spans"), py::arg("scale"), py::arg("window") = 0,
             py::arg("sinks") = 0, py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0)
        .def_property_readonly("nbytes", &KvCache::bytes);
}

}  // namespace genfast
