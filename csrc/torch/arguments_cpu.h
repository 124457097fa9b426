// Tensors on the CPU as the structs of kernels.h, each checked for what a kernel relies on: type,
// layout, matching sizes, ids within their table. Included by ops_cpu.cpp.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <string>

#include "arguments.h"

namespace advrec::arguments {

inline void check(const Tensor& t, const char* name, ScalarType type, int64_t dims) {
  require(t.is_cpu(), std::string(name) + " must be on the CPU");
  check_layout(t, name, type, dims);
}

inline const int32_t* ids(const Tensor& t, const char* name) {
  check(t, name, ScalarType::Int, 1);
  return static_cast<const int32_t*>(t.const_data_ptr());
}
inline const int64_t* offsets(const Tensor& t, const char* name) {
  check(t, name, ScalarType::Long, 1);
  require(t.size(0) >= 1, std::string(name) + " must have one entry more than rows, got none");
  return static_cast<const int64_t*>(t.const_data_ptr());
}
template <class T>
const T* values(const Tensor& t, const char* name, int64_t dims) {
  check(t, name, sizeof(T) == 4 ? ScalarType::Float : ScalarType::Double, dims);
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* state(const std::optional<Tensor>& t, const Tensor& like, const char* name, bool needed) {
  if (!t) {
    require(!needed, std::string(name) + " is missing: this optimizer needs it");
    return nullptr;
  }
  values<T>(*t, name, 2);
  check_shape(*t, name, {like.size(0), like.size(1)});
  return static_cast<T*>(t->mutable_data_ptr());
}

// Calls f(T{}) for the tensor's floating type.
template <class F>
auto by_type(const Tensor& t, const F& f) {
  if (t.scalar_type() == ScalarType::Float) return f(float{});
  require(t.scalar_type() == ScalarType::Double,
          "values must be float32 or float64, got " + type_name(t.scalar_type()));
  return f(double{});
}

inline Lists lists(const Tensor& indptr, const Tensor& items, int64_t rows, const char* name) {
  const Lists out{offsets(indptr, name), ids(items, name)};
  require(indptr.size(0) == rows + 1 && out.indptr[rows] == items.size(0),
          std::string(name) + " must have " + std::to_string(rows) + " rows that end at its " +
              std::to_string(items.size(0)) + " items, got " + std::to_string(indptr.size(0) - 1) +
              " rows that end at " + std::to_string(out.indptr[indptr.size(0) - 1]));
  bool ascend = out.indptr[0] == 0;
  for (int64_t row = 0; row < rows; ++row) ascend &= out.indptr[row] <= out.indptr[row + 1];
  require(ascend, std::string(name) + " must have offsets that start at 0 and never descend");
  return out;
}

template <class T>
Adjacency<T> adjacency(const Tensor& indptr, const Tensor& indices, const Tensor& scale,
                       int64_t rows) {
  const Adjacency<T> graph{offsets(indptr, "indptr"), ids(indices, "indices"),
                           values<T>(scale, "scale", 1), rows};
  require(indptr.size(0) == rows + 1 && scale.size(0) == rows,
          "the graph must have " + std::to_string(rows) + " nodes, got " +
              std::to_string(indptr.size(0) - 1));
  require(graph.indptr[rows] == indices.size(0),
          "indptr must end at the " + std::to_string(indices.size(0)) + " indices, got " +
              std::to_string(graph.indptr[rows]));
  return graph;
}

inline Positives positives(const Tensor& pair_users, const Tensor& pair_items,
                           const Tensor& active_users, const Tensor& indptr, const Tensor& items,
                           int64_t n_items) {
  const Positives pos{ids(pair_users, "pair_users"),
                      ids(pair_items, "pair_items"),
                      pair_users.size(0),
                      ids(active_users, "active_users"),
                      active_users.size(0),
                      offsets(indptr, "indptr"),
                      ids(items, "items"),
                      n_items};
  check_positives(pos, pair_items);
  return pos;
}

inline const int32_t* triplet_ids(const Tensor& triplets, int64_t n_users, int64_t n_items) {
  check(triplets, "triplets", ScalarType::Int, 2);
  check_triplets(triplets);
  const auto* data = static_cast<const int32_t*>(triplets.const_data_ptr());
  const int64_t count = triplets.size(1);
  for (int64_t k = 0; k < 3 * count; ++k)
    require(data[k] >= 0 && data[k] < (k < count ? n_users : n_items),
            std::string(k < count ? "user " : "item ") + std::to_string(data[k]) +
                " of the triplets is outside its table of " +
                std::to_string(k < count ? n_users : n_items) + " rows");
  return data;
}

template <class T>
advrec::Table<T> table(Tensor& embedding, const std::optional<Tensor>& state1,
                       const std::optional<Tensor>& state2, int64_t n_users, int64_t n_items,
                       advrec::OptimKind kind) {
  values<T>(embedding, "embedding", 2);
  check_shape(embedding, "embedding", {n_users + n_items, embedding.size(1)});
  return {static_cast<T*>(embedding.mutable_data_ptr()),
          state<T>(state1, embedding, "state1", advrec::states_of(kind) >= 1),
          state<T>(state2, embedding, "state2", advrec::states_of(kind) >= 2),
          n_users,
          n_items,
          embedding.size(1)};
}

}  // namespace advrec::arguments
