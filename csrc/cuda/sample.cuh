// One triplet of the sampler that sampler_core.h defines.
#pragma once

#include "../sampler_core.h"
#include "device.cuh"

namespace advrec::cuda {

struct Triplet {
  int32_t user, positive, negative;
};

__device__ inline Triplet draw_triplet(const Positives& pos, uint64_t seed, uint32_t epoch,
                                       int64_t negatives, Sampling sampling,
                                       const sampler::Order& order, int64_t t) {
  Triplet out;
  const int64_t p = t / negatives;
  if (sampling == Sampling::kPairs) {
    const int64_t place = sampler::place(order, p);
    out.user = pos.pair_users[place];
    out.positive = pos.pair_items[place];
  } else {
    const auto words = sampler::draw(seed, epoch, uint64_t(p), sampler::kPositiveStream, 0);
    out.user = pos.active_users[sampler::below(words.w[0], pos.active)];
    const int64_t begin = pos.indptr[out.user], degree = pos.indptr[out.user + 1] - begin;
    out.positive = pos.items[begin + sampler::below(words.w[1], degree)];
  }
  out.negative =
      sampler::negative(pos.items + pos.indptr[out.user], pos.items + pos.indptr[out.user + 1],
                        pos.n_items, seed, epoch, uint64_t(t));
  return out;
}

}  // namespace advrec::cuda
