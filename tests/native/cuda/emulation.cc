#include "cuda/emulation.h"

#include <ucontext.h>

#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace genfast::emulation {
namespace {

constexpr size_t kStack = 256 * 1024;
constexpr int kWarp = 32;

struct Barrier {
    int expected = 0, waiting = 0;
    int64_t round = 0;
};

struct Copy {
    void* to;
    const void* from;  // null: zeros
    void make() const {
        if (from)
            std::memcpy(to, from, 16);
        else
            std::memset(to, 0, 16);
    }
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = true;
    void* sanitizer = nullptr;
    size_t round = 0;                         // of what it gave its warp
    std::deque<std::vector<Copy>> copies{1};  // by group; the last one has not ended
};

struct Machine {
    std::vector<Fiber> fibers;
    ucontext_t home;
    void* home_sanitizer = nullptr;
    const void* home_stack = nullptr;
    size_t home_size = 0;
    int current = 0;
    const std::function<void()>* kernel = nullptr;
    Barrier block;
    std::vector<Barrier> warps;
    std::vector<Words> mail[2];  // of each thread, in odd and even rounds
    bool moved = false;          // some thread got on since the last look
    unsigned way = 0;            // one of four: threads backward, copies late
    bool backward() const { return way & 1; }
    bool late() const { return way & 2; }
    const char* fault = nullptr;
};

Machine machine;
std::mutex turn;  // one launch at a time

void leave([[maybe_unused]] bool for_good) {
    Fiber& fiber = machine.fibers[size_t(machine.current)];
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.sanitizer, machine.home_stack,
                                   machine.home_size);
#endif
    swapcontext(&fiber.context, &machine.home);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.sanitizer, &machine.home_stack, &machine.home_size);
#endif
}

void enter(int index) {
    Fiber& fiber = machine.fibers[size_t(index)];
    machine.current = index;
    threadIdx = dim3(unsigned(index), 0, 0);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine.home_sanitizer, fiber.stack.get(), kStack);
#endif
    swapcontext(&machine.home, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(machine.home_sanitizer, nullptr, nullptr);
#endif
}

void begin() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine.home_stack, &machine.home_size);
#endif
    (*machine.kernel)();
    Fiber& fiber = machine.fibers[size_t(machine.current)];
    for (const auto& group : fiber.copies)
        if (!group.empty()) machine.fault = "a thread ends before its copies";
    fiber.done = true;
    machine.moved = true;
    leave(true);
}

void meet(Barrier& barrier) {
    const int64_t round = barrier.round;
    machine.moved = true;
    if (++barrier.waiting == barrier.expected) {
        barrier.waiting = 0;
        ++barrier.round;
        return;
    }
    while (barrier.round == round) leave(false);
}

void run_block(int threads) {
    machine.block = {threads, 0, 0};
    machine.warps.assign(size_t((threads + kWarp - 1) / kWarp), {kWarp, 0, 0});
    for (int i = 0; i < threads; ++i) {
        Fiber& fiber = machine.fibers[size_t(i)];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, begin, 0);
        fiber.done = false;
        fiber.round = 0;
        fiber.copies.assign(1, {});
    }
    for (bool busy = true; busy;) {
        busy = machine.moved = false;
        for (int i = 0; i < threads; ++i) {
            const int index = machine.backward() ? threads - 1 - i : i;
            if (machine.fibers[size_t(index)].done) continue;
            busy = true;
            enter(index);
        }
        if (busy && !machine.moved)
            machine.fault = "threads of a block wait for each other at different places";
        if (machine.fault) throw std::logic_error(std::exchange(machine.fault, nullptr));
    }
    ++machine.way;
}

}  // namespace

void run(dim3 grid, int threads, const std::function<void()>& kernel) {
    std::lock_guard lock(turn);
    if (threads % kWarp != 0 || threads <= 0 || grid.y > 65535 || grid.z > 65535 ||
        grid.x * int64_t(grid.y) * grid.z <= 0)
        throw std::logic_error("no GPU runs a grid of this shape");
    if (machine.fibers.size() < size_t(threads)) machine.fibers.resize(size_t(threads));
    for (auto& mail : machine.mail) mail.resize(size_t(threads));
    machine.kernel = &kernel;
    gridDim = grid;
    blockDim = dim3(unsigned(threads));
    const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
    const bool backward = machine.backward();
    for (int64_t i = 0; i < blocks; ++i) {
        const int64_t at = backward ? blocks - 1 - i : i;
        blockIdx = dim3(unsigned(at % grid.x), unsigned(at / grid.x % grid.y),
                        unsigned(at / grid.x / grid.y));
        run_block(threads);
    }
}

void meet_block() {
    meet(machine.block);
}

void meet_warp() {
    meet(machine.warps[size_t(machine.current / kWarp)]);
}

const Words* gather(const Words& mine) {
    const size_t me = size_t(machine.current);
    auto& mail = machine.mail[machine.fibers[me].round++ % 2];
    mail[me] = mine;
    meet_warp();
    return mail.data() + me / kWarp * kWarp;
}

void copy_later(void* to, const void* from, bool there) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0)
        machine.fault = "a copy of 16 bytes that are not aligned";
    const Copy copy{to, there ? from : nullptr};
    if (machine.late())
        machine.fibers[size_t(machine.current)].copies.back().push_back(copy);
    else
        copy.make();
}

void end_group() {
    machine.fibers[size_t(machine.current)].copies.emplace_back();
}

void wait_for_groups(size_t pending) {
    auto& copies = machine.fibers[size_t(machine.current)].copies;
    for (; copies.size() > pending + 1; copies.pop_front())
        for (const Copy& copy : copies.front()) copy.make();
}

}  // namespace genfast::emulation
