#include "core/thread_pool.h"

#include <pthread.h>

#include <chrono>
#include <ctime>
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

constexpr uint32_t kMemberBits = 16, kMembers = (1u << kMemberBits) - 1;

int64_t nanoseconds() {
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

double seconds_of(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

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
    for (int spins = 0; spins < kSpinsBeforeSleep; ++spins) {
        if (phase_.load(std::memory_order_acquire) != phase) return;
        pause();
    }
    int64_t begin = nanoseconds();
    while (phase_.load(std::memory_order_acquire) == phase)
        phase_.wait(phase, std::memory_order_acquire);
    slept_.fetch_add(nanoseconds() - begin, std::memory_order_relaxed);
}

int64_t Barrier::reset(int count) {
    count_ = count;
    waiting_.store(count, std::memory_order_relaxed);
    return slept_.exchange(0, std::memory_order_relaxed);
}

ThreadPool::ThreadPool(int threads, bool yielding)
    : size_(threads < 1 ? 1 : threads), yielding_(yielding), crowd_(size_), barrier_(size_) {
    for (int index = 1; index < size_; ++index)
        workers_.emplace_back([this, index] { work(index); });
}

ThreadPool::~ThreadPool() {
    stop_.store(true);
    call_.fetch_add(1 << kMemberBits);
    call_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_erased(Job job, void* context) {
    std::lock_guard<std::mutex> lock(turn_);
    int64_t begin = yielding_ ? nanoseconds() : 0;
    int count = yielding_ ? crowd_.members(begin) : size_;
    if (count == 1) {
        Team alone;
        return job(context, alone);
    }
    barrier_.reset(count);
    Team team{0, count, &barrier_, &tickets_};
    tickets_ = 0;
    job_ = job;
    context_ = context;
    uint32_t number = (call_.load(std::memory_order_relaxed) >> kMemberBits) + 1;
    call_.store(number << kMemberBits | uint32_t(count), std::memory_order_release);
    call_.notify_all();
    job(context, team);
    barrier_.arrive_and_wait();
    if (yielding_) crowd_.ran(count, begin, nanoseconds(), barrier_.reset(count));
}

void ThreadPool::work(int index) {
    uint32_t seen = 0, call;
    int count = size_;
    for (;; seen = call) {
        int spins = index < count ? 0 : kSpinsBeforePark;
        while ((call = call_.load(std::memory_order_acquire)) == seen) {
            if (++spins < kSpinsBeforePark)
                pause();
            else
                call_.wait(seen, std::memory_order_acquire);
        }
        if (stop_.load()) return;
        count = int(call & kMembers);
        if (index >= count) continue;
        Team team{index, count, &barrier_, &tickets_};
        job_(context_, team);
        barrier_.arrive_and_wait();
    }
}

double thread_cpu_seconds() {
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

double ThreadPool::cpu_seconds() {
    double sum = thread_cpu_seconds();
#if defined(__linux__)
    for (std::thread& worker : workers_) {
        clockid_t clock;
        if (pthread_getcpuclockid(worker.native_handle(), &clock) == 0) sum += seconds_of(clock);
    }
#endif
    return sum;
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
