// A team of threads that runs one function at a time on all of its members.
// Workers spin briefly for the next call (a decode step follows the last one within microseconds),
// then park in the kernel: an idle pool costs nothing to the host program.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/crowd.h"
#include "core/team.h"

namespace genfast {

// Sense-reversing barrier: counter and flag on separate cache lines.
class Barrier {
  public:
    explicit Barrier(int count) : count_(count), waiting_(count) {}
    void arrive_and_wait();

    // While nobody is in it: how many meet from now on; and the nanoseconds that members slept in
    // it since the last such call, all of them together.
    int64_t reset(int count);

  private:
    int count_;
    alignas(64) std::atomic<int> waiting_;
    alignas(64) std::atomic<uint32_t> phase_{0};
    alignas(64) std::atomic<int64_t> slept_{0};
};

class ThreadPool {
  public:
    // The calling thread of run() is one of them. yielding: while the machine is crowded (crowd.h),
    // runs have fewer members.
    explicit ThreadPool(int threads, bool yielding = false);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return size_; }

    // Processor time that the calling thread and the workers have taken so far.
    double cpu_seconds();

    // Runs fn(team) on every member and returns when all are done. Calls from several threads take
    // turns. fn must not throw.
    template <class Fn>
    void run(Fn&& fn) {
        using Callable = std::remove_reference_t<Fn>;
        run_erased([](void* f, Team& team) { (*static_cast<Callable*>(f))(team); }, &fn);
    }

  private:
    using Job = void (*)(void*, Team&);
    void run_erased(Job job, void* context);
    void work(int index);

    const int size_;
    const bool yielding_;
    std::mutex turn_;
    Crowd crowd_;
    Barrier barrier_;
    Job job_ = nullptr;
    void* context_ = nullptr;
    alignas(64) int64_t tickets_ = 0;
    // The number of the run, times 2^16, plus how many members take part in it. One variable: a
    // member that takes no part may be late, and must not take the next run's number for this
    // one's.
    alignas(64) std::atomic<uint32_t> call_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};

double thread_cpu_seconds();  // processor time of the calling thread

// A pool kept for calls that belong to no model (genfast.ops); one per size, made on first use.
ThreadPool& shared_pool(int threads);

}  // namespace genfast
