// VBPR with the scorer of AMR, v_i = q_i + c_i E, and AMR itself: many mini-batches in one call.
//
// With G the gradient of the batch's item vectors, that of a feature row is g E^T, so that of the
// worst perturbation of the features, delta_i = eps g_i E^T / |g_i E^T|, the losses see
//   delta_i E = eps g_i M / sqrt(g_i M g_i^T),   M = E^T E,
// and of the gradient in E through it there is E sum_i eps g_i^T g'_i / |g_i E^T| left. No feature
// row is perturbed anywhere, so the adversary costs the same however many features there are.
// M and the lengths are double: g may lie where E hardly stretches, and g M g^T is then a small
// difference of large numbers.

namespace advrec::cpu::ADVREC_ISA {

// out[0, dim) = sum over k in [0, count) of factor(k) * row(k), in order.
template <class T, class Factor, class Row>
inline void weighted_sum(int64_t count, int64_t dim, const Factor& factor, const Row& row, T* out) {
  constexpr int W = Simd<T>::kWidth;
  int64_t col = 0;
  for (; col + 8 * W <= dim; col += 8 * W) {
    Vec<T> sum[8] = {};
    for (int64_t k = 0; k < count; ++k) {
      const T scale = factor(k);
      const T* x = row(k) + col;
#pragma GCC unroll 8
      for (int v = 0; v < 8; ++v) sum[v] += scale * load(x + v * W);
    }
    for (int v = 0; v < 8; ++v) store<T>(out + col + v * W, sum[v]);
  }
  for (; col + W <= dim; col += W) {
    Vec<T> sum{};
    for (int64_t k = 0; k < count; ++k) sum += factor(k) * load(row(k) + col);
    store<T>(out + col, sum);
  }
  for (; col < dim; ++col) {
    T sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += factor(k) * row(k)[col];
    out[col] = sum;
  }
}

template <class T>
class AmrStep {
 public:
  AmrStep(const AmrTables<T>& tables, int64_t capacity, const Adversary& adversary, double reg,
          double reg_items)
      : t_(tables),
        dim_(tables.users.dim),
        perturbs_(adversary.weight != 0),
        lambda_(T(adversary.weight)),
        eps_(adversary.eps),
        reg_(T(reg)),
        reg_items_(T(reg * reg_items)),
        clean_(capacity),
        adversarial_(perturbs_ ? capacity : 0),
        parts_(capacity, dim_),
        x_(3 * capacity * dim_),
        gradient_(perturbs_ ? 3 * capacity * dim_ : 0),
        moved_(perturbs_ ? 3 * capacity * dim_ : 0),
        second_(perturbs_ ? 3 * capacity * dim_ : 0),
        reach_(perturbs_ ? 3 * capacity : 0),
        item_slots_(3 * capacity),
        wide_(perturbs_ ? t_.features * dim_ : 0),
        square_(perturbs_ ? dim_ * dim_ : 0),
        inner_(perturbs_ ? dim_ * dim_ : 0) {}

  void run(Team& team, const Batch& batch, T weight, const OptimStep<T>& for_users,
           const OptimStep<T>& for_items, const OptimStep<T>& for_projection, StepStats& stats) {
    gather(team, batch);
    score<false>(team, batch, DenseRows<T>{x_.get(), dim_}, dim_, weight, clean_, parts_);
    if (perturbs_) {
      square_of_projection(team);
      move(team, batch);
      score<false>(team, batch, DenseRows<T>{moved_.get(), dim_}, dim_, lambda_ * weight,
                   adversarial_, parts_);
    }
    if (team.thread() == 0) {  // before the step's last barrier, as in BatchStep
      stats.clean += clean_.total(batch.count);
      if (perturbs_) stats.adversarial += adversarial_.total(batch.count);
    }
    finish_rows(team, batch, weight, for_users, for_items);
    if (perturbs_) inner_products(team);
    finish_projection(team, batch, for_projection);
  }

 private:
  bool is_item(const Batch& batch, int64_t s) const { return batch.rows[s] >= t_.users.n_users; }
  int64_t item(const Batch& batch, int64_t s) const { return batch.rows[s] - t_.users.n_users; }
  const T* features(const Batch& batch, int64_t s) const {
    return t_.feature_rows + item(batch, s) * t_.features;
  }

