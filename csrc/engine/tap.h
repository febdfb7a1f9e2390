// Reads intermediates: runs a prompt once, in one step, with every value kept.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "program/executor.h"

namespace genfast {

struct Tapped {
    int64_t rows = 0, cols = 0;
    std::vector<float> data;
};

// One entry a name, with options.keep_all; throws std::out_of_range for a name the program does not
// have.
std::vector<Tapped> tap_program(std::shared_ptr<const Program> program,
                                const std::vector<KvLayout>& layouts,
                                const std::vector<int32_t>& token_ids,
                                const std::vector<std::string>& names, int threads,
                                const ExecutorOptions& options);

}  // namespace genfast
