#include "cuda/ranks.h"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/nccl.h"

namespace genfast::cuda {
namespace {

constexpr size_t kGatheredBytes = size_t(64) << 20;  // of all ranks' chunks at once

// to [n] = the sum of the rows of all [ranks, n], in ascending order.
__global__ void sum_ranks(const float* all, float* to, int64_t n, int ranks) {
    wait_for_earlier_launches();
    const int64_t i = global_thread();
    if (i >= n) return;
    float sum = all[i];
    for (int rank = 1; rank < ranks; ++rank) sum += all[rank * n + i];
    to[i] = sum;
}

// NCCL's own sums depend on where a number lies in its message, and so on a batch: numbers are
// gathered, and each GPU adds them up itself.
class DeviceCommunicator : public Communicator {
  public:
    explicit DeviceCommunicator(Communicator& host)
        : host_(host),
          device_(open_device()),
          gathered_(device_.allocate(kGatheredBytes), device_.release),
          nccl_(nccl_join(host)) {}
    ~DeviceCommunicator() override {
        if (!aborted_) nccl_leave(nccl_);
    }

    int rank() const override { return host_.rank(); }
    int size() const override { return host_.size(); }

    void all_reduce_sum(const float* from, float* to, int64_t n) override {
        auto* gathered = reinterpret_cast<float*>(gathered_.get());
        const int64_t most = int64_t(kGatheredBytes / sizeof(float)) / size();
        for (int64_t at = 0; at < n; at += most) {
            const int64_t count = std::min(most, n - at);
            all_gather(from + at, gathered, count);
            launch(sum_ranks, blocks_for(count), kThreads, static_cast<const float*>(gathered),
                   to + at, count, size());
        }
    }
    void all_gather(const float* from, float* to, int64_t n) override {
        if (!failed_ && !nccl_all_gather(nccl_, from, to, n)) failed_ = true;
    }
    void broadcast(void* data, size_t bytes) override { host_.broadcast(data, bytes); }

    // A kernel of NCCL waits for a lost rank for ever: it is looked for meanwhile.
    void finish() override {
        while (!aborted_ && !device_.idle())
            if (host_.lost()) {
                nccl_abort(nccl_);
                aborted_ = failed_ = true;
            }
    }
    void leave() override { host_.leave(); }
    bool lost() override { return failed_ || host_.lost(); }
    void check() const override {
        host_.check();
        if (failed_) throw std::runtime_error("NCCL gave up: load the model again");
    }

  private:
    Communicator& host_;
    const Device device_;
    const std::unique_ptr<std::byte, void (*)(std::byte*)> gathered_;
    NcclRanks* nccl_;
    bool failed_ = false, aborted_ = false;
};

}  // namespace

Communicator* open_ranks(Communicator& host) {
    return new DeviceCommunicator(host);
}

}  // namespace genfast::cuda
