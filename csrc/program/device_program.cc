#include "program/device_program.h"

#include <algorithm>

#include "core/error.h"
#include "program/pinned_stream.h"

namespace genfast {
namespace {

constexpr size_t kAlignment = 256;

size_t aligned(size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t pages_of(const SequenceSpan& span) {
    return (span.start + span.rows + kPageTokens - 1) / kPageTokens;
}

// What varies from step to step, one after the other: the pages last, of which only those in use
// are sent.
struct StepPlaces {
    size_t token_ids, positions, output_rows, spans, draws, pages, end;

    explicit StepPlaces(const Limits& limits) {
        token_ids = 0;
        positions = token_ids + aligned(size_t(limits.tokens) * sizeof(int32_t));
        output_rows = positions + aligned(size_t(limits.tokens) * sizeof(int32_t));
        spans = output_rows + aligned(size_t(limits.outputs) * sizeof(int32_t));
        draws = spans + aligned(size_t(limits.sequences) * sizeof(SequenceSpan));
        pages = draws + aligned(size_t(limits.outputs) * sizeof(RowDraw));
        const int64_t of_one = (limits.context + kPageTokens - 1) / kPageTokens;
        end = pages + size_t(limits.sequences * of_one) * sizeof(int32_t);
    }
};

bool decodes(const Step& step) {
    return step.tokens == step.span_count && step.outputs == step.tokens &&
           std::all_of(step.spans, step.spans + step.span_count,
                       [](const SequenceSpan& span) { return span.rows == 1; });
}

bool is_between_ranks(const Instruction& instruction) {
    for (const OpSpec* op = kRankOps; op->name; ++op)
        if (instruction.op == op) return true;
    return false;
}

int64_t power_of_two(int64_t n) {
    int64_t power = 1;
    while (power < n) power *= 2;
    return power;
}

}  // namespace

DeviceProgram::DeviceProgram(std::shared_ptr<const Program> program,
                             const std::vector<LayerCache>& caches, StateSlots states,
                             Limits limits, bool keep_all, const CudaLibrary& library,
                             ThreadPool& pool, Communicator* ranks)
    : program_(std::move(program)),
      library_(library),
      device_(library.device),
      ranks_(ranks),
      limits_(limits) {
    check_kernels();
    limits_.threads = 1;
    fusions_.resize(program_->instructions().size());
    if (!keep_all) fusions_ = fuse(*program_, limits_, library_);
    plan_ = plan_memory(*program_, limits_, keep_all, [&](size_t i) {
        return !fusions_[i].rows_for;  // which lie otherwise than what they are made of
    });
    arena_ = Memory(plan_.bytes, &device_);
    size_t scratch = kAlignment;
    for (const Instruction& instruction : program_->instructions())
        if (instruction.op->scratch)
            scratch = std::max(scratch, instruction.op->scratch(*program_, instruction, kernels(),
                                                                limits_, caches));
    scratch_ = Memory(scratch, &device_);
    const StepPlaces places(limits_);
    step_ = Memory(places.end, &device_);
    draw_scratch_ = Memory(library_.draw_rows_scratch_bytes(limits_.outputs), &device_);
    drawn_there_ = Memory(size_t(limits_.outputs) * sizeof(DrawnRow), &device_);
    told_there_ = Memory(size_t(limits_.outputs) * sizeof(ToldRow), &device_);
    place_values(pool);
    bind(caches, states);
    staging_ = PinnedMemory(places.end, device_);
    for (ValueId id : program_->outputs()) {
        const Value& output = program_->values()[size_t(id)];
        const int64_t rows = output.rows == kTokens ? limits_.tokens : limits_.outputs;
        outputs_.emplace_back(size_t(rows * output.cols) * sizeof(float), device_);
    }
}

DeviceProgram::~DeviceProgram() {
    for (auto [kind, graph] : graphs_) device_.destroy(graph);
}

void DeviceProgram::check_kernels() const {
    for (const Instruction& instruction : program_->instructions())
        require((ranks_ && is_between_ranks(instruction)) ||
                    cuda_has_kernel(library_, instruction.op->name),
                "device='cuda': the op ", instruction.op->name, ", recorded at ", instruction.where,
                ", has no CUDA kernel yet; load this model with device='cpu'");
    for (ValueId id : program_->outputs())
        require(program_->values()[size_t(id)].rows < 0,
                "device='cuda' runs programs of tokens alone");
}

// Where each value lies: constants and weights are sent once.
void DeviceProgram::place_values(ThreadPool& pool) {
    const std::vector<Value>& values = program_->values();
    buffers_.assign(values.size(), nullptr);
    matrices_.resize(values.size());
    std::vector<size_t> at(values.size());
    size_t bytes = kAlignment;
    for (size_t id = 0; id < values.size(); ++id) {
        at[id] = bytes;
        bytes += aligned(values[id].constant.size() * sizeof(float));
    }
    constants_ = Memory(bytes, &device_);
    size_t largest = bytes;
    for (const Value& value : values)
        if (value.matrix) largest = std::max(largest, value.matrix->nbytes());
    PinnedStream stream(device_, pool, largest);
    std::map<const std::byte*, const std::byte*> sent;  // a tied matrix once
    for (size_t id = 0; id < values.size(); ++id) {
        const Value& value = values[id];
        if (plan_.slot[id] >= 0)
            buffers_[id] =
                reinterpret_cast<float*>(arena_.data() + plan_.offset[size_t(plan_.slot[id])]);
        if (!value.constant.empty()) {
            stream.send(constants_.data() + at[id],
                        reinterpret_cast<const std::byte*>(value.constant.data()),
                        value.constant.size() * sizeof(float));
            buffers_[id] = reinterpret_cast<float*>(constants_.data() + at[id]);
        }
        if (!value.matrix) continue;
        matrices_[id] = value.matrix->view();
        const std::byte*& there = sent[matrices_[id].data];
        if (!there) {
            weights_.emplace_back(value.matrix->nbytes(), &device_);
            stream.send(weights_.back().data(), matrices_[id].data, value.matrix->nbytes());
            there = weights_.back().data();
        }
        matrices_[id].data = there;
    }
    stream.finish();
}

// Kernels that choose among matrices read them in the device's memory too.
void DeviceProgram::bind(const std::vector<LayerCache>& caches, StateSlots states) {
    std::vector<Matrix> operands;
    for (const Instruction& instruction : program_->instructions())
        for (ValueId id : instruction.inputs)
            operands.push_back(id < 0 ? Matrix{} : matrices_[size_t(id)]);
    operands_ = Memory(operands.size() * sizeof(Matrix), &device_);
    operands_.write(0, operands.data(), operands_.size());
    const Matrix* on_device = reinterpret_cast<const Matrix*>(operands_.data());
    const std::vector<int64_t> state_offsets = program_->state_offsets();
    for (size_t i = 0; i < program_->instructions().size(); ++i) {
        const Instruction& instruction = program_->instructions()[i];
        StateSlots own = states;
        if (own.data) own.data += state_offsets[i];
        const Binding binding{*program_, instruction, kernels(), buffers_,
                              matrices_, caches,      own,       scratch_.data(),
                              limits_,   ranks_,      on_device, &fusions_[i]};
        bound_.push_back(fusions_[i].elsewhere ? BoundOp([](const Step&, Team&) {})
                                               : instruction.op->bind(binding));
        on_device += instruction.inputs.size();
    }
}

// The step as the device sees it: its data there, its sizes as they are here.
Step DeviceProgram::send(const Step& step) {
    const StepPlaces places(limits_);
    auto put = [&]<class T>(size_t place, const T* from, int64_t count) {
        std::copy_n(from, count, reinterpret_cast<T*>(staging_.data() + place));
        return reinterpret_cast<T*>(step_.data() + place);
    };
    Step there = step;
    there.token_ids = put(places.token_ids, step.token_ids, step.tokens);
    there.positions = put(places.positions, step.positions, step.tokens);
    there.output_rows = put(places.output_rows, step.output_rows, step.outputs);
    if (step.draws) there.draws = put(places.draws, step.draws, step.outputs);
    there.spans = reinterpret_cast<const SequenceSpan*>(step_.data() + places.spans);
    auto* spans = reinterpret_cast<SequenceSpan*>(staging_.data() + places.spans);
    size_t pages = places.pages;
    for (int64_t i = 0; i < step.span_count; ++i) {
        spans[i] = step.spans[i];
        if (spans[i].rows == 0) continue;
        spans[i].pages = put(pages, step.spans[i].pages, pages_of(step.spans[i]));
        pages += size_t(pages_of(step.spans[i])) * sizeof(int32_t);
    }
    device_.upload(step_.data(), staging_.data(), pages);
    return there;
}

void DeviceProgram::queue(const Step& step, Draws draws) {
    Team alone;
    for (size_t i = 0; i < bound_.size(); ++i) {
        const Value& out = program_->values()[size_t(program_->instructions()[i].output)];
        if (row_count(out.rows, step) > 0) bound_[i](step, alone);
    }
    if (draws == Draws::none) return;
    const size_t output = size_t(program_->output());
    auto* told = reinterpret_cast<ToldRow*>(told_there_.data());
    library_.draw_rows({buffers_[output], step.draws,
                        reinterpret_cast<DrawnRow*>(drawn_there_.data()),
                        draws == Draws::logprobs ? told : nullptr, draw_scratch_.data(),
                        step.outputs, program_->values()[output].cols});
}

void DeviceProgram::fetch_outputs(const Step& step) {
    drawn_.assign(size_t(step.outputs), {0, kNotAsked});
    for (size_t i = 0; i < outputs_.size(); ++i) {
        const ValueId id = program_->outputs()[i];
        const Value& output = program_->values()[size_t(id)];
        const size_t bytes = size_t(row_count(output.rows, step) * output.cols) * sizeof(float);
        if (bytes > 0)
            device_.download(outputs_[i].data(),
                             reinterpret_cast<const std::byte*>(buffers_[size_t(id)]), bytes);
    }
    if (ranks_) ranks_->finish();
    device_.wait();
}

// What was drawn; then the logits of other rows, as many at once as lie side by side.
void DeviceProgram::fetch_drawn(const Step& step, Draws draws) {
    drawn_.resize(size_t(step.outputs));
    told_.resize(draws == Draws::logprobs ? drawn_.size() : 0);
    device_.download(drawn_.data(), drawn_there_.data(), drawn_.size() * sizeof(DrawnRow));
    if (!told_.empty())
        device_.download(told_.data(), told_there_.data(), told_.size() * sizeof(ToldRow));
    if (ranks_) ranks_->finish();
    device_.wait();
    for (int64_t i = 0; i < step.outputs; ++i)
        if (step.draws[i].way == Way::none) drawn_[size_t(i)].token = kNotAsked;

    const size_t output = size_t(program_->output());
    const size_t row = size_t(program_->values()[output].cols) * sizeof(float);
    const auto* logits = reinterpret_cast<const std::byte*>(buffers_[output]);
    auto wanted = [](const DrawnRow& drawn) { return drawn.token <= kUnsure; };
    const auto end = drawn_.end();
    for (auto from = std::find_if(drawn_.begin(), end, wanted); from != end;) {
        const auto to = std::find_if_not(from, end, wanted);
        const size_t first = size_t(from - drawn_.begin());
        device_.download(outputs_[0].data() + first * row, logits + first * row,
                         size_t(to - from) * row);
        from = std::find_if(to, end, wanted);
    }
    device_.wait();
}

DeviceProgram::Draws DeviceProgram::draws_of(const Step& step) const {
    if (!step.draws || step.outputs == 0) return Draws::none;
    if (ranks_) return Draws::logprobs;  // one graph of so many rows, as the others have
    const bool tells = std::any_of(step.draws, step.draws + step.outputs, [](const RowDraw& row) {
        return row.way != Way::none && row.told >= 0;
    });
    return tells ? Draws::logprobs : Draws::tokens;
}

DeviceGraph* DeviceProgram::graph_of(int64_t rows, Draws draws) {
    DeviceGraph*& graph = graphs_[{rows, draws}];
    if (!graph) {
        // Queued once before: a driver loads kernels when first used, and not within a capture. Its
        // rows belong to nobody, so that no sequence's state goes on.
        const std::vector<int32_t> zeros(size_t(rows), 0);
        const std::vector<SequenceSpan> nobody(size_t(rows), SequenceSpan{});
        const std::vector<RowDraw> undrawn(static_cast<size_t>(rows));
        const int32_t* none = zeros.data();
        const Step step = send({rows, none, none, rows, none, nobody.data(), rows,
                                draws == Draws::none ? nullptr : undrawn.data()});
        queue(step, draws);
        device_.begin_capture();
        queue(step, draws);
        graph = device_.end_capture();
        device_.wait();  // what it sent may be written over
    }
    return graph;
}

void DeviceProgram::run(const Step& step) {
    const int64_t rows = power_of_two(step.tokens);
    const Draws drawing = draws_of(step);
    const bool fits = rows <= std::min({limits_.tokens, limits_.outputs, limits_.sequences});
    if (decodes(step) && fits) {
        // Rows that fill it up belong to no sequence: what they give is of no matter.
        std::vector<int32_t> ids(step.token_ids, step.token_ids + step.tokens);
        std::vector<int32_t> positions(step.positions, step.positions + step.tokens);
        std::vector<int32_t> outputs(step.output_rows, step.output_rows + step.outputs);
        std::vector<SequenceSpan> spans(step.spans, step.spans + step.span_count);
        for (auto* numbers : {&ids, &positions, &outputs}) numbers->resize(size_t(rows), 0);
        spans.resize(size_t(rows), SequenceSpan{});
        std::vector<RowDraw> draws(static_cast<size_t>(rows));
        if (step.draws) std::copy_n(step.draws, step.outputs, draws.begin());
        DeviceGraph* graph = graph_of(rows, drawing);
        send({rows, ids.data(), positions.data(), rows, outputs.data(), spans.data(), rows,
              step.draws ? draws.data() : nullptr});
        device_.replay(graph);
    } else {
        queue(send(step), drawing);
    }
    if (drawing == Draws::none)
        fetch_outputs(step);
    else
        fetch_drawn(step, drawing);
}

const float* DeviceProgram::output(ValueId id) const {
    const std::vector<ValueId>& ids = program_->outputs();
    const auto found = std::find(ids.begin(), ids.end(), id);
    return reinterpret_cast<const float*>(outputs_.at(size_t(found - ids.begin())).data());
}

std::vector<float> DeviceProgram::value(ValueId id, int64_t count) const {
    std::vector<float> numbers(static_cast<size_t>(count));
    device_.download(numbers.data(), reinterpret_cast<const std::byte*>(buffers_[size_t(id)]),
                     numbers.size() * sizeof(float));
    device_.wait();
    return numbers;
}

}  // namespace genfast
