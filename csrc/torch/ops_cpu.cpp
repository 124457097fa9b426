// The CPU operators as torch sees them: schemas, checks, and calls into kernels.h.
//
// Built against torch's stable ABI, so one binary serves several torch versions. Fake kernels,
// autograd and documentation are in advrec/ops/functional.py. A failed check throws
// std::invalid_argument, which reaches Python as a plain ValueError.
#include <Python.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "arguments_cpu.h"

namespace {

using namespace advrec::arguments;

Tensor sample_triplets(const Tensor& pair_users, const Tensor& pair_items,
                       const Tensor& active_users, const Tensor& indptr, const Tensor& items,
                       int64_t n_items, int64_t seed, int64_t epoch, int64_t first, int64_t count,
                       int64_t negatives, int64_t sampling) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  check_range(pos, negatives, first, count);
  Tensor out = torch::stable::new_empty(pair_users, {3, count});
  auto* data = static_cast<int32_t*>(out.mutable_data_ptr());
  advrec::cpu::sample_triplets(pos, spec, first, count, data, data + count, data + 2 * count);
  return out;
}

Tensor propagate(const Tensor& x, const Tensor& indptr, const Tensor& indices, const Tensor& scale,
                 int64_t layers) {
  at_least(0, layers, "layers");
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const T* data = values<T>(x, "x", 2);
    const auto graph = adjacency<T>(indptr, indices, scale, x.size(0));
    Tensor out = torch::stable::empty_like(x);
    // From two layers on, the result and one more buffer take turns.
    Tensor scratch = torch::stable::new_empty(x, {layers > 1 ? x.size(0) : 0, x.size(1)});
    advrec::cpu::propagate<T>(graph, data, x.size(1), layers,
                              static_cast<T*>(scratch.mutable_data_ptr()),
                              static_cast<T*>(out.mutable_data_ptr()));
    return out;
  });
}

Tensor triplet_margin(const Tensor& user_table, const Tensor& item_table, const Tensor& triplets) {
  check_tables(user_table, item_table);
  const int32_t* data = triplet_ids(triplets, user_table.size(0), item_table.size(0));
  return by_type(user_table, [&](auto zero) {
    using T = decltype(zero);
    Tensor out = torch::stable::new_empty(user_table, {triplets.size(1)});
    advrec::cpu::triplet_margin<T>(values<T>(user_table, "user_table", 2),
                                   values<T>(item_table, "item_table", 2), user_table.size(1), data,
                                   triplets.size(1), static_cast<T*>(out.mutable_data_ptr()));
    return out;
  });
}

std::tuple<Tensor, Tensor> triplet_margin_backward(const Tensor& grad, const Tensor& user_table,
                                                   const Tensor& item_table,
                                                   const Tensor& triplets) {
  check_tables(user_table, item_table);
  const int32_t* data = triplet_ids(triplets, user_table.size(0), item_table.size(0));
  check_shape(grad, "grad", {triplets.size(1)});
  return by_type(user_table, [&](auto zero) {
    using T = decltype(zero);
    Tensor d_user = torch::stable::empty_like(user_table);
    Tensor d_item = torch::stable::empty_like(item_table);
    advrec::cpu::triplet_margin_backward<T>(
        values<T>(grad, "grad", 1), values<T>(user_table, "user_table", 2),
        values<T>(item_table, "item_table", 2), user_table.size(0), item_table.size(0),
        user_table.size(1), data, triplets.size(1), static_cast<T*>(d_user.mutable_data_ptr()),
        static_cast<T*>(d_item.mutable_data_ptr()));
    return std::make_tuple(d_user, d_item);
  });
}

Tensor normalize_rows(const Tensor& x, double eps) {
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    Tensor out = torch::stable::empty_like(x);
    advrec::cpu::normalize_rows<T>(values<T>(x, "x", 2), x.size(0), x.size(1), eps,
                                   static_cast<T*>(out.mutable_data_ptr()));
    return out;
  });
}

void optimizer_step(Tensor value, const Tensor& grad, std::optional<Tensor> state1,
                    std::optional<Tensor> state2, std::optional<Tensor> rows, int64_t optimizer,
                    double lr, double beta1, double beta2, double eps, int64_t step) {
  const auto spec = optim(optimizer, lr, beta1, beta2, eps, step);
  const int states = advrec::states_of(spec.kind);
  by_type(value, [&](auto zero) {
    using T = decltype(zero);
    values<T>(value, "param", 2);
    const int32_t* at = rows ? ids(*rows, "rows") : nullptr;
    const int64_t count = rows ? rows->size(0) : value.size(0);
    const T* g = values<T>(grad, "grad", 2);
    check_shape(grad, "grad", {count, value.size(1)});
    for (int64_t k = 0; at && k < count; ++k)
      require(at[k] >= 0 && at[k] < value.size(0), "rows must be in [0, " +
                                                       std::to_string(value.size(0)) + "), got " +
                                                       std::to_string(at[k]));
    advrec::cpu::optimizer_step<T>(spec, static_cast<T*>(value.mutable_data_ptr()),
                                   state<T>(state1, value, "state1", states >= 1),
                                   state<T>(state2, value, "state2", states >= 2), g, at, count,
                                   value.size(1));
    return 0;
  });
}

