#include "program/fuse.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "program/op_checks.h"

namespace genfast {
namespace {

constexpr size_t kNobody = SIZE_MAX;

bool is(const Instruction& instruction, const char* op) {
    return instruction.op->name == std::string(op);
}

// Who writes a value and who reads it; whoever reads outputs is kNobody.
struct Uses {
    std::vector<size_t> writer;
    std::vector<std::vector<size_t>> readers;

    explicit Uses(const Program& program)
        : writer(program.values().size(), kNobody), readers(program.values().size()) {
        const std::vector<Instruction>& all = program.instructions();
        for (size_t i = 0; i < all.size(); ++i) {
            writer[size_t(all[i].output)] = i;
            for (ValueId id : all[i].inputs)
                if (id >= 0) readers[size_t(id)].push_back(i);
        }
        for (ValueId id : program.outputs()) readers[size_t(id)].push_back(kNobody);
    }
};

class Fuser {
  public:
    Fuser(const Program& program, const Limits& limits, const CudaLibrary& library)
        : program_(program),
          limits_(limits),
          library_(library),
          uses_(program),
          fusions_(program.instructions().size()) {
        for (size_t i = 0; i < fusions_.size(); ++i) {
            prepare(i);
            if (is(at(i), "attention")) take_turns(i);
        }
    }
    std::vector<Fusion> result() { return std::move(fusions_); }

  private:
    const Instruction& at(size_t i) const { return program_.instructions()[i]; }
    const Value& value(ValueId id) const { return program_.values()[size_t(id)]; }
    Matrix weights(const Instruction& matmul) const {
        return value(matmul.inputs[1]).matrix->view();
    }

    // Of instruction i's output, if products alone read it, in one format.
    void prepare(size_t i) {
        const Instruction& writer = at(i);
        const Value& rows = value(writer.output);
        const std::vector<size_t>& readers = uses_.readers[size_t(writer.output)];
        if (readers.empty()) return;
        Matrix widest;
        for (size_t reader : readers) {
            if (reader == kNobody || !is(at(reader), "matmul")) return;
            const std::vector<ValueId>& inputs = at(reader).inputs;
            if (std::count(inputs.begin(), inputs.end(), writer.output) > 1 ||
                inputs[0] != writer.output)
                return;
            const Matrix w = weights(at(reader));
            if (reader != readers[0] && w.format != widest.format) return;
            if (reader == readers[0] || panel_count(w) > panel_count(widest)) widest = w;
        }
        const int64_t most = std::min(most_rows_of(writer, widest), most_rows(rows.rows, limits_));
        const size_t room = size_t(most_rows(rows.rows, limits_) * rows.cols) * sizeof(float);
        if (most <= 0 || library_.prepared_bytes(widest, most) > room) return;
        fusions_[i].rows_for = library_.rows_for(widest);
        fusions_[i].most_rows = most;
        for (size_t reader : readers) fusions_[reader].most_prepared = most;
    }

    // Of the rows that this op can leave for products by w.
    int64_t most_rows_of(const Instruction& writer, const Matrix& w) const {
        if (is(writer, "rms_norm") || is(writer, "layer_norm")) {
            const bool whole = writer.integer("groups") <= 1 &&
                               value(writer.inputs[1]).cols == value(writer.output).cols;
            return whole ? library_.prepared_rows(writer.op->name, w.format, w) : 0;
        }
        const Format own = is(writer, "matmul") ? weights(writer).format : w.format;
        return library_.prepared_rows(writer.op->name, own, w);
    }

    // The instruction that writes x, if it is such an op and nobody else reads what it reads or
    // writes: then it works in place.
    const Instruction* before(ValueId x, const char* op) const {
        const size_t i = uses_.writer[size_t(x)];
        if (i == kNobody || !is(at(i), op) || uses_.readers[size_t(x)].size() > 1) return nullptr;
        const ValueId from = at(i).inputs[0];
        const bool alone =
            uses_.readers[size_t(from)].size() == 1 && uses_.writer[size_t(from)] != kNobody;
        return alone ? &at(i) : nullptr;
    }

    void take_turns(size_t i) {
        const Instruction& attention = at(i);
        const int64_t heads = attention.integer("heads") + attention.integer("kv_heads");
        const int64_t dim = attention.integer("head_dim");
        const Instruction* rotation = before(attention.inputs[0], "rope");
        if (!rotation || rotation->integer("heads") != heads ||
            rotation->integer("head_dim") != dim)
            return;
        fusions_[i].rotation = rotation;
        elsewhere(*rotation);
        const Instruction* norm = before(rotation->inputs[0], "rms_norm");
        if (!norm || norm->integer("groups") != heads || norm->integer("first") != 0 ||
            value(norm->inputs[1]).cols != heads * dim)
            return;
        fusions_[i].norm = norm;
        elsewhere(*norm);
    }
    void elsewhere(const Instruction& instruction) {
        fusions_[size_t(&instruction - program_.instructions().data())].elsewhere = true;
    }

    const Program& program_;
    const Limits& limits_;
    const CudaLibrary& library_;
    const Uses uses_;
    std::vector<Fusion> fusions_;
};

}  // namespace

std::vector<Fusion> fuse(const Program& program, const Limits& limits, const CudaLibrary& library) {
    const char* wanted = std::getenv("GENFAST_CUDA_FUSE");
    if (wanted && std::string(wanted) == "0")
        return std::vector<Fusion>(program.instructions().size());
    return Fuser(program, limits, library).result();
}

}  // namespace genfast
