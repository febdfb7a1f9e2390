// Runs a program whose sizes are all fixed, an image model's: inputs in, outputs out.
//
// No cache, no batch of requests: the caller's loop (a scheduler's steps, say) calls it once a
// step. What a run adds to the instructions themselves is the copy of its inputs and outputs.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "program/executor.h"

namespace genfast {

class StaticProgram {
  public:
    // Throws std::invalid_argument for a program without outputs, or one that reads tokens.
    StaticProgram(std::shared_ptr<const Program> program, ThreadPool& pool,
                  ExecutorOptions options);

    // inputs[i] fills program.inputs()[i], outputs[i] receives program.outputs()[i]: row-major
    // [rows, cols]. Calls from several threads take turns.
    void run(const std::vector<const float*>& inputs, const std::vector<float*>& outputs);

    const Program& program() const { return *program_; }
    const Executor& executor() const { return executor_; }

  private:
    std::shared_ptr<const Program> program_;
    Executor executor_;
    std::mutex turn_;
};

}  // namespace genfast
