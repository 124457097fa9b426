// Masked full-ranking top-K: score, mask and select in one pass over the catalogue.
//
// A thread takes a block of users; for each tile of items it packs the tile once, multiplies six
// users at a time into a buffer that stays in the first-level cache, and scans that buffer against
// each user's current threshold. It needs a few hundred KB per thread, however large the catalogue.
// Relevant items are kept out of the scan and merged in at the end behind their equals, so that
// ties count against the hit.

namespace advrec::cpu::ADVREC_ISA {

template <class T>
struct Candidate {
  T score;
  int32_t id;
  bool before(const Candidate& other) const {
    return score > other.score || (score == other.score && id < other.id);
  }
};

// Sorts best first. A heap sort of our own keeps code of this instruction set inside its namespace.
template <class T>
inline void sort_candidates(Candidate<T>* c, int64_t n) {
  const auto sink = [c](int64_t at, int64_t end) {  // the root is the worst
    for (int64_t child; (child = 2 * at + 1) < end; at = child) {
      if (child + 1 < end && c[child].before(c[child + 1])) ++child;
      if (!c[at].before(c[child])) return;
      const Candidate<T> swap = c[at];
      c[at] = c[child], c[child] = swap;
    }
  };
  for (int64_t at = n / 2 - 1; at >= 0; --at) sink(at, n);
  for (int64_t end = n - 1; end > 0; --end) {
    const Candidate<T> swap = c[0];
    c[0] = c[end], c[end] = swap;
    sink(0, end);
  }
}

// Brings the k best to the front, in any order (Hoare's selection).
template <class T>
inline void keep_best(Candidate<T>* c, int64_t n, int64_t k) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    const Candidate<T> a = c[low], b = c[(low + high) / 2], d = c[high];
    const Candidate<T> pivot = a.before(b) ? (b.before(d)   ? b
                                              : a.before(d) ? d
                                                            : a)
                                           : (a.before(d)   ? a
                                              : b.before(d) ? d
                                                            : b);
    int64_t i = low, j = high;
    while (i <= j) {
      while (c[i].before(pivot)) ++i;
      while (pivot.before(c[j])) --j;
      if (i > j) break;
      const Candidate<T> swap = c[i];
      c[i++] = c[j], c[j--] = swap;
    }
    if (k - 1 <= j)
      high = j;
    else if (k - 1 >= i)
      low = i;
    else
      return;
  }
}

// The best k non-relevant items seen so far: 2k places, cut to k when full.
template <class T>
struct Selection {
  Candidate<T>* items;
  int64_t count;
  T threshold;  // an item must score more than this; equals come later in id order and lose

  void push(int32_t id, T score, int64_t k) {
    items[count++] = {score, id};
    if (count == 2 * k) cut(k);
  }
  void cut(int64_t k) {
    if (count < k) return;
    keep_best(items, count, k);
    count = k;
    threshold = items[0].score;
    for (int64_t n = 1; n < k; ++n)
      threshold = items[n].score < threshold ? items[n].score : threshold;
  }
  void finish(int64_t k) {
    cut(k);
    sort_candidates(items, count);
  }
};

// Scans one user's part of a tile.
template <class T>
inline void scan(const T* scores, int64_t n, int32_t first_id, int64_t k, Selection<T>& best) {
  constexpr int W = Simd<T>::kWidth;
  int64_t at = 0;
  for (; at + 4 * W <= n; at += 4 * W) {
    uint64_t hits = 0;
    for (int v = 0; v < 4; ++v)
      hits |= uint64_t(lanes_above(load(scores + at + v * W), best.threshold)) << (v * W);
    for (; hits; hits &= hits - 1) {
      const int64_t c = at + __builtin_ctzll(hits);
      // Again: the threshold may have risen since.
      if (scores[c] > best.threshold) best.push(first_id + int32_t(c), scores[c], k);
    }
  }
  for (; at < n; ++at)
    if (scores[at] > best.threshold) best.push(first_id + int32_t(at), scores[at], k);
}

template <class T>
inline int64_t count_at_least(const T* scores, int64_t n, T limit) {
  int64_t count = 0;
  for (int64_t c = 0; c < n; ++c) count += scores[c] >= limit;
  return count;
}

template <class T>
class Ranker {
 public:
  Ranker(const T* users, const T* items, int64_t n_users, int64_t n_items, int64_t dim,
         const Lists& mask, const Lists& relevant, int64_t k, int32_t* ids, T* scores,
         uint8_t* hits, int64_t* above)
      : users_(users),
        items_(items),
        n_users_(n_users),
        n_items_(n_items),
        dim_(dim),
        mask_(mask),
        relevant_(relevant),
        k_(k),
        ids_(ids),
        scores_(scores),
        hits_(hits),
        above_(above),
        relevant_scores_(relevant.indptr[n_users]) {}

