// Native code reports every failure by an exception; the bindings turn these into Python's.
//   std::invalid_argument -> ValueError      std::bad_alloc -> MemoryError
//   std::out_of_range     -> IndexError      std::runtime_error -> RuntimeError
// and those below -> genfast's own of the same name.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace genfast {

// cat("expected ", 3, " columns") -> std::string
template <class... Parts>
std::string cat(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

template <class... Parts>
void require(bool condition, const Parts&... message) {
    if (!condition) throw std::invalid_argument(cat(message...));
}

struct QueueFull : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct DeadlineError : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct DeviceError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace genfast
