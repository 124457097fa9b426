// Masked full-ranking top-K: score, mask and select in one pass over the catalogue; the twin of
// cpu/rank.inl, with the same total order.
//
// A block ranks 32 users, eight per warp, against tiles of 128 items, four per lane. Vectors are
// staged in shared memory 32 values at a time. Every score is one chain of fused multiply-adds over
// the dimension, in order, so it has the same bits wherever it is computed. A warp then scans its
// users' scores of the tile against each user's threshold; what passes is appended to a list of the
// user's in the workspace, which is sorted and cut when it is full. Memory does not grow with the
// catalogue. Relevant items are kept out of the scan and merged in at the end behind their equals,
// so that ties count against the hit.
#include "../sampler_core.h"
#include "device.cuh"

namespace advrec::cuda {
namespace {

constexpr int kRankWarps = 4, kRankThreads = kRankWarps * kWarp;
constexpr int kUsersEach = 8, kItemsEach = 4;  // per warp, per lane
constexpr int kUsers = kRankWarps * kUsersEach, kItems = kWarp * kItemsEach;
constexpr int kDepth = 32;  // values of a vector staged at a time
constexpr int64_t kMostListBytes = int64_t(256) << 20;

struct Candidate {
  float score;
  int32_t id;
  __device__ bool before(const Candidate& other) const {
    return score > other.score || (score == other.score && id < other.id);
  }
};

struct Ranking {
  const float* users;  // [n_users, dim], or scores [n_users, n_items] if items is null
  const float* items;
  int64_t n_users, n_items;
  int dim;
  Lists mask, relevant;
  int64_t k;
  int32_t* ids;
  float* scores;
  uint8_t* hits;
  int64_t* above;         // or null
  float* relevant_score;  // [all relevant], scratch
  Candidate* lists;       // [users of this launch, capacity]
  int64_t first_user, last_user;
  int capacity;  // a power of two, at least k + 2 * 32
};

struct alignas(16) Tile {
  float items[kDepth][kItems + 1];
  float users[kDepth][kUsers + 4];  // padded to whole float4
  float scores[kUsers][kItems];
};

// What a warp knows about one of its users.
struct Progress {
  float threshold;  // an item must score more than this; equals come later in id order and lose
  int count;        // candidates in the list
  int64_t mask_at, relevant_at;
};

__device__ inline float never() { return -INFINITY; }

// The score of one pair, by one lane.
__device__ inline float exact_score(const Ranking& r, int64_t u, int32_t item) {
  if (item < 0 || item >= r.n_items) return NAN;
  if (!r.items) return r.users[u * r.n_items + item];
  const float* const p = r.users + u * r.dim;
  const float* const q = r.items + int64_t(item) * r.dim;
  float sum = 0;
  for (int k = 0; k < r.dim; ++k) sum = fmaf(p[k], q[k], sum);
  return sum;
}

// Copies values [from, from + kDepth) of the block's users and the tile's items, zero past the end.
__device__ inline void stage(const Ranking& r, Tile& tile, int64_t first_user, int64_t first_item,
                             int from, int warp, int lane) {
  const int k = from + lane;
#pragma unroll 8
  for (int n = warp; n < kItems; n += kRankWarps) {
    const int64_t item = first_item + n;
    tile.items[lane][n] = item < r.n_items && k < r.dim ? r.items[item * r.dim + k] : 0.0f;
  }
#pragma unroll
  for (int n = warp; n < kUsers; n += kRankWarps) {
    const int64_t user = first_user + n;
    tile.users[lane][n] = user < r.last_user && k < r.dim ? r.users[user * r.dim + k] : 0.0f;
  }
}

// Scores of the warp's users and all items of the tile, into tile.scores.
__device__ inline void score_tile(const Ranking& r, Tile& tile, int64_t first_user,
                                  int64_t first_item, int warp, int lane) {
  float sum[kUsersEach][kItemsEach] = {};
  for (int from = 0; from < r.dim; from += kDepth) {
    __syncthreads();  // the values of the round before have been used
    stage(r, tile, first_user, first_item, from, warp, lane);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kDepth; ++k) {
      const float* const users = &tile.users[k][warp * kUsersEach];
      const Pack<4> low = load<4>(users), high = load<4>(users + 4);
      float item[kItemsEach];
#pragma unroll
      for (int c = 0; c < kItemsEach; ++c) item[c] = tile.items[k][c * kWarp + lane];
#pragma unroll
      for (int m = 0; m < kUsersEach; ++m)
#pragma unroll
        for (int c = 0; c < kItemsEach; ++c)
          sum[m][c] = fmaf(m < 4 ? low.v[m % 4] : high.v[m % 4], item[c], sum[m][c]);
    }
  }
#pragma unroll
  for (int m = 0; m < kUsersEach; ++m)
#pragma unroll
    for (int c = 0; c < kItemsEach; ++c)
      tile.scores[warp * kUsersEach + m][c * kWarp + lane] = sum[m][c];
}

// Puts -inf over the listed items of this tile; returns the place of the first item beyond it.
__device__ inline int64_t strike_out(const Lists& lists, int64_t at, int64_t end,
                                     int64_t first_item, int64_t n, float* scores, int lane) {
  for (;;) {
    const bool listed = at + lane < end && lists.items[at + lane] < first_item + n;
    if (listed && lists.items[at + lane] >= first_item)
      scores[lists.items[at + lane] - first_item] = never();
    const int n_listed = __popc(__ballot_sync(kAllLanes, listed));
    at += n_listed;
    if (n_listed < kWarp) return at;
  }
}

// Sorts a list best first, by one warp: a bitonic network over the next power of two.
__device__ inline void sort_list(Candidate* list, int count, int lane) {
  int size = kWarp;
  while (size < count) size *= 2;
  for (int at = count + lane; at < size; at += kWarp) list[at] = {never(), INT32_MAX};
  __syncwarp();
  for (int run = 2; run <= size; run *= 2)
    for (int step = run / 2; step > 0; step /= 2) {
      for (int pair = lane; pair < size / 2; pair += kWarp) {
        const int low = pair / step * step * 2 + pair % step, high = low + step;
        const Candidate a = list[low], b = list[high];
        const bool best_first = (low & run) == 0;
        if (best_first ? b.before(a) : a.before(b)) {
          list[low] = b;
          list[high] = a;
        }
      }
      __syncwarp();
    }
}

// Sorts the list and keeps the k best.
__device__ inline void cut(const Ranking& r, Candidate* list, float& threshold, int& count,
                           int lane) {
  sort_list(list, count, lane);
  if (count < r.k) return;
  count = int(r.k);
  threshold = list[r.k - 1].score;
}

// One user's part of a tile: mask, count above, keep what passes the threshold.
__device__ inline void take(const Ranking& r, int64_t u, int64_t first_item, float* scores,
                            Progress& progress, Candidate* list, int lane) {
  const int64_t n = r.n_items - first_item < kItems ? r.n_items - first_item : kItems;
  const int64_t mask_at =
      strike_out(r.mask, progress.mask_at, r.mask.indptr[u + 1], first_item, n, scores, lane);
  const int64_t relevant_at = strike_out(r.relevant, progress.relevant_at, r.relevant.indptr[u + 1],
                                         first_item, n, scores, lane);
  __syncwarp();
  if (r.above) {
    for (int64_t at = r.relevant.indptr[u]; at < r.relevant.indptr[u + 1]; ++at) {
      int count = 0;
      for (int c = lane; c < kItems; c += kWarp)
        count += __popc(__ballot_sync(kAllLanes, c < n && scores[c] >= r.relevant_score[at]));
      if (lane == 0) r.above[at] += count;
    }
  }
  float threshold = progress.threshold;
  int count = progress.count;
  for (int c = lane; c < kItems; c += kWarp) {
    const float score = c < n ? scores[c] : never();
    const bool passes = score > threshold;
    const unsigned votes = __ballot_sync(kAllLanes, passes);
    if (!votes) continue;
    const unsigned before = votes & ((1u << lane) - 1);
    if (passes) list[count + __popc(before)] = {score, int32_t(first_item + c)};
    count += __popc(votes);
    __syncwarp();
    if (count > r.capacity - kWarp) cut(r, list, threshold, count, lane);
  }
  __syncwarp();
  if (lane == 0) progress = {threshold, count, mask_at, relevant_at};
  __syncwarp();
}

// The user's final list: the best other items and the relevant ones, equals in that order. Every
// entry counts how many come before it and writes itself there.
__device__ inline void merge(const Ranking& r, int64_t u, Candidate* list, int count, int lane) {
  float threshold = never();
  cut(r, list, threshold, count, lane);
  const int64_t begin = r.relevant.indptr[u], end = r.relevant.indptr[u + 1];
  const int32_t* const masked = r.mask.items + r.mask.indptr[u];
  const int32_t* const masked_end = r.mask.items + r.mask.indptr[u + 1];
  int relevant = 0;
  for (int64_t base = begin; base < end; base += kWarp) {
    const int64_t at = base + lane;
    bool there = at < end;
    if (there && sampler::contains(masked, masked_end, r.relevant.items[at]))
      r.relevant_score[at] = NAN;  // before and behind nothing
    there = there && r.relevant_score[at] == r.relevant_score[at];
    relevant += __popc(__ballot_sync(kAllLanes, there));
  }
  __syncwarp();
  const auto put = [&](int64_t place, int32_t id, float score, bool hit) {
    if (place >= r.k) return;
    r.ids[u * r.k + place] = id;
    r.scores[u * r.k + place] = score;
    r.hits[u * r.k + place] = hit;
  };
  for (int n = lane; n < count; n += kWarp) {
    int64_t place = n;
    for (int64_t at = begin; at < end; ++at) place += r.relevant_score[at] > list[n].score;
    put(place, list[n].id, list[n].score, false);
  }
  for (int64_t mine = begin + lane; mine < end; mine += kWarp) {
    const Candidate own{r.relevant_score[mine], r.relevant.items[mine]};
    if (own.score != own.score) continue;
    int low = 0, high = count;  // the first of the others that scores less
    while (low < high) {
      const int middle = (low + high) / 2;
      if (list[middle].score >= own.score)
        low = middle + 1;
      else
        high = middle;
    }
    int64_t place = low;
    for (int64_t at = begin; at < end; ++at)
      place += Candidate{r.relevant_score[at], r.relevant.items[at]}.before(own);
    put(place, own.id, own.score, true);
  }
  for (int64_t place = count + relevant + lane; place < r.k; place += kWarp)
    put(place, -1, never(), false);
}

__global__ void __launch_bounds__(kRankThreads) rank_kernel(const Ranking r) {
  __shared__ Tile tile;
  __shared__ Progress progress[kUsers];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int64_t block_user = r.first_user + int64_t(blockIdx.x) * kUsers;
  const int64_t left = r.last_user - block_user - warp * kUsersEach;
  const int members = int(left < 0 ? 0 : left < kUsersEach ? left : kUsersEach);
  const int64_t first = block_user + warp * kUsersEach;
  const auto list_of = [&](int m) { return r.lists + (first + m - r.first_user) * r.capacity; };

  for (int m = 0; m < members; ++m) {
    const int64_t u = first + m;
    if (lane == 0)
      progress[warp * kUsersEach + m] = {never(), 0, r.mask.indptr[u], r.relevant.indptr[u]};
    for (int64_t at = r.relevant.indptr[u] + lane; at < r.relevant.indptr[u + 1]; at += kWarp) {
      r.relevant_score[at] = exact_score(r, u, r.relevant.items[at]);
      if (r.above) r.above[at] = 0;
    }
  }
  __syncwarp();
  for (int64_t first_item = 0; first_item < r.n_items; first_item += kItems) {
    if (r.items) score_tile(r, tile, block_user, first_item, warp, lane);
    for (int m = 0; m < members; ++m) {
      float* const scores = tile.scores[warp * kUsersEach + m];
      if (!r.items)
        for (int c = lane; c < kItems && first_item + c < r.n_items; c += kWarp)
          scores[c] = r.users[(first + m) * r.n_items + first_item + c];
      __syncwarp();
      take(r, first + m, first_item, scores, progress[warp * kUsersEach + m], list_of(m), lane);
    }
  }
  for (int m = 0; m < members; ++m)
    merge(r, first + m, list_of(m), progress[warp * kUsersEach + m].count, lane);
}

int list_capacity(int64_t n_items, int64_t k) {
  int64_t size = kWarp;
  while (size < (k < n_items ? k : n_items) + 2 * kWarp) size *= 2;
  return int(size);
}

}  // namespace

