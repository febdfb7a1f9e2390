#include "kernels/matmul/activations.h"
#include "kernels/matmul/patches.h"
#include "kernels/matmul/plan.h"
#include "kernels/table.h"

namespace genfast::GENFAST_ISA {
namespace {

// Packed rows of a block: written once, then read by every panel of weights while they are near.
#if defined(__AVX512F__)
constexpr int64_t kRowBytes = 1 << 20, kLeastRows = 96;  // of whole tiles
#else
constexpr int64_t kRowBytes = 8 << 20, kLeastRows = 384;
#endif
constexpr int64_t kJobs = 4;    // a thread has at most
constexpr int64_t kBlocks = 4;  // a job has, unless a thread's only one is smaller

int64_t rows_of(const Conv2dArgs& a) {
    return a.N * a.out_h * a.out_w;
}

int64_t rows_a_block(const Conv2dArgs& a) {
    const bool floats = a.w.format == Format::f32 || a.w.format == Format::f16;
    const bool halves = a.w.format == Format::bf16 || a.w.format == Format::fp8;
    const int64_t bytes = floats ? 4 : halves ? 2 : 1;
    const int64_t rows = kRowBytes / (a.w.K * bytes) / kLeastRows * kLeastRows;
    return rows < kLeastRows ? kLeastRows : rows;
}

bool is_matmul(const Conv2dArgs& a) {
    return a.kernel_h * a.kernel_w == 1 && a.stride == 1 && a.out_h == a.H && a.out_w == a.W;
}

// How output pixels are cut: into jobs, of one thread each (one job: of all), and these into
// blocks. A team that shrinks cuts them elsewhere, in the same scratch.
struct Cut {
    int64_t rows, jobs, block;

