#include "comm/host_communicator.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"

namespace genfast {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kChunk = 64 * 1024;  // floats of a rank: two ranks' chunks fit a core's cache
constexpr int kMostRanks = 64;
constexpr int kSpins = 2000;  // then whoever is waited for may need this processor

constexpr std::chrono::microseconds kNap{50};
constexpr int kPollMilliseconds = 100;

bool passed(Clock::time_point begin, double seconds) {
    return std::chrono::duration<double>(Clock::now() - begin).count() > seconds;
}

}  // namespace

// At the beginning of the shared memory; the ranks' chunks follow, two for each, used in turn. Who
// fills a chunk has met all others since the chunk before, so none reads what was there still.
struct HostCommunicator::Shared {
    struct alignas(64) Arrivals {
        std::atomic<uint32_t> count;
    };
    Arrivals arrivals[kMostRanks];
    alignas(64) std::atomic<int> lost;  // 1 + the rank; 0: none

    float* chunk(int turn, int ranks, int rank) {
        return reinterpret_cast<float*>(this + 1) + (turn * ranks + rank) * kChunk;
    }
};

size_t HostCommunicator::shared_bytes(int size) {
    return sizeof(Shared) + size_t(2 * size * kChunk) * sizeof(float);
}

HostCommunicator::HostCommunicator(int rank, int size, int memory, std::vector<int> sockets,
                                   double seconds)
    : rank_(rank), size_(size), seconds_(seconds), memory_(memory), sockets_(std::move(sockets)) {
    require(size >= 1 && size <= kMostRanks && rank >= 0 && rank < size, "rank ", rank, " of ",
            size, " cannot be: there are 1 to ", kMostRanks);
    require(std::ssize(sockets_) == (rank == 0 ? size - 1 : 1), "rank ", rank, " of ", size,
            " cannot have ", sockets_.size(), " sockets");
    void* mapped =
        mmap(nullptr, shared_bytes(size), PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
    if (mapped == MAP_FAILED)
        throw std::runtime_error(cat("the ranks' memory: ", std::strerror(errno)));
    shared_ = static_cast<Shared*>(mapped);
}

HostCommunicator::~HostCommunicator() {
    munmap(shared_, shared_bytes(size_));
    close(memory_);
    for (int socket : sockets_) close(socket);
}

void HostCommunicator::lose(int rank, const char* how) {
    if (lost_) return;
    how_ = cat("rank ", rank, " ", how);
    lost_ = true;
    shared_->lost.store(1 + rank);
}

// Not all ranks have a socket to each other.
bool HostCommunicator::told_of_loss() {
    if (left_.load()) lose(rank_, "left");
    if (const int lost = shared_->lost.load()) lose(lost - 1, "was lost");
    return lost_;
}

// Whether one ended, and so closed its side.
bool HostCommunicator::lost() {
    if (told_of_loss()) return true;
    for (size_t i = 0; i < sockets_.size(); ++i) {
        pollfd side{sockets_[i], 0, 0};  // of a side that is closed poll tells unasked
        if (poll(&side, 1, 0) > 0) lose(rank_ == 0 ? int(i) + 1 : 0, "ended");
    }
    return lost_;
}

// All have come here as often as this rank.
bool HostCommunicator::meet() {
    shared_->arrivals[rank_].count.store(++meetings_, std::memory_order_release);
    Clock::time_point begin = Clock::now();
    for (int other = 0, spins = 0; other < size_;) {
        const uint32_t count = shared_->arrivals[other].count.load(std::memory_order_acquire);
        if (int32_t(count - meetings_) >= 0) {
            ++other;
        } else if (++spins > kSpins) {
            if (lost()) return false;
            if (passed(begin, seconds_)) lose(other, "does not answer");
            std::this_thread::sleep_for(kNap);
        }
    }
    return true;
}

const float* HostCommunicator::exchange(const float* from, int64_t count) {
    const int turn = int(meetings_ % 2);
    std::copy_n(from, count, shared_->chunk(turn, size_, rank_));
    return meet() ? shared_->chunk(turn, size_, 0) : nullptr;
}

void HostCommunicator::all_reduce_sum(const float* from, float* to, int64_t n) {
    for (int64_t at = 0; at < n && !lost_; at += kChunk) {
        const int64_t count = std::min(kChunk, n - at);
        const float* all = exchange(from + at, count);
        if (!all) return;
        std::copy_n(all, count, to + at);
        for (int rank = 1; rank < size_; ++rank)
            for (int64_t i = 0; i < count; ++i) to[at + i] += all[rank * kChunk + i];
    }
}

void HostCommunicator::all_gather(const float* from, float* to, int64_t n) {
    for (int64_t at = 0; at < n && !lost_; at += kChunk) {
        const int64_t count = std::min(kChunk, n - at);
        const float* all = exchange(from + at, count);
        if (!all) return;
        for (int rank = 0; rank < size_; ++rank)
            std::copy_n(all + rank * kChunk, count, to + rank * n + at);
    }
}

// By pieces, as long as the other side lives: rank 0 waits for nobody longer than a collective.
template <class Move>
void HostCommunicator::move_all(int socket, int other, std::byte* data, size_t bytes, Move move) {
    Clock::time_point begin = Clock::now();
    while (bytes > 0 && !lost_) {
        const ssize_t moved = move(socket, data, bytes);
        if (moved > 0) {
            data += moved;
            bytes -= size_t(moved);
        } else if (moved == 0 || (errno != EAGAIN && errno != EINTR)) {
            lose(other, "ended");
        } else if (rank_ == 0 && passed(begin, seconds_)) {
            lose(other, "does not answer");
        } else if (!told_of_loss()) {
            pollfd ready{socket, short(rank_ == 0 ? POLLOUT : POLLIN), 0};
            poll(&ready, 1, kPollMilliseconds);
        }
    }
}

void HostCommunicator::broadcast(void* data, size_t bytes) {
    if (told_of_loss()) return;
    auto* begin = static_cast<std::byte*>(data);
    if (rank_ > 0) {
        move_all(sockets_[0], 0, begin, bytes, [](int socket, std::byte* to, size_t count) {
            return recv(socket, to, count, MSG_DONTWAIT);
        });
        return;
    }
    for (size_t i = 0; i < sockets_.size(); ++i)
        move_all(sockets_[i], int(i) + 1, begin, bytes,
                 [](int socket, std::byte* from, size_t count) {
                     return send(socket, from, count, MSG_DONTWAIT | MSG_NOSIGNAL);
                 });
}

void HostCommunicator::leave() {
    left_.store(true);
    for (int socket : sockets_) shutdown(socket, SHUT_RDWR);
}

void HostCommunicator::check() const {
    if (lost_)
        throw std::runtime_error(
            cat(how_, ", which computed a part of the model: load the model again"));
}

}  // namespace genfast