  void run() {
    parallel([&](Team& team) {
      constexpr int64_t M = Tile<T>::kUsers;
      // Small blocks when there are few users, so that every thread has some.
      int64_t block = (n_users_ / (4 * team.threads()) + M) / M * M;
      block = block < Tile<T>::kUserBlock ? block : Tile<T>::kUserBlock;
      Buffer<T> packed_items(items_ ? int64_t(Tile<T>::kItems) * dim_ : 0);
      Buffer<T> packed_users(items_ ? block * dim_ : 0), scores(M * Tile<T>::kItems);
      Buffer<Candidate<T>> candidates(block * 2 * k_);
      Buffer<T> panel(items_ ? Tile<T>::kColumns * dim_ : 0);
      Buffer<Selection<T>> best(block);
      Buffer<int64_t> mask_at(block), relevant_at(block);
      team.ranges(n_users_, block, [&](int64_t begin, int64_t end) {
        for (int64_t u = begin; u < end; ++u) {
          best[u - begin] = {candidates.get() + (u - begin) * 2 * k_, 0, -T(__builtin_inff())};
          mask_at[u - begin] = mask_.indptr[u];
          relevant_at[u - begin] = relevant_.indptr[u];
          score_relevant(u, panel.get());
        }
        if (items_) pack_users(users_, dim_, begin, end, packed_users.get());
        for (int64_t first = 0; first < n_items_; first += Tile<T>::kItems) {
          const int64_t n =
              first + Tile<T>::kItems < n_items_ ? int64_t(Tile<T>::kItems) : n_items_ - first;
          if (items_) pack_items(items_, dim_, first, n, packed_items.get());
          for (int64_t group = begin; group < end; group += M) {
            const int64_t members = group + M < end ? M : end - group;
            if (items_)
              multiply_tile(packed_users.get() + (group - begin) * dim_, packed_items.get(), dim_,
                            (n + Tile<T>::kColumns - 1) / Tile<T>::kColumns, scores.get());
            else
              copy_scores(group, members, first, n, scores.get());
            for (int64_t m = 0; m < members; ++m)
              take(group + m, scores.get() + m * Tile<T>::kItems, first, n,
                   mask_at[group + m - begin], relevant_at[group + m - begin],
                   best[group + m - begin]);
          }
        }
        for (int64_t u = begin; u < end; ++u) merge(u, best[u - begin]);
      });
    });
  }

 private:
  // The scores of the user's relevant items, made as those of the tiles are, so that equal vectors
  // tie to the last bit; a panel at a time.
  void score_relevant(int64_t u, T* panel) {
    constexpr int W = Simd<T>::kWidth, N = Tile<T>::kColumns;
    const int64_t end = relevant_.indptr[u + 1];
    for (int64_t first = relevant_.indptr[u]; first < end; first += N) {
      const int64_t n = first + N < end ? int64_t(N) : end - first;
      const int32_t* const ids = relevant_.items + first;
      T* const out = relevant_scores_.get() + first;
      if (items_) {
        for (int64_t k = 0; k < dim_; ++k)
          for (int64_t c = 0; c < N; ++c)
            panel[k * N + c] = c < n ? items_[ids[c] * dim_ + k] : T(0);
        Vec<T> sums[1][2] = {};
        multiply_panel<1>(users_ + u * dim_, panel, dim_, sums);
        for (int64_t c = 0; c < n; ++c) out[c] = sums[0][c / W][c % W];
      } else {
        for (int64_t c = 0; c < n; ++c) out[c] = users_[u * n_items_ + ids[c]];
      }
      for (int64_t c = 0; above_ && c < n; ++c) above_[first + c] = 0;
    }
  }

  void copy_scores(int64_t group, int64_t members, int64_t first, int64_t n, T* out) const {
    for (int64_t m = 0; m < members; ++m)
      for (int64_t c = 0; c < n; ++c)
        out[m * Tile<T>::kItems + c] = users_[(group + m) * n_items_ + first + c];
  }

  void take(int64_t u, T* scores, int64_t first, int64_t n, int64_t& mask_at, int64_t& relevant_at,
            Selection<T>& best) {
    const T never = -T(__builtin_inff());
    for (; mask_at < mask_.indptr[u + 1] && mask_.items[mask_at] < first + n; ++mask_at)
      scores[mask_.items[mask_at] - first] = never;
    for (; relevant_at < relevant_.indptr[u + 1] && relevant_.items[relevant_at] < first + n;
         ++relevant_at)
      scores[relevant_.items[relevant_at] - first] = never;
    if (above_)
      for (int64_t at = relevant_.indptr[u]; at < relevant_.indptr[u + 1]; ++at)
        above_[at] += count_at_least(scores, n, relevant_scores_[at]);
    scan(scores, n, int32_t(first), k_, best);
  }

  // The user's final list: the best non-relevant items and the relevant ones, equals in that order.
  void merge(int64_t u, Selection<T>& best) {
    best.finish(k_);
    const int64_t begin = relevant_.indptr[u], n = relevant_.indptr[u + 1] - begin;
    Buffer<Candidate<T>> mine(n);
    int64_t kept = 0;
    for (int64_t at = begin; at < begin + n; ++at)
      if (!sampler::contains(mask_.items + mask_.indptr[u], mask_.items + mask_.indptr[u + 1],
                             relevant_.items[at]))
        mine[kept++] = {relevant_scores_[at], relevant_.items[at]};
    sort_candidates(mine.get(), kept);
    int64_t a = 0, b = 0;
    for (int64_t at = u * k_; at < (u + 1) * k_; ++at) {
      const bool other = a < best.count && (b == kept || best.items[a].score >= mine[b].score);
      if (!other && b == kept) {
        ids_[at] = -1, scores_[at] = -T(__builtin_inff()), hits_[at] = 0;
        continue;
      }
      const Candidate<T> chosen = other ? best.items[a++] : mine[b++];
      ids_[at] = chosen.id, scores_[at] = chosen.score, hits_[at] = !other;
    }
  }

  const T* const users_;
  const T* const items_;
  const int64_t n_users_, n_items_, dim_;
  const Lists mask_, relevant_;
  const int64_t k_;
  int32_t* const ids_;
  T* const scores_;
  uint8_t* const hits_;
  int64_t* const above_;
  Buffer<T> relevant_scores_;
};

template <class T>
void rank(const T* users_or_scores, const T* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t k, int32_t* ids, T* scores,
          uint8_t* hits, int64_t* above) {
  Ranker<T>(users_or_scores, item_vectors, n_users, n_items, dim, mask, relevant, k, ids, scores,
            hits, above)
      .run();
}

}  // namespace advrec::cpu::ADVREC_ISA
