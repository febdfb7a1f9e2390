#include "cuda/device.h"

#include <dlfcn.h>

#include <new>

#include "core/error.h"
#include "cuda/launch.h"

namespace genfast::cuda {
namespace {

const cudaStream_t kStream = cudaStreamPerThread;

size_t free_bytes() {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "the device's memory");
    return free;
}

std::byte* allocate(size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();  // or the next call would report it again
        throw std::bad_alloc();
    }
    check(status, "memory on the device");
    check(cudaMemset(memory, 0, bytes), "memory on the device");
    return static_cast<std::byte*>(memory);
}
void release(std::byte* memory) {
    cudaFree(memory);
}

std::byte* allocate_host(size_t bytes) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes), "pinned memory");
    return static_cast<std::byte*>(memory);
}
void release_host(std::byte* memory) {
    cudaFreeHost(memory);
}

void upload(std::byte* to, const void* from, size_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, kStream),
          "a copy to the device");
}
void download(void* to, const std::byte* from, size_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, kStream),
          "a copy from the device");
}
void copy(std::byte* to, const std::byte* from, size_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, kStream),
          "a copy on the device");
}
void wait() {
    check(cudaStreamSynchronize(kStream), "the device's work");
}

bool idle() {
    const cudaError_t status = cudaStreamQuery(kStream);
    if (status != cudaErrorNotReady) check(status, "the device's work");
    return status == cudaSuccess;
}

void begin_capture() {
    check(cudaStreamBeginCapture(kStream, cudaStreamCaptureModeThreadLocal), "a capture");
}
DeviceGraph* end_capture() {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(kStream, &graph), "a capture");
    cudaGraphExec_t ready = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&ready, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "a graph");
    return reinterpret_cast<DeviceGraph*>(ready);
}
void replay(DeviceGraph* graph) {
    check(cudaGraphLaunch(reinterpret_cast<cudaGraphExec_t>(graph), kStream), "a graph");
}
void destroy(DeviceGraph* graph) {
    cudaGraphExecDestroy(reinterpret_cast<cudaGraphExec_t>(graph));
}

// Compute capability 8.0 is the first that there is code for (CMakeLists.txt).
cudaDeviceProp first_device() {
    if (!dlopen("libcuda.so.1", RTLD_NOW))
        throw DeviceError(
            "device='cuda' needs NVIDIA's driver: its library libcuda.so.1 was not found");
    int count = 0;
    if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0)
        throw DeviceError(cat("device='cuda': the driver finds no GPU (",
                              status == cudaSuccess ? "it lists none" : cudaGetErrorString(status),
                              "); see nvidia-smi and CUDA_VISIBLE_DEVICES"));
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0), "the device's properties");
    if (device.major < 8)
        throw DeviceError(cat("device='cuda': ", device.name, " has compute capability ",
                              device.major, ".", device.minor,
                              ", genfast needs 8.0 (A100) or later"));
    return device;
}

const cudaDeviceProp& properties() {
    static const cudaDeviceProp found = first_device();
    return found;
}

}  // namespace

int compute_capability() {
    return properties().major * 10 + properties().minor;
}

Device open_device() {
    Device device{};
    device.name = properties().name;
    check(cudaGetDeviceCount(&device.count), "the number of devices");
    device.free_bytes = free_bytes;
    device.allocate = allocate;
    device.release = release;
    device.allocate_host = allocate_host;
    device.release_host = release_host;
    device.upload = upload;
    device.download = download;
    device.copy = copy;
    device.wait = wait;
    device.idle = idle;
    device.begin_capture = begin_capture;
    device.end_capture = end_capture;
    device.replay = replay;
    device.destroy = destroy;
    return device;
}

}  // namespace genfast::cuda
