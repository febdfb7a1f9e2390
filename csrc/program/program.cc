#include "program/program.h"

#include <set>

#include "core/error.h"
#include "program/ops.h"

namespace genfast {
namespace {

template <class T>
T attribute(const Instruction& instruction, const std::string& key, T fallback) {
    auto found = instruction.attributes.find(key);
    if (found == instruction.attributes.end()) return fallback;
    if constexpr (std::is_same_v<T, double>)
        if (auto* integer = std::get_if<int64_t>(&found->second)) return double(*integer);
    auto* value = std::get_if<T>(&found->second);
    require(value, instruction.op->name, ": ", key, " has the wrong type");
    return *value;
}

}  // namespace

int64_t Instruction::integer(const std::string& key, int64_t fallback) const {
    return attribute(*this, key, fallback);
}
double Instruction::number(const std::string& key, double fallback) const {
    return attribute(*this, key, fallback);
}
std::string Instruction::text(const std::string& key, const std::string& fallback) const {
    return attribute(*this, key, fallback);
}

Program::Program() {
    values_.push_back({Value::Kind::token_ids, "token_ids", kTokens, 1, {}, nullptr});
    values_.push_back({Value::Kind::positions, "positions", kTokens, 1, {}, nullptr});
}

ValueId Program::constant(const std::string& name, std::vector<float> data, int64_t rows,
                          int64_t cols) {
    require(rows > 0 && cols > 0 && int64_t(data.size()) == rows * cols, "constant ", name, ": ",
            data.size(), " numbers do not fill [", rows, ", ", cols, "]");
    values_.push_back({Value::Kind::constant, name, rows, cols, std::move(data), nullptr});
    return ValueId(values_.size()) - 1;
}

ValueId Program::matrix(const std::string& name, std::shared_ptr<const PackedMatrix> matrix) {
    Matrix view = matrix->view();
    values_.push_back({Value::Kind::matrix, name, view.N, view.K, {}, std::move(matrix)});
    return ValueId(values_.size()) - 1;
}

ValueId Program::input(const std::string& name, int64_t rows, int64_t cols) {
    require(rows > 0 && cols > 0, "input ", name, " must have rows and columns, found [", rows,
            ", ", cols, "]");
    require(!by_name_.count(name), "there is an input or value named ", name, " already");
    values_.push_back({Value::Kind::input, name, rows, cols, {}, nullptr});
    inputs_.push_back(ValueId(values_.size()) - 1);
    by_name_[name] = inputs_.back();
    return inputs_.back();
}

ValueId Program::append(const std::string& op, std::vector<ValueId> inputs,
                        std::map<std::string, Attribute> attributes, const std::string& name,
                        const std::string& where) {
    Instruction instruction{find_op(op), std::move(inputs), ValueId(values_.size()),
                            std::move(attributes), where};
    for (ValueId id : instruction.inputs)
        require(id >= -1 && id < ValueId(values_.size()), op, ": no value ", id);
    try {
        auto [rows, cols] = instruction.op->check(*this, instruction);
        values_.push_back({Value::Kind::computed, name, rows, cols, {}, nullptr});
    } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(cat(name, " = ", op, "(...) at ", where, ": ", error.what()));
    }
    instructions_.push_back(std::move(instruction));
    by_name_[name] = ValueId(values_.size()) - 1;
    return ValueId(values_.size()) - 1;
}

void Program::set_output(ValueId logits) {
    require(logits >= 0 && logits < ValueId(values_.size()) && values_[logits].rows == kOutputs,
            "a program's output must be a value of the output rows (see output_rows)");
    outputs_ = {logits};
}

void Program::add_output(ValueId value) {
    require(value >= 0 && value < ValueId(values_.size()) && values_[value].rows > 0 &&
                values_[value].kind == Value::Kind::computed,
            "an output of a static program must be a computed value with a fixed number of rows");
    outputs_.push_back(value);
}

ValueId Program::find(const std::string& name) const {
    auto found = by_name_.find(name);
    if (found != by_name_.end()) return found->second;
    std::string near;
    for (const auto& [known, id] : by_name_)
        if (known.find(name) != std::string::npos || name.find(known) != std::string::npos)
            near += cat(near.empty() ? "; near it: " : ", ", known);
    throw std::out_of_range(cat("the program has no value named '", name, "'", near));
}

int64_t Program::weight_bytes() const {
    std::set<const PackedMatrix*> seen;
    int64_t bytes = 0;
    for (const Value& value : values_)
        if (value.matrix && seen.insert(value.matrix.get()).second) bytes += value.matrix->nbytes();
    return bytes;
}

std::shared_ptr<const Program> Program::part(size_t first, size_t last) const {
    require(first <= last && last <= instructions_.size(), "instructions ", first, " to ", last,
            " are no part of a program of ", instructions_.size());
    auto part = std::make_shared<Program>(*this);
    part->instructions_ = {instructions_.begin() + std::ptrdiff_t(first),
                           instructions_.begin() + std::ptrdiff_t(last)};
    std::set<ValueId> own, read, wanted(outputs_.begin(), outputs_.end());
    for (size_t i = 0; i < instructions_.size(); ++i) {
        const Instruction& instruction = instructions_[i];
        const bool inside = first <= i && i < last;
        if (inside) own.insert(instruction.output);
        if (inside) read.insert(instruction.inputs.begin(), instruction.inputs.end());
        if (i >= last) wanted.insert(instruction.inputs.begin(), instruction.inputs.end());
    }
    part->outputs_.clear();
    for (ValueId id : wanted)
        if (own.count(id)) part->outputs_.push_back(id);
    for (ValueId id = 0; id < ValueId(values_.size()); ++id) {
        Value& value = part->values_[size_t(id)];
        if (!read.count(id)) {  // weights and constants of the rest are not held on to
            value.constant.clear();
            value.matrix.reset();
        } else if (value.kind == Value::Kind::computed && !own.count(id)) {
            value.kind = Value::Kind::input;
            part->inputs_.push_back(id);
        }
    }
    return part;
}

std::vector<int64_t> Program::state_offsets() const {
    constexpr int64_t kLine = 16;  // floats: no two instructions share a cache line
    std::vector<int64_t> offsets = {0};
    for (const Instruction& instruction : instructions_) {
        int64_t floats = instruction.op->state ? instruction.op->state(*this, instruction) : 0;
        offsets.push_back(offsets.back() + round_up(floats, kLine));
    }
    return offsets;
}

std::string Program::shape_text(ValueId id) const {
    const Value& value = values_[id];
    std::string rows = value.rows == kTokens    ? "T"
                       : value.rows == kOutputs ? "outputs"
                                                : cat(value.rows);
    return cat("[", rows, ", ", value.cols, "]");
}

}  // namespace genfast
