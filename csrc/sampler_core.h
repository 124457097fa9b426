// The counter-based sampler: a triplet depends on (seed, epoch, its position) alone.
//
// Philox4x32-10 (Salmon et al., SC 2011) supplies the random words; a Feistel network with cycle
// walking turns a position into a place of the epoch's random order, so that no shuffled copy of
// the training set exists and any stretch of an epoch can be drawn on any thread or device.
// The scalar functions below are the whole definition: CPU and CUDA include this file.
#pragma once

#include <cstdint>

// Internal linkage: each including file compiles its own copy for its own instruction set.
#ifdef __CUDACC__
#define ADVREC_HD __host__ __device__ static inline
#else
#define ADVREC_HD [[maybe_unused]] static inline
#endif

namespace advrec::sampler {

constexpr int kRounds = 6;          // of the Feistel network
constexpr uint32_t kAttempts = 32;  // Philox calls of four candidates each before counting exactly
constexpr uint32_t kNegativeStream = 0, kPositiveStream = 1, kOrderStream = 2;

struct Words {
  uint32_t w[4];
};

constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;  // added to the key each round

ADVREC_HD void philox_round(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3, uint32_t k0,
                            uint32_t k1) {
  const uint64_t a = uint64_t(0xD2511F53u) * c0, b = uint64_t(0xCD9E8D57u) * c2;
  const uint32_t n0 = uint32_t(b >> 32) ^ c1 ^ k0, n2 = uint32_t(a >> 32) ^ c3 ^ k1;
  c1 = uint32_t(b), c3 = uint32_t(a), c0 = n0, c2 = n2;
}

ADVREC_HD Words philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t seed) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    philox_round(c0, c1, c2, c3, k0, k1);
    k0 += kWeyl0, k1 += kWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

ADVREC_HD Words draw(uint64_t seed, uint32_t epoch, uint64_t position, uint32_t stream,
                     uint32_t attempt) {
  return philox(uint32_t(position), uint32_t(position >> 32), epoch, (stream << 24) | attempt,
                seed);
}

// A word spread evenly over [0, n).
ADVREC_HD int64_t below(uint32_t word, int64_t n) {
  return int64_t((uint64_t(word) * uint64_t(n)) >> 32);
}

struct Order {
  uint32_t key[kRounds];
  int64_t n;
  int left_bits, right_bits;
};

ADVREC_HD Order make_order(uint64_t seed, uint32_t epoch, int64_t n) {
  Order order{};
  int bits = 2;
  while ((int64_t(1) << bits) < n) ++bits;
  order.n = n, order.left_bits = bits / 2, order.right_bits = bits - bits / 2;
  for (int r = 0; r < kRounds; ++r)
    order.key[r] = draw(seed, epoch, uint64_t(r), kOrderStream, 0).w[0];
  return order;
}

ADVREC_HD uint32_t mix(uint32_t v, uint32_t key) {
  uint32_t h = v * 0x9E3779B1u + key;
  h ^= h >> 16, h *= 0x85EBCA6Bu;
  h ^= h >> 13, h *= 0xC2B2AE35u;
  return h ^ (h >> 16);
}

// One pass of the network over [0, 2^bits).
ADVREC_HD uint64_t feistel(const Order& order, uint64_t x) {
  const uint32_t left_mask = (1u << order.left_bits) - 1, right_mask = (1u << order.right_bits) - 1;
  uint32_t left = uint32_t(x >> order.right_bits), right = uint32_t(x) & right_mask;
  for (int r = 0; r < kRounds; r += 2) {
    left ^= mix(right, order.key[r]) & left_mask;
    right ^= mix(left, order.key[r + 1]) & right_mask;
  }
  return (uint64_t(left) << order.right_bits) | right;
}

// Where position `p` of the epoch lands: a bijection of [0, n).
ADVREC_HD int64_t place(const Order& order, int64_t p) {
  uint64_t x = uint64_t(p);
  do x = feistel(order, x);
  while (x >= uint64_t(order.n));
  return int64_t(x);
}

// Is `item` in the ascending list [begin, end)? Free of branches on the data, which the processor
// could not predict for random items.
ADVREC_HD bool contains(const int32_t* begin, const int32_t* end, int32_t item) {
  uint32_t n = uint32_t(end - begin);
  if (n == 0) return false;
  while (n > 1) {
    const uint32_t half = n >> 1;
    begin += half * uint32_t(begin[half] <= item);
    n -= half;
  }
  return *begin == item;
}

// An item that is not in the user's list; the list never holds all items.
ADVREC_HD int32_t negative(const int32_t* begin, const int32_t* end, int64_t n_items, uint64_t seed,
                           uint32_t epoch, uint64_t t) {
  for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    const Words words = draw(seed, epoch, t, kNegativeStream, attempt);
    for (int w = 0; w < 4; ++w) {
      const int32_t item = int32_t(below(words.w[w], n_items));
      if (!contains(begin, end, item)) return item;
    }
  }
  // This user has nearly every item: take the r-th missing one instead of drawing again.
  const uint32_t word = draw(seed, epoch, t, kNegativeStream, kAttempts).w[0];
  int64_t item = below(word, n_items - (end - begin));
  for (const int32_t* seen = begin; seen != end && *seen <= item; ++seen) ++item;
  return int32_t(item);
}

}  // namespace advrec::sampler