    Cut(const Conv2dArgs& a, int threads) : rows(rows_of(a)), jobs(1), block(rows_a_block(a)) {
        const int64_t each = rows / threads;
        if (each < 2 * kLeastRows) return;
        jobs = each / (kBlocks * block);
        jobs = (jobs < 1 ? 1 : jobs > kJobs ? kJobs : jobs) * threads;
    }
    Range job(int64_t i) const { return {rows * i / jobs, rows * (i + 1) / jobs}; }
    // each(first, count) of a job's blocks
    template <class Each>
    void blocks(Range job, Each each) const {
        for (int64_t first = job.begin; first < job.end; first += block)
            each(first, job.end - first < block ? job.end - first : block);
    }
};

// How a block's patches reach their tiles: put together one by one, or tap by tap from rows of
// pixels that lie ready, once, not once a patch.
enum class Source : uint8_t { gathered, images, rounded, scaled };

Source source_of(const Conv2dArgs& a) {
    const Layout layout = tiles_for(a.w.format, rows_of(a)).layout;
    if (a.C % kChunk) return Source::gathered;
    if (layout == Layout::bf16_pairs || layout == Layout::bf16_rows) return Source::rounded;
    return is_quantised(layout) ? Source::scaled : Source::images;
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

// A block's scratch before matmul's: the rows of pixels under it, and the largest magnitude in each
// pixel; or every thread's patches.
struct Room {
    Source source;
    int64_t band_rows = 0;
    size_t pixels = 0, largest = 0, patches = 0;
    size_t bytes() const { return pixels + largest + patches; }

    Room(const Conv2dArgs& a, int threads) : source(source_of(a)) {
        if (source == Source::gathered)
            patches = align64(size_t(a.w.K * threads) * kMaxTokens * sizeof(float));
        if (source == Source::gathered || source == Source::images) return;
        band_rows = 1;  // for padding alone
        // Wherever a block begins: at the end of a row it sees most.
        const int64_t M = rows_of(a), block = rows_a_block(a);
        for (int64_t first = a.out_w - 1; first < M; first += a.out_w) {
            const Range rows = rows_under(a, first, M - first < block ? M - first : block);
            band_rows = rows.end - rows.begin > band_rows ? rows.end - rows.begin : band_rows;
        }
        const size_t count = size_t(band_rows * a.W);
        pixels = align64(count * size_t(a.C) * (source == Source::scaled ? 4 : 2));
        largest = source == Source::scaled ? align64(count * sizeof(float)) : 0;
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

// The pixels under blocks, one after the other: what two of them share is prepared once.
class PixelRows {
  public:
    PixelRows(const Conv2dArgs& a, const Room& room, std::byte* scratch)
        : a_(a),
          room_(room),
          pixels_(scratch),
          largest_(reinterpret_cast<float*>(scratch + room.pixels)) {}

    Band band() const {
        if (room_.source == Source::gathered) return {};
        if (room_.source == Source::images)
            return {reinterpret_cast<const std::byte*>(a_.x), a_.N * a_.H, 4};
        return {pixels_, room_.band_rows, room_.source == Source::rounded ? 2 : 4, largest_};
    }

    // Of the block's output pixels. Every thread does its share.
    void prepare(int64_t first, int64_t count, Team& team) {
        if (!room_.band_rows) return;
        const Range under = rows_under(a_, first, count);
        const int64_t begin = under.begin > ready_ ? under.begin : ready_;
        if (begin >= under.end) return;
        const Range mine = share((under.end - begin) * a_.W, team);
        for (int64_t i = begin * a_.W + mine.begin; i < begin * a_.W + mine.end; ++i) prepare(i);
        team.sync();
        ready_ = under.end;
    }

  private:
    void prepare(int64_t pixel) {
        const int64_t at = pixel % (room_.band_rows * a_.W);
        const float* x = a_.x + pixel * a_.C;
        if (room_.source == Source::rounded)
            round_pixel(x, a_.C, reinterpret_cast<uint16_t*>(pixels_) + at * a_.C);
        else
            largest_[at] = scale_pixel(x, a_.C, a_.w.format == Format::int8,
                                       reinterpret_cast<float*>(pixels_) + at * a_.C);
    }

    const Conv2dArgs& a_;
    const Room& room_;
    std::byte* pixels_;
    float* largest_;
    int64_t ready_ = 0;  // rows
};

// A job. scratch, the team's: Room's, then matmul's.
void convolve(const Conv2dArgs& a, const Cut& cut, Range job, const Room& room, std::byte* scratch,
              Team& team) {
    PixelRows pixels(a, room, scratch);
    float* patches = room.patches ? reinterpret_cast<float*>(scratch) : nullptr;
    const int64_t N = outputs(a.w);
    cut.blocks(job, [&](int64_t first, int64_t count) {
        if (first > job.begin) team.sync();  // scratch is everybody's
        pixels.prepare(first, count, team);
        const Patches rows{a.H,      a.W,   a.C,    a.out_h, a.out_w,       a.kernel_h, a.kernel_w,
                           a.stride, a.top, a.left, first,   pixels.band(), patches};
        const float* residual = a.residual ? a.residual + first * N : nullptr;
        matmul({a.x, a.w, a.bias, residual, a.out + first * N, scratch + room.bytes(), count,
                a.activation, &rows},
               team);
    });
}

size_t scratch_of_job(const Conv2dArgs& a, const Room& room, int threads) {
    const int64_t rows = rows_of(a), block = rows_a_block(a);
    return align64(room.bytes() + matmul_scratch_bytes(a.w, block < rows ? block : rows, threads));
}

}  // namespace

void conv2d(const Conv2dArgs& a, Team& team) {
    if (is_matmul(a))
        return matmul({a.x, a.w, a.bias, a.residual, a.out, a.scratch, rows_of(a), a.activation},
                      team);
    const Cut cut(a, team.count);
    if (cut.jobs == 1) return convolve(a, cut, cut.job(0), Room(a, team.count), a.scratch, team);
    const Room room(a, 1);
    std::byte* own = a.scratch + scratch_of_job(a, room, 1) * size_t(team.index);
    team.each_job(cut.jobs, [&](int64_t i) {
        Team alone;
        convolve(a, cut, cut.job(i), room, own, alone);
    });
}

size_t conv2d_scratch_bytes(const Conv2dArgs& a, int threads) {
    if (is_matmul(a)) return matmul_scratch_bytes(a.w, rows_of(a), threads);
    const int64_t most = rows_of(a) / (2 * kLeastRows);  // threads with jobs of their own
    const size_t apart = scratch_of_job(a, Room(a, 1), 1) * size_t(most < threads ? most : threads);
    const size_t together = scratch_of_job(a, Room(a, threads), threads);
    return apart > together ? apart : together;
}

}  // namespace genfast::GENFAST_ISA
