// Drawing triplets, one per thread; with sample.cuh the twin of cpu/sample.inl.
#include "sample.cuh"

namespace advrec::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    sample_kernel(Positives pos, SampleSpec spec, sampler::Order order, int64_t first,
                  int64_t count, int32_t* users, int32_t* items, int32_t* negatives) {
  const int64_t k = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (k >= count) return;
  const Triplet t =
      draw_triplet(pos, spec.seed, spec.epoch, spec.negatives, spec.sampling, order, first + k);
  users[k] = t.user;
  items[k] = t.positive;
  negatives[k] = t.negative;
}

}  // namespace

void sample_triplets(const Positives& pos, const SampleSpec& spec, int64_t first, int64_t count,
                     int32_t* users, int32_t* items, int32_t* negatives, void* stream) {
  launch(&sample_kernel, ceil_div(count, kThreads), kThreads, stream, pos, spec,
         sampler::make_order(spec.seed, spec.epoch, pos.pairs), first, count, users, items,
         negatives);
}

}  // namespace advrec::cuda
