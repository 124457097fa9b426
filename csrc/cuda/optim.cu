// The composable tier's optimizer step: one thread per VEC values of the table.
#include "optim.cuh"

namespace advrec::cuda {
namespace {

template <class Row>
__global__ void __launch_bounds__(kThreads)
    optimizer_kernel(OptimKind kind, OptimStep step, float* value, float* state1, float* state2,
                     const float* grad, const int32_t* rows, int64_t count, int64_t table_rows,
                     int dim) {
  constexpr int VEC = Row::kVec;
  const int64_t per_row = dim / VEC;
  const int64_t k = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (k >= count * per_row) return;
  const int64_t row = rows ? rows[k / per_row] : k / per_row;
  if (row < 0 || row >= table_rows) return;
  update<VEC>(kind, step, value, state1, state2, row * dim + k % per_row * VEC,
              load<VEC>(grad + k * VEC));
}

}  // namespace

void optimizer_step(const Optim& optim, float* value, float* state1, float* state2,
                    const float* grad, const int32_t* rows, int64_t count, int64_t table_rows,
                    int64_t dim, void* stream) {
  with_vec(dim, aligned(value, state1, state2, grad), [&](auto row) {
    using Row = decltype(row);
    launch(&optimizer_kernel<Row>, ceil_div(count * (dim / Row::kVec), kThreads), kThreads, stream,
           optim.kind, optim_step(optim, optim.step), value, state1, state2, grad, rows, count,
           table_rows, int(dim));
  });
}

}  // namespace advrec::cuda
