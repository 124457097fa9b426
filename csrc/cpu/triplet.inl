// The BPR/APR arithmetic of one mini-batch, on the rows it touches.
//
// A batch is bucketed by row: each touched row gets a slot, and a list of its places in the batch
// in batch order. Scores and the parts of gradients are computed a triplet at a time, gradients
// summed a row at a time by the row's owner: no atomics, duplicates are summed per row, and the
// number of threads changes nothing.
// Rows are asked for by slot: MF reads the embedding in place (TableRows), LightGCN the propagated
// rows that it has computed for the batch (DenseRows).

namespace advrec::cpu::ADVREC_ISA {

enum Role : int32_t { kUser = 0, kPositive = 1, kNegative = 2 };

// A mini-batch seen from its rows. All arrays have room for `capacity` triplets.
struct Batch {
  explicit Batch(int64_t capacity)
      : triplets(3 * capacity),
        slots(3 * capacity),
        rows(3 * capacity),
        begin(3 * capacity + 1),
        places(3 * capacity),
        capacity(capacity) {}

  Buffer<int32_t> triplets;  // [3, capacity] users, positives, negatives
  Buffer<int32_t> slots;     // [3, capacity] the slot of each of them
  Buffer<int32_t> rows;      // [n_rows] table row of a slot, in order of first appearance
  Buffer<int32_t> begin;     // [n_rows + 1] where a slot's places start
  Buffer<int32_t> places;    // [3 * count] triplet * 4 + role
  const int64_t capacity;
  int64_t count = 0, n_rows = 0;

  const int32_t* slot(Role role) const { return slots.get() + role * capacity; }
  int32_t* ids(Role role) { return triplets.get() + role * capacity; }
};

// Fills slots, rows, begin and places from ids. `slot_of` [U + I] is -1 everywhere on entry; on
// return it holds the slots: clear_slots puts it back.
inline void bucket(Batch& batch, int64_t n_users, int32_t* slot_of) {
  int32_t* const size = batch.begin.get() + 1;
  int32_t n_rows = 0;
  for (int64_t b = 0; b < batch.count; ++b) {
    for (int role = 0; role < 3; ++role) {
      const int64_t at = role * batch.capacity + b;
      const int32_t row = int32_t(batch.triplets[at] + (role == kUser ? 0 : n_users));
      int32_t slot = slot_of[row];
      if (slot < 0) {
        slot = slot_of[row] = n_rows;
        batch.rows[n_rows] = row;
        size[n_rows++] = 0;
      }
      batch.slots[at] = slot;
      ++size[slot];
    }
  }
  batch.n_rows = n_rows;
  batch.begin[0] = 0;
  for (int32_t s = 0; s < n_rows; ++s) batch.begin[s + 1] += batch.begin[s];
  // Filling backwards from each end leaves begin[s + 1] at the start of slot s: shift it then.
  for (int64_t b = batch.count - 1; b >= 0; --b)
    for (int role = 2; role >= 0; --role) {
      const int32_t slot = batch.slots[role * batch.capacity + b];
      batch.places[--batch.begin[slot + 1]] = int32_t(b * 4 + role);
    }
  for (int32_t s = 0; s < n_rows; ++s) batch.begin[s] = batch.begin[s + 1];
  batch.begin[n_rows] = int32_t(3 * batch.count);
}

inline void clear_slots(const Batch& batch, int32_t* slot_of) {
  for (int64_t s = 0; s < batch.n_rows; ++s) slot_of[batch.rows[s]] = -1;
}

// The rows of a batch inside a whole table.
template <class T>
struct TableRows {
  const T* table;
  int64_t dim;
  const int32_t* rows;  // [slots]
  const T* row(int64_t s) const { return table + rows[s] * dim; }
  ADVREC_INLINE void prefetch(int64_t s) const { prefetch_row(row(s), dim); }
};

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

constexpr int64_t kTripletChunk = 64, kRowChunk = 32;

// What every triplet adds to the gradients of its rows: one row for its user, one for its positive
// item; its negative item gets the opposite of the latter. Written when a triplet is scored, while
// its vectors are at hand, and summed by the owner of each row: nobody has to look at X again,
// which may therefore be updated in place meanwhile.
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
  // which finish may overwrite; X is not read any more by then. Losses are added to `stats`.
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
        // The joint length is known when all have been seen: the gradients wait where they will
        // have moved the rows.
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

  // After the scores and before the last meeting: later, others may be at the next batch already.
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

// The composable tier's pair of operations, over whole tables and any number of triplets.
template <class T>
void triplet_margin(const T* user_table, const T* item_table, int64_t dim, const int32_t* triplets,
                    int64_t count, T* margin) {
  parallel([&](Team& team) {
    team.ranges(count, 256, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        margin[b] =
            dot_difference(user_table + triplets[b] * dim, item_table + triplets[count + b] * dim,
                           item_table + triplets[2 * count + b] * dim, dim);
    });
  });
}

template <class T>
void triplet_margin_backward(const T* grad, const T* user_table, const T* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, T* d_user, T* d_item) {
  const int64_t n = n_users + n_items;
  Batch batch(count);
  batch.count = count;
  for (int64_t k = 0; k < 3 * count; ++k) batch.triplets[k] = triplets[k];
  Buffer<int32_t> slot_of(n);
  for (int64_t r = 0; r < n; ++r) slot_of[r] = -1;
  bucket(batch, n_users, slot_of.get());
  parallel([&](Team& team) {
    team.ranges(n, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        T* const out = r < n_users ? d_user + r * dim : d_item + (r - n_users) * dim;
        fill_zero(out, dim);
        const int32_t s = slot_of[r];
        if (s < 0) continue;
        for (int32_t at = batch.begin[s]; at < batch.begin[s + 1]; ++at) {
          const int64_t b = batch.places[at] >> 2;
          const int role = batch.places[at] & 3;
          if (role == kUser)
            axpy_difference(grad[b], item_table + triplets[count + b] * dim,
                            item_table + triplets[2 * count + b] * dim, out, dim);
          else
            axpy(role == kPositive ? grad[b] : -grad[b], user_table + triplets[b] * dim, out, dim);
        }
      }
    });
  });
}

template <class T>
void normalize_rows(const T* x, int64_t rows, int64_t dim, double eps, T* out) {
  parallel([&](Team& team) {
    team.ranges(rows, 128, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* const row = x + r * dim;
        add_unit<T>(nullptr, T(eps), row, dot(row, row, dim), out + r * dim, dim);
      }
    });
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
