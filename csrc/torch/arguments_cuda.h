// Tensors on a GPU as the structs of kernels.h, each checked for what a kernel relies on; the twin
// of arguments_cpu.h. Included by ops_cuda.cpp.
//
// Nothing here waits for the device, so shapes and types are checked, and the ids and offsets in
// device memory are trusted (those of triplets are checked in the kernels).
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "../kernels_cuda.h"
#include "arguments.h"

namespace advrec::arguments {

// The device of a call's first tensor, its current stream, and a check that the others are there.
class __attribute__((visibility("hidden"))) Device {  // as torch's guard is
 public:
  explicit Device(const Tensor& t) : index_(t.get_device_index()), guard_(index_) {
    if (aoti_torch_get_current_cuda_stream(index_, &stream_))
      throw std::runtime_error("torch has no current CUDA stream for device " +
                               std::to_string(index_));
  }
  void* stream() const { return stream_; }

  void check(const Tensor& t, const char* name, ScalarType type, int64_t dims) const {
    require(t.is_cuda() && t.get_device_index() == index_,
            std::string(name) + " must be on cuda:" + std::to_string(index_));
    check_layout(t, name, type, dims);
  }
  const int32_t* ids(const Tensor& t, const char* name, int64_t dims = 1) const {
    check(t, name, ScalarType::Int, dims);
    return static_cast<const int32_t*>(t.const_data_ptr());
  }
  const int64_t* offsets(const Tensor& t, const char* name, int64_t rows) const {
    check(t, name, ScalarType::Long, 1);
    require(t.size(0) == rows + 1, std::string(name) + " must have " + std::to_string(rows) +
                                       " rows, got " + std::to_string(t.size(0) - 1));
    return static_cast<const int64_t*>(t.const_data_ptr());
  }
  const float* values(const Tensor& t, const char* name, int64_t dims) const {
    check(t, name, ScalarType::Float, dims);
    require(dims < 2 || (t.size(1) >= 1 && t.size(1) <= cuda::kMaxDim),
            std::string(name) + " must have rows of 1 to " + std::to_string(cuda::kMaxDim) +
                " values, got shape " + shape(t));
    return static_cast<const float*>(t.const_data_ptr());
  }
  float* state(const std::optional<Tensor>& t, const Tensor& like, const char* name,
               bool needed) const {
    if (!t) {
      require(!needed, std::string(name) + " is missing: this optimizer needs it");
      return nullptr;
    }
    values(*t, name, 2);
    check_shape(*t, name, {like.size(0), like.size(1)});
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

inline float* writable(const Tensor& t) { return static_cast<float*>(t.mutable_data_ptr()); }

inline Adjacency<float> adjacency(const Device& on, const Tensor& indptr, const Tensor& indices,
                                  const Tensor& scale, int64_t rows) {
  check_shape(scale, "scale", {rows});
  return {on.offsets(indptr, "indptr", rows), on.ids(indices, "indices"),
          on.values(scale, "scale", 1), rows};
}

inline Positives positives(const Device& on, const Tensor& pair_users, const Tensor& pair_items,
                           const Tensor& active_users, const Tensor& indptr, const Tensor& items,
                           int64_t n_items) {
  const Positives pos{on.ids(pair_users, "pair_users"),
                      on.ids(pair_items, "pair_items"),
                      pair_users.size(0),
                      on.ids(active_users, "active_users"),
                      active_users.size(0),
                      on.offsets(indptr, "indptr", indptr.size(0) - 1),
                      on.ids(items, "items"),
                      n_items};
  check_positives(pos, pair_items);
  return pos;
}

struct Tables {
  const float *users, *items;
  int64_t n_users, n_items, dim;
};
inline Tables tables(const Device& on, const Tensor& user_table, const Tensor& item_table) {
  check_tables(user_table, item_table);
  return {on.values(user_table, "user_table", 2), on.values(item_table, "item_table", 2),
          user_table.size(0), item_table.size(0), user_table.size(1)};
}

inline const int32_t* triplet_ids(const Device& on, const Tensor& triplets) {
  const int32_t* data = on.ids(triplets, "triplets", 2);
  check_triplets(triplets);
  return data;
}

inline Table<float> table(const Device& on, Tensor& embedding, const std::optional<Tensor>& state1,
                          const std::optional<Tensor>& state2, int64_t n_users, int64_t n_items,
                          OptimKind kind) {
  on.values(embedding, "embedding", 2);
  check_shape(embedding, "embedding", {n_users + n_items, embedding.size(1)});
  return {writable(embedding),
          on.state(state1, embedding, "state1", states_of(kind) >= 1),
          on.state(state2, embedding, "state2", states_of(kind) >= 2),
          n_users,
          n_items,
          embedding.size(1)};
}

}  // namespace advrec::arguments
