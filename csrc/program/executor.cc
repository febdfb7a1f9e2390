#include "program/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "core/error.h"
#include "kernels/dispatch.h"

namespace genfast {
namespace {

std::vector<float*> slots(const Program& program, const Plan& plan, const Buffer& arena) {
    std::vector<float*> buffers(program.values().size(), nullptr);
    for (size_t id = 0; id < buffers.size(); ++id)
        if (plan.slot[id] >= 0)
            buffers[id] = reinterpret_cast<float*>(arena.data() + plan.offset[plan.slot[id]]);
        else if (const auto& constant = program.values()[id].constant; !constant.empty())
            buffers[id] = const_cast<float*>(constant.data());  // which no op writes to
    return buffers;
}

std::vector<Matrix> views(const Program& program) {
    std::vector<Matrix> matrices(program.values().size());
    for (size_t id = 0; id < matrices.size(); ++id)
        if (const auto& matrix = program.values()[id].matrix) matrices[id] = matrix->view();
    return matrices;
}

size_t most_scratch(const Program& program, const Kernels& kernels, const Limits& limits,
                    const std::vector<LayerCache>& caches) {
    size_t bytes = 64;
    for (const Instruction& instruction : program.instructions())
        if (instruction.op->scratch)
            bytes = std::max(
                bytes, instruction.op->scratch(program, instruction, kernels, limits, caches));
    return bytes;
}

// How far an op may be from its reference, relative to the largest magnitude of the result: weights
// that round their activations (int8, int4) agree to that rounding, all else to float's.
double check_tolerance(const Program& program, const Instruction& instruction) {
    for (ValueId id : instruction.inputs) {
        if (id < 0 || !program.values()[id].matrix) continue;
        Format format = program.values()[id].matrix->view().format;
        if (format == Format::int8 || format == Format::int4) return 2e-2;
    }
    // A bf16 cache rounds the weights too, as bf16 products do.
    return attends(instruction) || instruction.integer("bfloat16") ? 1e-2 : 1e-4;
}

}  // namespace

int64_t device_layers(const Program& program, const ExecutorOptions& options) {
    if (options.isa != "cuda") return 0;
    const std::vector<Instruction>& all = program.instructions();
    const size_t count = std::min(options.on_device, all.size());
    return std::count_if(all.begin(), all.begin() + std::ptrdiff_t(count), attends);
}

Executor::Executor(std::shared_ptr<const Program> program, std::vector<LayerCache> caches,
                   StateSlots states, Limits limits, ThreadPool& pool, ExecutorOptions options)
    : program_(std::move(program)),
      host_(program_),
      caches_(std::move(caches)),
      states_(states),
      state_offsets_(program_->state_offsets()),
      limits_(limits),
      pool_(pool),
      options_(std::move(options)),
      kernels_(kernels_for(options_.isa == "cuda" ? "" : options_.isa)),
      isa_(kernels_.isa) {
    require(program_->output() >= 0, "the program has no output");
    require(!options_.check || !options_.communicator,
            "GENFAST_CHECK=1 repeats each op, which a rank cannot do alone: use tensor_parallel=1");
    if (options_.isa == "cuda") {
        require(!options_.check, "GENFAST_CHECK=1 compares kernels of the CPU: use device='cpu'");
        const size_t all = program_->instructions().size();
        const size_t cut = std::min(options_.on_device, all);
        require(cut == all || program_->state_floats() == 0,
                "gpu_layers: recurrent state lies on the GPU as a whole: leave gpu_layers out");
        if (options_.communicator)
            device_ranks_.reset(cuda_library().open_ranks(*options_.communicator));
        device_ = std::make_unique<DeviceProgram>(program_->part(0, cut), caches_, states_, limits_,
                                                  options_.keep_all, cuda_library(), pool_,
                                                  device_ranks_.get());
        isa_ = "cuda";
        if (cut == all) return;
        isa_ = cat("cuda:", device_layers(*program_, options_), "+", kernels_.isa);
        host_ = program_->part(cut, all);
        state_offsets_ = host_->state_offsets();
    }
    limits_.threads = pool.size();
    plan_ = plan_memory(*host_, limits_, options_.keep_all || options_.check);
    arena_ = Buffer(plan_.bytes);
    buffers_ = slots(*host_, plan_, arena_);
    matrices_ = views(*host_);
    const Kernels& ref = kernels_for("ref");
    size_t scratch = most_scratch(*host_, kernels_, limits_, caches_);
    if (options_.check) scratch = std::max(scratch, most_scratch(*host_, ref, limits_, caches_));
    scratch_ = Buffer(scratch);
    bound_ = bind_all(kernels_, buffers_, false);
    for (const Instruction& instruction : host_->instructions())
        attends_.push_back(attends(instruction));
    if (options_.check) {
        shadow_arena_ = Buffer(plan_.bytes);
        shadows_ = slots(*host_, plan_, shadow_arena_);
        shadow_states_ = Buffer(size_t(state_offsets_.back() * limits_.sequences) * sizeof(float));
        reference_ = bind_all(ref, shadows_, true);
    }
}

std::vector<BoundOp> Executor::bind_all(const Kernels& kernels, const std::vector<float*>& outputs,
                                        bool shadow) const {
    std::vector<BoundOp> bound;
    for (size_t i = 0; i < host_->instructions().size(); ++i) {
        const Instruction& instruction = host_->instructions()[i];
        // Inputs always come from the real run; only the output goes elsewhere in a check.
        std::vector<float*> buffers = buffers_;
        buffers[instruction.output] = outputs[instruction.output];
        bound.push_back(instruction.op->bind({*host_, instruction, kernels, buffers, matrices_,
                                              caches_, state_of(i, shadow), scratch_.data(),
                                              limits_, options_.communicator}));
    }
    return bound;
}

StateSlots Executor::state_of(size_t instruction, bool shadow) const {
    float* slots = shadow ? shadow_states_.as<float>() : states_.data;
    int64_t stride = shadow ? state_offsets_.back() : states_.stride;
    return slots ? StateSlots{slots + state_offsets_[instruction], stride} : StateSlots{};
}

// A kernel may write the state where it read it: what the reference begins with is put aside.
Step Executor::with_shadow_states(size_t instruction, Step step) {
    const StateSlots from = state_of(instruction, false), to = state_of(instruction, true);
    const int64_t floats = state_offsets_[instruction + 1] - state_offsets_[instruction];
    shadow_spans_.assign(step.spans, step.spans + step.span_count);
    for (int64_t i = 0; i < step.span_count; ++i) {
        SequenceSpan& span = shadow_spans_[size_t(i)];
        span.state_out = int32_t(i);
        if (const float* state = from.before(span)) {
            std::copy_n(state, floats, to.after(span));
            span.state_in = span.state_out;
        }
    }
    step.spans = shadow_spans_.data();
    return step;
}

// A step in the middle of a prompt wants no outputs: kernels need not know of zero rows.
bool Executor::nothing_to_do(size_t instruction, const Step& step) const {
    ValueId out = host_->instructions()[instruction].output;
    return row_count(host_->values()[size_t(out)].rows, step) == 0;
}

bool Executor::run(const Step& step, const std::atomic<bool>* cancel) {
    require(step.tokens > 0 && step.tokens <= limits_.tokens && step.outputs >= 0 &&
                step.outputs <= limits_.outputs && step.span_count <= limits_.sequences,
            "a step of ", step.tokens, " tokens, ", step.outputs, " outputs and ", step.span_count,
            " sequences exceeds the plan");
    if (options_.check) return run_checked(step, cancel);
    if (options_.communicator) cancel = nullptr;  // the other ranks do not know of it
    if (device_) {
        device_->run(step);
        if (device_ranks_) device_ranks_->check();
        if (bound_.empty()) return true;
        take_from_device(step);
    }
    // Thread 0 decides whether to stop and the others read its decision after the barrier. Two
    // slots, used in turn, keep it from overwriting a decision that a slow thread has yet to read.
    bool stop[2] = {false, false};
    std::chrono::steady_clock::duration attention{};
    pool_.run([&](Team& team) {
        int turn = 0;
        for (size_t i = 0; i < bound_.size(); ++i) {
            if (nothing_to_do(i, step)) continue;
            const bool timed = team.index == 0 && attends_[i];
            if (timed) attention -= std::chrono::steady_clock::now().time_since_epoch();
            bound_[i](step, team);
            if (team.index == 0) stop[turn] = cancel && cancel->load(std::memory_order_relaxed);
            team.sync();
            if (timed) attention += std::chrono::steady_clock::now().time_since_epoch();
            if (stop[turn]) return;
            turn ^= 1;
        }
    });
    if (options_.communicator) options_.communicator->check();
    attention_seconds_ = std::chrono::duration<double>(attention).count();
    return !(stop[0] || stop[1]);
}

void Executor::take_from_device(const Step& step) {
    for (ValueId id : host_->inputs()) {
        const Value& value = host_->values()[size_t(id)];
        std::copy_n(device_->output(id), row_count(value.rows, step) * value.cols, buffers_[id]);
    }
}

bool Executor::run_checked(const Step& step, const std::atomic<bool>* cancel) {
    for (size_t i = 0; i < bound_.size(); ++i) {
        if (cancel && cancel->load()) return false;
        if (nothing_to_do(i, step)) continue;
        const Step again = host_->instructions()[i].op->state ? with_shadow_states(i, step) : step;
        pool_.run([&](Team& team) { bound_[i](step, team); });
        pool_.run([&](Team& team) { reference_[i](again, team); });
        compare(host_->instructions()[i], step);
    }
    return true;
}

void Executor::compare(const Instruction& instruction, const Step& step) const {
    const Value& value = program_->values()[instruction.output];
    int64_t count = row_count(value.rows, step) * value.cols;
    const float* got = buffers_[instruction.output];
    const float* expected = shadows_[instruction.output];
    double largest = 0;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, double(std::fabs(expected[i])));
    double bound = check_tolerance(*program_, instruction) * largest + 1e-30;
    for (int64_t i = 0; i < count; ++i) {
        if (std::fabs(double(got[i]) - expected[i]) <= bound) continue;
        throw std::runtime_error(cat("GENFAST_CHECK: ", value.name, " = ", instruction.op->name,
                                     "(...) at ", instruction.where, " differs first at row ",
                                     i / value.cols, ", column ", i % value.cols, ": ",
                                     kernels_.isa, " gives ", got[i], ", the reference ",
                                     expected[i]));
    }
}

