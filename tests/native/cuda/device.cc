// A device that is this CPU. Copies happen when they must, before the next launch or in wait(), so
// that memory which changes while its copy is queued is found. What is captured are the launches
// and copies themselves, so that a graph which depends on what it should read from the device's
// memory does not pass.
#include "cuda/device.h"

#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "cuda/emulation.h"

namespace genfast {

struct DeviceGraph {
    std::vector<std::function<void()>> work;
};

static thread_local DeviceGraph* capturing = nullptr;
static thread_local std::vector<std::function<void()>> copies;  // queued

static void finish_copies() {
    for (const auto& copy : std::exchange(copies, {})) copy();
}

void emulation::queue(Work work) {
    if (capturing) {
        capturing->work.push_back(std::move(work));
        return;
    }
    finish_copies();
    work();
}

namespace cuda {
namespace {

void queue_copy(void* to, const void* from, size_t bytes) {
    auto& queue = capturing ? capturing->work : copies;
    queue.push_back([=] { std::memcpy(to, from, bytes); });
}

std::byte* allocate(size_t bytes) {
    void* memory = std::calloc(bytes, 1);
    if (!memory) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
}
void release(std::byte* memory) {
    std::free(memory);
}
void upload(std::byte* to, const void* from, size_t bytes) {
    queue_copy(to, from, bytes);
}
void download(void* to, const std::byte* from, size_t bytes) {
    queue_copy(to, from, bytes);
}
void copy(std::byte* to, const std::byte* from, size_t bytes) {
    queue_copy(to, from, bytes);
}

void replay(DeviceGraph* graph) {
    finish_copies();
    for (const auto& work : graph->work) work();
}

}  // namespace

int compute_capability() {
    const char* named = std::getenv("GENFAST_EMULATED_CAPABILITY");
    return named ? std::atoi(named) : 80;
}

Device open_device() {
    Device device{};
    device.name = "emulation";
    device.count = 2;
    device.free_bytes = [] { return size_t(1) << 30; };
    device.allocate = device.allocate_host = allocate;
    device.release = device.release_host = release;
    device.upload = upload;
    device.download = download;
    device.copy = copy;
    device.wait = finish_copies;
    device.idle = [] {
        finish_copies();
        return true;
    };
    device.begin_capture = [] { capturing = new DeviceGraph; };
    device.end_capture = [] { return std::exchange(capturing, nullptr); };
    device.replay = replay;
    device.destroy = [](DeviceGraph* graph) { delete graph; };
    return device;
}

}  // namespace cuda
}  // namespace genfast
