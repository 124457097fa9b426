// One layer of LightGCN's propagation, and the mean over layers built from it; the twin
// of cuda/propagate.cuh and propagate.cu.
//
//   out_r = beta * (base_r + s_r * sum_{c in N(r)} s_c x_c),   s = degree^-1/2
//
// By Horner, mean_k A^k x = (x + A(x + A(x + ...))) / (K + 1): every layer is the same kernel, the
// addition rides on the gather, and the last layer may be restricted to a few rows. A row's sums
// stay in registers and run over its neighbours in order, so any dealing of rows gives the same
// bits.

namespace advrec::cpu::ADVREC_ISA {

// s_r * sum_c s_c x_c of V vectors that start at column `col`; V is 1, or even. `known` neighbours,
// those of later rows among them, may be looked at: the next row's are on their way when it comes.
template <int V, class T, class Rows>
ADVREC_INLINE void gather_columns(const int32_t* neighbours, int64_t degree, int64_t known,
                                  const T* scale, const Rows& rows, int64_t col, T s, T* out) {
  constexpr int W = Simd<T>::kWidth;
  // Neighbours: several times the latency of the last-level cache. They are asked for into the
  // second-level cache: the first one can have only a dozen or two lines in flight.
  constexpr int64_t kAhead = 40;
  constexpr int kBytes = int(V * W * sizeof(*rows.row(0)));
  Vec<T> sum[V] = {};
  for (int64_t e = 0; e < degree; ++e) {
    const auto* x = rows.row(neighbours[e]);
    if constexpr (Rows::kSparse) {
      if (!x) continue;
    } else if (e + kAhead < known) {
      const char* later = reinterpret_cast<const char*>(rows.row(neighbours[e + kAhead]) + col);
      for (int byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(later + byte, 0, 2);
    }
    const T weight = scale[neighbours[e]];
    if constexpr (V == 1) {
      sum[0] += weight * load(x + col);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < V; v += 2) {
        Vec<T> low, high;
        load_pair(x + col + v * W, low, high);
        sum[v] += weight * low, sum[v + 1] += weight * high;
      }
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) store<T>(out + v * W, s * sum[v]);
}

// out[0, dim) = s_r * sum_c s_c x_c
template <class T, class Rows>
inline void gather_row(const Adjacency<T>& graph, int64_t r, const Rows& rows, int64_t dim,
                       T* out) {
  constexpr int W = Simd<T>::kWidth;
  constexpr bool kSame = sizeof(*rows.row(0)) == sizeof(T);
  const int32_t* neighbours = graph.indices + graph.indptr[r];
  const int64_t degree = graph.indptr[r + 1] - graph.indptr[r];
  const int64_t known = graph.indptr[graph.rows] - graph.indptr[r];
  const T s = graph.scale[r];
  int64_t col = 0;
  for (; col + 8 * W <= dim; col += 8 * W)
    gather_columns<8>(neighbours, degree, known, graph.scale, rows, col, s, out + col);
  for (; col + 4 * W <= dim; col += 4 * W)
    gather_columns<4>(neighbours, degree, known, graph.scale, rows, col, s, out + col);
  for (; col + 2 * W <= dim; col += 2 * W)
    gather_columns<2>(neighbours, degree, known, graph.scale, rows, col, s, out + col);
  if constexpr (kSame)
    for (; col + W <= dim; col += W)
      gather_columns<1>(neighbours, degree, known, graph.scale, rows, col, s, out + col);
  if (col < dim) {
    T sum[2 * W] = {};
    for (int64_t e = 0; e < degree; ++e) {
      const auto* x = rows.row(neighbours[e]);
      if (!x) continue;
      for (int64_t k = col; k < dim; ++k)
        sum[k - col] += graph.scale[neighbours[e]] * value_of(x[k]);
    }
    for (int64_t k = col; k < dim; ++k) out[k] = s * sum[k - col];
  }
}

// out = beta * (base + out); a null base is zero.
template <class T, class S>
ADVREC_INLINE void finish_row(const S* base, T beta, T* out, int64_t dim) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  if (base) {
    for (; k + 2 * W <= dim; k += 2 * W) {
      Vec<T> low, high;
      load_pair(base + k, low, high);
      store<T>(out + k, beta * (low + load(out + k)));
      store<T>(out + k + W, beta * (high + load(out + k + W)));
    }
    for (; k < dim; ++k) out[k] = beta * (value_of(base[k]) + out[k]);
  } else {
    for (; k + W <= dim; k += W) store<T>(out + k, beta * load(out + k));
    for (; k < dim; ++k) out[k] = beta * out[k];
  }
}

// Consecutive rows are adjacent in memory, but the gathers in between hide that from the hardware's
// prefetcher: they are prefetched this many rows ahead.
constexpr int64_t kRowsAhead = 3;

// Deals all rows of the graph in chunks of similar cost (edges, plus a share for the row itself).
template <class T, class F>
void for_rows(Team& team, const Adjacency<T>& graph, const F& f) {
  constexpr int64_t kRowCost = 8, kChunkCost = 8192;
  const int64_t n = graph.rows, total = graph.indptr[n] + n * kRowCost;
  const int64_t chunks = (total + kChunkCost - 1) / kChunkCost;
  // The first row whose cost so far reaches `cost`.
  const auto first_row = [&](int64_t cost) {
    int64_t low = 0, high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (graph.indptr[middle] + middle * kRowCost < cost)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  team.each(chunks, [&](int64_t k) {
    const int64_t end = k + 1 == chunks ? n : first_row((k + 1) * kChunkCost);
    for (int64_t r = first_row(k * kChunkCost); r < end; ++r) f(r);
  });
}

// A whole layer over all rows: out = beta * (base + A x), rounded to the storage type of out.
template <class T, class Rows, class Base, class S>
void layer(Team& team, const Adjacency<T>& graph, const Rows& x, const Base& base, T beta,
           int64_t dim, S* out) {
  Buffer<T> row(dim);
  for_rows(team, graph, [&](int64_t r) {
    if (const int64_t later = r + kRowsAhead; later < graph.rows) {
      base.prefetch(later);
      prefetch_row(out + later * dim, dim);
    }
    if constexpr (sizeof(S) == sizeof(T)) {
      gather_row(graph, r, x, dim, out + r * dim);
      finish_row(base.row(r), beta, out + r * dim, dim);
    } else {
      gather_row(graph, r, x, dim, row.get());
      finish_row(base.row(r), beta, row.get(), dim);
      store_row(row.get(), out + r * dim, dim);
    }
  });
}

template <class T>
void propagate(const Adjacency<T>& graph, const T* x, int64_t dim, int64_t layers, T* scratch,
               T* out) {
  parallel([&](Team& team) {
    const DenseRows<T> base{x, dim};
    if (layers == 0) {
      team.ranges(graph.rows * dim, 1 << 16, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) out[k] = x[k];
      });
      return;
    }
    // The buffers take turns so that the last layer lands in `out`.
    T* const buffers[2] = {out, scratch};
    const T* current = x;
    for (int64_t k = 1; k <= layers; ++k) {
      T* const next = buffers[(layers - k) % 2];
      layer(team, graph, DenseRows<T>{current, dim}, base,
            k == layers ? T(1) / T(layers + 1) : T(1), dim, next);
      current = next;
    }
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
