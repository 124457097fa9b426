#include "propagate.cuh"

namespace advrec::cuda {

void propagate_layer(const Adjacency<float>& graph, const Rows& x, const Rows& base, float beta,
                     int64_t dim, float* out, void* stream) {
  const bool vec = aligned(x.x, base.x, out);
  const StoreLayer finish{out, base, beta};
  if (x.slot_of)
    sum_rows(GraphTerms<true>{graph, x, true}, finish, graph.rows, dim, vec, stream);
  else
    sum_rows(GraphTerms<false>{graph, x, true}, finish, graph.rows, dim, vec, stream);
}

void propagate_to_list(const Adjacency<float>& graph, const float* x, const float* base, float beta,
                       int64_t dim, bool gather, const int32_t* list, const int32_t* range,
                       int64_t max_list, int32_t* slot_of, float* out, void* stream) {
  sum_rows(GraphTerms<false>{graph, Rows{x}, gather, list, range},
           StoreLayer{out, Rows{base}, beta, list, range, slot_of}, max_list, dim,
           aligned(x, base, out), stream);
}

void propagate(const Adjacency<float>& graph, const float* x, int64_t dim, int64_t layers,
               float* scratch, float* out, void* stream) {
  if (layers == 0) {
    check(cudaMemcpyAsync(out, x, size_t(graph.rows * dim) * sizeof(float),
                          cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream)),
          "copying memory");
    return;
  }
  // The buffers take turns so that the last layer lands in `out`.
  float* const buffers[2] = {out, scratch};
  const float* current = x;
  for (int64_t k = 1; k <= layers; ++k) {
    float* const next = buffers[(layers - k) % 2];
    const float beta = k == layers ? 1.0f / float(layers + 1) : 1.0f;
    propagate_layer(graph, Rows{current}, Rows{x}, beta, dim, next, stream);
    current = next;
  }
}

}  // namespace advrec::cuda
