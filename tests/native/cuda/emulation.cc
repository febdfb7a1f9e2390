#include "cuda/emulation.h"

#include <ucontext.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace genfast::emulation {
namespace {

constexpr size_t kStack = 256 * 1024;
constexpr int kWarp = 32, kWarpgroup = 128;
constexpr size_t kMostShared = 227 * 1024;  // of an H100's block

struct Barrier {
    int expected = 0, waiting = 0;
    int64_t round = 0;
};

// By group; the last one has not ended.
struct Groups {
    std::deque<std::vector<Work>> groups{1};
    bool unfinished() const {
        for (const auto& group : groups)
            if (!group.empty()) return true;
        return false;
    }
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = true, waited = false;  // waited: for earlier launches
    void* sanitizer = nullptr;
    size_t round = 0;  // of what it gave its warp
    Groups beside[2];  // by Beside
};

struct Release {
    void operator()(std::byte* memory) const { std::free(memory); }
};

struct Machine {
    std::vector<Fiber> fibers;
    ucontext_t home;
    void* home_sanitizer = nullptr;
    const void* home_stack = nullptr;
    size_t home_size = 0;
    int current = 0;
    const Work* kernel = nullptr;
    const Launch* earlier = nullptr;  // not begun yet
    std::unique_ptr<std::byte, Release> shared;
    Barrier block;
    std::vector<Barrier> warpgroups, warps;
    std::vector<Work> bulk;      // copies that have begun
    int aside = 0;               // threads that let others go first
    int64_t halts = 0;           // how often all others waited then
    std::vector<Words> mail[2];  // of each thread, in odd and even rounds
    bool moved = false;          // some thread got on since the last look
    unsigned way = 0;            // one of eight: threads backward, copies late, products late
    bool backward() const { return way & 1; }
    bool late(Beside kind) const { return way & (kind == Beside::copies ? 2 : 4); }
    const char* fault = nullptr;
    std::exception_ptr failed;  // of the earlier launch
};

// An earlier launch runs on a machine of its own, in a thread of the later one's.
Machine machines[2];
Machine* machine = machines;
std::mutex turn;  // one launch at a time
std::atomic<int64_t> launches = 0;

void leave([[maybe_unused]] bool for_good) {
    Fiber& fiber = machine->fibers[size_t(machine->current)];
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.sanitizer, machine->home_stack,
                                   machine->home_size);
#endif
    swapcontext(&fiber.context, &machine->home);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.sanitizer, &machine->home_stack, &machine->home_size);
#endif
}

void enter(int index) {
    Fiber& fiber = machine->fibers[size_t(index)];
    machine->current = index;
    threadIdx = dim3(unsigned(index), 0, 0);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine->home_sanitizer, fiber.stack.get(), kStack);
#endif
    swapcontext(&machine->home, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(machine->home_sanitizer, nullptr, nullptr);
#endif
}

void begin() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine->home_stack, &machine->home_size);
#endif
    (*machine->kernel)();
    Fiber& fiber = machine->fibers[size_t(machine->current)];
    for (const Groups& groups : fiber.beside)
        if (groups.unfinished()) fail("a thread ends before its copies or products");
    if (!fiber.waited) fail("a thread ends that did not wait for earlier launches");
    fiber.done = true;
    machine->moved = true;
    leave(true);
}

void meet(Barrier& barrier) {
    const int64_t round = barrier.round;
    machine->moved = true;
    if (++barrier.waiting == barrier.expected) {
        barrier.waiting = 0;
        ++barrier.round;
        return;
    }
    while (barrier.round == round) leave(false);
}

// Where all threads wait, those that stepped aside go on; then copies that were left as late as may
// be are made, the last one first.
void unblock() {
    if (machine->aside > 0) {
        ++machine->halts;
        return;
    }
    if (machine->bulk.empty())
        return fail("threads of a block wait for each other at different places");
    const Work copy = std::move(machine->bulk.back());
    machine->bulk.pop_back();
    copy();
}

void run_block(int threads, size_t shared) {
    std::memset(machine->shared.get(), 0xff, shared);
    machine->block = {threads, 0, 0};
    machine->aside = 0;
    machine->warps.assign(size_t(threads / kWarp), {kWarp, 0, 0});
    machine->warpgroups.assign(size_t(threads / kWarpgroup), {kWarpgroup, 0, 0});
    for (int i = 0; i < threads; ++i) {
        Fiber& fiber = machine->fibers[size_t(i)];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, begin, 0);
        fiber.done = fiber.waited = false;
        fiber.round = 0;
        for (Groups& groups : fiber.beside) groups = {};
    }
    for (bool busy = true; busy;) {
        busy = machine->moved = false;
        for (int i = 0; i < threads; ++i) {
            const int index = machine->backward() ? threads - 1 - i : i;
            if (machine->fibers[size_t(index)].done) continue;
            busy = true;
            enter(index);
        }
        if (busy && !machine->moved) unblock();
        if (!busy && !machine->bulk.empty()) fail("a block ends before its copies");
        if (!machine->fault && !machine->failed) continue;
        machine->bulk.clear();
        if (machine->failed) std::rethrow_exception(std::exchange(machine->failed, nullptr));
        throw std::logic_error(std::exchange(machine->fault, nullptr));
    }
    ++machine->way;
}

