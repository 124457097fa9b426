// The BPR loss of a batch's triplets, and what each of them adds to the gradients of its rows; the
// twin of cpu/bpr.inl.
#pragma once

#include "batch.cuh"
#include "row_sum.cuh"

namespace advrec::cuda {

// Where a triplet's vectors are read from: two tables, and ids [3, capacity] into them. Slots are
// numbered through a window, so `first`, if given, is subtracted.
struct Vectors {
  const float* users;
  const float* items;
  const int32_t* ids;
  const int32_t* first = nullptr;

  __device__ int32_t index(int role, int64_t b, int64_t capacity) const {
    return ids[role * capacity + b] - (first ? *first : 0);
  }
};

// The embedding of a batch's triplets, and a matrix of one row per slot.
inline Vectors table_vectors(const Batch& batch, const float* embedding, int64_t n_users,
                             int64_t dim) {
  return {embedding, embedding + n_users * dim, batch.triplets};
}
inline Vectors slot_vectors(const Batch& batch, const float* x) {
  return {x, x, batch.slots, batch.slot_base};
}

// What a row's places contribute. [capacity] each; the last three only for norm = sample, whose
// perturbed vectors are p_u - a D, q_i - c p_u and q_j + c p_u with D = q_i - q_j, a = eps/|D|
// and c = eps/|p_u|.
struct Slopes {
  float* clean;
  float* perturbed = nullptr;
  float* item_scale = nullptr;  // a
  float* user_scale = nullptr;  // c
};

// softplus(-x) and its derivative -sigmoid(-x), stable on both sides.
__device__ inline float bpr_loss(float x, float* slope) {
  const float e = expf(-fabsf(x));
  *slope = -(x < 0 ? 1.0f : e) / (1 + e);
  return (x < 0 ? -x : 0.0f) + log1pf(e);
}

// The gradient's terms of every slot: a user's row gets slope (q_i - q_j), an item's +-slope p_u,
// and with norm = sample the perturbed vectors' gradient on top.
struct BatchTerms {
  static constexpr bool kPairs = true, kSparse = false;
  Batch batch;
  Vectors x;
  Slopes slopes;
  int64_t no_row = -1;  // a slot of this row has no terms

  __device__ int64_t count() const { return batch.n_slots(); }
  __device__ Span span(int64_t s) const {
    return batch.row(s) == no_row ? Span{0, 0} : batch.span(s);
  }
  __device__ Term term(int64_t e) const {
    const int64_t b = batch.places[e] >> 2, capacity = batch.capacity;
    const int role = batch.places[e] & 3;
    const bool own = slopes.perturbed != nullptr;
    const float other = own ? slopes.perturbed[b] : 0.0f, slope = slopes.clean[b] + other;
    Term term;
    if (role == kUser || own) {
      term.first = x.index(kPositive, b, capacity);
      term.second = x.index(kNegative, b, capacity);
    }
    if (role != kUser || own) term.single = x.index(kUser, b, capacity);
    const float sign = role == kNegative ? -1.0f : 1.0f;
    if (role == kUser) {  // slope D - 2 c slope' p
      term.pair_weight = slope;
      term.weight = own ? -2 * other * slopes.user_scale[b] : 0.0f;
    } else {  // +-(slope p - slope' a D)
      term.weight = sign * slope;
      term.pair_weight = own ? -sign * other * slopes.item_scale[b] : 0.0f;
    }
    return term;
  }
  __device__ float scale(int64_t) const { return 1; }
  __device__ const float* singles() const { return x.users; }
  __device__ const float* pairs() const { return x.items; }
};

}  // namespace advrec::cuda
