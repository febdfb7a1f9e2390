// Several processes that compute one model together. Each has a rank, and all call the same
// collectives in the same order.
//
// Sums are made number by number in the order of the ranks, wherever a number lies among others: so
// each rank, each run and each batch gets the same bits.
//
// Once a rank is lost, collectives return at once and give nothing of use: they are called where
// nothing may be thrown. check() tells.
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

class Communicator {
  public:
    virtual ~Communicator() = default;

    virtual int rank() const = 0;
    virtual int size() const = 0;

    // Numbers lie where the ranks compute, in this CPU's memory or a device's; there, the call
    // queues its work and returns.
    // to [n] = the sum of every rank's from [n], which may be the same memory.
    virtual void all_reduce_sum(const float* from, float* to, int64_t n) = 0;
    // to [size, n] = every rank's from [n].
    virtual void all_gather(const float* from, float* to, int64_t n) = 0;

    // What rank 0 has, for all: in the CPU's memory. A rank waits for it as long as rank 0 lives.
    virtual void broadcast(void* data, size_t bytes) = 0;

    // Returns when all that was queued is done, or a rank is lost.
    virtual void finish() {}
    virtual bool lost() = 0;         // looks whether a rank is
    virtual void check() const = 0;  // throws std::runtime_error, which says who was lost
    // Whatever this rank waits for breaks off, and the others lose it. Any thread may call it.
    virtual void leave() = 0;
};

}  // namespace genfast
