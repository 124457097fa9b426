// The operators' plain arguments, which are the same on every device: numbers are checked here and
// put into the structs of kernels.h. Included by arguments_cpu.h and arguments_cuda.h.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "../kernels.h"

namespace advrec::arguments {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void require(bool ok, const std::string& message) {
  if (!ok) throw std::invalid_argument(message);
}

inline void at_least(int64_t least, int64_t value, const char* name) {
  require(value >= least, std::string(name) + " must be at least " + std::to_string(least) +
                              ", got " + std::to_string(value));
}

inline void at_most(int64_t most, int64_t value, const char* name) {
  require(value <= most, std::string(name) + " must be at most " + std::to_string(most) + ", got " +
                             std::to_string(value));
}
// The largest count of anything that an operator takes: sums and products of two fit in 64 bits.
constexpr int64_t kMost = (int64_t(1) << 31) - 1;

inline std::string shape(const Tensor& t) {
  std::string text = "[";
  for (int64_t k = 0; k < t.dim(); ++k) text += (k ? ", " : "") + std::to_string(t.size(k));
  return text + "]";
}

inline std::string type_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    default:
      return "another type";
  }
}

// What a kernel relies on, wherever the tensor is: contiguous, this type and number of dimensions.
inline void check_layout(const Tensor& t, const std::string& name, ScalarType type, int64_t dims) {
  require(t.is_contiguous(), name + " must be contiguous");
  require(t.scalar_type() == type,
          name + " must be " + type_name(type) + ", got " + type_name(t.scalar_type()));
  require(t.dim() == dims, name + " must have " + std::to_string(dims) +
                               (dims == 1 ? " dimension" : " dimensions") + ", got shape " +
                               shape(t));
}

inline void check_shape(const Tensor& t, const std::string& name,
                        std::initializer_list<int64_t> expected) {
  bool same = t.dim() == int64_t(expected.size());
  std::string text;
  int64_t k = 0;
  for (const int64_t size : expected) {
    same = same && t.size(k) == size;
    text += (k++ ? ", " : "") + std::to_string(size);
  }
  require(same, name + " must have shape [" + text + "], got " + shape(t));
}

inline void check_positives(const advrec::Positives& pos, const Tensor& pair_items) {
  require(pos.pairs > 0 && pos.active > 0, "there are no pairs to draw from");
  at_least(1, pos.n_items, "n_items");
  at_most(kMost, pos.n_items, "n_items");
  at_most(kMost, pos.pairs, "pairs");
  check_shape(pair_items, "pair_items", {pos.pairs});
}

inline void check_tables(const Tensor& user_table, const Tensor& item_table) {
  require(
      user_table.dim() == 2 && item_table.dim() == 2 && user_table.size(1) == item_table.size(1),
      "user_table and item_table must have shapes [U, d] and [I, d], got " + shape(user_table) +
          " and " + shape(item_table));
}

inline void check_triplets(const Tensor& triplets) {
  require(triplets.dim() == 2 && triplets.size(0) == 3,
          "triplets must have shape [3, B], got " + shape(triplets));
  require(triplets.size(1) < (int64_t(1) << 29),
          "triplets must be fewer than 2^29, got " + std::to_string(triplets.size(1)));
}

inline void check_ranking(const Tensor& users, const Tensor* item_vectors, int64_t k) {
  at_least(1, k, "k");
  at_most(kMost, k, "k");
  require(users.dim() == 2, std::string(item_vectors ? "user_vectors" : "scores") +
                                " must have 2 dimensions, got shape " + shape(users));
  require(!item_vectors || (item_vectors->dim() == 2 && item_vectors->size(1) == users.size(1)),
          item_vectors ? "item_vectors must have shape [I, " + std::to_string(users.size(1)) +
                             "] like user_vectors, got " + shape(*item_vectors)
                       : "");
}

inline advrec::SampleSpec sample_spec(int64_t seed, int64_t epoch, int64_t negatives,
                                      int64_t sampling) {
  at_least(1, negatives, "negatives");
  at_most(kMost, negatives, "negatives");
  require(epoch >= 0 && epoch < (int64_t(1) << 32),
          "epoch must be in [0, 2^32), got " + std::to_string(epoch));
  require(sampling == 0 || sampling == 1,
          "sampling must be 0 (pairs) or 1 (users), got " + std::to_string(sampling));
  return {uint64_t(seed), uint32_t(epoch), negatives, advrec::Sampling(sampling)};
}

inline void check_range(const advrec::Positives& pos, int64_t negatives, int64_t first,
                        int64_t count) {
  require(first >= 0 && count >= 0 && first <= pos.pairs * negatives &&
              count <= pos.pairs * negatives - first,
          std::to_string(count) + " triplets from " + std::to_string(first) +
              " must lie in the epoch's [0, " + std::to_string(pos.pairs * negatives) + ")");
}

inline advrec::Optim optim(int64_t optimizer, double lr, double beta1, double beta2, double eps,
                           int64_t step) {
  require(optimizer >= 0 && optimizer <= 3,
          "optimizer must be in [0, 3], got " + std::to_string(optimizer));
  at_least(0, step, "updates");
  return {advrec::OptimKind(optimizer), lr, beta1, beta2, eps, step};
}

// The last three groups of arguments of every fused operator: schedule, adversary, optimizer.
struct Plan {
  advrec::Schedule schedule;
  advrec::Adversary adversary;
  advrec::Optim optim;
};
inline Plan plan(const advrec::Positives& pos, const advrec::SampleSpec& spec, int64_t first_step,
                 int64_t steps, int64_t batch_size, bool mean, double reg, double eps,
                 double adv_weight, int64_t norm, int64_t site, int64_t optimizer, double lr,
                 double beta1, double beta2, double opt_eps, int64_t updates) {
  require(batch_size >= 1 && batch_size < (int64_t(1) << 29),
          "batch_size must be in [1, 2^29), got " + std::to_string(batch_size));
  const int64_t total = (pos.pairs * spec.negatives + batch_size - 1) / batch_size;
  require(first_step >= 0 && steps >= 0 && first_step <= total && steps <= total - first_step,
          std::to_string(steps) + " steps from " + std::to_string(first_step) +
              " must lie in the epoch's [0, " + std::to_string(total) + ")");
  require(norm >= 0 && norm <= 2,
          "norm must be 0 (row), 1 (sample) or 2 (joint), got " + std::to_string(norm));
  require(site == 0 || site == 1, "site must be 0 (ego) or 1 (final), got " + std::to_string(site));
  return {{first_step, steps, batch_size, mean, reg},
          {eps, adv_weight, advrec::Norm(norm), advrec::Site(site)},
          optim(optimizer, lr, beta1, beta2, opt_eps, updates)};
}

inline void check_layers(int64_t layers) {
  at_least(0, layers, "layers");
  at_most(1000, layers, "layers");  // a layer takes time: more is a mistake, and looks like a hang
}

inline void check_lightgcn(const Plan& plan, int64_t layers) {
  check_layers(layers);
  require(
      !(plan.adversary.site == advrec::Site::kEgo && plan.adversary.norm == advrec::Norm::kSample),
      "norm sample perturbs each triplet's own vectors, so it needs site final, got site ego");
}

}  // namespace advrec::arguments
