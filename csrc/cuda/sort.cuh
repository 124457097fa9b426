// A stable radix sort of keys, each with its place of origin, and a scan.
//
// Least significant digit first, six bits per pass. A tile counts its digits, one block scans the
// counts of all tiles, and each tile scatters its keys: every thread keeps its own counters of the
// keys before it, so equal keys keep their order and no result depends on timing.
#pragma once

#include "device.cuh"

namespace advrec::cuda {

constexpr int kSortThreads = 128, kSortItems = 8, kSortTile = kSortThreads * kSortItems;
constexpr int kDigitBits = 6, kDigits = 1 << kDigitBits;

struct SortSpace {
  uint32_t* keys[2];     // [max_n]
  uint32_t* origins[2];  // [max_n] place before sorting
  int32_t* counts;       // [kDigits * tiles]
  int64_t max_n;
  int64_t tiles() const { return ceil_div(max_n, kSortTile); }
};

SortSpace take_sort_space(Arena& arena, int64_t max_n);

// Sorts keys[0][0, *n) by their lowest `bits` bits. Returns which of the two buffers holds the
// result. n is on the device and at most `max_n`, which may be less than the space has room for.
int sort_keys(SortSpace space, const int32_t* n, int64_t max_n, int bits, void* stream);

// counts[k] = sum of counts[0, k), over m entries, in place.
void exclusive_scan(int32_t* counts, int64_t m, void* stream);

// The sum of v over the threads before this one in the block, and over all of them.
template <int THREADS>
__device__ inline int32_t block_scan(int32_t v, int32_t* total) {
  __shared__ int32_t warp_sum[THREADS / kWarp];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  int32_t inclusive = v;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int32_t before = __shfl_up_sync(kAllLanes, inclusive, unsigned(offset));
    if (lane >= offset) inclusive += before;
  }
  if (lane == kWarp - 1) warp_sum[warp] = inclusive;
  __syncthreads();
  int32_t before = 0, sum = 0;
  for (int w = 0; w < THREADS / kWarp; ++w) {
    if (w < warp) before += warp_sum[w];
    sum += warp_sum[w];
  }
  __syncthreads();
  *total = sum;
  return before + inclusive - v;
}

}  // namespace advrec::cuda