  // X: p of users, q + c E of items.
  void gather(Team& team, const Batch& batch) {
    if (team.thread() == 0) {  // not read before the next barrier
      n_item_slots_ = 0;
      for (int64_t s = 0; s < batch.n_rows; ++s)
        if (is_item(batch, s)) item_slots_[n_item_slots_++] = int32_t(s);
    }
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        T* const x = x_.get() + s * dim_;
        if (!is_item(batch, s)) {
          store_row(t_.users.value + batch.rows[s] * dim_, x, dim_);
          continue;
        }
        const T* const c = features(batch, s);
        weighted_sum(
            t_.features, dim_, [&](int64_t f) { return c[f]; },
            [&](int64_t f) { return t_.projection.value + f * dim_; }, x);
        axpy(T(1), t_.items.value + item(batch, s) * dim_, x, dim_);
      }
    });
  }

  // M = E^T E
  void square_of_projection(Team& team) {
    team.ranges(t_.features, 64, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin * dim_; k < end * dim_; ++k) wide_[k] = double(t_.projection.value[k]);
    });
    team.ranges(dim_, 4, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        weighted_sum(
            t_.features, dim_, [&](int64_t f) { return wide_[f * dim_ + k]; },
            [&](int64_t f) { return wide_.get() + f * dim_; }, square_.get() + k * dim_);
    });
  }

  // The clean gradient of every slot, and its row under the worst features.
  void move(Team& team, const Batch& batch) {
    Buffer<double> g(dim_), along(dim_);
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        T* const slope = gradient_.get() + s * dim_;
        const T* const x = x_.get() + s * dim_;
        T* const moved = moved_.get() + s * dim_;
        parts_.sum(batch, s, slope);
        store_row(x, moved, dim_);
        reach_[s] = 0;
        if (!is_item(batch, s)) continue;
        for (int64_t k = 0; k < dim_; ++k) g[k] = double(slope[k]);
        weighted_sum(
            dim_, dim_, [&](int64_t k) { return g[k]; },
            [&](int64_t k) { return square_.get() + k * dim_; }, along.get());
        const double squares = dot(g.get(), along.get(), dim_);
        if (!(squares > 0)) continue;
        const double reach = eps_ / __builtin_sqrt(squares);
        reach_[s] = T(reach);
        for (int64_t k = 0; k < dim_; ++k) moved[k] += T(reach * along[k]);
      }
    });
  }

  // The whole gradient of every slot, into x_ for items, and the optimizer's step on P and Q.
  void finish_rows(Team& team, const Batch& batch, T weight, const OptimStep<T>& for_users,
                   const OptimStep<T>& for_items) {
    Buffer<T> sum(dim_);
    T* const g = sum.get();
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        if (perturbs_) {
          T* const worst = second_.get() + s * dim_;
          parts_.sum(batch, s, worst);
          add_scaled(gradient_.get() + s * dim_, T(1), worst, g, dim_);
        } else {
          parts_.sum(batch, s, g);
        }
        // AMR's penalty is without a half, and shrinks the item's whole vector.
        const bool of_item = is_item(batch, s);
        const T pull =
            T(2) * (of_item ? reg_items_ : reg_) * weight * T(batch.begin[s + 1] - batch.begin[s]);
        if (pull != 0) axpy(pull, x_.get() + s * dim_, g, dim_);
        if (of_item) store_row(g, total(s), dim_);
        update_row(of_item ? for_items : for_users, of_item ? t_.items : t_.users,
                   of_item ? item(batch, s) : int64_t(batch.rows[s]), g);
      }
    });
  }

  // Where a slot's whole gradient is kept for E: in place of X, of which only its owner reads a
  // slot after the scores.
  T* total(int64_t s) { return x_.get() + s * dim_; }

  // inner = sum over items of reach * g^T g'
  void inner_products(Team& team) {
    team.ranges(dim_, 4, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        weighted_sum(
            n_item_slots_, dim_,
            [&](int64_t n) {
              return reach_[item_slots_[n]] * gradient_[item_slots_[n] * dim_ + k];
            },
            [&](int64_t n) { return second_.get() + item_slots_[n] * dim_; },
            inner_.get() + k * dim_);
    });
  }

  // dL/dE = sum over items of c^T g, and E inner for what E does to the perturbation.
  void finish_projection(Team& team, const Batch& batch, const OptimStep<T>& update) {
    Buffer<T> sum(dim_), through(dim_);
    team.ranges(t_.features, 8, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        weighted_sum(
            n_item_slots_, dim_, [&](int64_t n) { return features(batch, item_slots_[n])[f]; },
            [&](int64_t n) { return total(item_slots_[n]); }, sum.get());
        if (perturbs_) {
          const T* const row = t_.projection.value + f * dim_;
          weighted_sum(
              dim_, dim_, [&](int64_t k) { return row[k]; },
              [&](int64_t k) { return inner_.get() + k * dim_; }, through.get());
          axpy(T(1), through.get(), sum.get(), dim_);
        }
        update_row(update, t_.projection, f, sum.get());
      }
    });
  }

  const AmrTables<T> t_;
  const int64_t dim_;
  const bool perturbs_;
  const T lambda_;
  const double eps_;
  const T reg_, reg_items_;
  Slopes<T> clean_, adversarial_;
  Parts<T> parts_;                           // at X, then at the moved rows
  Buffer<T> x_, gradient_, moved_, second_;  // [slots, dim]
  Buffer<T> reach_;                          // [slots] eps / |g E^T|, 0 for users
  Buffer<int32_t> item_slots_;               // [n_item_slots_] of the batch
  int64_t n_item_slots_ = 0;
  Buffer<double> wide_, square_;  // E [F, dim] and M [dim, dim]
  Buffer<T> inner_;               // [dim, dim]
};

template <class T>
StepStats amr_steps(const AmrTables<T>& tables, const Positives& pos, const SampleSpec& sample,
                    const Schedule& schedule, double reg_items, const Adversary& adversary,
                    const Optim& optim, const double* rates) {
  BatchWindow window(pos, sample, schedule, tables.users.n_users, threads());
  AmrStep<T> step(tables, schedule.batch_size, adversary, schedule.reg, reg_items);
  StepStats stats;
  parallel([&](Team& team) {
    window.each(team, [&](const Batch& batch, int64_t at) {
      const auto update = [&](int which) {
        Optim own = optim;
        own.lr = rates[which];
        return OptimStep<T>(own, optim.step + at);
      };
      step.run(team, batch, weight_of<T>(schedule, batch), update(0), update(1), update(2), stats);
    });
  });
  return stats;
}

}  // namespace advrec::cpu::ADVREC_ISA
