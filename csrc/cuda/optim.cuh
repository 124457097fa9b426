// Optimizer updates, in the arithmetic of torch.optim; with optim.cu the twin of cpu/optim.inl.
#pragma once

#include "device.cuh"

namespace advrec::cuda {

// The constants of one update, computed once per step in double precision.
struct OptimStep {
  float lr, beta1, beta2, eps, root_correction;
};

__host__ __device__ inline OptimStep optim_step(const Optim& optim, int64_t updates_before) {
  double lr = optim.lr, root_correction = 1;
  if (optim.kind == OptimKind::kAdam || optim.kind == OptimKind::kSparseAdam) {
    const double t = double(updates_before + 1);
    const double bias1 = 1.0 - pow(optim.beta1, t);
    const double root2 = sqrt(1.0 - pow(optim.beta2, t));
    // torch's two Adams differ in whether eps is added before or after the second correction.
    const bool after = optim.kind == OptimKind::kAdam;
    lr = after ? optim.lr / bias1 : optim.lr * root2 / bias1;
    root_correction = after ? 1.0 / root2 : 1.0;
  }
  return {float(lr), float(optim.beta1), float(optim.beta2), float(optim.eps),
          float(root_correction)};
}

// Moves VEC values of a row at `at` against the gradient.
template <int VEC>
__device__ inline void update(OptimKind kind, const OptimStep& o, float* value, float* state1,
                              float* state2, int64_t at, const Pack<VEC>& grad) {
  Pack<VEC> x = load<VEC>(value + at);
  if (kind == OptimKind::kSgd) {
#pragma unroll
    for (int i = 0; i < VEC; ++i) x.v[i] -= o.lr * grad.v[i];
  } else if (kind == OptimKind::kAdagrad) {
    Pack<VEC> sum = load<VEC>(state1 + at);
#pragma unroll
    for (int i = 0; i < VEC; ++i) {
      sum.v[i] += grad.v[i] * grad.v[i];
      x.v[i] -= o.lr * grad.v[i] / (sqrtf(sum.v[i]) + o.eps);
    }
    store<VEC>(state1 + at, sum);
  } else {
    Pack<VEC> m = load<VEC>(state1 + at), v = load<VEC>(state2 + at);
    const float new1 = 1 - o.beta1, new2 = 1 - o.beta2;
#pragma unroll
    for (int i = 0; i < VEC; ++i) {
      m.v[i] = o.beta1 * m.v[i] + new1 * grad.v[i];
      v.v[i] = o.beta2 * v.v[i] + new2 * grad.v[i] * grad.v[i];
      x.v[i] -= o.lr * m.v[i] / (sqrtf(v.v[i]) * o.root_correction + o.eps);
    }
    store<VEC>(state1 + at, m);
    store<VEC>(state2 + at, v);
  }
  store<VEC>(value + at, x);
}

}  // namespace advrec::cuda
