// The same operators on CUDA tensors: the current stream, scratch memory, and calls into
// kernels_cuda.h. Their schemas are in ops_cpu.cpp, which must be loaded first.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

#include "arguments_cuda.h"

namespace {

using namespace advrec::arguments;
namespace cuda = advrec::cuda;

Tensor sample_triplets(const Tensor& pair_users, const Tensor& pair_items,
                       const Tensor& active_users, const Tensor& indptr, const Tensor& items,
                       int64_t n_items, int64_t seed, int64_t epoch, int64_t first, int64_t count,
                       int64_t negatives, int64_t sampling) {
  const Device on(pair_users);
  const auto pos = positives(on, pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  check_range(pos, negatives, first, count);
  Tensor out = torch::stable::new_empty(pair_users, {3, count});
  auto* data = static_cast<int32_t*>(out.mutable_data_ptr());
  cuda::sample_triplets(pos, spec, first, count, data, data + count, data + 2 * count, on.stream());
  return out;
}

Tensor propagate(const Tensor& x, const Tensor& indptr, const Tensor& indices, const Tensor& scale,
                 int64_t layers) {
  const Device on(x);
  check_layers(layers);
  const float* data = on.values(x, "x", 2);
  const auto graph = adjacency(on, indptr, indices, scale, x.size(0));
  Tensor out = torch::stable::empty_like(x);
  Tensor scratch = torch::stable::new_empty(x, {layers > 1 ? x.size(0) : 0, x.size(1)});
  cuda::propagate(graph, data, x.size(1), layers, writable(scratch), writable(out), on.stream());
  return out;
}

Tensor triplet_margin(const Tensor& user_table, const Tensor& item_table, const Tensor& triplets) {
  const Device on(user_table);
  const Tables t = tables(on, user_table, item_table);
  const int32_t* ids = triplet_ids(on, triplets);
  Tensor out = torch::stable::new_empty(user_table, {triplets.size(1)});
  cuda::triplet_margin(t.users, t.items, t.n_users, t.n_items, t.dim, ids, triplets.size(1),
                       writable(out), on.stream());
  return out;
}

std::tuple<Tensor, Tensor> triplet_margin_backward(const Tensor& grad, const Tensor& user_table,
                                                   const Tensor& item_table,
                                                   const Tensor& triplets) {
  const Device on(user_table);
  const Tables t = tables(on, user_table, item_table);
  const int32_t* ids = triplet_ids(on, triplets);
  check_shape(grad, "grad", {triplets.size(1)});
  Tensor d_user = torch::stable::empty_like(user_table);
  Tensor d_item = torch::stable::empty_like(item_table);
  Tensor scratch = on.scratch(
      grad, cuda::triplet_margin_backward_workspace(t.n_users, t.n_items, triplets.size(1)));
  cuda::triplet_margin_backward(on.values(grad, "grad", 1), t.users, t.items, t.n_users, t.n_items,
                                t.dim, ids, triplets.size(1), writable(d_user), writable(d_item),
                                scratch.mutable_data_ptr(), on.stream());
  return std::make_tuple(d_user, d_item);
}

Tensor normalize_rows(const Tensor& x, double eps) {
  const Device on(x);
  const float* data = on.values(x, "x", 2);
  Tensor out = torch::stable::empty_like(x);
  cuda::normalize_rows(data, x.size(0), x.size(1), eps, writable(out), on.stream());
  return out;
}

void optimizer_step(Tensor value, const Tensor& grad, std::optional<Tensor> state1,
                    std::optional<Tensor> state2, std::optional<Tensor> rows, int64_t optimizer,
                    double lr, double beta1, double beta2, double eps, int64_t step) {
  const Device on(value);
  const auto spec = optim(optimizer, lr, beta1, beta2, eps, step);
  const int states = advrec::states_of(spec.kind);
  on.values(value, "param", 2);
  const int32_t* at = rows ? on.ids(*rows, "rows") : nullptr;
  const int64_t count = rows ? rows->size(0) : value.size(0);
  const float* g = on.values(grad, "grad", 2);
  check_shape(grad, "grad", {count, value.size(1)});
  cuda::optimizer_step(spec, writable(value), on.state(state1, value, "state1", states >= 1),
                       on.state(state2, value, "state2", states >= 2), g, at, count, value.size(0),
                       value.size(1), on.stream());
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rank(const Tensor& users, const Tensor* item_vectors,
                                                const Tensor& mask_indptr, const Tensor& mask_items,
                                                const Tensor& relevant_indptr,
                                                const Tensor& relevant_items, int64_t k,
                                                bool count_above) {
  const Device on(users);
  check_ranking(users, item_vectors, k);
  // Given scores may be as wide as the catalogue; only vectors are held to kMaxDim.
  on.check(users, item_vectors ? "user_vectors" : "scores", ScalarType::Float, 2);
  const int64_t n_users = users.size(0);
  const advrec::Lists mask{on.offsets(mask_indptr, "mask", n_users),
                           on.ids(mask_items, "mask items")};
  const advrec::Lists relevant{on.offsets(relevant_indptr, "relevant", n_users),
                               on.ids(relevant_items, "relevant items")};
  const int64_t n_relevant = relevant_items.size(0);
  const float* items = item_vectors ? on.values(*item_vectors, "item_vectors", 2) : nullptr;
  const int64_t n_items = item_vectors ? item_vectors->size(0) : users.size(1);

  Tensor ids_out = torch::stable::new_empty(relevant_items, {n_users, k});
  Tensor scores = torch::stable::new_empty(users, {n_users, k});
  Tensor hits = torch::stable::new_empty(users, {n_users, k}, ScalarType::Bool);
  Tensor above =
      torch::stable::new_empty(relevant_indptr, {count_above ? n_relevant : 0}, ScalarType::Long);
  const int64_t bytes = cuda::rank_workspace(n_users, n_items, k, n_relevant);
  Tensor scratch = on.scratch(users, bytes);
  cuda::rank(static_cast<const float*>(users.const_data_ptr()), items, n_users, n_items,
             item_vectors ? users.size(1) : 0, mask, relevant, n_relevant, k,
             static_cast<int32_t*>(ids_out.mutable_data_ptr()), writable(scores),
             static_cast<uint8_t*>(hits.mutable_data_ptr()),
             count_above ? static_cast<int64_t*>(above.mutable_data_ptr()) : nullptr,
             scratch.mutable_data_ptr(), bytes, on.stream());
  return std::make_tuple(ids_out, scores, hits, above);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rank_topk(
    const Tensor& user_vectors, const Tensor& item_vectors, const Tensor& mask_indptr,
    const Tensor& mask_items, const Tensor& relevant_indptr, const Tensor& relevant_items,
    int64_t k, bool count_above) {
  return rank(user_vectors, &item_vectors, mask_indptr, mask_items, relevant_indptr, relevant_items,
              k, count_above);
}
std::tuple<Tensor, Tensor, Tensor, Tensor> rank_scores(
    const Tensor& scores, const Tensor& mask_indptr, const Tensor& mask_items,
    const Tensor& relevant_indptr, const Tensor& relevant_items, int64_t k, bool count_above) {
  return rank(scores, nullptr, mask_indptr, mask_items, relevant_indptr, relevant_items, k,
              count_above);
}

Tensor mf_steps(Tensor embedding, std::optional<Tensor> state1, std::optional<Tensor> state2,
                const Tensor& pair_users, const Tensor& pair_items, const Tensor& active_users,
                const Tensor& indptr, const Tensor& items, int64_t n_items, int64_t seed,
                int64_t epoch, int64_t negatives, int64_t sampling, int64_t first_step,
                int64_t steps, int64_t batch_size, bool mean, double reg, double eps,
                double adv_weight, int64_t norm, int64_t optimizer, double lr, double beta1,
                double beta2, double opt_eps, int64_t updates) {
  const Device on(embedding);
  const auto pos = positives(on, pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm, 0,
                      optimizer, lr, beta1, beta2, opt_eps, updates);
  const auto t = table(on, embedding, state1, state2, indptr.size(0) - 1, n_items, p.optim.kind);
  Tensor scratch =
      on.scratch(embedding, cuda::mf_steps_workspace(t, p.schedule, p.adversary, p.optim));
  Tensor stats = torch::stable::new_empty(embedding, {2}, ScalarType::Double);
  cuda::mf_steps(t, pos, spec, p.schedule, p.adversary, p.optim, scratch.mutable_data_ptr(),
                 static_cast<double*>(stats.mutable_data_ptr()), on.stream());
  return stats;
}

Tensor lightgcn_steps(Tensor embedding, std::optional<Tensor> state1, std::optional<Tensor> state2,
                      const Tensor& graph_indptr, const Tensor& graph_indices,
                      const Tensor& graph_scale, int64_t layers, const Tensor& pair_users,
                      const Tensor& pair_items, const Tensor& active_users, const Tensor& indptr,
                      const Tensor& items, int64_t n_items, int64_t seed, int64_t epoch,
                      int64_t negatives, int64_t sampling, int64_t first_step, int64_t steps,
                      int64_t batch_size, bool mean, double reg, double eps, double adv_weight,
                      int64_t norm, int64_t site, int64_t optimizer, double lr, double beta1,
                      double beta2, double opt_eps, int64_t updates) {
  const Device on(embedding);
  const auto pos = positives(on, pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm,
                      site, optimizer, lr, beta1, beta2, opt_eps, updates);
  check_lightgcn(p, layers);
  const auto t = table(on, embedding, state1, state2, indptr.size(0) - 1, n_items, p.optim.kind);
  const auto graph = adjacency(on, graph_indptr, graph_indices, graph_scale, embedding.size(0));
  Tensor scratch =
      on.scratch(embedding, cuda::lightgcn_steps_workspace(t, layers, p.schedule, p.adversary));
  Tensor stats = torch::stable::new_empty(embedding, {2}, ScalarType::Double);
  cuda::lightgcn_steps(t, graph, layers, pos, spec, p.schedule, p.adversary, p.optim,
                       scratch.mutable_data_ptr(), static_cast<double*>(stats.mutable_data_ptr()),
                       on.stream());
  return stats;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(advrec, CUDA, m) {
  m.impl("sample_triplets", TORCH_BOX(&sample_triplets));
  m.impl("propagate", TORCH_BOX(&propagate));
  m.impl("triplet_margin", TORCH_BOX(&triplet_margin));
  m.impl("triplet_margin_backward", TORCH_BOX(&triplet_margin_backward));
  m.impl("normalize_rows", TORCH_BOX(&normalize_rows));
  m.impl("optimizer_step", TORCH_BOX(&optimizer_step));
  m.impl("rank_topk", TORCH_BOX(&rank_topk));
  m.impl("rank_scores", TORCH_BOX(&rank_scores));
  m.impl("mf_steps", TORCH_BOX(&mf_steps));
  m.impl("lightgcn_steps", TORCH_BOX(&lightgcn_steps));
}

// An empty module: importing it registers the operators above.
PyMODINIT_FUNC PyInit__C_cuda() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C_cuda", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
