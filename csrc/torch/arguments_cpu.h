// Tensors on the CPU as the structs of kernels.h, each checked for what a kernel relies on: type,
// layout, sizes that fit each other. Included by ops_cpu.cpp.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <string>

#include "arguments.h"

namespace advrec::arguments {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A tensor that a kernel may read: on the CPU, contiguous, of this type and number of dimensions.
inline void check(const Tensor& t, const char* name, ScalarType type, int64_t dims) {
  require(t.is_cpu(), std::string(name) + " must be on the CPU");
  require(t.is_contiguous(), std::string(name) + " must be contiguous");
  require(t.scalar_type() == type, std::string(name) + " has the wrong type");
  require(t.dim() == dims, std::string(name) + " is " + shape(t) + ", wanted " +
                               std::to_string(dims) + " dimension(s)");
}

inline const int32_t* ids(const Tensor& t, const char* name) {
  check(t, name, ScalarType::Int, 1);
  return static_cast<const int32_t*>(t.const_data_ptr());
}
inline const int64_t* offsets(const Tensor& t, const char* name) {
  check(t, name, ScalarType::Long, 1);
  require(t.size(0) >= 1, std::string(name) + " is empty, wanted one entry more than rows");
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
    require(!needed, std::string(name) + " is missing for this optimiser");
    return nullptr;
  }
  values<T>(*t, name, 2);
  require(t->size(0) == like.size(0) && t->size(1) == like.size(1),
          std::string(name) + " is " + shape(*t) + ", wanted " + shape(like));
  return static_cast<T*>(t->mutable_data_ptr());
}

// Calls f(T{}) for the tensor's floating type.
template <class F>
auto by_type(const Tensor& t, const F& f) {
  if (t.scalar_type() == ScalarType::Float) return f(float{});
  require(t.scalar_type() == ScalarType::Double, "values must be float32 or float64");
  return f(double{});
}

inline Lists lists(const Tensor& indptr, const Tensor& items, int64_t rows, const char* name) {
  const Lists out{offsets(indptr, name), ids(items, name)};
  require(indptr.size(0) == rows + 1 && out.indptr[rows] == items.size(0),
          std::string(name) + " has " + std::to_string(indptr.size(0) - 1) + " rows and " +
              std::to_string(items.size(0)) + " items up to " +
              std::to_string(out.indptr[indptr.size(0) - 1]) + "; wanted " + std::to_string(rows) +
              " rows");
  return out;
}

template <class T>
Adjacency<T> adjacency(const Tensor& indptr, const Tensor& indices, const Tensor& scale,
                       int64_t rows) {
  const Adjacency<T> graph{offsets(indptr, "indptr"), ids(indices, "indices"),
                           values<T>(scale, "scale", 1), rows};
  require(indptr.size(0) == rows + 1 && scale.size(0) == rows,
          "the graph has " + std::to_string(indptr.size(0) - 1) + " nodes, wanted " +
              std::to_string(rows));
  require(graph.indptr[rows] == indices.size(0), "indptr does not end at the number of indices");
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
  require(pos.pairs > 0 && pos.active > 0, "there are no pairs to draw from");
  require(pair_items.size(0) == pos.pairs, "pair_users and pair_items differ in length");
  return pos;
}

}  // namespace advrec::arguments