int64_t rank_workspace(int64_t n_users, int64_t n_items, int64_t k, int64_t n_relevant) {
  const int64_t list = int64_t(list_capacity(n_items, k)) * int64_t(sizeof(Candidate));
  const int64_t all = ceil_div(n_users, kUsers) * kUsers * list;
  const int64_t least = kUsers * list;
  Arena arena(nullptr);
  arena.take<float>(n_relevant);
  arena.take<char>(all < kMostListBytes ? all : kMostListBytes > least ? kMostListBytes : least);
  return arena.used();
}

void rank(const float* users_or_scores, const float* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t n_relevant, int64_t k,
          int32_t* ids, float* scores, uint8_t* hits, int64_t* above, void* workspace,
          int64_t workspace_bytes, void* stream) {
  Ranking r{users_or_scores, item_vectors, n_users, n_items, int(dim), mask, relevant, k, ids,
            scores,          hits,         above,   nullptr, nullptr,  0,    0,        0};
  Arena arena(workspace);
  r.relevant_score = arena.take<float>(n_relevant);
  r.lists = arena.take<Candidate>(0);
  r.capacity = list_capacity(n_items, k);
  const int64_t list = r.capacity * int64_t(sizeof(Candidate));
  const int64_t room =
      workspace_bytes - (reinterpret_cast<char*>(r.lists) - static_cast<char*>(workspace));
  const int64_t round = room / (kUsers * list) * kUsers;
  if (round < 1)
    throw std::runtime_error("rank needs a workspace of at least " + std::to_string(kUsers * list) +
                             " bytes for its lists, got " + std::to_string(room));
  for (int64_t u = 0; u < n_users; u += round) {
    r.first_user = u;
    r.last_user = u + round < n_users ? u + round : n_users;
    launch(&rank_kernel, ceil_div(r.last_user - u, kUsers), kRankThreads, stream, r);
  }
}

}  // namespace advrec::cuda
