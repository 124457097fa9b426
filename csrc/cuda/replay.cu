#include "replay.cuh"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "device.cuh"

namespace advrec::cuda {
namespace {

constexpr int64_t kWorthCapturing = 3;  // windows: capturing costs about as much as running one
constexpr size_t kMostGraphs = 8;       // kept at a time

struct Graph {
  std::string key;
  cudaGraphExec_t exec;
  cudaEvent_t launched;
};

// One capture or launch at a time. Never destroyed: at exit the driver may be gone before it.
struct Graphs {
  std::mutex mutex;
  std::vector<Graph> kept;  // least recently used first
};
Graphs& graphs() {
  static Graphs* const all = new Graphs;
  return *all;
}

// Destroys the least recently used graph, once it has finished.
void evict(std::vector<Graph>& kept) {
  const Graph oldest = kept.front();
  kept.erase(kept.begin());
  check(cudaEventSynchronize(oldest.launched), "waiting for a graph");
  cudaEventDestroy(oldest.launched);
  cudaGraphExecDestroy(oldest.exec);
}

// Captured on a stream of its own: torch's default stream cannot be captured.
Graph capture(const std::string& key, int64_t window,
              const std::function<void(int64_t, void*)>& body) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  const auto close = [&] {
    if (graph) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  };
  try {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "starting a capture");
    try {
      body(window, stream);
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "ending a capture");
    Graph captured{key, nullptr, nullptr};
    check(cudaGraphInstantiate(&captured.exec, graph, 0), "instantiating a graph");
    check(cudaEventCreateWithFlags(&captured.launched, cudaEventDisableTiming),
          "creating an event");
    close();
    return captured;
  } catch (...) {
    close();
    throw;
  }
}

}  // namespace

void run_windows(int64_t steps, int64_t window, const Key& key,
                 const std::function<void(int64_t, void*)>& body, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(cuda_stream, &status), "querying the stream");
  int64_t at = 0;
  // If the caller is capturing this stream, the plain launches go into the caller's graph.
  if (status == cudaStreamCaptureStatusNone && steps >= window) {
    int device = 0;
    check(cudaGetDevice(&device), "querying the device");
    Key full = key;
    full.add(device, window);
    Graphs& all = graphs();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto place = std::find_if(all.kept.begin(), all.kept.end(),
                                    [&](const Graph& g) { return g.key == full.bytes(); });
    const bool known = place != all.kept.end();
    if (known) {
      std::rotate(place, place + 1, all.kept.end());
    } else if (steps >= kWorthCapturing * window) {
      // The first window runs uncaptured: a kernel is loaded at its first launch, which must not
      // happen during a capture.
      body(window, stream);
      at = window;
      if (all.kept.size() == kMostGraphs) evict(all.kept);
      all.kept.push_back(capture(full.bytes(), window, body));
    }
    if (known || at > 0) {
      const Graph& graph = all.kept.back();
      for (; at + window <= steps; at += window)
        check(cudaGraphLaunch(graph.exec, cuda_stream), "launching a graph");
      check(cudaEventRecord(graph.launched, cuda_stream), "recording an event");
    }
  }
  for (; at < steps; at += window) body(std::min(window, steps - at), stream);
}

}  // namespace advrec::cuda
