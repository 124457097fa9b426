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
                       int64_t negatives, int64_t mode) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, mode);
  check_range(pos, negatives, first, count);
  Tensor out = torch::stable::new_empty(pair_users, {3, count});
  auto* data = static_cast<int32_t*>(out.mutable_data_ptr());
  advrec::cpu::sample_triplets(pos, spec, first, count, data, data + count, data + 2 * count);
  return out;
}

Tensor propagate(const Tensor& x, const Tensor& indptr, const Tensor& indices, const Tensor& scale,
                 int64_t layers) {
  require(layers >= 0, "layers is " + std::to_string(layers) + ", wanted at least 0");
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const T* data = values<T>(x, "x", 2);
    const auto graph = adjacency<T>(indptr, indices, scale, x.size(0));
    Tensor out = torch::stable::empty_like(x);
    // Two layers and more take turns between the result and one buffer beside it.
    Tensor scratch = torch::stable::new_empty(x, {layers > 1 ? x.size(0) : 0, x.size(1)});
    advrec::cpu::propagate<T>(graph, data, x.size(1), layers,
                              static_cast<T*>(scratch.mutable_data_ptr()),
                              static_cast<T*>(out.mutable_data_ptr()));
    return out;
  });
}

const int32_t* triplet_ids(const Tensor& triplets, int64_t n_users, int64_t n_items) {
  check(triplets, "triplets", ScalarType::Int, 2);
  require(triplets.size(0) == 3, "triplets are " + shape(triplets) + ", wanted [3, B]");
  const auto* data = static_cast<const int32_t*>(triplets.const_data_ptr());
  const int64_t count = triplets.size(1);
  for (int64_t k = 0; k < 3 * count; ++k)
    require(data[k] >= 0 && data[k] < (k < count ? n_users : n_items),
            std::string(k < count ? "user " : "item ") + std::to_string(data[k]) +
                " of the triplets is outside its table");
  return data;
}

