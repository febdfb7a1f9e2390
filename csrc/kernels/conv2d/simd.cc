#include "kernels/matmul/activations.h"
#include "kernels/matmul/patches.h"
#include "kernels/matmul/plan.h"
#include "kernels/table.h"

namespace genfast::GENFAST_ISA {
namespace {

// Packed rows of a block: written once, then read by every panel of weights while they are near.
#if defined(__AVX512F__)
constexpr int64_t kBlockBytes = 1 << 20, kLeastRows = 96;  // of whole tiles
#else
constexpr int64_t kBlockBytes = 8 << 20, kLeastRows = 384;
#endif

int64_t rows_of(const Conv2dArgs& a) {
    return a.N * a.out_h * a.out_w;
}

int64_t rows_a_block(const Conv2dArgs& a) {
    const bool floats = a.w.format == Format::f32 || a.w.format == Format::f16;
    const bool halves = a.w.format == Format::bf16 || a.w.format == Format::fp8;
    const int64_t bytes = floats ? 4 : halves ? 2 : 1;
    const int64_t rows = kBlockBytes / (a.w.K * bytes) / kLeastRows * kLeastRows;
    return rows < kLeastRows ? kLeastRows : rows;
}

bool is_matmul(const Conv2dArgs& a) {
    return a.kernel_h * a.kernel_w == 1 && a.stride == 1 && a.out_h == a.H && a.out_w == a.W;
}

// How the rows of pixels under a block of patches are prepared: once, not once a patch.
enum class Prepared : uint8_t { not_at_all, rounded, scaled };

Prepared prepared(const Conv2dArgs& a) {
    const Layout layout = tiles_for(a.w.format, rows_of(a)).layout;
    if (layout == Layout::bf16_pairs || layout == Layout::bf16_rows) return Prepared::rounded;
    return is_quantised(layout) ? Prepared::scaled : Prepared::not_at_all;
}

bool has_band(const Conv2dArgs& a) {
    return a.C % kChunk == 0;
}

// Rows of pixels under the patches of output pixels [first, first + count), counted over all
// images. Between two images none is left out.
Range rows_under(const Conv2dArgs& a, int64_t first, int64_t count) {
    auto row = [&](int64_t pixel, int64_t ky) {
        const int64_t image = pixel / (a.out_h * a.out_w), y = pixel / a.out_w % a.out_h;
        const int64_t at = y * a.stride - a.top + ky;
        return image * a.H + (at < 0 ? 0 : at > a.H ? a.H : at);
    };
    return {row(first, 0), row(first + count - 1, a.kernel_h)};
}

// Rows that are kept at a time, at least.
int64_t band_rows(const Conv2dArgs& a) {
    const int64_t M = rows_of(a), block = rows_a_block(a);
    if (prepared(a) == Prepared::not_at_all) return a.N * a.H;
    int64_t most = 1;
    for (int64_t first = 0; first < M; first += block) {
        const Range rows = rows_under(a, first, M - first < block ? M - first : block);
        most = rows.end - rows.begin > most ? rows.end - rows.begin : most;
    }
    return most;
}

// A block's scratch before matmul's: rows of pixels, the largest magnitudes in them; or patches.
struct Room {
    size_t pixels = 0, largest = 0, patches = 0;
    size_t bytes() const { return pixels + largest + patches; }

