// Drawing triplets: the definition stands in sampler_core.h, here is only its order of work.

namespace advrec::cpu::ADVREC_ISA {

// Triplets [first, first + count) of an epoch, in stages over small blocks so that the misses of
// one stage overlap: places in the epoch's order, then pairs, then lists, then negatives.
inline void sample_range(const Positives& pos, const SampleSpec& spec, const sampler::Order& order,
                         int64_t first, int64_t count, int32_t* users, int32_t* items,
                         int32_t* negatives) {
  constexpr int64_t kBlock = 64;
  int64_t place[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = begin + kBlock < count ? kBlock : count - begin;
    int32_t* const u = users + begin;
    int32_t* const i = items + begin;
    int32_t* const j = negatives + begin;
    if (spec.mode == Sampling::kPairs) {
      for (int64_t k = 0; k < n; ++k) {
        place[k] = sampler::place(order, (first + begin + k) / spec.negatives);
        __builtin_prefetch(pos.pair_users + place[k]);
        __builtin_prefetch(pos.pair_items + place[k]);
      }
      for (int64_t k = 0; k < n; ++k) {
        u[k] = pos.pair_users[place[k]];
        i[k] = pos.pair_items[place[k]];
        __builtin_prefetch(pos.indptr + u[k]);
      }
    } else {
      for (int64_t k = 0; k < n; ++k) {
        const uint64_t p = uint64_t((first + begin + k) / spec.negatives);
        const auto words = sampler::draw(spec.seed, spec.epoch, p, sampler::kPositiveStream, 0);
        u[k] = pos.active_users[sampler::below(words.w[0], pos.active)];
        place[k] = words.w[1];
        __builtin_prefetch(pos.indptr + u[k]);
      }
      for (int64_t k = 0; k < n; ++k) {
        const int64_t at = pos.indptr[u[k]], degree = pos.indptr[u[k] + 1] - at;
        i[k] = pos.items[at + sampler::below(uint32_t(place[k]), degree)];
      }
    }
    for (int64_t k = 0; k < n; ++k) {
      const int64_t at = pos.indptr[u[k]], end = pos.indptr[u[k] + 1];
      __builtin_prefetch(pos.items + (at + end) / 2);
    }
    for (int64_t k = 0; k < n; ++k)
      j[k] = sampler::negative(pos.items + pos.indptr[u[k]], pos.items + pos.indptr[u[k] + 1],
                               pos.n_items, spec.seed, spec.epoch, uint64_t(first + begin + k));
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
