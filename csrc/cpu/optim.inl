// Optimizer updates of single rows, in the arithmetic of torch.optim; the twin of cuda/optim.cuh
// and optim.cu.

namespace advrec::cpu::ADVREC_ISA {

// The constants of one update, computed once per step in double precision.
template <class T>
struct OptimStep {
  OptimStep(const Optim& optim, int64_t updates_before)
      : kind(optim.kind), beta1(T(optim.beta1)), beta2(T(optim.beta2)), eps(T(optim.eps)) {
    lr = T(optim.lr);
    root_correction = 1;
    if (kind == OptimKind::kAdam || kind == OptimKind::kSparseAdam) {
      const double t = double(updates_before + 1);
      const double bias1 = 1.0 - __builtin_pow(optim.beta1, t);
      const double root2 = __builtin_sqrt(1.0 - __builtin_pow(optim.beta2, t));
      // torch's two Adams differ in whether eps is added before or after the second correction.
      const bool after = kind == OptimKind::kAdam;
      lr = T(after ? optim.lr / bias1 : optim.lr * root2 / bias1);
      root_correction = T(after ? 1.0 / root2 : 1.0);
    }
  }

  OptimKind kind;
  T lr, beta1, beta2, eps, root_correction;
};

// value -= step(grad), element by element; the loops are left to the compiler to vectorise.
template <class T>
inline void update_row(const OptimStep<T>& o, T* __restrict value, T* __restrict state1,
                       T* __restrict state2, const T* __restrict grad, int64_t n) {
  switch (o.kind) {
    case OptimKind::kSgd:
      for (int64_t k = 0; k < n; ++k) value[k] -= o.lr * grad[k];
      break;
    case OptimKind::kAdagrad:
      for (int64_t k = 0; k < n; ++k) {
        const T sum = state1[k] + grad[k] * grad[k];
        state1[k] = sum;
        value[k] -= o.lr * grad[k] / (root(sum) + o.eps);
      }
      break;
    case OptimKind::kAdam:
    case OptimKind::kSparseAdam: {
      const T keep1 = o.beta1, new1 = 1 - o.beta1, keep2 = o.beta2, new2 = 1 - o.beta2;
      for (int64_t k = 0; k < n; ++k) {
        const T m = keep1 * state1[k] + new1 * grad[k];
        const T v = keep2 * state2[k] + new2 * grad[k] * grad[k];
        state1[k] = m;
        state2[k] = v;
        value[k] -= o.lr * m / (root(v) * o.root_correction + o.eps);
      }
      break;
    }
  }
}

// The same for row r of a table.
template <class T>
inline void update_row(const OptimStep<T>& o, const Table<T>& table, int64_t r, const T* grad) {
  const int64_t at = r * table.dim;
  update_row(o, table.value + at, table.state1 ? table.state1 + at : nullptr,
             table.state2 ? table.state2 + at : nullptr, grad, table.dim);
}

// `count` steps of dense Adam without a gradient, one after the other, in registers.
template <class T>
inline void decay_row(const OptimStep<T>* steps, int64_t count, T* value, T* state1, T* state2,
                      int64_t n) {
  constexpr int64_t kBlock = 4 * Simd<T>::kWidth;
  for (int64_t first = 0; count > 0 && first < n; first += kBlock) {
    const int64_t size = n - first < kBlock ? n - first : kBlock;
    T x[kBlock], m[kBlock], v[kBlock];
    for (int64_t k = 0; k < kBlock; ++k) {
      const int64_t at = first + (k < size ? k : 0);
      x[k] = value[at], m[k] = state1[at], v[k] = state2[at];
    }
    for (int64_t t = 0; t < count; ++t)
      for (int64_t k = 0; k < kBlock; ++k) {
        m[k] *= steps[t].beta1, v[k] *= steps[t].beta2;
        x[k] -= steps[t].lr * m[k] / (root(v[k]) * steps[t].root_correction + steps[t].eps);
      }
    for (int64_t k = 0; k < size; ++k)
      value[first + k] = x[k], state1[first + k] = m[k], state2[first + k] = v[k];
  }
}

// Adam moves every row in every step, even without a gradient, but such a row is not read until a
// batch touches it. So its steps wait until then, or until the end of the call, and are made in
// registers one after the other: the same arithmetic without a sweep over all rows in every step,
// which would take longer than the rest of the step.
template <class T>
class WaitingSteps {
 public:
  WaitingSteps(const Table<T>& table, const Optim& optim, int64_t steps)
      : table_(table),
        rows_(steps > 0 ? table.n_users + table.n_items : 0),
        steps_(steps),
        updates_(steps),
        done_(rows_) {
    for (int64_t at = 0; at < steps; ++at) updates_[at] = OptimStep<T>(optim, optim.step + at);
    for (int64_t r = 0; r < rows_; ++r) done_[r] = 0;
  }

  // Makes the steps of a row before step `at` of the call; that one is then made by the caller.
  void catch_up(int64_t row, int64_t at) {
    const int64_t from = row * table_.dim;
    decay_row(updates_.get() + done_[row], at - done_[row], table_.value + from,
              table_.state1 + from, table_.state2 + from, table_.dim);
    done_[row] = int32_t(at + 1);
  }
  void catch_up_all(Team& team) {
    team.ranges(rows_, 256, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) catch_up(r, steps_);
    });
  }

 private:
  const Table<T> table_;
  const int64_t rows_, steps_;
  Buffer<OptimStep<T>> updates_;
  Buffer<int32_t> done_;  // [rows] steps of the call that are made
};

template <class T>
void optimizer_step(const Optim& optim, T* value, T* state1, T* state2, const T* grad,
                    const int32_t* rows, int64_t count, int64_t dim) {
  const OptimStep<T> step(optim, optim.step);
  parallel([&](Team& team) {
    team.ranges(count, 256, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t at = (rows ? rows[k] : k) * dim;
        update_row(step, value + at, state1 ? state1 + at : nullptr, state2 ? state2 + at : nullptr,
                   grad + k * dim, dim);
      }
    });
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
