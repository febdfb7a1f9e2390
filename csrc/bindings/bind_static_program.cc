#include "bindings/bindings.h"
#include "program/static_program.h"

namespace genfast {
namespace {

std::vector<py::ssize_t> shape_of(const Value& value) {
    return {value.rows, value.cols};
}

// {name: float32 [rows, cols]} -> [float32 [rows, cols]], of the program's outputs in order.
std::vector<FloatArray> run(StaticProgram& self, const std::map<std::string, FloatArray>& given) {
    const Program& program = self.program();
    std::vector<const float*> inputs;
    for (ValueId id : program.inputs()) {
        const Value& value = program.values()[size_t(id)];
        auto found = given.find(value.name);
        require(found != given.end(), "inputs lack ", value.name, ", ", program.shape_text(id));
        const FloatArray& array = found->second;
        require(array.ndim() == 2 && array.shape(0) == value.rows && array.shape(1) == value.cols,
                "input ", value.name, " must have shape ", program.shape_text(id), ", found ",
                array.size(), " numbers in ", array.ndim(), " axes");
        inputs.push_back(array.data());
    }
    require(given.size() == inputs.size(), "there are ", given.size(),
            " inputs, but the program reads ", inputs.size());
    std::vector<FloatArray> results;
    std::vector<float*> outputs;
    for (ValueId id : program.outputs()) {
        results.emplace_back(shape_of(program.values()[size_t(id)]));
        outputs.push_back(results.back().mutable_data());
    }
    WithoutGil release;
    self.run(inputs, outputs);
    return results;
}

// A copy of an intermediate of the last run.
FloatArray value(const StaticProgram& self, const std::string& name) {
    const Program& program = self.program();
    const ValueId id = program.find(name);
    FloatArray array(shape_of(program.values()[size_t(id)]));
    const std::vector<float> numbers = self.executor().value(id, array.size());
    std::copy(numbers.begin(), numbers.end(), array.mutable_data());
    return array;
}

}  // namespace

void bind_static_program(py::module_& m) {
    py::class_<StaticProgram>(m, "StaticProgram")
        .def(py::init([](std::shared_ptr<Program> program, int threads, const std::string& isa,
                         bool keep_all, bool check) {
                 return std::make_unique<StaticProgram>(std::move(program), pool_of(threads),
                                                        ExecutorOptions{isa, keep_all, check});
             }),
             py::arg("program"), py::arg("threads") = 0, py::arg("isa") = "",
             py::arg("keep_all") = false, py::arg("check") = false)
        .def("run", &run, py::arg("inputs"))
        .def("value", &value, py::arg("name"))
        .def("dump", [](const StaticProgram& self) { return self.executor().dump(); })
        .def_property_readonly(
            "arena_bytes", [](const StaticProgram& self) { return self.executor().arena_bytes(); });
}

}  // namespace genfast
