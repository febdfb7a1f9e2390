// A program on a device: weights and values in its memory, and each step's work queued there.
//
// A step that decodes (one token of each sequence, the outputs of all) is a graph, captured when
// such a step first comes: its rows are filled up to a power of two, and everything that varies is
// read from memory of the device that the step writes to beforehand. Other steps are queued op by
// op. Rows are the same bits either way.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda_library.h"
#include "program/ops.h"
#include "program/plan.h"

namespace genfast {

class DeviceProgram {
  public:
    // caches: in the device's memory. Throws std::invalid_argument for an op or a type of cache
    // without a kernel there.
    DeviceProgram(const Program& program, const std::vector<LayerCache>& caches, Limits limits,
                  bool keep_all, const CudaLibrary& library);
    ~DeviceProgram();

    void run(const Step& step);  // returns when its outputs are here
    const float* output() const { return reinterpret_cast<const float*>(output_); }
    std::vector<float> value(ValueId id, int64_t count) const;  // its first numbers

    const Plan& plan() const { return plan_; }
    const Kernels& kernels() const { return library_.kernels; }

  private:
    void check_kernels(const std::vector<LayerCache>& caches) const;
    void place_values();
    void bind(const std::vector<LayerCache>& caches);
    Step send(const Step& step);
    void queue(const Step& step);
    DeviceGraph* graph_of(const Step& step);

    const Program& program_;
    const CudaLibrary& library_;
    const Device& device_;
    Limits limits_;
    Plan plan_;
    Memory arena_, constants_, scratch_, step_;
    std::vector<Memory> weights_;
    std::vector<float*> buffers_;   // by value
    std::vector<Matrix> matrices_;  // by value
    std::vector<BoundOp> bound_;
    std::byte* staging_ = nullptr;  // the CPU's: what a step sends, and what it gives
    std::byte* output_ = nullptr;
    std::map<int64_t, DeviceGraph*> graphs_;  // by rows
};

}  // namespace genfast