void check_items(const Tensor& items, int64_t n_items) {
  const auto* data = static_cast<const int32_t*>(items.const_data_ptr());
  for (int64_t n = 0; n < items.size(0); ++n)
    require(data[n] >= 0 && data[n] < n_items, "items must be in [0, " + std::to_string(n_items) +
                                                   "), got " + std::to_string(data[n]));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rank(const Tensor& users, const Tensor* item_vectors,
                                                const Tensor& mask_indptr, const Tensor& mask_items,
                                                const Tensor& relevant_indptr,
                                                const Tensor& relevant_items, int64_t k,
                                                bool count_above) {
  check_ranking(users, item_vectors, k);
  const int64_t n_users = users.size(0);
  const auto mask = lists(mask_indptr, mask_items, n_users, "mask");
  const auto relevant = lists(relevant_indptr, relevant_items, n_users, "relevant");
  const int64_t n_items = item_vectors ? item_vectors->size(0) : users.size(1);
  check_items(mask_items, n_items);
  check_items(relevant_items, n_items);
  return by_type(users, [&](auto zero) {
    using T = decltype(zero);
    const T* data = values<T>(users, item_vectors ? "user_vectors" : "scores", 2);
    Tensor ids_out = torch::stable::new_empty(relevant_items, {n_users, k});
    Tensor scores = torch::stable::new_empty(users, {n_users, k});
    Tensor hits = torch::stable::new_empty(users, {n_users, k}, ScalarType::Bool);
    Tensor above = torch::stable::new_empty(
        relevant_indptr, {count_above ? relevant_items.size(0) : 0}, ScalarType::Long);
    advrec::cpu::rank<T>(data, item_vectors ? values<T>(*item_vectors, "item_vectors", 2) : nullptr,
                         n_users, n_items, item_vectors ? users.size(1) : 0, mask, relevant, k,
                         static_cast<int32_t*>(ids_out.mutable_data_ptr()),
                         static_cast<T*>(scores.mutable_data_ptr()),
                         static_cast<uint8_t*>(hits.mutable_data_ptr()),
                         count_above ? static_cast<int64_t*>(above.mutable_data_ptr()) : nullptr);
    return std::make_tuple(ids_out, scores, hits, above);
  });
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

std::tuple<Tensor, Tensor, Tensor> smallest_radii(
    const Tensor& user_vectors, const Tensor& item_vectors, const Tensor& user_reach,
    const Tensor& item_reach, const Tensor& user_slack, const Tensor& item_slack,
    std::optional<Tensor> levers, const Tensor& mask_indptr, const Tensor& mask_items,
    const Tensor& relevant_indptr, const Tensor& relevant_items, int64_t k) {
  check_ranking(user_vectors, &item_vectors, k);
  const int64_t n_users = user_vectors.size(0), n_items = item_vectors.size(0);
  const auto row_values = [](const Tensor& t, const char* name, int64_t rows) {
    const auto* data = values<double>(t, name, 1);
    check_shape(t, name, {rows});
    return data;
  };
  const advrec::Reach reach{
      row_values(user_reach, "user_reach", n_users), row_values(item_reach, "item_reach", n_items),
      row_values(user_slack, "user_slack", n_users), row_values(item_slack, "item_slack", n_items),
      levers ? row_values(*levers, "levers", n_users) : nullptr};
  const auto mask = lists(mask_indptr, mask_items, n_users, "mask");
  const auto relevant = lists(relevant_indptr, relevant_items, n_users, "relevant");
  check_items(mask_items, n_items);
  check_items(relevant_items, n_items);
  return by_type(user_vectors, [&](auto zero) {
    using T = decltype(zero);
    const int64_t n = relevant_items.size(0);
    Tensor ranks = torch::stable::new_empty(relevant_indptr, {n});
    Tensor rivals = torch::stable::new_empty(user_reach, {n, k});
    Tensor stays = torch::stable::new_empty(user_reach, {n});
    advrec::cpu::smallest_radii<T>(values<T>(user_vectors, "user_vectors", 2),
                                   values<T>(item_vectors, "item_vectors", 2), n_users, n_items,
                                   user_vectors.size(1), reach, mask, relevant, k,
                                   static_cast<int64_t*>(ranks.mutable_data_ptr()),
                                   static_cast<double*>(rivals.mutable_data_ptr()),
                                   static_cast<double*>(stays.mutable_data_ptr()));
    return std::make_tuple(ranks, rivals, stays);
  });
}

std::tuple<Tensor, Tensor, Tensor> smooth_rank(
    const Tensor& user_vectors, const Tensor& item_vectors, const Tensor& temperature,
    const Tensor& weights, const Tensor& relevant_indptr, const Tensor& relevant_items,
    const Tensor& known_indptr, const Tensor& known_items, int64_t smooth, int64_t k) {
  check_ranking(user_vectors, &item_vectors, k);
  require(smooth == 0 || smooth == 1,
          "smooth must be 0 (ndcg) or 1 (softmax), got " + std::to_string(smooth));
  const int64_t n_users = user_vectors.size(0), n_items = item_vectors.size(0);
  const auto relevant = lists(relevant_indptr, relevant_items, n_users, "relevant");
  const auto known = lists(known_indptr, known_items, n_users, "known");
  check_items(relevant_items, n_items);
  check_items(known_items, n_items);
  const auto* weight = values<double>(weights, "weights", 1);
  check_shape(weights, "weights", {n_users});
  check_shape(temperature, "temperature", {n_users});
  return by_type(user_vectors, [&](auto zero) {
    using T = decltype(zero);
    Tensor loss = torch::stable::new_empty(weights, {1});
    Tensor d_users = torch::stable::empty_like(user_vectors);
    Tensor d_items = torch::stable::empty_like(item_vectors);
    *static_cast<double*>(loss.mutable_data_ptr()) = advrec::cpu::smooth_rank<T>(
        advrec::Smooth(smooth), values<T>(user_vectors, "user_vectors", 2),
        values<T>(item_vectors, "item_vectors", 2), n_users, n_items, user_vectors.size(1),
        values<T>(temperature, "temperature", 1), weight, relevant, known, k,
        static_cast<T*>(d_users.mutable_data_ptr()), static_cast<T*>(d_items.mutable_data_ptr()));
    return std::make_tuple(loss, d_users, d_items);
  });
}

Tensor pack(const Tensor& like, const advrec::StepStats& stats) {
  Tensor out = torch::stable::new_empty(like, {2}, ScalarType::Double);
  auto* data = static_cast<double*>(out.mutable_data_ptr());
  data[0] = stats.clean, data[1] = stats.adversarial;
  return out;
}

Tensor mf_steps(Tensor embedding, std::optional<Tensor> state1, std::optional<Tensor> state2,
                const Tensor& pair_users, const Tensor& pair_items, const Tensor& active_users,
                const Tensor& indptr, const Tensor& items, int64_t n_items, int64_t seed,
                int64_t epoch, int64_t negatives, int64_t sampling, int64_t first_step,
                int64_t steps, int64_t batch_size, bool mean, double reg, double eps,
                double adv_weight, int64_t norm, int64_t optimizer, double lr, double beta1,
                double beta2, double opt_eps, int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm, 0,
                      optimizer, lr, beta1, beta2, opt_eps, updates);
  return by_type(embedding, [&](auto zero) {
    using T = decltype(zero);
    return pack(embedding,
                advrec::cpu::mf_steps<T>(
                    table<T>(embedding, state1, state2, indptr.size(0) - 1, n_items, p.optim.kind),
                    pos, spec, p.schedule, p.adversary, p.optim));
  });
}

template <bool kBf16>
Tensor lightgcn_steps(Tensor embedding, std::optional<Tensor> state1, std::optional<Tensor> state2,
                      const Tensor& graph_indptr, const Tensor& graph_indices,
                      const Tensor& graph_scale, int64_t layers, const Tensor& pair_users,
                      const Tensor& pair_items, const Tensor& active_users, const Tensor& indptr,
                      const Tensor& items, int64_t n_items, int64_t seed, int64_t epoch,
                      int64_t negatives, int64_t sampling, int64_t first_step, int64_t steps,
                      int64_t batch_size, bool mean, double reg, double eps, double adv_weight,
                      int64_t norm, int64_t site, int64_t optimizer, double lr, double beta1,
                      double beta2, double opt_eps, int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm,
                      site, optimizer, lr, beta1, beta2, opt_eps, updates);
  check_lightgcn(p, layers);
  require(!kBf16 || embedding.scalar_type() == ScalarType::Float,
          "embedding must be float32 to be stored as bfloat16, got " +
              type_name(embedding.scalar_type()));
  return by_type(embedding, [&](auto zero) {
    using T = decltype(zero);
    const auto t = table<T>(embedding, state1, state2, indptr.size(0) - 1, n_items, p.optim.kind);
    const auto graph = adjacency<T>(graph_indptr, graph_indices, graph_scale, embedding.size(0));
    if constexpr (kBf16 && sizeof(T) == 4)
      return pack(embedding, advrec::cpu::lightgcn_steps_bf16(t, graph, layers, pos, spec,
                                                              p.schedule, p.adversary, p.optim));
    else
      return pack(embedding, advrec::cpu::lightgcn_steps<T>(t, graph, layers, pos, spec, p.schedule,
                                                            p.adversary, p.optim));
  });
}

