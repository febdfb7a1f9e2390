// The vocabulary of programs: for every op, how its shapes are checked and how it is bound to a
// kernel.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "comm/communicator.h"
#include "kernels/sample/draw_rows.h"
#include "kernels/table.h"
#include "program/program.h"

namespace genfast {

// What varies from step to step.
struct Step {
    int64_t tokens = 0;                  // T
    const int32_t* token_ids = nullptr;  // [T]
    const int32_t* positions = nullptr;  // [T]
    int64_t outputs = 0;
    const int32_t* output_rows = nullptr;  // [outputs], rows of this step
    const SequenceSpan* spans = nullptr;   // sequences of this step
    int64_t span_count = 0;
    const RowDraw* draws = nullptr;  // [outputs], where a GPU runs it; null: nothing is drawn there
};

// One layer's keys and values.
struct LayerCache {
    std::byte* data = nullptr;
    KvLayout layout;
};

// The limits that buffers are planned for.
struct Limits {
    int64_t tokens = 512;    // T of a step
    int64_t outputs = 64;    // output rows of a step
    int64_t sequences = 64;  // spans of a step
    int64_t context = 2048;  // tokens of a sequence
    int threads = 1;
};

struct Fusion;  // fuse.h

// Where a bound instruction finds its operands: fixed for the life of an executor.
struct Binding {
    const Program& program;
    const Instruction& instruction;
    const Kernels& kernels;
    const std::vector<float*>& buffers;     // by value: where computed ones and constants lie
    const std::vector<Matrix>& matrices;    // by value
    const std::vector<LayerCache>& caches;  // a row an attention layer
    StateSlots state;                       // of this instruction, if it keeps any
    std::byte* scratch;
    Limits limits;
    Communicator* communicator = nullptr;  // of the ranks that run this program, if several do
    // By input, where kernels can read it: matrices in the device's memory; the CPU's: null.
    const Matrix* on_device = nullptr;
    const Fusion* fusion = nullptr;  // on a device: with other instructions; may be null

    const Value& value(int input) const { return program.values()[instruction.inputs[input]]; }
    bool has(int input) const {
        return input < int(instruction.inputs.size()) && instruction.inputs[input] >= 0;
    }
    const float* floats(int input) const {  // computed or constant; null when absent
        return has(input) ? buffers[instruction.inputs[input]] : nullptr;
    }
    Matrix matrix(int input) const { return matrices[instruction.inputs[input]]; }
    float* out() const { return buffers[instruction.output]; }
    Binding of(const Instruction& other) const {
        return {program, other,   kernels, buffers,      matrices, caches,
                state,   scratch, limits,  communicator, on_device};
    }
};

using BoundOp = std::function<void(const Step&, Team&)>;

struct OpSpec {
    const char* name;
    bool in_place;  // the output may take the buffer of input 0
    std::pair<int64_t, int64_t> (*check)(const Program&, const Instruction&);  // -> rows, cols
    size_t (*scratch)(const Program&, const Instruction&, const Kernels&, const Limits&,
                      const std::vector<LayerCache>&);  // may be null
    BoundOp (*bind)(const Binding&);
    // Floats that it keeps of a sequence from step to step; null: none.
    int64_t (*state)(const Program&, const Instruction&) = nullptr;
};

// Each ends with a row without a name.
extern const OpSpec kAttentionOps[], kFilterOps[], kImageOps[], kLatentOps[], kMatrixOps[],
    kRankOps[], kRearrangeOps[], kRowOps[], kStateOps[];

const OpSpec* find_op(const std::string& name);  // throws std::invalid_argument

// Whether an instruction reads the KV cache, each a layer of its own.
inline bool attends(const Instruction& instruction) {
    return instruction.attributes.count("layer") > 0;
}

// Rows of a value in this step.
inline int64_t row_count(int64_t rows, const Step& step) {
    return rows == kTokens ? step.tokens : rows == kOutputs ? step.outputs : rows;
}

// Of an instruction that another one's kernel takes on.
RopeArgs rope_args(const Binding& binding);
RmsNormArgs rms_norm_args(const Binding& binding);

// All throw std::invalid_argument.
Activation activation_named(const std::string& name);
KvType kv_type_named(const std::string& name);
KvLayout latent_layout(KvType type, int64_t latent, int64_t rotated);
Scoring scoring_named(const std::string& name);
void check_route_sizes(int64_t experts, int64_t k, int64_t groups, int64_t kept_groups);
// Sinks belong to a window, and lie in one page.
void check_sinks(int64_t window, int64_t sinks);

}  // namespace genfast
