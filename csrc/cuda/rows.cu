// The composable tier's operator on rows.
#include "rows.cuh"

namespace advrec::cuda {
namespace {

// One warp per row. The row may be read up to four times; later reads come from the cache.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(const float* x, int64_t rows, int dim, float eps, float* out) {
  constexpr int VEC = Row::kVec;
  const Lanes lanes(kWarp);
  const int64_t r = int64_t(blockIdx.x) * kWarps + lanes.warp;
  if (r >= rows) return;
  const float* const from = x + r * dim;
  const auto each = [&](auto f) {
    for (int column = lanes.column * VEC; column < dim; column += kWarp * VEC)
      f(column, load<VEC>(from + column));
  };
  float squares = 0, divisor = 1;
  each([&](int, const Pack<VEC>& v) {
    for (int i = 0; i < VEC; ++i) squares = fmaf(v.v[i], v.v[i], squares);
  });
  squares = group_sum(squares, kWarp);
  if (!(squares > 1e-30f)) {
    float largest = 0;
    each([&](int, const Pack<VEC>& v) {
      for (int i = 0; i < VEC; ++i) largest = fmaxf(largest, fabsf(v.v[i]));
    });
    largest = group_max(largest, kWarp);
    divisor = largest > 0 ? largest : 1.0f;
    squares = 0;
    each([&](int, const Pack<VEC>& v) {
      for (int i = 0; i < VEC; ++i) squares += (v.v[i] / divisor) * (v.v[i] / divisor);
    });
    squares = group_sum(squares, kWarp);
  }
  const float scale = squares > 0 ? eps / sqrtf(squares) : 0.0f;
  each([&](int column, Pack<VEC> v) {
    for (int i = 0; i < VEC; ++i) v.v[i] = scale * (v.v[i] / divisor);
    store<VEC>(out + r * dim + column, v);
  });
}

}  // namespace

void normalize_rows(const float* x, int64_t rows, int64_t dim, double eps, float* out,
                    void* stream) {
  with_vec(dim, aligned(x, out), [&](auto row) {
    launch(&normalize_kernel<decltype(row)>, ceil_div(rows, kWarps), kThreads, stream, x, rows,
           int(dim), float(eps), out);
  });
}

}  // namespace advrec::cuda
