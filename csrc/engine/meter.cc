#include "engine/meter.h"

#include <algorithm>
#include <cmath>

namespace genfast {

Meter::Meter(const Program& program, const KvCache& cache, ThreadPool& pool)
    : cache_(cache), pool_(pool) {
    for (const Instruction& instruction : program.instructions()) {
        const std::string op = instruction.op->name;
        if (op != "matmul" && op != "head_matmul" && op != "moe") continue;
        double bytes = 0, matrices = 0;
        for (ValueId id : instruction.inputs) {
            if (id < 0 || !program.values()[size_t(id)].matrix) continue;
            bytes += double(program.values()[size_t(id)].matrix->nbytes());
            ++matrices;
        }
        if (op == "moe") {
            double chosen = double(program.values()[size_t(instruction.inputs[1])].cols) / 2;
            experts_.push_back({bytes, chosen / (matrices / 2)});
        } else {
            bool logits = program.values()[size_t(instruction.output)].rows == kOutputs;
            (logits ? output_bytes_ : step_bytes_) += bytes;
        }
    }
}

// Of a step with so many rows. Which experts they visit is not asked: each row a share of them by
// chance, and what one row has visited another has for nothing.
double Meter::weight_bytes(int64_t rows) const {
    double bytes = step_bytes_;
    for (const Experts& experts : experts_)
        bytes += experts.bytes * (1 - std::pow(1 - experts.share, double(rows)));
    return bytes;
}

void Meter::wake() {
    cpu_at_ = pool_.cpu_seconds();
    measured_ = Clock::now();
}

void Meter::step(const std::vector<Share>& shares,
                 const std::vector<std::shared_ptr<Request>>& holders, double seconds,
                 double attention_seconds) {
    Clock::time_point now = Clock::now();
    double cpu = pool_.cpu_seconds(), cpu_spent = cpu - cpu_at_;
    double passed = std::chrono::duration<double>(now - measured_).count();
    cpu_at_ = cpu;
    measured_ = now;

    StepSize all;
    double outputs = 0;
    for (const Share& share : shares) {
        all.add(share.start, share.rows);
        outputs += double(share.outputs);
    }
    double attending = seconds > 0 ? std::min(1.0, attention_seconds / seconds) : 0;
    double weights = weight_bytes(all.rows);
    double token_bytes = double(cache_.page_bytes()) / kPageTokens;
    double state_bytes = 2 * double(cache_.states().slot_bytes());  // read and written
    auto own_bytes = [&](const Share& share) {
        return token_bytes * double(share.start + 2 * share.rows) + state_bytes;
    };
    for (const Share& share : shares) {
        StepSize own;
        own.add(share.start, share.rows);
        double rows = double(own.rows) / double(all.rows);
        double keys = double(own.attended) / double(all.attended);
        double bytes = weights * rows + own_bytes(share);
        if (outputs > 0) bytes += output_bytes_ * double(share.outputs) / outputs;
        std::lock_guard lock(share.request->mutex);
        share.request->cost.cpu_seconds += cpu_spent * ((1 - attending) * rows + attending * keys);
        share.request->cost.bytes_moved += bytes;
    }
    for (const auto& request : holders) {
        double held = cache_.bytes_of(request->kv);
        for (const Beam& beam : request->beams()) held += cache_.bytes_of(beam.kv);
        if (request->negative) held += cache_.bytes_of(request->negative->kv);
        std::lock_guard lock(request->mutex);
        request->cost.kv_byte_seconds += held * passed;
    }

    total_.cpu_seconds += cpu_spent;
    total_.bytes_moved += weights + (outputs > 0 ? output_bytes_ : 0);
    for (const Share& share : shares) total_.bytes_moved += own_bytes(share);
    total_.kv_byte_seconds += passed * double(cache_.bytes_in_use());
    step_seconds_[size_t(steps_) % kRemembered] = float(seconds);
    steps_ += 1;
    tokens_ += double(all.rows);
    busy_seconds_ += seconds;
}

void Meter::drawn(int32_t there) {
    drawn_there_ += there > kUnsure;
    left_here_ += there == kUnsure;
}

void Meter::finished(const Request& request) {
    prompt_tokens_ += double(request.spec.prompt.size());
    cached_tokens_ += double(request.prompt_cached);
    generated_ += double(request.tokens.size());
    drafts_.drafts += request.drafts.drafts;
    drafts_.tokens += request.drafts.tokens;
    drafts_.accepted += request.drafts.accepted;
    for (const Hypothesis& hypothesis : request.hypotheses)
        generated_ += double(hypothesis.tokens.size());
}

void Meter::report(std::map<std::string, double>& stats) const {
    stats["steps"] = steps_;
    stats["tokens"] = tokens_;
    stats["generated_tokens"] = generated_;
    stats["busy_seconds"] = busy_seconds_;
    stats["planning_us_per_step"] = steps_ > 0 ? 1e6 * planning_seconds_ / steps_ : 0;
    stats["tokens_per_second"] = busy_seconds_ > 0 ? tokens_ / busy_seconds_ : 0;
    stats["tokens_drawn_on_gpu"] = drawn_there_;
    stats["tokens_left_to_cpu"] = left_here_;
    stats["prompt_tokens"] = prompt_tokens_;
    stats["cached_tokens"] = cached_tokens_;
    stats["prefix_hit_rate"] = prompt_tokens_ > 0 ? cached_tokens_ / prompt_tokens_ : 0;
    stats["drafts"] = double(drafts_.drafts);
    stats["draft_tokens"] = double(drafts_.tokens);
    stats["accepted_tokens"] = double(drafts_.accepted);
    stats["accepted_per_draft"] =
        drafts_.drafts > 0 ? double(drafts_.accepted) / double(drafts_.drafts) : 0;
    stats["cpu_seconds"] = total_.cpu_seconds;
    stats["bytes_moved"] = total_.bytes_moved;
    stats["kv_byte_seconds"] = total_.kv_byte_seconds;
    std::vector<float> sorted(
        step_seconds_.begin(),
        step_seconds_.begin() + std::ptrdiff_t(std::min(double(kRemembered), steps_)));
    std::sort(sorted.begin(), sorted.end());
    for (int percent : {50, 90, 99}) {
        double value = sorted.empty() ? 0 : sorted[(sorted.size() - 1) * size_t(percent) / 100];
        stats["step_ms_p" + std::to_string(percent)] = 1e3 * value;
    }
}

}  // namespace genfast
