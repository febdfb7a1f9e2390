// The experts' products are matmul_each's: which rows go through which matrices is decided on the
// device, as nobody here knows the routes. Rows of one expert go up to sixteen at a time; where
// tokens are few and seldom meet, one at a time.
#include <stdexcept>

#include "cuda/launch.h"
#include "kernels/matmul/cuda_each.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

constexpr int64_t kFewRoutes = 64;

// Routes are sorted by expert: row r of x, hidden and result is the r-th of them.
struct Experts {
    int32_t* row_of;  // [T k], by route
    MatmulArgs *up, *down;
    float *x, *hidden, *result;
    std::byte* scratch;  // of the products
    size_t of_product;
    int64_t tile, products;  // rows of a product, most products
    size_t bytes;            // of all this

    explicit Experts(const MoeArgs& a) {
        const Matrix &gate_up = a.matrices[0], &back = a.matrices[1];
        const int64_t routes = a.T * a.k;
        tile = routes <= kFewRoutes ? 1 : kEachRows;
        products = routes < routes / tile + a.experts ? routes : routes / tile + a.experts;
        const size_t up_bytes = each_scratch_bytes(gate_up, tile);
        const size_t down_bytes = each_scratch_bytes(back, tile);
        of_product = up_bytes > down_bytes ? up_bytes : down_bytes;
        bytes = 0;
        take(scratch, (products < kEachAtOnce ? products : kEachAtOnce) * of_product, a.scratch);
        take(row_of, size_t(routes) * sizeof *row_of, a.scratch);
        take(up, size_t(products) * sizeof *up, a.scratch);
        take(down, size_t(products) * sizeof *down, a.scratch);
        take(x, size_t(routes * gate_up.K) * sizeof *x, a.scratch);
        take(hidden, size_t(routes * back.K) * sizeof *hidden, a.scratch);
        take(result, size_t(routes * gate_up.K) * sizeof *result, a.scratch);
    }

  private:
    template <class T>
    void take(T*& place, size_t size, std::byte* base) {
        place = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(base) + bytes);
        bytes += size_t(round_up(int64_t(size), 64));
    }
};

__device__ int expert_of(const MoeArgs& a, int64_t route) {
    return int(a.routes[route / a.k * 2 * a.k + route % a.k]);
}
__device__ float weight_of(const MoeArgs& a, int64_t route) {
    return a.routes[route / a.k * 2 * a.k + a.k + route % a.k];
}

// By one block. Where among its expert's rows a route comes changes no bits.
__global__ void list_experts(MoeArgs a, Experts s) {
    wait_for_earlier_launches();
    __shared__ unsigned rows[kMaxExperts], first[kMaxExperts], first_product[kMaxExperts];
    __shared__ int64_t used;
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads) rows[e] = 0;
    __syncthreads();
    const int64_t routes = a.T * a.k;
    for (int64_t i = threadIdx.x; i < routes; i += kThreads) atomicAdd(&rows[expert_of(a, i)], 1u);
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned before = 0, products = 0;
        for (int64_t e = 0; e < a.experts; ++e) {
            first[e] = before;
            first_product[e] = products;
            before += rows[e];
            products += unsigned((rows[e] + s.tile - 1) / s.tile);
        }
        used = products;
    }
    __syncthreads();
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads)
        for (int64_t done = 0, i = first_product[e]; done < rows[e]; done += s.tile, ++i) {
            const int64_t row = first[e] + done,
                          M = rows[e] - done < s.tile ? rows[e] - done : s.tile;
            std::byte* scratch = s.scratch + i % kEachAtOnce * s.of_product;
            const int64_t E = a.matrices[0].K, F = a.matrices[1].K;
            s.up[i] = up_product(a, e, s.x + row * E, M, s.hidden + row * F, scratch);
            s.down[i] = down_product(a, e, s.hidden + row * F, M, s.result + row * E, scratch);
        }
    for (int64_t i = used + threadIdx.x; i < s.products; i += kThreads) s.up[i].M = s.down[i].M = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < routes; i += kThreads)
        s.row_of[i] = int32_t(atomicAdd(&first[expert_of(a, i)], 1u));
}

__global__ void gather_rows_of_experts(MoeArgs a, Experts s) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), E = a.matrices[0].K, route = i / E;
    if (route < a.T * a.k) s.x[s.row_of[route] * E + i % E] = a.x[route / a.k * E + i % E];
}

__global__ void add_experts(MoeArgs a, Experts s) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), E = a.matrices[0].K, t = i / E;
    if (t >= a.T) return;
    float sum = a.residual ? a.residual[i] : 0;
    for (int64_t route = t * a.k; route < (t + 1) * a.k; ++route)
        sum = fmaf(s.result[s.row_of[route] * E + i % E], weight_of(a, route), sum);
    a.out[i] = sum;
}

}  // namespace

void moe(const MoeArgs& a, Team& team) {
    if (team.index != 0) return;
    const Experts s(a);
    const Matrix &up = a.matrices[0], &down = a.matrices[1];
    MoeArgs there = a;
    there.matrices = a.on_device;
    launch(list_experts, dim3(1), kThreads, there, s);
    launch(gather_rows_of_experts, blocks_for(a.T * a.k * up.K), kThreads, there, s);
    matmul_each(up, s.up, s.products, s.tile);
    matmul_each(down, s.down, s.products, s.tile);
    launch(add_experts, blocks_for(a.T * up.K), kThreads, there, s);
}

size_t moe_scratch_bytes(const MoeArgs& sizes, int) {
    for (int64_t e = 1; e < sizes.experts; ++e)
        for (int i : {0, 1})
            if (sizes.matrices[2 * e + i].format != sizes.matrices[i].format)
                throw std::invalid_argument(
                    "device='cuda' needs experts whose weights have one format; load this model "
                    "with device='cpu'");
    // Fewer tokens than the limit may go one by one, in more products.
    MoeArgs few = sizes;
    few.T = kFewRoutes / sizes.k < sizes.T ? kFewRoutes / sizes.k : sizes.T;
    const size_t most = Experts(sizes).bytes, of_few = few.T > 0 ? Experts(few).bytes : 0;
    return most > of_few ? most : of_few;
}

}  // namespace genfast::cuda
