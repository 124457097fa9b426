// What can be said of a score without computing it: upper bounds from norms and from products of
// integers, proved with their rounding, and items in the order of their norms.
//
// Let p be a user's vector and q an item's, p' = s a and q' = t b with integer vectors
// a, b and scales s (of the user) and t (of the tile). Then
//
//     p.q - p'.q' = p.(q - q') + (p - p').q'
//     p.q <= s t (a.b) + |p| |q - q'| + |p - p'| (|q| + |q - q'|)                             (1)
//
// by Cauchy-Schwarz and |q'| <= |q| + |q' - q|. The computed score c is a chain of d multiply-adds
// in float32, fused or not. With u = 2^-24, as long as nothing overflows (Higham, Accuracy and
// Stability of Numerical Algorithms, section 3.1; each of at most 2d operations adds at most
// 2^-126 where it underflows, even if the thread flushes to zero),
//
//     c <= p.q + g sum_k |p_k q_k| + d 2^-125 (1 + g) <= p.q + g |p| |q| + d 2^-124,
//     g = d u / (1 - d u).                                                                    (2)
//
// No partial sum exceeds (1 + g) |p| |q| + d 2^-124 either; where that might reach 10^38, or is not
// a number, a user scores the whole tile in float32. So an item is passed over only if
//
//     (a.b) s t + E <= threshold,  E = |p| e + f (n + e) + g |p| n + d 2^-124,
//
// n the largest |q|, e the largest |q - q'| of the tile and f = |p - p'|; a tile, and with it all
// that follow, if (1 + g) |p| n + d 2^-124 <= threshold. Items that equal the user's k-th score
// decide by id, so `threshold` is the number just below that score.
//
// The rounding of the bounds themselves. They are computed in float64, where no square of a float32
// overflows or underflows. A sum of d <= 16384 squares is off by a factor within 1 +- (d + 1) 2^-53
// < 1 +- 2 10^-12, a difference q_k - t b_k by less than 2^-52 |q_k| (1 + 2^-7); `upper` adds 10^-9
// of the result and errors 10^-12 of the norm, many times both. E is a sum of four terms of two or
// three operations each, g is rounded up by 10^-6, and their own 10^-9 covers them. The limit of
// a.b, (threshold - E) / (s t), is at most 2^29 where it is used as an integer, so its error, a few
// times 2^-52 of it, is far below the 1 that is taken off after rounding down.

namespace advrec::cpu::ADVREC_ISA {

struct Bounds {  // of a tile's items, the largest each, or of a user
  double norm, error;
  double scale;  // 0 if there are no integers
};

class ScoreBounds {
 public:
  static constexpr int64_t kMostDim = 16384;  // (a.b) then fits 32 bits, and the proof's rounding

  explicit ScoreBounds(int64_t dim)
      : dim_(dim),
        relative_(1e-9 + (1 + 1e-6) * double(dim) * kUnit / (1 - double(dim) * kUnit)),
        least_(double(dim) * 0x1p-124) {}

  static bool finite(double bound) { return bound < 1e38; }  // false for NaN as well

  double norm_of(const float* row) const {
    double sum = 0;
    for (int64_t k = 0; k < dim_; ++k) sum += double(row[k]) * double(row[k]);
    return upper(sum);
  }

  // An upper bound of the norm as the bits of a float, which are in order; infinite if it is not
  // finite.
  uint32_t norm_key(const float* row) const {
    constexpr uint32_t kInfinite = 0x7F800000u;
    const double norm = norm_of(row);
    if (!(norm < double(__FLT_MAX__))) return kInfinite;
    return __builtin_bit_cast(uint32_t, float(norm)) + 1;
  }

  // Writes the integers of a row by put(k, value) and returns |row - scale * integers|, rounded up.
  template <class Put>
  double quantise(const float* row, double scale, int32_t levels, double norm,
                  const Put& put) const {
    const double inverse = 1 / scale;
    double sum = 0;
    for (int64_t k = 0; k < dim_; ++k) {
      double level = __builtin_rint(double(row[k]) * inverse);
      level = level > levels ? levels : level < -levels ? -levels : level;
      const double off = double(row[k]) - scale * level;
      sum += off * off;
      put(k, int32_t(level));
    }
    return upper(sum) + 1e-12 * norm;
  }

  static double scale_of(float largest, int32_t levels) {
    return largest > 0 ? double(largest) / levels : 1;
  }

  float largest_of(const float* row, float largest) const {
    for (int64_t k = 0; k < dim_; ++k)
      largest = __builtin_fabsf(row[k]) > largest ? __builtin_fabsf(row[k]) : largest;
    return largest;
  }

  // No computed score of the user and the tile, or of one that follows, is greater.
  double reach(const Bounds& user, const Bounds& tile) const {
    const double longest = user.norm * tile.norm;
    return (longest + relative_ * longest + least_) * (1 + 1e-9);
  }

  // Integer products a.b up to this one belong to scores of at most the threshold.
  int32_t limit(const Bounds& user, const Bounds& tile, float threshold) const {
    const double error = (user.norm * tile.error + user.error * (tile.norm + tile.error) +
                          relative_ * (user.norm * tile.norm) + least_) *
                         (1 + 1e-9);
    const double most = (double(threshold) - error) / (user.scale * tile.scale);
    constexpr double kEnd = 0x1p29;
    return int32_t(most > kEnd ? kEnd : most < -kEnd ? -kEnd : __builtin_floor(most) - 1);
  }

 private:
  static constexpr double kUnit = 0x1p-24;  // of a float32's rounding

  static double upper(double sum_of_squares) { return __builtin_sqrt(sum_of_squares) * (1 + 1e-9); }

  const int64_t dim_;
  const double relative_, least_;  // of (2): g, and what underflows add
};

// The item at each place and the place of each item, the longest first by the keys of norm_key: a
// radix sort in three passes of eleven bits.
inline void sort_by_norm(const uint32_t* keys, int64_t n_items, int32_t* order, int32_t* place) {
  constexpr uint32_t kBits = 11, kValues = 1u << kBits;
  Buffer<int32_t> other(n_items);
  Buffer<int64_t> starts(kValues);
  for (int64_t i = 0; i < n_items; ++i) order[i] = int32_t(i);
  int32_t *from = order, *to = other.get();
  for (uint32_t pass = 0; pass < 3; ++pass) {
    const auto digit = [&](int32_t i) { return (~keys[i] >> (pass * kBits)) & (kValues - 1); };
    for (uint32_t v = 0; v < kValues; ++v) starts[v] = 0;
    for (int64_t i = 0; i < n_items; ++i) ++starts[digit(int32_t(i))];
    int64_t total = 0;
    for (uint32_t v = 0; v < kValues; ++v) {
      const int64_t count = starts[v];
      starts[v] = total, total += count;
    }
    for (int64_t i = 0; i < n_items; ++i) to[starts[digit(from[i])]++] = from[i];
    int32_t* const swap = from;
    from = to, to = swap;
  }
  for (int64_t at = 0; at < n_items; ++at) order[at] = from[at], place[from[at]] = int32_t(at);
}

}  // namespace advrec::cpu::ADVREC_ISA
