#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {

// A thread a number of the result, or of what is placed there: its neighbours' lie side by side.
static __global__ void upsample_each(UpsampleArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), width = a.W * a.factor;
    const int64_t pixel = i / a.C, row = pixel / width;
    if (row >= a.N * a.H * a.factor) return;
    const int64_t from = row / a.factor * a.W + pixel % width / a.factor;
    a.out[i] = a.x[from * a.C + i % a.C];
}

void upsample(const UpsampleArgs& a, Team& team) {
    const int64_t count = a.N * a.H * a.W * a.C * a.factor * a.factor;
    if (team.index == 0) launch(upsample_each, blocks_for(count), kThreads, a);
}

static __global__ void shuffle_each(PixelShuffleArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), f = a.factor, width = a.W * f, c = i % a.C;
    const int64_t pixel = i / a.C, row = pixel / width, column = pixel % width;
    if (row >= a.N * a.H * f) return;
    const float* x = a.x + (row / f * a.W + column / f) * f * f * a.C;
    const int64_t tap = row % f * f + column % f;
    a.out[i] = a.channels_last ? x[tap * a.C + c] : x[c * f * f + tap];
}

void pixel_shuffle(const PixelShuffleArgs& a, Team& team) {
    const int64_t count = a.N * a.H * a.W * a.C * a.factor * a.factor;
    if (team.index == 0) launch(shuffle_each, blocks_for(count), kThreads, a);
}

static __global__ void place_each(PlaceArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), column = i % a.cols, row = i / a.cols % a.rows;
    const int64_t item = i / a.cols / a.rows;
    if (item >= a.items) return;
    a.out[item * a.out_item + row * a.out_row + column] =
        a.x[item * a.x_item + row * a.x_row + column];
}

void place(const PlaceArgs& a, Team& team) {
    const int64_t count = a.items * a.rows * a.cols;
    if (team.index == 0 && count > 0) launch(place_each, blocks_for(count), kThreads, a);
}

}  // namespace genfast::cuda