std::vector<float> Executor::value(ValueId id, int64_t count) const {
    require(options_.keep_all || options_.check, "intermediates are not kept in this executor");
    if (device_ && device_->plan().slot.at(id) >= 0) return device_->value(id, count);
    require(!plan_.slot.empty() && plan_.slot.at(id) >= 0, "value ", program_->values()[id].name,
            " is not computed");
    return {buffers_[id], buffers_[id] + count};
}

// The op, or which of its kernels runs where that depends on a format.
std::string Executor::kernel_name(const Instruction& instruction, const Kernels& kernels) const {
    const std::string op = instruction.op->name;
    if (op == "attention")
        return kernels.attention_variant(caches_.at(instruction.integer("layer")).layout.type);
    if (op != "matmul") return op;
    const Matrix w = program_->values()[instruction.inputs[1]].matrix->view();
    return cat(kernels.matmul_variant(w.format), w.gated ? " gated" : "");
}

std::string Executor::dump() const {
    std::ostringstream text;
    const size_t on_device = device_ ? device_->program().instructions().size() : 0;
    const size_t arena = plan_.bytes + (device_ ? device_->plan().bytes : 0);
    text << program_->instructions().size() << " instructions, " << isa() << ", arena "
         << (arena + 1023) / 1024 << " KiB for " << limits_.tokens << " tokens, weights "
         << program_->weight_bytes() / 1024 << " KiB\n";
    size_t index = 0;
    for (const Instruction& instruction : program_->instructions()) {
        const bool there = index < on_device;
        const Kernels& kernels = there ? device_->kernels() : kernels_;
        const Plan& plan = there ? device_->plan() : plan_;
        std::string call = cat(instruction.op->name, "(");
        for (size_t i = 0; i < instruction.inputs.size(); ++i) {
            ValueId id = instruction.inputs[i];
            if (i) call += ", ";
            if (id < 0) {
                call += "-";
                continue;
            }
            call += program_->values()[id].name;
        }
        for (const auto& [key, value] : instruction.attributes) {
            call += cat(", ", key, "=");
            std::visit([&](const auto& v) { call += cat(v); }, value);
        }
        const Value& out = program_->values()[instruction.output];
        text << std::setw(4) << index++ << "  " << out.name << " = " << call << ")  "
             << program_->shape_text(instruction.output)
             << (on_device ? there ? "  gpu" : "  cpu" : "") << "  kernel "
             << kernel_name(instruction, kernels) << "  slot " << plan.slot[instruction.output]
             << "  " << instruction.where << "\n";
    }
    return text.str();
}

}  // namespace genfast