void run_grid(const Launch& launch) {
    const auto& [grid, threads, shared, kernel] = launch;
    if (threads % kWarp != 0 || threads <= 0 || grid.y > 65535 || grid.z > 65535 ||
        threads > 1024 || shared > kMostShared || grid.x * int64_t(grid.y) * grid.z <= 0)
        throw std::logic_error("no GPU runs a grid of this shape");
    ++launches;
    if (machine->fibers.size() < size_t(threads)) machine->fibers.resize(size_t(threads));
    for (auto& mail : machine->mail) mail.resize(size_t(threads));
    machine->kernel = &kernel;
    // Of just this size, so that a sanitizer sees what lies beyond.
    machine->shared.reset(
        static_cast<std::byte*>(std::aligned_alloc(1024, (shared + 1023) / 1024 * 1024)));
    gridDim = grid;
    blockDim = dim3(unsigned(threads));
    const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
    const bool backward = machine->backward();
    for (int64_t i = 0; i < blocks; ++i) {
        const int64_t at = backward ? blocks - 1 - i : i;
        blockIdx = dim3(unsigned(at % grid.x), unsigned(at / grid.x % grid.y),
                        unsigned(at / grid.x / grid.y));
        run_block(threads, shared);
    }
}

}  // namespace

void run(const Launch& launch, const Launch* earlier) {
    std::lock_guard lock(turn);
    machine->earlier = earlier;
    run_grid(launch);
}

void wait_for_earlier() {
    Machine& mine = *machine;
    mine.fibers[size_t(mine.current)].waited = true;
    const Launch* earlier = std::exchange(mine.earlier, nullptr);
    if (!earlier) return;
    const auto places = std::tuple(threadIdx, blockIdx, blockDim, gridDim);
    machine = machines + 1;
    try {
        run_grid(*earlier);
    } catch (...) {
        mine.failed = std::current_exception();
    }
    machine = &mine;
    std::tie(threadIdx, blockIdx, blockDim, gridDim) = places;
}

void fail(const char* what) {
    if (!machine->fault) machine->fault = what;
}

std::byte* shared_memory() {
    return machine->shared.get();
}

void meet_block() {
    meet(machine->block);
}

void meet_warpgroup() {
    const size_t mine = size_t(machine->current / kWarpgroup);
    if (mine < machine->warpgroups.size()) return meet(machine->warpgroups[mine]);
    fail("a warpgroup is four whole warps");
}

void meet_warp() {
    meet(machine->warps[size_t(machine->current / kWarp)]);
}

const Words* gather(const Words& mine) {
    const size_t me = size_t(machine->current);
    auto& mail = machine->mail[machine->fibers[me].round++ % 2];
    mail[me] = mine;
    meet_warp();
    return mail.data() + me / kWarp * kWarp;
}

void wait_until(const std::function<bool()>& there) {
    while (!there()) leave(false);
    machine->moved = true;
}

void step_aside() {
    if (!machine->late(Beside::products)) return;
    const int64_t halt = machine->halts;
    ++machine->aside;
    while (machine->halts == halt) leave(false);
    --machine->aside;
    machine->moved = true;
}

void begin_beside(Beside kind, Work work) {
    if (machine->late(kind))
        machine->fibers[size_t(machine->current)].beside[int(kind)].groups.back().push_back(
            std::move(work));
    else
        work();
}

void end_group(Beside kind) {
    // Whoever waits for late copies has time to come and find what is not there.
    if (kind == Beside::copies && machine->late(kind))
        for (int i = 0; i < 4; ++i) {
            machine->moved = true;
            leave(false);
        }
    machine->fibers[size_t(machine->current)].beside[int(kind)].groups.emplace_back();
}

void wait_for_groups(Beside kind, size_t pending) {
    auto& groups = machine->fibers[size_t(machine->current)].beside[int(kind)].groups;
    for (; groups.size() > pending + 1; groups.pop_front())
        for (const Work& work : groups.front()) work();
}

void copy_later(void* to, const void* from, bool there) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0)
        fail("a copy of 16 bytes that are not aligned");
    if (there)
        begin_beside(Beside::copies, [=] { std::memcpy(to, from, 16); });
    else
        begin_beside(Beside::copies, [=] { std::memset(to, 0, 16); });
}

void begin_bulk(Work copy) {
    if (machine->late(Beside::copies))
        machine->bulk.push_back(std::move(copy));
    else
        copy();
}

}  // namespace genfast::emulation

// For tests that count them.
extern "C" __attribute__((visibility("default"))) int64_t genfast_emulated_launches() {
    return genfast::emulation::launches;
}