Tensor amr_steps(Tensor users, std::optional<Tensor> users1, std::optional<Tensor> users2,
                 Tensor vectors, std::optional<Tensor> vectors1, std::optional<Tensor> vectors2,
                 Tensor projection, std::optional<Tensor> projection1,
                 std::optional<Tensor> projection2, const Tensor& features,
                 const Tensor& pair_users, const Tensor& pair_items, const Tensor& active_users,
                 const Tensor& indptr, const Tensor& items, int64_t n_items, int64_t seed,
                 int64_t epoch, int64_t negatives, int64_t sampling, int64_t first_step,
                 int64_t steps, int64_t batch_size, bool mean, double reg, double eps,
                 double adv_weight, int64_t norm, double reg_items, double lr_items,
                 double lr_projection, int64_t optimizer, double lr, double beta1, double beta2,
                 double opt_eps, int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, sampling);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm, 0,
                      optimizer, lr, beta1, beta2, opt_eps, updates);
  require(p.adversary.norm == advrec::Norm::kRow,
          "norm must be 0 (row): features are perturbed by row");
  require(!advrec::moves_untouched_rows(p.optim.kind),
          "optimizer adam moves every row in every step, so amr_steps does not take it");
  return by_type(users, [&](auto zero) {
    using T = decltype(zero);
    const int64_t n_users = indptr.size(0) - 1;
    const T* const rows = values<T>(features, "features", 2);
    check_shape(features, "features", {n_items, features.size(1)});
    const advrec::AmrTables<T> tables{
        table<T>(users, users1, users2, n_users, 0, p.optim.kind),
        table<T>(vectors, vectors1, vectors2, 0, n_items, p.optim.kind),
        table<T>(projection, projection1, projection2, 0, features.size(1), p.optim.kind), rows,
        features.size(1)};
    require(vectors.size(1) == users.size(1) && projection.size(1) == users.size(1),
            "vectors and projection must be as wide as users, " + std::to_string(users.size(1)) +
                ", got " + std::to_string(vectors.size(1)) + " and " +
                std::to_string(projection.size(1)));
    const double rates[] = {lr, lr_items, lr_projection};
    return pack(users, advrec::cpu::amr_steps<T>(tables, pos, spec, p.schedule, reg_items,
                                                 p.adversary, p.optim, rates));
  });
}

