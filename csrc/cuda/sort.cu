#include "sort.cuh"

namespace advrec::cuda {
namespace {

constexpr int kScanThreads = 512;

__device__ inline int digit_of(uint32_t key, int shift) {
  return int((key >> shift) & (kDigits - 1));
}

__global__ void __launch_bounds__(kSortThreads)
    count_digits(const uint32_t* keys, const int32_t* n, int shift, int tiles, int32_t* counts) {
  __shared__ int32_t in_tile[kDigits];
  if (threadIdx.x < kDigits) in_tile[threadIdx.x] = 0;
  __syncthreads();
  const int first = int(blockIdx.x) * kSortTile;
  for (int k = 0; k < kSortItems; ++k) {
    const int at = first + k * kSortThreads + int(threadIdx.x);
    if (at < *n) atomicAdd(&in_tile[digit_of(keys[at], shift)], 1);
  }
  __syncthreads();
  if (threadIdx.x < kDigits)
    counts[int(threadIdx.x) * tiles + int(blockIdx.x)] = in_tile[threadIdx.x];
}

// origins_in is null in the first pass: a key's origin is then its place.
__global__ void __launch_bounds__(kSortThreads)
    scatter(const uint32_t* keys_in, const uint32_t* origins_in, const int32_t* n, int shift,
            int tiles, const int32_t* offsets, uint32_t* keys_out, uint32_t* origins_out) {
  // [thread][digit], two more columns so that the threads' rows start in different banks
  __shared__ uint16_t before[kSortThreads][kDigits + 2];
  uint16_t* const mine = before[threadIdx.x];
  const int first = int(blockIdx.x) * kSortTile + int(threadIdx.x) * kSortItems;
  for (int d = 0; d < kDigits; ++d) mine[d] = 0;
  for (int k = 0; k < kSortItems; ++k)
    if (first + k < *n) ++mine[digit_of(keys_in[first + k], shift)];
  __syncthreads();
  if (threadIdx.x < kDigits) {
    uint16_t sum = 0;
    for (int t = 0; t < kSortThreads; ++t) {
      const uint16_t here = before[t][threadIdx.x];
      before[t][threadIdx.x] = sum;
      sum = uint16_t(sum + here);
    }
  }
  __syncthreads();
  for (int k = 0; k < kSortItems && first + k < *n; ++k) {
    const uint32_t key = keys_in[first + k];
    const int d = digit_of(key, shift);
    const int32_t at = offsets[d * tiles + int(blockIdx.x)] + mine[d]++;
    keys_out[at] = key;
    origins_out[at] = origins_in ? origins_in[first + k] : uint32_t(first + k);
  }
}

__global__ void __launch_bounds__(kScanThreads) scan_kernel(int32_t* counts, int64_t m) {
  const int64_t share = (m + kScanThreads - 1) / kScanThreads;
  const int64_t begin = share * threadIdx.x < m ? share * threadIdx.x : m;
  const int64_t end = begin + share < m ? begin + share : m;
  int32_t sum = 0, total;
  for (int64_t k = begin; k < end; ++k) sum += counts[k];
  int32_t before = block_scan<kScanThreads>(sum, &total);
  for (int64_t k = begin; k < end; ++k) {
    const int32_t here = counts[k];
    counts[k] = before;
    before += here;
  }
}

}  // namespace

SortSpace take_sort_space(Arena& arena, int64_t max_n) {
  SortSpace space{};
  space.max_n = max_n;
  for (auto& keys : space.keys) keys = arena.take<uint32_t>(max_n);
  for (auto& origins : space.origins) origins = arena.take<uint32_t>(max_n);
  space.counts = arena.take<int32_t>(kDigits * space.tiles());
  return space;
}

void exclusive_scan(int32_t* counts, int64_t m, void* stream) {
  launch(&scan_kernel, 1, kScanThreads, stream, counts, m);
}

int sort_keys(SortSpace space, const int32_t* n, int64_t max_n, int bits, void* stream) {
  const int64_t tiles = ceil_div(max_n, kSortTile);
  int from = 0;
  // At least one pass: it is the one that writes the origins.
  for (int shift = 0; shift < bits || shift == 0; shift += kDigitBits, from = 1 - from) {
    launch(&count_digits, tiles, kSortThreads, stream, space.keys[from], n, shift, int(tiles),
           space.counts);
    exclusive_scan(space.counts, kDigits * tiles, stream);
    launch(&scatter, tiles, kSortThreads, stream, space.keys[from],
           shift == 0 ? nullptr : space.origins[from], n, shift, int(tiles), space.counts,
           space.keys[1 - from], space.origins[1 - from]);
  }
  return from;
}

}  // namespace advrec::cuda
