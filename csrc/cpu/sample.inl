// Drawing triplets as sampler_core.h defines them, in an order that suits the processor; the twin
// of cuda/sample.cuh and sample.cu.

namespace advrec::cpu::ADVREC_ISA {

constexpr int64_t kSampleBlock = 64;

// sampler::place for a block of positions. The network's passes run as vector loops; the few
// that land outside the order continue one by one.
inline void place_block(const sampler::Order& order, const int64_t* positions, int64_t* out) {
  const int right_bits = order.right_bits;
  const uint32_t left_mask = (1u << order.left_bits) - 1, right_mask = (1u << right_bits) - 1;
  uint32_t left[kSampleBlock], right[kSampleBlock];
  for (int64_t k = 0; k < kSampleBlock; ++k) {
    left[k] = uint32_t(uint64_t(positions[k]) >> right_bits);
    right[k] = uint32_t(positions[k]) & right_mask;
  }
  for (int r = 0; r < sampler::kRounds; r += 2)
    for (int64_t k = 0; k < kSampleBlock; ++k) {
      left[k] ^= sampler::mix(right[k], order.key[r]) & left_mask;
      right[k] ^= sampler::mix(left[k], order.key[r + 1]) & right_mask;
    }
  for (int64_t k = 0; k < kSampleBlock; ++k) {
    out[k] = int64_t((uint64_t(left[k]) << right_bits) | right[k]);
    if (out[k] >= order.n) out[k] = sampler::place(order, out[k]);
  }
}

// The first candidate of sampler::negative for a block of triplets.
inline void first_candidates(const SampleSpec& spec, int64_t n_items, int64_t t, int32_t* out) {
  uint32_t c0[kSampleBlock], c1[kSampleBlock], c2[kSampleBlock], c3[kSampleBlock];
  for (int64_t k = 0; k < kSampleBlock; ++k) {
    c0[k] = uint32_t(t + k), c1[k] = uint32_t(uint64_t(t + k) >> 32);
    c2[k] = spec.epoch, c3[k] = sampler::kNegativeStream << 24;
  }
  uint32_t k0 = uint32_t(spec.seed), k1 = uint32_t(spec.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int64_t k = 0; k < kSampleBlock; ++k)
      sampler::philox_round(c0[k], c1[k], c2[k], c3[k], k0, k1);
    k0 += sampler::kWeyl0, k1 += sampler::kWeyl1;
  }
  for (int64_t k = 0; k < kSampleBlock; ++k) out[k] = int32_t(sampler::below(c0[k], n_items));
}

// sampler::contains for a block of triplets, all searches in step: their reads overlap, and no
// branch depends on when a search ends. No list is empty.
inline void seen_candidates(const Positives& pos, const int32_t* users, const int32_t* candidates,
                            int64_t n, bool* seen) {
  const int32_t* at[kSampleBlock];
  uint32_t left[kSampleBlock], longest = 0;
  for (int64_t k = 0; k < n; ++k) {
    const int64_t begin = pos.indptr[users[k]];
    at[k] = pos.items + begin;
    left[k] = uint32_t(pos.indptr[users[k] + 1] - begin);
    longest = left[k] > longest ? left[k] : longest;
  }
  for (; longest > 1; longest -= longest >> 1)
    for (int64_t k = 0; k < n; ++k) {
      const uint32_t half = left[k] >> 1;  // 0 when the search is over
      at[k] += half * uint32_t(at[k][half] <= candidates[k]);
      left[k] -= half;
    }
  for (int64_t k = 0; k < n; ++k) seen[k] = *at[k] == candidates[k];
}

// Triplets [first, first + count) of an epoch, in stages over small blocks so that the cache
// misses of a stage overlap: places in the epoch's order, pairs, lists, negatives.
inline void sample_range(const Positives& pos, const SampleSpec& spec, const sampler::Order& order,
                         int64_t first, int64_t count, int32_t* users, int32_t* items,
                         int32_t* negatives) {
  int64_t place[kSampleBlock];
  int32_t candidate[kSampleBlock];
  bool seen[kSampleBlock];
  for (int64_t begin = 0; begin < count; begin += kSampleBlock) {
    const int64_t n = begin + kSampleBlock < count ? kSampleBlock : count - begin;
    const int64_t t = first + begin;
    int32_t* const u = users + begin;
    int32_t* const i = items + begin;
    int32_t* const j = negatives + begin;
    if (spec.sampling == Sampling::kPairs) {
      // Positions past the end of the epoch repeat its last one; they are not read.
      const int64_t last = pos.pairs - 1;
      for (int64_t k = 0; k < kSampleBlock; ++k) {
        const int64_t p = spec.negatives == 1 ? t + k : (t + k) / spec.negatives;
        place[k] = p < last ? p : last;
      }
      place_block(order, place, place);
      for (int64_t k = 0; k < n; ++k) {
        __builtin_prefetch(pos.pair_users + place[k]);
        __builtin_prefetch(pos.pair_items + place[k]);
      }
      first_candidates(spec, pos.n_items, t, candidate);
      for (int64_t k = 0; k < n; ++k) {
        u[k] = pos.pair_users[place[k]];
        i[k] = pos.pair_items[place[k]];
        __builtin_prefetch(pos.indptr + u[k]);
      }
    } else {
      for (int64_t k = 0; k < n; ++k) {
        const uint64_t p = uint64_t((t + k) / spec.negatives);
        const auto words = sampler::draw(spec.seed, spec.epoch, p, sampler::kPositiveStream, 0);
        u[k] = pos.active_users[sampler::below(words.w[0], pos.active)];
        place[k] = words.w[1];
        __builtin_prefetch(pos.indptr + u[k]);
      }
      first_candidates(spec, pos.n_items, t, candidate);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t at = pos.indptr[u[k]], degree = pos.indptr[u[k] + 1] - at;
        i[k] = pos.items[at + sampler::below(uint32_t(place[k]), degree)];
      }
    }
    for (int64_t k = 0; k < n; ++k) {
      // The first three probes of a binary search.
      const int64_t at = pos.indptr[u[k]], degree = pos.indptr[u[k] + 1] - at;
      __builtin_prefetch(pos.items + at + degree / 2);
      __builtin_prefetch(pos.items + at + degree / 4);
      __builtin_prefetch(pos.items + at + degree / 4 * 3);
    }
    seen_candidates(pos, u, candidate, n, seen);
    for (int64_t k = 0; k < n; ++k)
      j[k] = seen[k]
                 ? sampler::negative(pos.items + pos.indptr[u[k]], pos.items + pos.indptr[u[k] + 1],
                                     pos.n_items, spec.seed, spec.epoch, uint64_t(t + k))
                 : candidate[k];
  }
}

inline void sample_triplets(const Positives& pos, const SampleSpec& spec, int64_t first,
                            int64_t count, int32_t* users, int32_t* items, int32_t* negatives) {
  const auto order = sampler::make_order(spec.seed, spec.epoch, pos.pairs);
  parallel([&](Team& team) {
    team.ranges(count, 8192, [&](int64_t begin, int64_t end) {
      sample_range(pos, spec, order, first + begin, end - begin, users + begin, items + begin,
                   negatives + begin);
    });
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
