// Optimiser updates of single rows, in the arithmetic of torch.optim.

namespace advrec::cpu::ADVREC_ISA {

// The constants of one update, worked out once a step in double precision.
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
