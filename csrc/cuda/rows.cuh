// Rows of matrices: where they are read from, and making one as long as the noise's budget; with
// rows.cu the twin of cpu/rows.inl.
#pragma once

#include "device.cuh"

namespace advrec::cuda {

// Rows of a matrix that are all present (slot_of null), or only for the nodes that the current
// batch touches: node r then has row slot_of[r] - range[0] if slot_of[r] lies in [range[0],
// range[1]).
struct Rows {
  const float* x;
  const int32_t* slot_of = nullptr;  // [N]
  const int32_t* range = nullptr;    // [2]

  // -1 for a row of zeros.
  __device__ int64_t index(int64_t r) const {
    if (!slot_of) return r;
    const int32_t slot = slot_of[r];
    return slot >= range[0] && slot < range[1] ? slot - range[0] : -1;
  }
  __device__ const float* row(int64_t r, int dim) const {
    const int64_t at = index(r);
    return at < 0 ? nullptr : x + at * dim;
  }
};

// Makes a row eps long: returns what to multiply it by, after dividing it by *divisor. The square
// of a tiny gradient underflows, though the gradient does not: such a row is scaled before it is
// measured.
template <class Row>
__device__ inline float unit_scale(const Row& row, float squares, float eps, const Lanes& lanes,
                                   int dim, float* divisor) {
  *divisor = 1;
  if (!(squares > 1e-30f)) {  // the same for the whole warp
    float largest = 0;
    Row::each(lanes, dim, [&](int b, int) {
      for (int i = 0; i < Row::kVec; ++i) largest = fmaxf(largest, fabsf(row.block[b].v[i]));
    });
    largest = group_max(largest, lanes.width);
    *divisor = largest > 0 ? largest : 1.0f;
    Row scaled = row;
    Row::each(lanes, dim, [&](int b, int) {
      for (int i = 0; i < Row::kVec; ++i) scaled.block[b].v[i] /= *divisor;
    });
    squares = scaled.squares(lanes, dim);
  }
  return squares > 0 ? eps / sqrtf(squares) : 0.0f;
}

// out = base + eps * row / |row|
template <class Row>
__device__ inline void write_moved(const Row& row, float squares, float eps, const float* base,
                                   float* out, const Lanes& lanes, int dim) {
  float divisor;
  const float scale = unit_scale(row, squares, eps, lanes, dim, &divisor);
  if (lanes.group != 0) return;
  Row::each(lanes, dim, [&](int b, int column) {
    Pack<Row::kVec> v = load<Row::kVec>(base + column);
#pragma unroll
    for (int i = 0; i < Row::kVec; ++i) v.v[i] = fmaf(scale, row.block[b].v[i] / divisor, v.v[i]);
    store<Row::kVec>(out + column, v);
  });
}

}  // namespace advrec::cuda
