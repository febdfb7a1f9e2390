#include "core/thread_pool.h"

#include <map>
#include <memory>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace genfast {
namespace {

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Long enough to bridge sampling between two decode steps, short enough to be no burden when idle.
constexpr int kSpinsBeforePark = 4000;
// Past this many polls the machine runs somebody else instead of the thread waited for. Sleeping,
// not yielding: polls use up the time slice that this thread will want when the work goes on.
constexpr int kSpinsBeforeSleep = 2000;

}  // namespace

void Team::sync() {
    if (barrier) barrier->arrive_and_wait();
}

void Barrier::arrive_and_wait() {
    uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (waiting_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        waiting_.store(count_, std::memory_order_relaxed);
        phase_.store(phase + 1, std::memory_order_release);
        phase_.notify_all();
        return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
        if (spins < kSpinsBeforeSleep)
            pause();
        else
            phase_.wait(phase, std::memory_order_acquire);
    }
}

ThreadPool::ThreadPool(int threads) : size_(threads < 1 ? 1 : threads), barrier_(size_) {
    for (int index = 1; index < size_; ++index)
        workers_.emplace_back([this, index] { work(index); });
}

ThreadPool::~ThreadPool() {
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_erased(Job job, void* context) {
    std::lock_guard<std::mutex> lock(turn_);
    if (workers_.empty()) {
        Team alone;
        return job(context, alone);
    }
    Team team{0, size_, &barrier_, &tickets_};
    tickets_ = 0;
    job_ = job;
    context_ = context;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    job(context, team);
    barrier_.arrive_and_wait();
}

void ThreadPool::work(int index) {
    uint32_t seen = 0;
    for (;;) {
        int spins = 0;
        while (generation_.load(std::memory_order_acquire) == seen) {
            if (++spins < kSpinsBeforePark)
                pause();
            else
                generation_.wait(seen, std::memory_order_acquire);
        }
        ++seen;
        if (stop_.load()) return;
        Team team{index, size_, &barrier_, &tickets_};
        job_(context_, team);
        barrier_.arrive_and_wait();
    }
}

ThreadPool& shared_pool(int threads) {
    static std::mutex mutex;
    static auto* pools =
        new std::map<int, std::unique_ptr<ThreadPool>>();  // outlives exit handlers
    std::lock_guard<std::mutex> lock(mutex);
    auto& pool = (*pools)[threads];
    if (!pool) pool = std::make_unique<ThreadPool>(threads);
    return *pool;
}

}  // namespace genfast
