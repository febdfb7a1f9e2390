// A program, or the first part of one, on a device: weights and values in its memory, and each
// step's work queued there.
//
// A step that decodes (one token of each sequence, the outputs of all) is a graph, captured when
// such a step first comes: its rows are filled up to a power of two, and everything that varies is
// read from memory of the device that the step writes to beforehand. Other steps are queued op by
// op. Rows are the same bits either way. Tokens are drawn there too, in the same graph: then their
// logits stay where they are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/cuda_library.h"
#include "program/fuse.h"
#include "program/ops.h"
#include "program/plan.h"

namespace genfast {

class DeviceProgram {
  public:
    // caches, states: in the device's memory. Throws std::invalid_argument for an op without a
    // kernel there.
    DeviceProgram(std::shared_ptr<const Program> program, const std::vector<LayerCache>& caches,
                  StateSlots states, Limits limits, bool keep_all, const CudaLibrary& library,
                  ThreadPool& pool, Communicator* ranks);
    ~DeviceProgram();

    // Returns when its outputs are here; where tokens are drawn, of each row the logits, or what
    // was drawn from them.
    void run(const Step& step);
    const float* output(ValueId id) const;  // of those that the program has
    // Of each row; where no token was drawn (kUnsure, kNotAsked): look at the logits. What is told
    // beside it: where the draw asked.
    const std::vector<DrawnRow>& drawn() const { return drawn_; }
    const std::vector<ToldRow>& told() const { return told_; }
    std::vector<float> value(ValueId id, int64_t count) const;  // its first numbers

    const Program& program() const { return *program_; }
    const Plan& plan() const { return plan_; }
    const Kernels& kernels() const { return library_.kernels; }

  private:
    void check_kernels() const;
    void place_values(ThreadPool& pool);
    void bind(const std::vector<LayerCache>& caches, StateSlots states);
    Step send(const Step& step);
    void fetch_outputs(const Step& step);
    enum class Draws { none, tokens, logprobs };  // of a step, at most
    Draws draws_of(const Step& step) const;
    void queue(const Step& step, Draws draws);
    void fetch_drawn(const Step& step, Draws draws);
    DeviceGraph* graph_of(int64_t rows, Draws draws);

    const std::shared_ptr<const Program> program_;
    const CudaLibrary& library_;
    const Device& device_;
    Communicator* const ranks_;  // of GPUs that run the program together; null: one runs it
    Limits limits_;
    std::vector<Fusion> fusions_;  // by instruction
    Plan plan_;
    Memory arena_, constants_, scratch_, step_, operands_, draw_scratch_, drawn_there_, told_there_;
    std::vector<Memory> weights_;
    std::vector<float*> buffers_;   // by value
    std::vector<Matrix> matrices_;  // by value
    std::vector<BoundOp> bound_;
    PinnedMemory staging_;               // what a step sends
    std::vector<PinnedMemory> outputs_;  // what it gives
    std::vector<DrawnRow> drawn_;
    std::vector<ToldRow> told_;
    std::map<std::pair<int64_t, Draws>, DeviceGraph*> graphs_;  // by rows
};

}  // namespace genfast
