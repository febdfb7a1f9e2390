// A model of which several ranks each compute a part. Rank 0 has the requests and plans the steps;
// it tells the others each step, and each page that is copied, so that pages hold the same tokens
// everywhere, each rank's of its own heads.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "program/executor.h"

namespace genfast {

// Rank 0's side: what it tells the others. Whether they are there still, the steps' own sums show.
class Leader {
  public:
    // pages: of the cache; limits: of the steps.
    Leader(Communicator& ranks, int64_t pages, const Limits& limits);

    void step(const Step& step);
    void copy_page(int32_t from, int32_t to);

  private:
    void tell(const std::vector<int64_t>& words);

    Communicator& ranks_;
};

// Every other rank's: does as it is told until rank 0, or another, is gone, and throws that.
// threads: 0, the default.
[[noreturn]] void follow(std::shared_ptr<const Program> program,
                         const std::vector<KvLayout>& layouts, Communicator& ranks, int threads,
                         const std::string& isa);

}  // namespace genfast
