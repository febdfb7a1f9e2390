#include "cuda/emulation.h"

#include <ucontext.h>

#include <memory>
#include <mutex>
#include <stdexcept>
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

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = true;
    void* sanitizer = nullptr;
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
    std::vector<uint32_t> mail;  // a word a thread
    bool moved = false;          // some thread got on since the last look
    bool backward = false;
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
    machine.fibers[size_t(machine.current)].done = true;
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
    }
    for (bool busy = true; busy;) {
        busy = machine.moved = false;
        for (int i = 0; i < threads; ++i) {
            const int index = machine.backward ? threads - 1 - i : i;
            if (machine.fibers[size_t(index)].done) continue;
            busy = true;
            enter(index);
        }
        if (busy && !machine.moved)
            throw std::logic_error("threads of a block wait for each other at different places");
    }
    machine.backward = !machine.backward;
}

}  // namespace

void run(dim3 grid, int threads, const std::function<void()>& kernel) {
    std::lock_guard lock(turn);
    if (threads % kWarp != 0 || threads <= 0 || grid.y > 65535 || grid.z > 65535 ||
        grid.x * int64_t(grid.y) * grid.z <= 0)
        throw std::logic_error("no GPU runs a grid of this shape");
    if (machine.fibers.size() < size_t(threads)) machine.fibers.resize(size_t(threads));
    machine.mail.resize(size_t(threads));
    machine.kernel = &kernel;
    gridDim = grid;
    blockDim = dim3(unsigned(threads));
    const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
    const bool backward = machine.backward;
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

uint32_t exchange(uint32_t mine, int from_lane) {
    const int me = machine.current;
    machine.mail[size_t(me)] = mine;
    meet_warp();
    const uint32_t theirs = machine.mail[size_t(me / kWarp * kWarp + from_lane)];
    meet_warp();
    return theirs;
}

}  // namespace genfast::emulation
