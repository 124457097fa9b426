// The BPR/APR arithmetic of one mini-batch on the rows it touches; the twin of cuda/batch_step.cuh
// and batch_step.cu.
//
// Scores and the parts of gradients are computed triplet by triplet, gradients summed row by row.
// Rows are read by slot: MF reads the embedding in place (TableRows), LightGCN the propagated rows
// that it has computed for the batch (DenseRows).

namespace advrec::cpu::ADVREC_ISA {

constexpr int64_t kTripletChunk = 64, kRowChunk = 32;

// y = s * (a - b), or y += that.
template <bool kAdd, class T>
ADVREC_INLINE void put_difference(T s, const T* a, const T* b, T* y, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  for (; k + W <= n; k += W) {
    const Vec<T> value = s * (load(a + k) - load(b + k));
    store<T>(y + k, kAdd ? load(y + k) + value : value);
  }
  for (; k < n; ++k) y[k] = (kAdd ? y[k] : T(0)) + s * (a[k] - b[k]);
}

// y = s * a, or y += that.
template <bool kAdd, class T>
ADVREC_INLINE void put_scaled(T s, const T* a, T* y, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  for (; k + W <= n; k += W)
    store<T>(y + k, kAdd ? load(y + k) + s * load(a + k) : s * load(a + k));
  for (; k < n; ++k) y[k] = (kAdd ? y[k] : T(0)) + s * a[k];
}

// Losses at X, slope[b] = weight * d loss / d margin, and what follows for the gradients: written
// to `parts`, or added to what is there.
template <bool kAdd, class T, class Rows>
void score(Team& team, const Batch& batch, const Rows& x, int64_t dim, T weight, Slopes<T>& out,
           Parts<T>& parts) {
  constexpr int64_t kAhead = 6;
  team.ranges(batch.count, kTripletChunk, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      if (b + kAhead < batch.count)
        for (Role role : {kUser, kPositive, kNegative}) x.prefetch(batch.slot(role)[b + kAhead]);
      const T* const p = x.row(batch.slot(kUser)[b]);
      const T* const q = x.row(batch.slot(kPositive)[b]);
      const T* const r = x.row(batch.slot(kNegative)[b]);
      out.set(b, dot_difference(p, q, r, dim), weight);
      put_difference<kAdd>(out.slope[b], q, r, parts.user(b), dim);
      put_scaled<kAdd>(out.slope[b], p, parts.item(b), dim);
    }
  });
}

// Adds the same for every triplet's own worst perturbation (norm = sample): with D = q_i - q_j the
// clean gradient is slope * (D, p_u, -p_u), so that the perturbed vectors are
// p_u - a D, q_i - c p_u and q_j + c p_u with a = eps/|D| and c = eps/|p_u|.
template <class T, class Rows>
void score_per_sample(Team& team, const Batch& batch, const Rows& x, int64_t dim, T weight, T eps,
                      const Slopes<T>& clean, Slopes<T>& out, Parts<T>& parts) {
  team.ranges(batch.count, kTripletChunk, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const T* p = x.row(batch.slot(kUser)[b]);
      const T* q = x.row(batch.slot(kPositive)[b]);
      const T* r = x.row(batch.slot(kNegative)[b]);
      T pp = dot(p, p, dim), pd = dot_difference(p, q, r, dim), dd = 0;
      for (int64_t k = 0; k < dim; ++k) dd += (q[k] - r[k]) * (q[k] - r[k]);
      const bool flat = clean.slope[b] == 0;  // no gradient, so nothing to follow
      const T a = flat || dd == 0 ? T(0) : eps / root(dd),
              c = flat || pp == 0 ? T(0) : eps / root(pp);
      // (p - a D).(D - 2c p)
      out.set(b, pd - 2 * c * pp - a * dd + 2 * a * c * pd, weight);
      const T slope = out.slope[b];
      axpy_difference(slope, q, r, parts.user(b), dim);
      axpy(T(-2) * slope * c, p, parts.user(b), dim);
      axpy(slope, p, parts.item(b), dim);
      axpy_difference(-slope * a, q, r, parts.item(b), dim);
    }
  });
}

// One mini-batch on its rows X: clean gradient, worst perturbation, total gradient.
template <class T>
class BatchStep {
 public:
  BatchStep(int64_t capacity, int64_t dim, const Adversary& adversary)
      : dim_(dim),
        adversary_(adversary),
        moves_(adversary.weight != 0 && adversary.norm != Norm::kSample),
        clean_(capacity),
        adversarial_(adversary.weight != 0 ? capacity : 0),
        parts_(capacity, dim),
        moved_(moves_ ? 3 * capacity * dim : 0),
        squares_(moves_ ? 3 * capacity : 0) {}

  // Calls finish(s, g) once for every slot s, g [dim] being d(clean + lambda * adversarial)/dX_s,
  // which finish may overwrite; X is no longer read by then. Losses are added to `stats`.
  template <class Rows, class Finish>
  void run(Team& team, const Batch& batch, const Rows& x, T weight, StepStats& stats,
           const Finish& finish) {
    const T lambda = T(adversary_.weight);
    score<false>(team, batch, x, dim_, weight, clean_, parts_);
    if (moves_) {
      move(team, batch, x);
      score<true>(team, batch, DenseRows<T>{moved_.get(), dim_}, dim_, lambda * weight,
                  adversarial_, parts_);
    } else if (lambda != 0) {
      score_per_sample(team, batch, x, dim_, lambda * weight, T(adversary_.eps), clean_,
                       adversarial_, parts_);
    }
    add_stats(team, batch, stats);
    Buffer<T> row(dim_);
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        parts_.sum(batch, s, row.get());
        finish(s, row.get());
      }
    });
  }

 private:
  // The rows moved along their clean gradient.
  template <class Rows>
  void move(Team& team, const Batch& batch, const Rows& x) {
    const T eps = T(adversary_.eps);
    const bool joint = adversary_.norm == Norm::kJoint;
    T* const moved = moved_.get();
    Buffer<T> row(dim_);
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        // The joint norm is known after the last slot: until then the gradients are stored where
        // the moved rows will be.
        T* const g = joint ? moved + s * dim_ : row.get();
        parts_.sum(batch, s, g);
        squares_[s] = dot(g, g, dim_);
        if (!joint) add_unit(x.row(s), eps, g, squares_[s], moved + s * dim_, dim_);
      }
    });
    if (!joint) return;
    T total = 0;  // every thread adds in the same order
    for (int64_t s = 0; s < batch.n_rows; ++s) total += squares_[s];
    const T scale = total > 0 ? eps / root(total) : T(0);
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s)
        add_scaled(x.row(s), scale, moved + s * dim_, moved + s * dim_, dim_);
    });
  }

  // After the scores and before the last barrier: after it, others may be at the next batch.
  void add_stats(Team& team, const Batch& batch, StepStats& stats) const {
    if (team.thread() != 0) return;
    stats.clean += clean_.total(batch.count);
    if (adversary_.weight != 0) stats.adversarial += adversarial_.total(batch.count);
  }

  const int64_t dim_;
  const Adversary adversary_;
  const bool moves_;  // rows, not the samples of each triplet
  Slopes<T> clean_, adversarial_;
  Parts<T> parts_;
  Buffer<T> moved_;    // [slots, dim]
  Buffer<T> squares_;  // [slots]
};

}  // namespace advrec::cpu::ADVREC_ISA
