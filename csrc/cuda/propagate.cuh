// One layer of LightGCN's propagation, and the mean over layers built from it by Horner; the twin
// of cpu/propagate.inl.
//
//   out_r = beta * (base_r + s_r * sum_{c in N(r)} s_c x_c),   s = degree^-1/2
#pragma once

#include "row_sum.cuh"
#include "rows.cuh"

namespace advrec::cuda {

// The neighbours of every node, or of the nodes in `list` (as many as range says).
template <bool SPARSE>
struct GraphTerms {
  static constexpr bool kPairs = false, kSparse = SPARSE;
  Adjacency<float> graph;
  Rows x;
  bool gather;  // false: a sum of nothing, for zero layers
  const int32_t* list = nullptr;
  const int32_t* range = nullptr;

  __device__ int64_t count() const { return list ? range[1] - range[0] : graph.rows; }
  __device__ int64_t row(int64_t k) const { return list ? list[range[0] + k] : k; }
  __device__ Span span(int64_t k) const {
    if (!gather) return {0, 0};
    const int64_t r = row(k);
    return {graph.indptr[r], graph.indptr[r + 1]};
  }
  __device__ Term term(int64_t e) const {
    Term term;
    const int32_t neighbour = graph.indices[e];
    term.single = SPARSE ? int32_t(x.index(neighbour)) : neighbour;
    term.weight = graph.scale[neighbour];
    return term;
  }
  __device__ float scale(int64_t k) const { return graph.scale[row(k)]; }
  __device__ const float* singles() const { return x.x; }
  __device__ const float* pairs() const { return nullptr; }
};

// row = beta * (base + row)
template <class Row>
__device__ inline void finish_layer(const Rows& base, float beta, int64_t r, const Lanes& lanes,
                                    int dim, Row& row) {
  if (const float* add = base.row(r, dim)) row.scale_add(1, add, lanes, dim);
  row.scale(beta, lanes, dim);
}

struct StoreLayer {
  float* out;  // one row for each k
  Rows base;
  float beta;
  const int32_t* list = nullptr;   // node of k, null if it is k itself
  const int32_t* range = nullptr;  // with list: where it starts
  int32_t* slot_of = nullptr;      // with list: where to note the slot of each node

  template <class Row>
  __device__ void operator()(int64_t k, Row& row, const Lanes& lanes, int dim) const {
    const int64_t r = list ? list[range[0] + k] : k;
    finish_layer(base, beta, r, lanes, dim, row);
    if (lanes.group == 0) row.write(out + k * dim, lanes, dim);
    if (slot_of && lanes.lane == 0) slot_of[r] = range[0] + int32_t(k);
  }
};

// out = beta * (base + A x) over all nodes.
void propagate_layer(const Adjacency<float>& graph, const Rows& x, const Rows& base, float beta,
                     int64_t dim, float* out, void* stream);

// The same on the nodes of `list` only, from dense x and base; notes their slots.
void propagate_to_list(const Adjacency<float>& graph, const float* x, const float* base, float beta,
                       int64_t dim, bool gather, const int32_t* list, const int32_t* range,
                       int64_t max_list, int32_t* slot_of, float* out, void* stream);

}  // namespace advrec::cuda