void check_tables(const Tensor& user_table, const Tensor& item_table) {
  require(
      user_table.dim() == 2 && item_table.dim() == 2 && user_table.size(1) == item_table.size(1),
      "user_table is " + shape(user_table) + " and item_table " + shape(item_table) +
          ", wanted [U, d] and [I, d]");
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
  require(grad.dim() == 1 && grad.size(0) == triplets.size(1),
          "grad is " + shape(grad) + ", wanted one entry a triplet");
  require(triplets.size(1) < (int64_t(1) << 29), "more than 2^29 triplets in one call");
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
                    std::optional<Tensor> state2, std::optional<Tensor> rows, int64_t kind,
                    double lr, double beta1, double beta2, double eps, int64_t step) {
  const auto spec = optim(kind, lr, beta1, beta2, eps, step);
  by_type(value, [&](auto zero) {
    using T = decltype(zero);
    values<T>(value, "param", 2);
    const int32_t* at = rows ? ids(*rows, "rows") : nullptr;
    const int64_t count = rows ? rows->size(0) : value.size(0);
    const T* g = values<T>(grad, "grad", 2);
    require(grad.size(0) == count && grad.size(1) == value.size(1),
            "grad is " + shape(grad) + ", wanted [" + std::to_string(count) + ", " +
                std::to_string(value.size(1)) + "]");
    for (int64_t k = 0; at && k < count; ++k)
      require(at[k] >= 0 && at[k] < value.size(0), "a row of rows is outside the table");
    advrec::cpu::optimizer_step<T>(spec, static_cast<T*>(value.mutable_data_ptr()),
                                   state<T>(state1, value, "state1", kind >= 1),
                                   state<T>(state2, value, "state2", kind >= 2), g, at, count,
                                   value.size(1));
    return 0;
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rank(const Tensor& users, const Tensor* item_vectors,
                                                const Tensor& mask_indptr, const Tensor& mask_items,
                                                const Tensor& relevant_indptr,
                                                const Tensor& relevant_items, int64_t k,
                                                bool count_above) {
  require(k >= 1, "k is " + std::to_string(k) + ", wanted at least 1");
  require(users.dim() == 2, "users are " + shape(users) + ", wanted two dimensions");
  const int64_t n_users = users.size(0);
  const auto mask = lists(mask_indptr, mask_items, n_users, "mask");
  const auto relevant = lists(relevant_indptr, relevant_items, n_users, "relevant");
  require(!item_vectors || item_vectors->dim() == 2, "item_vectors must have two dimensions");
  const int64_t n_items = item_vectors ? item_vectors->size(0) : users.size(1);
  require(!item_vectors || item_vectors->size(1) == users.size(1),
          "user_vectors and item_vectors differ in their dimension");
  for (const auto* t : {&mask_items, &relevant_items}) {
    const auto* data = static_cast<const int32_t*>(t->const_data_ptr());
    for (int64_t n = 0; n < t->size(0); ++n)
      require(
          data[n] >= 0 && data[n] < n_items,
          "item " + std::to_string(data[n]) + " is outside [0, " + std::to_string(n_items) + ")");
  }
  return by_type(users, [&](auto zero) {
    using T = decltype(zero);
    const T* data = values<T>(users, "user_vectors", 2);
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

template <class T>
advrec::Table<T> table(Tensor& embedding, const std::optional<Tensor>& state1,
                       const std::optional<Tensor>& state2, int64_t n_users, int64_t n_items,
                       int64_t kind) {
  values<T>(embedding, "embedding", 2);
  require(embedding.size(0) == n_users + n_items, "embedding is " + shape(embedding) + ", wanted " +
                                                      std::to_string(n_users + n_items) + " rows");
  return {static_cast<T*>(embedding.mutable_data_ptr()),
          state<T>(state1, embedding, "state1", kind >= 1),
          state<T>(state2, embedding, "state2", kind >= 2),
          n_users,
          n_items,
          embedding.size(1)};
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
                int64_t epoch, int64_t negatives, int64_t mode, int64_t first_step, int64_t steps,
                int64_t batch_size, bool mean, double reg, double eps, double adv_weight,
                int64_t norm, int64_t kind, double lr, double beta1, double beta2, double opt_eps,
                int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, mode);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm, 0,
                      kind, lr, beta1, beta2, opt_eps, updates);
  return by_type(embedding, [&](auto zero) {
    using T = decltype(zero);
    return pack(embedding, advrec::cpu::mf_steps<T>(table<T>(embedding, state1, state2,
                                                             indptr.size(0) - 1, n_items, kind),
                                                    pos, spec, p.schedule, p.adversary, p.optim));
  });
}

template <bool kBf16>
Tensor lightgcn_steps(Tensor embedding, std::optional<Tensor> state1, std::optional<Tensor> state2,
                      const Tensor& graph_indptr, const Tensor& graph_indices,
                      const Tensor& graph_scale, int64_t layers, const Tensor& pair_users,
                      const Tensor& pair_items, const Tensor& active_users, const Tensor& indptr,
                      const Tensor& items, int64_t n_items, int64_t seed, int64_t epoch,
                      int64_t negatives, int64_t mode, int64_t first_step, int64_t steps,
                      int64_t batch_size, bool mean, double reg, double eps, double adv_weight,
                      int64_t norm, int64_t site, int64_t kind, double lr, double beta1,
                      double beta2, double opt_eps, int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, mode);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm,
                      site, kind, lr, beta1, beta2, opt_eps, updates);
  require(layers >= 0, "layers is " + std::to_string(layers) + ", wanted at least 0");
  require(!(p.adversary.site == advrec::Site::kEgo && p.adversary.norm == advrec::Norm::kSample),
          "norm sample perturbs a triplet's own vectors: it needs site final");
  require(!kBf16 || embedding.scalar_type() == ScalarType::Float,
          "bfloat16 storage needs a float32 embedding");
  return by_type(embedding, [&](auto zero) {
    using T = decltype(zero);
    const auto t = table<T>(embedding, state1, state2, indptr.size(0) - 1, n_items, kind);
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
                 int64_t epoch, int64_t negatives, int64_t mode, int64_t first_step, int64_t steps,
                 int64_t batch_size, bool mean, double reg, double eps, double adv_weight,
                 int64_t norm, double reg_items, double lr_items, double lr_projection,
                 int64_t kind, double lr, double beta1, double beta2, double opt_eps,
                 int64_t updates) {
  const auto pos = positives(pair_users, pair_items, active_users, indptr, items, n_items);
  const auto spec = sample_spec(seed, epoch, negatives, mode);
  const auto p = plan(pos, spec, first_step, steps, batch_size, mean, reg, eps, adv_weight, norm, 0,
                      kind, lr, beta1, beta2, opt_eps, updates);
  require(p.adversary.norm == advrec::Norm::kRow, "features are perturbed by row");
  require(p.optim.kind != advrec::OptimKind::kAdam, "Adam moves all rows: it is not made here");
  return by_type(users, [&](auto zero) {
    using T = decltype(zero);
    const int64_t n_users = indptr.size(0) - 1;
    const T* const rows = values<T>(features, "features", 2);
    require(features.size(0) == n_items,
            "features is " + shape(features) + ", wanted " + std::to_string(n_items) + " rows");
    const advrec::AmrTables<T> tables{
        table<T>(users, users1, users2, n_users, 0, kind),
        table<T>(vectors, vectors1, vectors2, 0, n_items, kind),
        table<T>(projection, projection1, projection2, 0, features.size(1), kind), rows,
        features.size(1)};
    require(vectors.size(1) == users.size(1) && projection.size(1) == users.size(1),
            "users, items and projection differ in width");
    const double rates[] = {lr, lr_items, lr_projection};
    return pack(users, advrec::cpu::amr_steps<T>(tables, pos, spec, p.schedule, reg_items,
                                                 p.adversary, p.optim, rates));
  });
}

void set_threads(int64_t threads) {
  require(threads >= 1, "threads is " + std::to_string(threads) + ", wanted at least 1");
  advrec::cpu::set_threads(int(threads));
}
int64_t get_threads() { return advrec::cpu::threads(); }
std::string isa() { return advrec::cpu::isa(); }
bool set_isa(std::string name) { return advrec::cpu::set_isa(name.c_str()); }

}  // namespace

// What the sampler reads, and how, stands at the same place in every schema that samples.
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
  m.impl("mf_steps", TORCH_BOX(&mf_steps));
  m.impl("lightgcn_steps", TORCH_BOX(&lightgcn_steps<false>));
  m.impl("lightgcn_steps_bf16", TORCH_BOX(&lightgcn_steps<true>));
  m.impl("amr_steps", TORCH_BOX(&amr_steps));
}

// Without a tensor among the arguments there is no device to dispatch on.
STABLE_TORCH_LIBRARY_IMPL(advrec, CompositeExplicitAutograd, m) {
  m.impl("set_threads", TORCH_BOX(&set_threads));
  m.impl("get_threads", TORCH_BOX(&get_threads));
  m.impl("isa", TORCH_BOX(&isa));
  m.impl("set_isa", TORCH_BOX(&set_isa));
}

// An importable module with nothing in it: importing it registers the operators above.
PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
