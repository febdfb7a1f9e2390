#include "bindings/without_gil.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace genfast {
namespace {

using std::chrono::milliseconds, std::chrono::steady_clock;

bool leaving = false;  // guarded by the lock
std::atomic<bool> gone{false};
std::atomic<int> outside{0};  // threads that gave the lock up

void leave() {
    leaving = true;
    const auto deadline = steady_clock::now() + milliseconds(1000);
    while (outside && steady_clock::now() < deadline) {
        PyThreadState* state = PyEval_SaveThread();
        std::this_thread::sleep_for(milliseconds(1));
        PyEval_RestoreThread(state);
    }
    gone = true;
}

}  // namespace

WithoutGil::WithoutGil() {
    if (leaving) return;
    ++outside;
    state_ = PyEval_SaveThread();
}

WithoutGil::~WithoutGil() {
    if (!state_) return;
    while (gone) std::this_thread::sleep_for(milliseconds(1000));
    PyEval_RestoreThread(state_);
    --outside;
}

void expect_exit() {
    pybind11::module_::import("atexit").attr("register")(pybind11::cpp_function(leave));
    pthread_atfork(nullptr, nullptr, [] { outside = 0; });  // a child has none of these threads
}

}  // namespace genfast
