// A device that is this CPU. Copies happen when they must, before the next launch or in wait(), so
// that memory which changes while its copy is queued is found. Some launches are held back until
// the next one waits for them, as launches may overlap. What is captured are the launches and
// copies themselves, so that a graph which depends on what it should read from the device's memory
// does not pass.
#include "cuda/device.h"

#include <atomic>
#include <cstdlib>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "cuda/emulation.h"

namespace genfast {

struct DeviceGraph {
    std::vector<emulation::Work> work;
};

static thread_local DeviceGraph* capturing = nullptr;
static thread_local std::vector<emulation::Work> copies;    // queued
static thread_local std::optional<emulation::Launch> held;  // before any of the copies

static void finish_launches() {
    if (const auto launch = std::exchange(held, {})) emulation::run(*launch);
}
static void finish() {
    finish_launches();
    for (const auto& copy : std::exchange(copies, {})) copy();
}

static std::atomic<bool> opened = false;  // who calls kernels without a device does not wait

// Every other launch or so, so that each is held back in some step.
static bool hold_back() {
    static thread_local uint32_t count = 0;
    return opened && (++count * 2654435761u) >> 31;
}

static void start(const emulation::Launch& launch) {
    if (!copies.empty()) finish();
    if (const auto earlier = std::exchange(held, {}))
        emulation::run(launch, &*earlier);
    else if (hold_back())
        held = launch;
    else
        emulation::run(launch);
}

static void do_or_keep(emulation::Work work) {
    if (capturing)
        capturing->work.push_back(std::move(work));
    else
        work();
}

void emulation::queue(emulation::Work work) {
    do_or_keep([work = std::move(work)] {
        finish();
        work();
    });
}
void emulation::queue(Launch launch) {
    do_or_keep([launch = std::move(launch)] { start(launch); });
}

namespace cuda {
namespace {

void queue_copy(void* to, const void* from, size_t bytes) {
    auto copy = [=] { std::memcpy(to, from, bytes); };
    if (capturing)
        emulation::queue(copy);
    else
        copies.push_back(copy);
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
    for (const auto& work : graph->work) work();
}

}  // namespace

int compute_capability() {
    const char* named = std::getenv("GENFAST_EMULATED_CAPABILITY");
    return named ? std::atoi(named) : 80;
}

Device open_device() {
    opened = true;
    Device device{};
    device.name = "emulation";
    device.count = 2;
    device.free_bytes = [] { return size_t(1) << 30; };
    device.allocate = device.allocate_host = allocate;
    device.release = device.release_host = release;
    device.upload = upload;
    device.download = download;
    device.copy = copy;
    device.wait = finish;
    device.idle = [] {
        finish();
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
