// The same operators on CUDA tensors: checks, the current stream, scratch memory, and calls into
// kernels_cuda.h. Schemas and documentation are those of ops_cpu.cpp, which must be loaded first.
//
// Nothing here waits for the device. So what stands in device memory is taken as it is: shapes and
// types are checked, ids and offsets are not (triplets are, in the kernels).
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "arguments.h"
#include "../kernels_cuda.h"

namespace {

using namespace advrec::arguments;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
namespace cuda = advrec::cuda;

// The device of a call's first tensor, its current stream, and a check that the others are there.
class Device {
 public:
  explicit Device(const Tensor& t) : index_(t.get_device_index()), guard_(index_) {
    if (aoti_torch_get_current_cuda_stream(index_, &stream_))
      throw std::runtime_error("The current CUDA stream cannot be had from torch");
  }
  void* stream() const { return stream_; }

  void check(const Tensor& t, const char* name, ScalarType type, int64_t dims) const {
    require(t.is_cuda() && t.get_device_index() == index_,
            std::string(name) + " must be on cuda:" + std::to_string(index_));
    require(t.is_contiguous(), std::string(name) + " must be contiguous");
    require(
        t.scalar_type() == type,
        std::string(name) + " has the wrong type" +
            (t.scalar_type() == ScalarType::Double ? ": the CUDA kernels are float32 only" : ""));
    require(t.dim() == dims, std::string(name) + " is " + shape(t) + ", wanted " +
                                 std::to_string(dims) + " dimension(s)");
  }
  const int32_t* ids(const Tensor& t, const char* name, int64_t dims = 1) const {
    check(t, name, ScalarType::Int, dims);
    return static_cast<const int32_t*>(t.const_data_ptr());
  }
  const int64_t* offsets(const Tensor& t, const char* name, int64_t rows) const {
    check(t, name, ScalarType::Long, 1);
    require(t.size(0) == rows + 1, std::string(name) + " has " + std::to_string(t.size(0) - 1) +
                                       " rows, wanted " + std::to_string(rows));
    return static_cast<const int64_t*>(t.const_data_ptr());
  }
  const float* values(const Tensor& t, const char* name, int64_t dims) const {
    check(t, name, ScalarType::Float, dims);
    require(dims < 2 || (t.size(1) >= 1 && t.size(1) <= cuda::kMaxDim),
            std::string(name) + " is " + shape(t) + ", wanted rows of 1 to " +
                std::to_string(cuda::kMaxDim) + " values");
    return static_cast<const float*>(t.const_data_ptr());
  }
  float* state(const std::optional<Tensor>& t, const Tensor& like, const char* name,
               bool needed) const {
    if (!t) {
      require(!needed, std::string(name) + " is missing for this optimiser");
      return nullptr;
    }
    values(*t, name, 2);
    require(t->size(0) == like.size(0) && t->size(1) == like.size(1),
            std::string(name) + " is " + shape(*t) + ", wanted " + shape(like));
    return static_cast<float*>(t->mutable_data_ptr());
  }
  // Scratch from torch's caching allocator: freed when the tensor goes, reused in stream order.
  Tensor scratch(const Tensor& like, int64_t bytes) const {
    return torch::stable::new_empty(like, {bytes}, ScalarType::Byte);
  }

