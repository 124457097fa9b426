// The part of CUDA that csrc/cuda uses, for the CPU: found instead of NVIDIA's header, so that the
// same .cu files compile as C++ and run on emu::run. Memory is the host's, a stream does its work
// at once, and a captured graph is the list of what was queued while it was captured.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline emu::Index& threadIdx = emu::thread_index;
inline emu::Index& blockIdx = emu::block_index;
inline emu::Index& blockDim = emu::block_size;
inline emu::Index& gridDim = emu::grid_size;

// --- inside kernels ---------------------------------------------------------------------------

// The caller's place in the source, as a default argument.
#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMU_HERE) { emu::meet_block({file, line}); }
inline void __syncwarp(unsigned mask = ~0u, EMU_HERE) {
  emu::meet_warp(mask, nullptr, 0, 0, nullptr, {file, line});
}
template <class T>
T emu_from_lane(unsigned mask, T value, int from, emu::Where where) {
  static_assert(sizeof(T) <= 16);
  T result;
  emu::meet_warp(mask, &value, sizeof value, from, &result, where);
  return result;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, EMU_HERE) {
  return emu_from_lane(mask, value, from, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other, EMU_HERE) {
  return emu_from_lane(mask, value, emu::lane() ^ other, {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, EMU_HERE) {
  const int lane = emu::lane();
  return emu_from_lane(mask, value, lane >= int(by) ? lane - int(by) : lane, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int value, EMU_HERE) {
  return emu::vote(mask, value != 0, {file, line});
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
using std::fabs;
using std::fmax;
using std::pow;
using std::sqrt;

// --- the host's side --------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};
inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      return emu::problem().c_str();
    default:
      return "invalid argument";
  }
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

using EmuWork = std::function<cudaError_t()>;
struct EmuStream {
  bool capturing = false;
  std::vector<EmuWork> captured;
};
struct EmuGraph {
  std::vector<EmuWork> work;
};
using cudaStream_t = EmuStream*;
using cudaGraph_t = EmuGraph*;
using cudaGraphExec_t = EmuGraph*;
using cudaEvent_t = int*;

inline cudaError_t emu_queue(cudaStream_t stream, EmuWork work) {
  if (!stream || !stream->capturing) return work();
  stream->captured.push_back(std::move(work));
  return cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...),
                               A&&... args) {
  const dim3 g = config->gridDim, b = config->blockDim;
  const size_t threads = size_t(b.x) * b.y * b.z;
  if (threads == 0 || threads > 1024 || size_t(g.x) * g.y * g.z == 0 ||
      config->dynamicSmemBytes > 0)
    return cudaErrorInvalidConfiguration;
  // Arguments are copied at the launch, as on the device.
  auto copies = std::make_tuple(P(std::forward<A>(args))...);
  return emu_queue(config->stream, [=] {
    const bool ok = emu::run({g.x, g.y, g.z}, {b.x, b.y, b.z}, [&] { std::apply(kernel, copies); });
    return ok ? cudaSuccess : cudaErrorLaunchFailure;
  });
}

enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t stream) {
  return emu_queue(stream, [=] {
    if (bytes) std::memcpy(to, from, bytes);
    return cudaSuccess;
  });
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  return emu_queue(stream, [=] {
    if (bytes) std::memset(at, value, bytes);
    return cudaSuccess;
  });
}

constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmuStream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new int(0);
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream && stream->capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || stream->capturing) return cudaErrorInvalidValue;
  stream->capturing = true;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream || !stream->capturing) return cudaErrorInvalidValue;
  stream->capturing = false;
  *graph = new EmuGraph{std::move(stream->captured)};
  return cudaSuccess;
}
inline int64_t emu_graphs_made = 0, emu_graphs_launched = 0;
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned) {
  *exec = new EmuGraph(*graph);
  ++emu_graphs_made;
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  ++emu_graphs_launched;
  for (const EmuWork& work : exec->work)
    if (const cudaError_t error = emu_queue(stream, work); error != cudaSuccess) return error;
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
