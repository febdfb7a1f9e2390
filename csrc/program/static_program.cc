#include "program/static_program.h"

#include <algorithm>

#include "core/error.h"

namespace genfast {
namespace {

// A program without tokens has no sizes that vary: one row of what it never asks for.
const Limits kNothingVaries{1, 0, 0, 0, 1};

std::shared_ptr<const Program> checked(std::shared_ptr<const Program> program) {
    require(!program->outputs().empty(), "the program has no output");
    for (const Value& value : program->values())
        require(value.kind != Value::Kind::computed || value.rows > 0, value.name,
                " depends on the tokens of a step, which a static program has none of");
    return program;
}

int64_t size_of(const Value& value) {
    return value.rows * value.cols;
}

}  // namespace

StaticProgram::StaticProgram(std::shared_ptr<const Program> program, ThreadPool& pool,
                             ExecutorOptions options)
    : program_(checked(std::move(program))),
      executor_(program_, {}, {}, kNothingVaries, pool, std::move(options)) {}

void StaticProgram::run(const std::vector<const float*>& inputs,
                        const std::vector<float*>& outputs) {
    require(
        inputs.size() == program_->inputs().size() && outputs.size() == program_->outputs().size(),
        inputs.size(), " inputs and ", outputs.size(), " outputs, expected ",
        program_->inputs().size(), " and ", program_->outputs().size());
    std::lock_guard lock(turn_);
    for (size_t i = 0; i < inputs.size(); ++i) {
        const ValueId id = program_->inputs()[i];
        std::copy_n(inputs[i], size_of(program_->values()[size_t(id)]), executor_.input(id));
    }
    Step step;
    step.tokens = 1;
    executor_.run(step);
    for (size_t i = 0; i < outputs.size(); ++i) {
        const ValueId id = program_->outputs()[i];
        std::copy_n(executor_.output(id), size_of(program_->values()[size_t(id)]), outputs[i]);
    }
}

}  // namespace genfast