void set_threads(int64_t threads) {
  at_least(1, threads, "threads");
  advrec::cpu::set_threads(int(threads));
}
int64_t get_threads() { return advrec::cpu::threads(); }
std::string isa() { return advrec::cpu::isa(); }
bool set_isa(std::string name) { return advrec::cpu::set_isa(name.c_str()); }

}  // namespace

// Groups of arguments, the same in every schema that has them.
#define POSITIVES                                                                            \
  "Tensor pair_users, Tensor pair_items, Tensor active_users, Tensor indptr, Tensor items, " \
  "int n_items, int seed, int epoch, "
#define SCHEDULE                                                                                   \
  "int negatives, int sampling, int first_step, int steps, int batch_size, bool mean, float reg, " \
  "float eps, float adv_weight, int norm, "
#define OPTIMIZER "int optimizer, float lr, float beta1, float beta2, float opt_eps, int updates"
#define TABLE "Tensor(a!) embedding, Tensor(b!)? state1, Tensor(c!)? state2, "
#define LISTS                                                                              \
  "Tensor mask_indptr, Tensor mask_items, Tensor relevant_indptr, Tensor relevant_items, " \
  "int k, bool count_above) -> (Tensor, Tensor, Tensor, Tensor)"

STABLE_TORCH_LIBRARY(advrec, m) {
  m.def("sample_triplets(" POSITIVES
        "int first, int count, int negatives, int sampling) -> Tensor");
  m.def("propagate(Tensor x, Tensor indptr, Tensor indices, Tensor scale, int layers) -> Tensor");
  m.def("triplet_margin(Tensor user_table, Tensor item_table, Tensor triplets) -> Tensor");
  m.def(
      "triplet_margin_backward(Tensor grad, Tensor user_table, Tensor item_table, "
      "Tensor triplets) -> (Tensor, Tensor)");
  m.def("normalize_rows(Tensor x, float eps) -> Tensor");
  m.def(
      "optimizer_step(Tensor(a!) param, Tensor grad, Tensor(b!)? state1, Tensor(c!)? state2, "
      "Tensor? rows, int optimizer, float lr, float beta1, float beta2, float eps, int step) -> "
      "()");
  m.def("rank_topk(Tensor user_vectors, Tensor item_vectors, " LISTS);
  m.def("rank_scores(Tensor scores, " LISTS);
  m.def(
      "smallest_radii(Tensor user_vectors, Tensor item_vectors, Tensor user_reach, "
      "Tensor item_reach, Tensor user_slack, Tensor item_slack, Tensor? levers, "
      "Tensor mask_indptr, Tensor mask_items, Tensor relevant_indptr, Tensor relevant_items, "
      "int k) -> (Tensor, Tensor, Tensor)");
  m.def(
      "smooth_rank(Tensor user_vectors, Tensor item_vectors, Tensor temperature, Tensor weights, "
      "Tensor relevant_indptr, Tensor relevant_items, Tensor known_indptr, Tensor known_items, "
      "int smooth, int k) -> (Tensor, Tensor, Tensor)");
  m.def("mf_steps(" TABLE POSITIVES SCHEDULE OPTIMIZER ") -> Tensor");
  m.def("lightgcn_steps(" TABLE
        "Tensor graph_indptr, Tensor graph_indices, Tensor graph_scale, int "
        "layers, " POSITIVES SCHEDULE "int site, " OPTIMIZER ") -> Tensor");
  m.def("lightgcn_steps_bf16(" TABLE
        "Tensor graph_indptr, Tensor graph_indices, Tensor graph_scale, int "
        "layers, " POSITIVES SCHEDULE "int site, " OPTIMIZER ") -> Tensor");
  m.def(
      "amr_steps(Tensor(a!) users, Tensor(b!)? users1, Tensor(c!)? users2, "
      "Tensor(d!) vectors, Tensor(e!)? vectors1, Tensor(f!)? vectors2, "
      "Tensor(g!) projection, Tensor(h!)? projection1, Tensor(i!)? projection2, "
      "Tensor features, " POSITIVES SCHEDULE
      "float reg_items, float lr_items, float lr_projection, " OPTIMIZER ") -> Tensor");
  m.def("set_threads(int threads) -> ()");
  m.def("get_threads() -> int");
  m.def("isa() -> str");
  m.def("set_isa(str name) -> bool");
}