 private:
  const int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

float* writable(const Tensor& t) { return static_cast<float*>(t.mutable_data_ptr()); }

advrec::Adjacency<float> adjacency(const Device& on, const Tensor& indptr, const Tensor& indices,
                                   const Tensor& scale, int64_t rows) {
  require(scale.dim() == 1 && scale.size(0) == rows,
          "scale is " + shape(scale) + ", wanted [" + std::to_string(rows) + "]");
  return {on.offsets(indptr, "indptr", rows), on.ids(indices, "indices"),
          on.values(scale, "scale", 1), rows};
}

advrec::Positives positives(const Device& on, const Tensor& pair_users, const Tensor& pair_items,
                            const Tensor& active_users, const Tensor& indptr, const Tensor& items,
                            int64_t n_items) {
  const advrec::Positives pos{on.ids(pair_users, "pair_users"),
                              on.ids(pair_items, "pair_items"),
                              pair_users.size(0),
                              on.ids(active_users, "active_users"),
                              active_users.size(0),
                              on.offsets(indptr, "indptr", indptr.size(0) - 1),
                              on.ids(items, "items"),
                              n_items};
  require(pos.pairs > 0 && pos.active > 0, "there are no pairs to draw from");
  require(pair_items.size(0) == pos.pairs, "pair_users and pair_items differ in length");
  return pos;
}

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
  require(layers >= 0, "layers is " + std::to_string(layers) + ", wanted at least 0");
  const float* data = on.values(x, "x", 2);
  const auto graph = adjacency(on, indptr, indices, scale, x.size(0));
  Tensor out = torch::stable::empty_like(x);
  Tensor scratch = torch::stable::new_empty(x, {layers > 1 ? x.size(0) : 0, x.size(1)});
  cuda::propagate(graph, data, x.size(1), layers, writable(scratch), writable(out), on.stream());
  return out;
}

struct Tables {
  const float *users, *items;
  int64_t n_users, n_items, dim;
};
Tables tables(const Device& on, const Tensor& user_table, const Tensor& item_table) {
  require(
      user_table.dim() == 2 && item_table.dim() == 2 && user_table.size(1) == item_table.size(1),
      "user_table is " + shape(user_table) + " and item_table " + shape(item_table) +
          ", wanted [U, d] and [I, d]");
  return {on.values(user_table, "user_table", 2), on.values(item_table, "item_table", 2),
          user_table.size(0), item_table.size(0), user_table.size(1)};
}
const int32_t* triplet_ids(const Device& on, const Tensor& triplets) {
  const int32_t* data = on.ids(triplets, "triplets", 2);
  require(triplets.size(0) == 3, "triplets are " + shape(triplets) + ", wanted [3, B]");
  require(triplets.size(1) < (int64_t(1) << 29), "more than 2^29 triplets in one call");
  return data;
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
  require(grad.dim() == 1 && grad.size(0) == triplets.size(1),
          "grad is " + shape(grad) + ", wanted one entry a triplet");
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
  require(grad.size(0) == count && grad.size(1) == value.size(1),
          "grad is " + shape(grad) + ", wanted [" + std::to_string(count) + ", " +
              std::to_string(value.size(1)) + "]");
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
  require(k >= 1, "k is " + std::to_string(k) + ", wanted at least 1");
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
  require(!item_vectors || item_vectors->size(1) == users.size(1),
          "user_vectors and item_vectors differ in their dimension");

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

advrec::Table<float> table(const Device& on, Tensor& embedding, const std::optional<Tensor>& state1,
                           const std::optional<Tensor>& state2, int64_t n_users, int64_t n_items,
                           advrec::OptimKind kind) {
  on.values(embedding, "embedding", 2);
  require(embedding.size(0) == n_users + n_items, "embedding is " + shape(embedding) + ", wanted " +
                                                      std::to_string(n_users + n_items) + " rows");
  return {writable(embedding),
          on.state(state1, embedding, "state1", advrec::states_of(kind) >= 1),
          on.state(state2, embedding, "state2", advrec::states_of(kind) >= 2),
          n_users,
          n_items,
          embedding.size(1)};
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
  require(layers >= 0, "layers is " + std::to_string(layers) + ", wanted at least 0");
  require(!(p.adversary.site == advrec::Site::kEgo && p.adversary.norm == advrec::Norm::kSample),
          "norm sample perturbs a triplet's own vectors: it needs site final");
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

// An importable module with nothing in it: importing it registers the operators above.
PyMODINIT_FUNC PyInit__C_cuda() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C_cuda", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
