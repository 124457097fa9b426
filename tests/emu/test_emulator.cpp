// The emulator itself: right kernels run, and each kind of wrong one is caught.
#include <numeric>
#include <set>

#include "../native/check.h"
#include "cuda_runtime.h"

namespace {

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), unsigned blocks, unsigned threads, A... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  return cudaLaunchKernelEx(&config, kernel, P(args)...);
}
bool says(const char* text) { return emu::problem().find(text) != std::string::npos; }

__global__ void reverse(int* values, bool with_barrier) {
  __shared__ int kept[96];
  kept[threadIdx.x] = values[blockIdx.x * 96 + threadIdx.x];
  if (with_barrier) __syncthreads();
  values[blockIdx.x * 96 + threadIdx.x] = kept[95 - threadIdx.x];
}

std::vector<int> reversed(unsigned seed, bool with_barrier) {
  emu::set_seed(seed);
  std::vector<int> values(2 * 96);
  std::iota(values.begin(), values.end(), 0);
  CHECK(launch(&reverse, 2, 96, values.data(), with_barrier) == cudaSuccess);
  emu::set_seed(0);
  return values;
}

TEST(a_missing_barrier_shows) {
  std::set<std::vector<int>> right, wrong;
  for (unsigned seed = 0; seed < 4; ++seed) {
    right.insert(reversed(seed, true));
    wrong.insert(reversed(seed, false));
  }
  CHECK(right.size() == 1);
  CHECK((*right.begin())[0] == 95 && (*right.begin())[96] == 191);
  CHECK(wrong.size() == 4);
}

__global__ void sums(float* out) {
  float v = float(threadIdx.x);
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(~0u, v, offset);
  const float before = __shfl_up_sync(~0u, float(threadIdx.x), 1u);
  const float third = __shfl_sync(~0u, float(threadIdx.x), 3);
  const unsigned odd = __ballot_sync(~0u, threadIdx.x % 2);
  out[threadIdx.x] = v + 1000 * before + 100000 * third + float(__popc(odd));
}

TEST(warp_functions_give_what_cuda_gives) {
  for (unsigned seed = 0; seed < 3; ++seed) {
    emu::set_seed(seed);
    std::vector<float> out(64);
    CHECK(launch(&sums, 1, 64, out.data()) == cudaSuccess);
    for (int t = 0; t < 64; ++t) {
      const int warp = t / 32 * 32, lane = t % 32;
      const float sum = float(32 * warp + 31 * 16), before = float(lane ? t - 1 : t);
      CHECK(out[t] == sum + 1000 * before + 100000 * float(warp + 3) + 16);
    }
  }
  emu::set_seed(0);
}

__global__ void leaves_early() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
__global__ void diverges() {
  float v = 1;
  if (threadIdx.x < 20) v = __shfl_xor_sync(~0u, v, 1);
  if (v > 0) __syncwarp();
}
__global__ void meets_elsewhere() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

TEST(threads_that_never_meet_are_reported) {
  CHECK(launch(&leaves_early, 1, 64) == cudaErrorLaunchFailure);
  CHECK(says("63 threads wait at the barrier test_emulator.cpp") && says("1 have left"));
  CHECK(launch(&diverges, 1, 32) == cudaErrorLaunchFailure);
  CHECK(says("20 threads wait at the warp function") && says("12 threads wait"));
  CHECK(launch(&meets_elsewhere, 1, 64) == cudaErrorLaunchFailure);
  CHECK(says("32 threads wait at the barrier"));
  // and a sound kernel still runs afterwards
  CHECK(reversed(0, true)[0] == 95);
}

__global__ void adds_to_the_neighbour(int* values) {
  if (threadIdx.x == 0) values[(blockIdx.x + 1) % gridDim.x] += values[blockIdx.x];
}

TEST(a_race_between_blocks_shows) {
  std::set<std::vector<int>> results;
  for (unsigned seed = 0; seed < 4; ++seed) {
    emu::set_seed(seed);
    std::vector<int> values(9, 1);
    launch(&adds_to_the_neighbour, 9, 1, values.data());
    results.insert(values);
  }
  emu::set_seed(0);
  CHECK(results.size() > 1);
}

__global__ void increments(int* value) { ++*value; }

TEST(a_captured_graph_runs_when_it_is_launched) {
  int value = 0;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  cudaLaunchConfig_t config{};
  config.gridDim = config.blockDim = dim3(1);
  config.stream = stream;
  CHECK(cudaLaunchKernelEx(&config, &increments, &value) == cudaSuccess);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(value == 0);
  cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphLaunch(exec, nullptr);
  cudaGraphLaunch(exec, nullptr);
  CHECK(value == 2);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(an_impossible_launch_is_refused) {
  int value = 0;
  CHECK(launch(&increments, 0, 1, &value) == cudaErrorInvalidConfiguration);
  CHECK(launch(&increments, 1, 1025, &value) == cudaErrorInvalidConfiguration);
}

}  // namespace

int main(int argc, char** argv) { return testing::run_tests(argc, argv); }