STABLE_TORCH_LIBRARY_IMPL(advrec, CPU, m) {
  m.impl("sample_triplets", TORCH_BOX(&sample_triplets));
  m.impl("propagate", TORCH_BOX(&propagate));
  m.impl("triplet_margin", TORCH_BOX(&triplet_margin));
  m.impl("triplet_margin_backward", TORCH_BOX(&triplet_margin_backward));
  m.impl("normalize_rows", TORCH_BOX(&normalize_rows));
  m.impl("optimizer_step", TORCH_BOX(&optimizer_step));
  m.impl("rank_topk", TORCH_BOX(&rank_topk));
  m.impl("rank_scores", TORCH_BOX(&rank_scores));
  m.impl("smallest_radii", TORCH_BOX(&smallest_radii));
  m.impl("smooth_rank", TORCH_BOX(&smooth_rank));
  m.impl("mf_steps", TORCH_BOX(&mf_steps));
  m.impl("lightgcn_steps", TORCH_BOX(&lightgcn_steps<false>));
  m.impl("lightgcn_steps_bf16", TORCH_BOX(&lightgcn_steps<true>));
  m.impl("amr_steps", TORCH_BOX(&amr_steps));
}

// These take no tensor, so there is no device to dispatch on.
STABLE_TORCH_LIBRARY_IMPL(advrec, CompositeExplicitAutograd, m) {
  m.impl("set_threads", TORCH_BOX(&set_threads));
  m.impl("get_threads", TORCH_BOX(&get_threads));
  m.impl("isa", TORCH_BOX(&isa));
  m.impl("set_isa", TORCH_BOX(&set_isa));
}

// An empty module: importing it registers the operators above.
PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
