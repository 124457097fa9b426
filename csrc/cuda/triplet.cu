// The composable tier's operators on triplets, over whole tables and any number of triplets; the
// twin of cpu/triplet.inl.
#include "bpr.cuh"

namespace advrec::cuda {
namespace {

// One group of lanes per triplet.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    margin_kernel(const float* user_table, const float* item_table, int64_t n_users,
                  int64_t n_items, int dim, int width, const int32_t* triplets, int64_t count,
                  float* margin) {
  constexpr int VEC = Row::kVec;
  const Lanes lanes(width);
  const int64_t mine = (int64_t(blockIdx.x) * kWarps + lanes.warp) * lanes.groups + lanes.group;
  const int64_t b = mine < count ? mine : count - 1;
  const int32_t u = triplets[b], i = triplets[count + b], j = triplets[2 * count + b];
  const bool inside = u >= 0 && u < n_users && i >= 0 && i < n_items && j >= 0 && j < n_items;
  float sum = 0;
  if (inside) {
    const float* const p = user_table + int64_t(u) * dim;
    const float* const q = item_table + int64_t(i) * dim;
    const float* const r = item_table + int64_t(j) * dim;
    for (int column = lanes.column * VEC; column < dim; column += width * VEC) {
      const Pack<VEC> a = load<VEC>(p + column), x = load<VEC>(q + column),
                      y = load<VEC>(r + column);
#pragma unroll
      for (int k = 0; k < VEC; ++k) sum = fmaf(a.v[k], x.v[k] - y.v[k], sum);
    }
  }
  sum = group_sum(sum, width);
  if (lanes.column == 0 && mine < count) margin[b] = inside ? sum : nanf("");
}

// A gradient goes to its row of the user or the item table.
struct StoreGradient {
  Batch batch;
  float* users;
  float* items;
  int64_t n_users, n_rows;

  template <class Row>
  __device__ void operator()(int64_t s, Row& row, const Lanes& lanes, int dim) const {
    const int64_t r = batch.row(s);
    if (r >= n_rows || lanes.group != 0) return;
    row.write(r < n_users ? users + r * dim : items + (r - n_users) * dim, lanes, dim);
  }
};

}  // namespace

void triplet_margin(const float* user_table, const float* item_table, int64_t n_users,
                    int64_t n_items, int64_t dim, const int32_t* triplets, int64_t count,
                    float* margin, void* stream) {
  with_vec(dim, aligned(user_table, item_table), [&](auto row) {
    using Row = decltype(row);
    const int width = row_width(dim, Row::kVec);
    launch(&margin_kernel<Row>, ceil_div(count * width, kThreads), kThreads, stream, user_table,
           item_table, n_users, n_items, int(dim), width, triplets, count, margin);
  });
}

int64_t triplet_margin_backward_workspace(int64_t, int64_t, int64_t count) {
  Arena arena(nullptr);
  take_window(arena, 1, count, false);
  return arena.used();
}

void triplet_margin_backward(const float* grad, const float* user_table, const float* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, float* d_user, float* d_item, void* workspace,
                             void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check(cudaMemsetAsync(d_user, 0, size_t(n_users * dim) * sizeof(float), cuda_stream),
        "clearing memory");
  check(cudaMemsetAsync(d_item, 0, size_t(n_items * dim) * sizeof(float), cuda_stream),
        "clearing memory");
  if (count == 0) return;
  Arena arena(workspace);
  Window window = take_window(arena, 1, count, false);
  window.triplets = const_cast<int32_t*>(triplets);  // only read
  bucket_triplets(window, n_users, n_items, stream);
  const Batch batch = window.batch(0);
  const Vectors x{user_table, item_table, triplets};
  sum_rows(BatchTerms{batch, x, Slopes{const_cast<float*>(grad)}, n_users + n_items},
           StoreGradient{batch, d_user, d_item, n_users, n_users + n_items}, 3 * count, dim,
           aligned(user_table, item_table, d_user, d_item), stream);
}

}  // namespace advrec::cuda
