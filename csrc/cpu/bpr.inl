// The BPR loss of a batch's triplets, and what each of them adds to the gradients of its rows; the
// twin of cuda/bpr.cuh.

namespace advrec::cpu::ADVREC_ISA {

// The parts of softplus(-x) = max(-x, 0) + log(1 + e), e = exp(-|x|), and of its derivative
// -sigmoid(-x), stable on both sides. The logarithm waits until losses are summed.
template <class T>
struct BprTerms {
  explicit BprTerms(T x) {
    const T size = x < 0 ? -x : x;
    tail = sizeof(T) == 4 ? T(__builtin_expf(-float(size))) : T(__builtin_exp(-size));
    hinge = x < 0 ? -x : T(0);
    slope = -(x < 0 ? T(1) : tail) / (1 + tail);
  }
  T hinge, tail, slope;
};

// A batch's losses and slopes at one point.
template <class T>
struct Slopes {
  explicit Slopes(int64_t capacity) : hinge(capacity), tail(capacity), slope(capacity) {}
  Buffer<T> hinge, tail, slope;

  void set(int64_t b, T margin, T weight) {
    const BprTerms<T> terms(margin);
    hinge[b] = terms.hinge, tail[b] = terms.tail, slope[b] = weight * terms.slope;
  }

  // Sum of the losses. Eight logarithms become one: each factor lies in [1, 2].
  double total(int64_t count) const {
    double sum = 0, product = 1;
    for (int64_t b = 0; b < count; ++b) {
      sum += double(hinge[b]);
      product *= 1 + double(tail[b]);
      if (b % 8 == 7) {
        sum += __builtin_log(product);
        product = 1;
      }
    }
    return sum + __builtin_log(product);
  }
};

// What every triplet adds to the gradients of its rows: one row for its user, one for its positive
// item; its negative item gets the opposite of the latter. Written when a triplet is scored, while
// its vectors are in registers, and summed by the owner of each row: X is not read again, so it can
// be updated in place meanwhile.
template <class T>
class Parts {
 public:
  Parts(int64_t capacity, int64_t dim) : dim_(dim), rows_(2 * capacity * dim) {}
  T* user(int64_t b) { return rows_.get() + 2 * b * dim_; }
  T* item(int64_t b) { return user(b) + dim_; }

  // grad = sum over the places of slot s, in the order of the batch.
  void sum(const Batch& batch, int64_t s, T* grad) const {
    constexpr int W = Simd<T>::kWidth;
    int64_t col = 0;
    for (; col + 4 * W <= dim_; col += 4 * W) sum_columns<4>(batch, s, col, grad);
    for (; col + W <= dim_; col += W) sum_columns<1>(batch, s, col, grad);
    for (int64_t k = col; k < dim_; ++k) {
      T total = 0;
      for (int32_t at = batch.begin[s]; at < batch.begin[s + 1]; ++at)
        total += sign(batch.places[at]) * row(batch.places[at])[k];
      grad[k] = total;
    }
  }

 private:
  static T sign(int32_t place) { return (place & 3) == kNegative ? T(-1) : T(1); }
  const T* row(int32_t place) const {
    return rows_.get() + (2 * (place >> 2) + ((place & 3) == kUser ? 0 : 1)) * dim_;
  }

  // V vectors, kept in registers over the places.
  template <int V>
  ADVREC_INLINE void sum_columns(const Batch& batch, int64_t s, int64_t col, T* grad) const {
    constexpr int W = Simd<T>::kWidth;
    Vec<T> sum[V] = {};
    for (int32_t at = batch.begin[s]; at < batch.begin[s + 1]; ++at) {
      const T weight = sign(batch.places[at]);
      const T* const part = row(batch.places[at]) + col;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[v] += weight * load(part + v * W);
    }
    for (int v = 0; v < V; ++v) store<T>(grad + col + v * W, sum[v]);
  }

  const int64_t dim_;
  Buffer<T> rows_;  // [capacity, 2, dim]
};

}  // namespace advrec::cpu::ADVREC_ISA
