// Runs a program: binds every instruction to a kernel once, then walks the list, step after step.
// On a GPU all instructions may run, or the first ones: the values that those behind them read are
// brought back then, and the CPU goes on.
//
// All threads walk the same list; a barrier stands between two instructions. Nothing is allocated
// in a step. The executor looks at its cancel flag after every instruction, so a step can be left
// within one op's work.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "program/device_program.h"
#include "program/ops.h"
#include "program/plan.h"

namespace genfast {

struct ExecutorOptions {
    std::string isa;        // "": the default; "cuda": on a GPU
    bool keep_all = false;  // every intermediate stays readable
    bool check = false;     // rerun each op on its reference kernel and compare (implies keep_all)
    Communicator* communicator = nullptr;  // of the ranks that run the program together
    size_t on_device = SIZE_MAX;  // with "cuda": how many of the first instructions run there
};

// Of a program's layers of keys and values, how many are read on the device.
int64_t device_layers(const Program& program, const ExecutorOptions& options);

class Executor {
  public:
    // states: slots of Program::state_floats() for the sequences of a step.
    // caches: where it runs.
    Executor(std::shared_ptr<const Program> program, std::vector<LayerCache> caches,
             StateSlots states, Limits limits, ThreadPool& pool, ExecutorOptions options);

    // False when cancelled. Throws std::runtime_error when a check finds a difference.
    bool run(const Step& step, const std::atomic<bool>* cancel = nullptr);

    // Of the last run's time, what attention took; the rest depends on the number of rows alone.
    double attention_seconds() const { return attention_seconds_; }

    const float* output() const {
        const ValueId id = program_->output();
        return bound_.empty() ? device_->output(id) : buffers_[id];
    }
    const float* output(ValueId id) const { return buffers_[id]; }  // of a static program
    // Whether it draws tokens as its steps ask; and what it drew, of each output.
    bool draws() const { return device_ && bound_.empty(); }
    const DrawnRow* drawn() const { return draws() ? device_->drawn().data() : nullptr; }
    const ToldRow* told() const { return draws() ? device_->told().data() : nullptr; }
    float* input(ValueId id) { return buffers_[id]; }
    // Its first `count` numbers, row-major [rows, cols]; needs keep_all.
    std::vector<float> value(ValueId id, int64_t count) const;
    const Limits& limits() const { return limits_; }
    const Kernels& kernels() const { return kernels_; }  // the CPU's
    const std::string& isa() const { return isa_; }      // "avx2", "cuda", "cuda:3+avx2"
    size_t arena_bytes() const { return arena_.size(); }

    std::string dump() const;  // the program as text: ops, shapes, kernels, slots, Python lines

  private:
    bool nothing_to_do(size_t instruction, const Step& step) const;
    bool run_checked(const Step& step, const std::atomic<bool>* cancel);
    void compare(const Instruction& instruction, const Step& step) const;
    void take_from_device(const Step& step);
    std::string kernel_name(const Instruction& instruction, const Kernels& kernels) const;
    std::vector<BoundOp> bind_all(const Kernels& kernels, const std::vector<float*>& outputs,
                                  bool shadow) const;
    StateSlots state_of(size_t instruction, bool shadow) const;
    Step with_shadow_states(size_t instruction, Step step);

    std::shared_ptr<const Program> program_, host_;  // host_: what of it the CPU runs
    std::vector<LayerCache> caches_;
    StateSlots states_;
    std::vector<int64_t> state_offsets_;
    Limits limits_;
    ThreadPool& pool_;
    ExecutorOptions options_;
    const Kernels& kernels_;
    std::string isa_;
    Plan plan_;
    Buffer arena_, scratch_, shadow_arena_;
    std::vector<float*> buffers_, shadows_;  // by value
    std::vector<Matrix> matrices_;           // by value
    std::vector<BoundOp> bound_, reference_;
    Buffer shadow_states_;  // a slot a sequence of the step
    std::vector<SequenceSpan> shadow_spans_;
    std::vector<bool> attends_;  // by instruction
    double attention_seconds_ = 0;
    std::unique_ptr<Communicator> device_ranks_;
    std::unique_ptr<DeviceProgram> device_;  // null: the CPU runs all of it
};

}  // namespace genfast
