// The integer scan of ranking: one tile of quantised items against a few users, each lane compared
// with its user's limit. Nothing of a score is kept but whether it passed.
//
// Items are stored as unsigned bytes b + kOffset, b in [-kItemLevels, kItemLevels], users as signed
// bytes a in [-kUserLevels, kUserLevels]; a lane's sum is sum_k (b_k + kOffset) a_k, exactly. Rows
// are padded to whole steps of eight values, users' with zeros. An instruction set only brings a
// struct with these three numbers, the number of users that fit into its registers, and `add`.
//
// isa_avx512vnni.cpp includes this and simd.h alone.

namespace advrec::cpu::ADVREC_ISA {

typedef int32_t Ints __attribute__((vector_size(ADVREC_BYTES)));
typedef int32_t LooseInts __attribute__((vector_size(ADVREC_BYTES), aligned(1), may_alias));

#if defined(__x86_64__) && ADVREC_BYTES == 64
ADVREC_INLINE uint32_t lanes_above(Ints v, int32_t limit) {
  return _mm512_cmpgt_epi32_mask((__m512i)v, _mm512_set1_epi32(limit));
}
#elif defined(__x86_64__) && ADVREC_BYTES == 32
ADVREC_INLINE uint32_t lanes_above(Ints v, int32_t limit) {
  const __m256i above = _mm256_cmpgt_epi32((__m256i)v, _mm256_set1_epi32(limit));
  return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(above)));
}
#endif

// Each `add` adds to every lane the products of its eight values: four bytes in `low` and four in
// `high`, with the user's in the same order.
#if defined(ADVREC_VNNI)
struct Dot8 {  // four products and a sum per instruction, nothing can saturate
  static constexpr int kItemLevels = 127, kUserLevels = 127, kOffset = 128, kUsers = 6;
  static ADVREC_INLINE void add(Ints& sum, Ints low, Ints high, Ints user_low, Ints user_high) {
    const __m512i first = _mm512_dpbusd_epi32((__m512i)sum, (__m512i)low, (__m512i)user_low);
    sum = (Ints)_mm512_dpbusd_epi32(first, (__m512i)high, (__m512i)user_high);
  }
};
#elif defined(__x86_64__) && ADVREC_BYTES >= 32
// maddubs adds two products in 16 bits, saturating. With seven bits on both sides two of its
// results fit together, 4 * 127 * 64 = 32,512 < 2^15, so that one widening serves eight
// products: 1.3 times the products of eight bits with a widening for every four.
struct Dot8 {
  static constexpr int kItemLevels = 63, kUserLevels = 64, kOffset = 64;
#if ADVREC_BYTES == 64
  static constexpr int kUsers = 6;
  static ADVREC_INLINE void add(Ints& sum, Ints low, Ints high, Ints user_low, Ints user_high) {
    const __m512i four = _mm512_add_epi16(_mm512_maddubs_epi16((__m512i)low, (__m512i)user_low),
                                          _mm512_maddubs_epi16((__m512i)high, (__m512i)user_high));
    sum += (Ints)_mm512_madd_epi16(four, _mm512_set1_epi16(1));
  }
#else
  static constexpr int kUsers =
      4;  // eight sums, four vectors of items, two of a user: 16 registers
  static ADVREC_INLINE void add(Ints& sum, Ints low, Ints high, Ints user_low, Ints user_high) {
    const __m256i four = _mm256_add_epi16(_mm256_maddubs_epi16((__m256i)low, (__m256i)user_low),
                                          _mm256_maddubs_epi16((__m256i)high, (__m256i)user_high));
    sum += (Ints)_mm256_madd_epi16(four, _mm256_set1_epi16(1));
  }
#endif
};
#else
// The same as VNNI to the bit, in plain arithmetic: its numbers and the code around it are tested
// on machines without it. Too slow to be chosen.
struct Dot8 {
  static constexpr int kItemLevels = 127, kUserLevels = 127, kOffset = 128, kUsers = 6;
  static ADVREC_INLINE void add(Ints& sum, Ints low, Ints high, Ints user_low, Ints user_high) {
    for (int byte = 0; byte < 4; ++byte) {
      const int up = 24 - 8 * byte;  // brings the byte to the top, from where it is shifted down
      sum += (Ints)(((Words)low << up) >> 24) * ((Ints)((Words)user_low << up) >> 24);
      sum += (Ints)(((Words)high << up) >> 24) * ((Ints)((Words)user_high << up) >> 24);
    }
  }
};
#endif

ADVREC_INLINE Ints broadcast_word(const int8_t* bytes) {
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return Ints{} + word;
}

// hits[m * kInt8Words + w], bit c: whether the sum of user m and item 64 w + c of the tile is
// greater than limits[m].
template <class Dot>
inline void scan_int8(const int8_t* const* users, const uint8_t* tile, int64_t steps,
                      const int32_t* limits, uint64_t* hits) {
  constexpr int M = Dot::kUsers, W = ADVREC_BYTES / 4, N = 2 * W;
  static_assert(64 % N == 0 && M <= kInt8MostUsers);
  for (int n = 0; n < M * kInt8Words; ++n) hits[n] = 0;
  for (int64_t first = 0; first < kInt8Items; first += N) {
    Ints sums[M][2] = {};
    for (int64_t step = 0; step < steps; ++step, tile += 4 * ADVREC_BYTES) {
      Ints item[4];
      for (int v = 0; v < 4; ++v)
        item[v] = *reinterpret_cast<const LooseInts*>(tile + v * ADVREC_BYTES);
#pragma GCC unroll 6
      for (int m = 0; m < M; ++m) {
        const Ints low = broadcast_word(users[m] + 8 * step);
        const Ints high = broadcast_word(users[m] + 8 * step + 4);
        Dot::add(sums[m][0], item[0], item[1], low, high);
        Dot::add(sums[m][1], item[2], item[3], low, high);
      }
    }
    for (int m = 0; m < M; ++m) {
      const uint64_t above =
          lanes_above(sums[m][0], limits[m]) | uint64_t(lanes_above(sums[m][1], limits[m])) << W;
      hits[m * kInt8Words + first / 64] |= above << (first % 64);
    }
  }
}

// Where value k of item c of a tile is stored, as scan_int8 reads it.
ADVREC_INLINE int64_t int8_place(int64_t c, int64_t k, int64_t steps, int64_t lanes) {
  const int64_t panel = c / (2 * lanes), vector = c / lanes % 2, lane = c % lanes;
  return ((panel * steps + k / 8) * 4 + vector * 2 + k / 4 % 2) * lanes * 4 + lane * 4 + k % 4;
}

inline const Int8Scan* own_int8_scan() {
  static const Int8Scan scan{Dot8::kItemLevels, Dot8::kUserLevels, Dot8::kOffset,
                             Dot8::kUsers,      ADVREC_BYTES / 4,  &scan_int8<Dot8>};
  return &scan;
}

}  // namespace advrec::cpu::ADVREC_ISA
