// The one skeleton behind propagation and gradients: every row is a weighted sum of other rows.
//
//   row(k) = sum over the terms e of k:  pair_weight (x[first] - x[second]) + weight x[single]
//
// A warp owns a row. It reads 32 terms at a time, one per lane, passes them around by shuffles, and
// its groups of lanes fetch different terms' rows at the same time, four in flight each. Sums stay
// in registers until `finish` takes the row. A row of more than kHubTerms terms is shared by the
// block's eight warps. Either way the order of the additions depends on the row alone.
#pragma once

#include "device.cuh"

namespace advrec::cuda {

constexpr int kHubTerms = 256;

struct Span {
  int64_t begin, end;
};

// Row numbers are negative where there is nothing to add; for a pair, both or none.
struct Term {
  int32_t single = -1, first = -1, second = -1;
  float weight = 0, pair_weight = 0;
};

template <class Source>
__device__ inline Term hand_round(const Term& mine, int from) {
  Term term;
  term.single = __shfl_sync(kAllLanes, mine.single, from);
  term.weight = __shfl_sync(kAllLanes, mine.weight, from);
  if constexpr (Source::kPairs) {
    term.first = __shfl_sync(kAllLanes, mine.first, from);
    term.second = __shfl_sync(kAllLanes, mine.second, from);
    term.pair_weight = __shfl_sync(kAllLanes, mine.pair_weight, from);
  }
  return term;
}

template <class Source, class Row>
__device__ inline void add_term(const Source& source, const Term& term, const Lanes& lanes, int dim,
                                Row& sum) {
  constexpr int VEC = Row::kVec;
  if (term.single >= 0) {
    const float* const x = source.singles() + int64_t(term.single) * dim;
    Row::each(lanes, dim, [&](int b, int column) {
      const Pack<VEC> v = load<VEC>(x + column);
#pragma unroll
      for (int i = 0; i < VEC; ++i)
        sum.block[b].v[i] = fmaf(term.weight, v.v[i], sum.block[b].v[i]);
    });
  }
  if constexpr (Source::kPairs) {
    if (term.first < 0) return;
    const float* const x = source.pairs() + int64_t(term.first) * dim;
    const float* const y = source.pairs() + int64_t(term.second) * dim;
    Row::each(lanes, dim, [&](int b, int column) {
      const Pack<VEC> v = load<VEC>(x + column), w = load<VEC>(y + column);
#pragma unroll
      for (int i = 0; i < VEC; ++i)
        sum.block[b].v[i] = fmaf(term.pair_weight, v.v[i] - w.v[i], sum.block[b].v[i]);
    });
  }
}

// Adds the terms [begin, begin + 32), [begin + stride, begin + stride + 32), ... below `end`.
template <class Source, class Row>
__device__ inline void add_terms(const Source& source, int64_t begin, int64_t end, int stride,
                                 const Lanes& lanes, int dim, Row& sum) {
  [[maybe_unused]] constexpr int kInFlight = sizeof(Row) <= 32 ? 4 : 1;
  for (int64_t at = begin; at < end; at += stride) {
    const int n = end - at < kWarp ? int(end - at) : kWarp;
    // Lanes past the end repeat the last term with weight zero, so that the loop has no branch.
    Term mine = source.term(at + (lanes.lane < n ? lanes.lane : n - 1));
    if (lanes.lane >= n) mine.weight = mine.pair_weight = 0;
    if constexpr (Source::kSparse) {
      // Most terms are absent: visit those that are present, one per group.
      unsigned present = __ballot_sync(kAllLanes, mine.single >= 0 && lanes.lane < n);
      while (present) {
        int from = -1;
        for (int g = 0; g < lanes.groups && present; ++g, present &= present - 1)
          if (g == lanes.group) from = __ffs(int(present)) - 1;
        Term term = hand_round<Source>(mine, from < 0 ? 0 : from);
        if (from < 0) term.single = -1;
        add_term(source, term, lanes, dim, sum);
      }
    } else {
#pragma unroll kInFlight
      for (int t = 0; t < n; t += lanes.groups)
        add_term(source, hand_round<Source>(mine, t + lanes.group), lanes, dim, sum);
    }
  }
}

// Source: count() rows, span(k), term(e), scale(k), singles(), pairs(), kPairs, kSparse.
// Finish: finish(k, row, lanes, dim), called by a whole warp; only group 0 may write.
template <class Source, class Finish, class Shape>
__global__ void __launch_bounds__(kThreads, sizeof(typename Shape::Row) <= 32 ? 3 : 1)
    row_sum(const Source source, const Finish finish, int dim, int width) {
  using Row = typename Shape::Row;
  __shared__ float partial[kWarps][Row::kCapacity];
  const Lanes lanes(width);
  const int64_t count = source.count(), first = int64_t(blockIdx.x) * kWarps;
  if (first >= count) return;

  const int64_t mine = first + lanes.warp;
  if (mine < count) {
    const Span span = source.span(mine);
    if (span.end - span.begin <= kHubTerms) {
      Row sum;
      sum.clear();
      add_terms(source, span.begin, span.end, kWarp, lanes, dim, sum);
      sum.fold(lanes);
      sum.scale(source.scale(mine), lanes, dim);
      finish(mine, sum, lanes, dim);
    }
  }
  for (int w = 0; w < kWarps; ++w) {
    const int64_t hub = first + w;
    if (hub >= count) break;
    const Span span = source.span(hub);
    if (span.end - span.begin <= kHubTerms) continue;
    Row sum;
    sum.clear();
    add_terms(source, span.begin + kWarp * lanes.warp, span.end, kThreads, lanes, dim, sum);
    sum.fold(lanes);
    if (lanes.group == 0) sum.write(partial[lanes.warp], lanes, dim);
    __syncthreads();
    if (lanes.warp == 0) {
      for (int other = 1; other < kWarps; ++other) sum.scale_add(1, partial[other], lanes, dim);
      sum.scale(source.scale(hub), lanes, dim);
      finish(hub, sum, lanes, dim);
    }
    __syncthreads();
  }
}

template <class Source, class Finish>
void sum_rows(const Source& source, const Finish& finish, int64_t max_rows, int64_t dim,
              bool aligned, void* stream) {
  with_shape(dim, aligned, [&](auto shape) {
    using Shape = decltype(shape);
    launch(&row_sum<Source, Finish, Shape>, ceil_div(max_rows, kWarps), kThreads, stream, source,
           finish, int(dim), row_width(dim, Shape::Row::kVec));
  });
}

}  // namespace advrec::cuda