    Room(const Conv2dArgs& a, int threads) {
        if (!has_band(a)) {
            patches = align64(size_t(a.w.K * threads) * kMaxTokens * sizeof(float));
        } else if (prepared(a) != Prepared::not_at_all) {
            const bool scaled = prepared(a) == Prepared::scaled;
            const size_t count = size_t(band_rows(a) * a.W);
            pixels = align64(count * size_t(a.C) * (scaled ? 4 : 2));
            largest = scaled ? align64(count * sizeof(float)) : 0;
        }
    }
};

void round_pixel(const float* x, int64_t C, uint16_t* out) {
    for (int64_t i = 0; i < C; i += kLanes) vstore_bf16(out + i, vround_bf16(vload(x + i)));
}

// Copied, for int8 rotated; gives the largest magnitude, or NaN if a number is not finite.
float scale_pixel(const float* x, int64_t C, bool rotated, float* out) {
    Vec largest = vzero(), poison = vzero();
    for (int64_t i = 0; i < C; i += kRotation) {
        Vec v[kRotatedVecs];
        for (int part = 0; part < kRotatedVecs; ++part) v[part] = vload(x + i + part * kLanes);
        if (rotated) rotate_chunk(v, kRotation);
        for (int part = 0; part < kRotatedVecs; ++part) {
            vstore(out + i + part * kLanes, v[part]);
            largest = vmax(vabs(v[part]), largest);
            poison = vadd(poison, vsub(v[part], v[part]));
        }
    }
    return vmaxall(largest) + vsum(poison);
}

// Rows [rows) of the images into the band.
void prepare(const Conv2dArgs& a, Prepared how, Range rows, const Band& band, Team& team) {
    const Range pixels = share((rows.end - rows.begin) * a.W, team);
    std::byte* out = const_cast<std::byte*>(band.pixels);
    for (int64_t i = pixels.begin; i < pixels.end; ++i) {
        const int64_t pixel = rows.begin * a.W + i, at = pixel % (band.rows * a.W);
        const float* x = a.x + pixel * a.C;
        std::byte* to = out + at * a.C * int64_t(band.bytes);
        if (how == Prepared::rounded)
            round_pixel(x, a.C, reinterpret_cast<uint16_t*>(to));
        else
            const_cast<float*>(band.largest)[at] =
                scale_pixel(x, a.C, a.w.format == Format::int8, reinterpret_cast<float*>(to));
    }
}

}  // namespace

void conv2d(const Conv2dArgs& a, Team& team) {
    const int64_t M = rows_of(a), N = outputs(a.w);
    if (is_matmul(a))
        return matmul({a.x, a.w, a.bias, a.residual, a.out, a.scratch, M, a.activation}, team);
    const Room room(a, team.count);
    const Prepared how = has_band(a) ? prepared(a) : Prepared::not_at_all;
    Band band;
    if (how != Prepared::not_at_all)
        band = {a.scratch, band_rows(a), how == Prepared::rounded ? 2 : 4,
                reinterpret_cast<const float*>(a.scratch + room.pixels)};
    else if (has_band(a))
        band = {reinterpret_cast<const std::byte*>(a.x), a.N * a.H, 4};
    float* patches = room.patches ? reinterpret_cast<float*>(a.scratch) : nullptr;
    const int64_t block = rows_a_block(a);
    int64_t ready = 0;  // rows of pixels
    for (int64_t first = 0; first < M; first += block) {
        const int64_t count = M - first < block ? M - first : block;
        if (first) team.sync();  // scratch is everybody's
        if (how != Prepared::not_at_all) {
            const Range under = rows_under(a, first, count);
            const int64_t begin = under.begin > ready ? under.begin : ready;
            if (begin < under.end) {
                prepare(a, how, {begin, under.end}, band, team);
                team.sync();
                ready = under.end;
            }
        }
        const Patches rows{a.H,      a.W,   a.C,    a.out_h, a.out_w, a.kernel_h, a.kernel_w,
                           a.stride, a.top, a.left, first,   band,    patches};
        const float* residual = a.residual ? a.residual + first * N : nullptr;
        matmul({a.x, a.w, a.bias, residual, a.out + first * N, a.scratch + room.bytes(), count,
                a.activation, &rows},
               team);
    }
}

size_t conv2d_scratch_bytes(const Conv2dArgs& a, int threads) {
    const int64_t M = rows_of(a), block = rows_a_block(a);
    if (is_matmul(a)) return matmul_scratch_bytes(a.w, M, threads);
    return Room(a, threads).bytes() + matmul_scratch_bytes(a.w, M < block ? M : block, threads);
}

}  // namespace genfast::GENFAST_ISA
