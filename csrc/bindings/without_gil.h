// The interpreter's lock, given up while C++ works or waits.
//
// A daemon thread that comes back for the lock once the interpreter is gone is ended inside our
// frames, and that ends the process by std::terminate (before Python 3.14, which lets it sleep).
// So from the beginning of the exit no thread gives the lock up, the exit waits a second for those
// that did, and who comes back later sleeps until the process ends.
#pragma once

#include <pybind11/pybind11.h>

namespace genfast {

class WithoutGil {
  public:
    WithoutGil();
    ~WithoutGil();
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

  private:
    PyThreadState* state_ = nullptr;  // null: the lock was kept
};

void expect_exit();  // once, before threads

}  // namespace genfast
