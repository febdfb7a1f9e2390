#include <set>

#include "bindings/bindings.h"
#include "engine/tap.h"
#include "program/program.h"

namespace genfast {

static std::map<std::string, Attribute> attributes_from(const py::dict& dict) {
    std::map<std::string, Attribute> attributes;
    for (auto [key, value] : dict) {
        auto name = py::cast<std::string>(key);
        if (py::isinstance<py::bool_>(value) || py::isinstance<py::int_>(value))
            attributes[name] = py::cast<int64_t>(value);
        else if (py::isinstance<py::float_>(value))
            attributes[name] = py::cast<double>(value);
        else
            attributes[name] = py::cast<std::string>(value);
    }
    return attributes;
}

static ValueId add_constant(Program& program, const std::string& name, const FloatArray& data) {
    require(data.ndim() == 1 || data.ndim() == 2, "constant ", name, " must have one or two axes");
    int64_t rows = data.ndim() == 2 ? data.shape(0) : 1;
    std::vector<float> numbers(data.data(), data.data() + data.size());
    return program.constant(name, std::move(numbers), rows, data.shape(data.ndim() - 1));
}

// Runs the prompt in one step with every intermediate kept -> {name: float32 [rows, cols]}.
static py::dict tap(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
                    const std::vector<int32_t>& token_ids, const std::vector<std::string>& names,
                    int threads, const std::string& isa, size_t on_device) {
    std::vector<Tapped> tapped;
    {
        WithoutGil release;
        tapped = tap_program(program, layouts, token_ids, names, threads,
                             {isa, true, false, nullptr, on_device});
    }
    py::dict result;
    for (size_t i = 0; i < names.size(); ++i) {
        FloatArray array({tapped[i].rows, tapped[i].cols});
        std::copy(tapped[i].data.begin(), tapped[i].data.end(), array.mutable_data());
        result[py::str(names[i])] = array;
    }
    return result;
}

void bind_program(py::module_& m) {
    py::class_<KvLayout>(m, "KvLayout")
        .def(py::init([](const std::string& type, int heads, int head_dim) {
                 return KvLayout{kv_type_named(type), heads, head_dim};
             }),
             py::arg("kv_dtype"), py::arg("heads"), py::arg("head_dim"))
        .def_static(
            "latent",
            [](const std::string& type, int64_t latent, int64_t rotated) {
                return latent_layout(kv_type_named(type), latent, rotated);
            },
            py::arg("kv_dtype"), py::arg("latent"), py::arg("rotated"))
        .def_property_readonly("page_bytes",
                               [](const KvLayout& l) { return l.run_bytes() / kRunPages; });

    py::class_<Program, std::shared_ptr<Program>>(m, "Program")
        .def(py::init<>())
        .def_property_readonly("token_ids", &Program::token_ids)
        .def_property_readonly("positions", &Program::positions)
        .def("constant", &add_constant, py::arg("name"), py::arg("data"))
        .def(
            "matrix",
            [](Program& p, const std::string& name, std::shared_ptr<PackedMatrix> weight) {
                return p.matrix(name, std::move(weight));
            },
            py::arg("name"), py::arg("weight"))
        .def(
            "append",
            [](Program& p, const std::string& op, std::vector<ValueId> inputs,
               const py::dict& attributes, const std::string& name, const std::string& where) {
                return p.append(op, std::move(inputs), attributes_from(attributes), name, where);
            },
            py::arg("op"), py::arg("inputs"), py::arg("attributes"), py::arg("name"),
            py::arg("where"))
        .def("input", &Program::input, py::arg("name"), py::arg("rows"), py::arg("cols"))
        .def("set_output", &Program::set_output, py::arg("value"))
        .def("add_output", &Program::add_output, py::arg("value"))
        .def("shape",
             [](const Program& p, ValueId id) {
                 const Value& v = p.values().at(size_t(id));
                 return std::pair(v.rows, v.cols);
             })
        .def_property_readonly("weight_bytes", &Program::weight_bytes)
        .def(
            "weight_bytes_of",
            [](const Program& p, size_t instructions) {
                return p.part(0, instructions)->weight_bytes();
            },
            py::arg("instructions"))
        .def_property_readonly("state_bytes",
                               [](const Program& p) { return p.state_floats() * sizeof(float); })
        .def_property_readonly("weight_formats",
                               [](const Program& p) {
                                   std::set<std::string> formats;
                                   for (const Value& v : p.values())
                                       if (v.matrix && v.matrix->view().panels)
                                           formats.insert(traits(v.matrix->view().format).name);
                                   return std::vector<std::string>(formats.begin(), formats.end());
                               })
        .def_property_readonly("names", [](const Program& p) {
            std::vector<std::string> names;
            for (const auto& i : p.instructions())
                names.push_back(p.values()[size_t(i.output)].name);
            return names;
        });

    m.def("tap", &tap, py::arg("program"), py::arg("layouts"), py::arg("token_ids"),
          py::arg("names"), py::arg("threads") = 0, py::arg("isa") = "",
          py::arg("on_device") = SIZE_MAX);
}

}  // namespace genfast
