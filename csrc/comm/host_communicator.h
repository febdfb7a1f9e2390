// Ranks that are processes of one host: numbers go through memory that all of them map, in chunks;
// and a socket between rank 0 and each other rank carries what is broadcast. That a rank ended
// shows at once, as its sockets close with it; one that hangs is given up after a time.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace genfast {

class HostCommunicator : public Communicator {
  public:
    // memory: a file of shared_bytes(size) zeros that all ranks share. sockets: stream sockets,
    // rank 0's to the ranks 1, 2, ..., and every other's to rank 0. All are closed in the end.
    // seconds: how long a rank may let the others wait in a collective.
    HostCommunicator(int rank, int size, int memory, std::vector<int> sockets, double seconds);
    ~HostCommunicator() override;
    HostCommunicator(const HostCommunicator&) = delete;
    HostCommunicator& operator=(const HostCommunicator&) = delete;

    static size_t shared_bytes(int size);

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    void all_reduce_sum(const float* from, float* to, int64_t n) override;
    void all_gather(const float* from, float* to, int64_t n) override;
    void broadcast(void* data, size_t bytes) override;
    bool lost() override;
    void check() const override;
    void leave() override;

  private:
    struct Shared;
    // The ranks' numbers of one chunk, which lie side by side until the chunk after the next.
    const float* exchange(const float* from, int64_t count);
    bool meet();
    bool told_of_loss();
    void lose(int rank, const char* how);
    template <class Move>
    void move_all(int socket, int other, std::byte* data, size_t bytes, Move move);

    const int rank_, size_;
    const double seconds_;
    const int memory_;
    const std::vector<int> sockets_;
    Shared* shared_ = nullptr;
    uint32_t meetings_ = 0;
    bool lost_ = false;
    std::atomic<bool> left_{false};
    std::string how_;  // it was lost
};

}  // namespace genfast
