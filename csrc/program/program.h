// A recorded program: what a model computes for one step, as a flat list of instructions.
//
// A model file runs once with symbolic values and appends one instruction an op. Values are
// matrices of float32, [rows, cols]; only the number of rows may vary from step to step, and only
// in two ways: the tokens of the step, or the tokens whose outputs are wanted. Constants and
// weights are values too.
//
// An image model's program knows every size beforehand: it reads inputs that the caller fills
// (StaticProgram, static_program.h) instead of tokens, and may have several outputs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "program/packed_matrix.h"

namespace genfast {

// Row counts known only when a step runs.
constexpr int64_t kTokens = -1;   // T: tokens of the step
constexpr int64_t kOutputs = -2;  // tokens of the step whose output is wanted

using ValueId = int;

struct Value {
    enum class Kind { computed, constant, matrix, token_ids, positions, input };
    Kind kind = Kind::computed;
    std::string name;
    int64_t rows = 0, cols = 0;
    std::vector<float> constant;                 // Kind::constant: rows * cols numbers
    std::shared_ptr<const PackedMatrix> matrix;  // Kind::matrix: [N, K] = [rows, cols]
};

using Attribute = std::variant<int64_t, double, std::string>;

struct OpSpec;  // ops.h

struct Instruction {
    const OpSpec* op = nullptr;
    std::vector<ValueId> inputs;  // an absent optional input is -1
    ValueId output = -1;
    std::map<std::string, Attribute> attributes;
    std::string where;  // the line of Python that recorded it

    int64_t integer(const std::string& key, int64_t fallback = 0) const;
    double number(const std::string& key, double fallback = 0) const;
    std::string text(const std::string& key, const std::string& fallback = "") const;
};

class Program {
  public:
    Program();

    ValueId token_ids() const { return 0; }
    ValueId positions() const { return 1; }
    ValueId constant(const std::string& name, std::vector<float> data, int64_t rows, int64_t cols);
    ValueId matrix(const std::string& name, std::shared_ptr<const PackedMatrix> matrix);
    // Filled by the caller before every run of a static program.
    ValueId input(const std::string& name, int64_t rows, int64_t cols);

    // Checks the shapes and appends; throws std::invalid_argument naming op, input, found,
    // expected.
    ValueId append(const std::string& op, std::vector<ValueId> inputs,
                   std::map<std::string, Attribute> attributes, const std::string& name,
                   const std::string& where);
    void set_output(ValueId logits);
    // Of a static program; in order.
    void add_output(ValueId value);

    const std::vector<Value>& values() const { return values_; }
    const std::vector<Instruction>& instructions() const { return instructions_; }
    const std::vector<ValueId>& inputs() const { return inputs_; }
    const std::vector<ValueId>& outputs() const { return outputs_; }
    ValueId output() const { return outputs_.empty() ? -1 : outputs_.front(); }
    ValueId find(const std::string& name) const;  // throws std::out_of_range with close names
    int64_t weight_bytes() const;                 // of all matrices, each counted once
    // The instructions [first, last) as a program of its own, by the same ids: what they read of
    // earlier ones is its inputs, what is read of them later its outputs.
    std::shared_ptr<const Program> part(size_t first, size_t last) const;
    // Recurrent state: where in a sequence's slot each instruction's floats begin, and behind the
    // last how many there are in all.
    std::vector<int64_t> state_offsets() const;
    int64_t state_floats() const { return state_offsets().back(); }
    std::string shape_text(ValueId id) const;  // "[T, 576]"

  private:
    std::vector<Value> values_;
    std::vector<Instruction> instructions_;
    std::map<std::string, ValueId> by_name_;
    std::vector<ValueId> inputs_, outputs_;
};

}  // namespace genfast
