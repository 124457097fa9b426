// What the operators' plain arguments mean, whatever device their tensors are on: the numbers are
// checked here and put into the structs of kernels.h. Included by ops_cpu.cpp and ops_cuda.cpp.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <stdexcept>
#include <string>

#include "../kernels.h"

namespace advrec::arguments {

inline void require(bool ok, const std::string& message) {
  if (!ok) throw std::invalid_argument(message);
}

inline std::string shape(const torch::stable::Tensor& t) {
  std::string text = "[";
  for (int64_t k = 0; k < t.dim(); ++k) text += (k ? ", " : "") + std::to_string(t.size(k));
  return text + "]";
}

inline advrec::SampleSpec sample_spec(int64_t seed, int64_t epoch, int64_t negatives,
                                      int64_t sampling) {
  require(negatives >= 1, "negatives is " + std::to_string(negatives) + ", wanted at least 1");
  require(epoch >= 0 && epoch < (int64_t(1) << 32), "epoch must fit in 32 bits");
  require(sampling == 0 || sampling == 1,
          "sampling must be 0 (pairs) or 1 (users), got " + std::to_string(sampling));
  return {uint64_t(seed), uint32_t(epoch), negatives, advrec::Sampling(sampling)};
}

inline void check_range(const advrec::Positives& pos, int64_t negatives, int64_t first,
                        int64_t count) {
  require(first >= 0 && count >= 0 && first + count <= pos.pairs * negatives,
          "triplets [" + std::to_string(first) + ", " + std::to_string(first + count) +
              ") are not all in an epoch of " + std::to_string(pos.pairs * negatives));
}

inline advrec::Optim optim(int64_t optimizer, double lr, double beta1, double beta2, double eps,
                           int64_t step) {
  require(optimizer >= 0 && optimizer <= 3,
          "optimizer must be in [0, 3], got " + std::to_string(optimizer));
  return {advrec::OptimKind(optimizer), lr, beta1, beta2, eps, step};
}

// The last three groups of arguments of both fused operators: schedule, adversary, optimiser.
struct Plan {
  advrec::Schedule schedule;
  advrec::Adversary adversary;
  advrec::Optim optim;
};
inline Plan plan(const advrec::Positives& pos, const advrec::SampleSpec& spec, int64_t first_step,
                 int64_t steps, int64_t batch_size, bool mean, double reg, double eps,
                 double adv_weight, int64_t norm, int64_t site, int64_t optimizer, double lr,
                 double beta1, double beta2, double opt_eps, int64_t updates) {
  require(batch_size >= 1 && batch_size < (int64_t(1) << 29), "batch_size must be in [1, 2^29)");
  const int64_t total = (pos.pairs * spec.negatives + batch_size - 1) / batch_size;
  require(first_step >= 0 && steps >= 0 && first_step + steps <= total,
          "steps [" + std::to_string(first_step) + ", " + std::to_string(first_step + steps) +
              ") are not all in an epoch of " + std::to_string(total));
  require(norm >= 0 && norm <= 2 && site >= 0 && site <= 1, "unknown norm or site");
  return {{first_step, steps, batch_size, mean, reg},
          {eps, adv_weight, advrec::Norm(norm), advrec::Site(site)},
          optim(optimizer, lr, beta1, beta2, opt_eps, updates)};
}

}  // namespace advrec::arguments
