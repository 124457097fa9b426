// Ranking by bounds: the same bits as rank.inl, most scores never computed.
//
// Items are sorted by norm. A user is done at the tile whose norms cannot lift a score above the
// user's k-th (Teflioudi et al., LEMP, SIGMOD 2015). Until then an integer scan of quantised
// vectors (int8.inl) finds the few items of a tile that may score enough, and these are scored by
// the chain of multiply-adds that rank.inl has, so that nothing but their order of arrival differs;
// since the best k under a total order do not depend on that order, neither does the result.
// bounds.inl proves the bounds. Items that equal the user's k-th score decide by id, so `threshold`
// is the number just below that score.

namespace advrec::cpu::ADVREC_ISA {

// a b + c, rounded as the compiler rounds `c += a * b` of whole vectors here. Written as an
// expression of plain floats it would not be: gcc makes vectors of products, rounds them, and adds.
ADVREC_INLINE float multiply_add(float a, float b, float c) {
#if ADVREC_BYTES > 16 || defined(__FP_FAST_FMAF)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// Scores of N items and one user: N of multiply_panel's chains, which a processor works on at the
// same time.
template <int N>
ADVREC_INLINE void multiply_rows(const float* user, const float* const* items, int64_t dim,
                                 float* scores) {
  float sums[N] = {};
  for (int64_t k = 0; k < dim; ++k) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sums[n] = multiply_add(user[k], items[n][k], sums[n]);
  }
  for (int n = 0; n < N; ++n) scores[n] = sums[n];
}

class BoundedRanker : Ranker<float> {
 public:
  // Without `int8`, tiles are skipped by norms only.
  template <class... Arguments>
  explicit BoundedRanker(const Int8Scan* int8, const Arguments&... arguments)
      : Ranker<float>(arguments...),
        int8_(int8),
        tiles_((n_items_ + kItems - 1) / kItems),
        steps_((dim_ + 7) / 8),
        score_(dim_),
        order_(n_items_),
        place_(n_items_),
        keys_(n_items_),
        bounds_(tiles_),
        quantised_(int8_ ? tiles_ * kItems * steps_ * 8 : 0) {}

  void run() {
    parallel([&](Team& team) {
      team.ranges(n_items_, 1024, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) keys_[i] = score_.norm_key(items_ + i * dim_);
      });
      if (team.thread() == 0) sort_by_norm(keys_.get(), n_items_, order_.get(), place_.get());
      team.barrier();
      team.each(tiles_, [&](int64_t t) { measure_tile(t); });
      constexpr int64_t M = Tile<float>::kUsers;
      int64_t block = (n_users_ / (4 * team.threads()) + M) / M * M;
      block = block < Tile<float>::kUserBlock ? block : Tile<float>::kUserBlock;
      Worker worker(*this, block);
      team.ranges(n_users_, block,
                  [&](int64_t begin, int64_t end) { rank_block(worker, begin, end); });
    });
  }

 private:
  static constexpr int64_t kItems = Tile<float>::kItems;
  static_assert(kItems == kInt8Items);
  static constexpr int64_t kRows = 8;           // survivors of a user that are scored together
  static constexpr int64_t kMany = kItems / 4;  // survivors of a tile: it is scored in float32

  struct User {
    Bounds bounds;
    int32_t shift;            // what the items' offset adds to every sum
    const int32_t* excluded;  // places of masked and relevant items, ascending; the next one
    const int32_t* excluded_end;
    int32_t waiting[kRows];  // places of survivors not scored yet
    int waiting_count;
    Selection<float> best;
  };
  // What a thread needs, for a block of users.
  struct Worker {
    Worker(const BoundedRanker& ranker, int64_t block)
        : users(block),
          candidates(block * 2 * ranker.k_),
          bytes(ranker.int8_ ? block * ranker.steps_ * 8 : 0),
          active(block),
          by_int8(block),
          by_float(block),
          packed_items(kItems * ranker.dim_),
          packed_users(Tile<float>::kUsers * ranker.dim_),
          scores(Tile<float>::kUsers * kItems) {}
    Buffer<User> users;
    Buffer<Candidate<float>> candidates;
    Buffer<int8_t> bytes;  // [block, steps * 8] quantised users
    Buffer<int32_t> active, by_int8, by_float;
    Buffer<float> packed_items, packed_users, scores;
  };

  void measure_tile(int64_t t) {
    const int64_t first = t * kItems;
    const int64_t n = first + kItems < n_items_ ? kItems : n_items_ - first;
    const uint32_t key = keys_[order_[first]];  // the largest of this tile and of all that follow
    Bounds& tile = bounds_[t];
    tile = {double(__builtin_bit_cast(float, key)), 0, 0};
    if (!int8_ || !ScoreBounds::finite(tile.norm)) return;
    float largest = 0;
    for (int64_t c = 0; c < n; ++c) largest = score_.largest_of(row_at(first + c), largest);
    tile.scale = ScoreBounds::scale_of(largest, int8_->item_levels);
    uint8_t* const out = quantised_.get() + first * steps_ * 8;
    __builtin_memset(out, 0, size_t(kItems * steps_ * 8));
    for (int64_t c = 0; c < n; ++c) {
      const double error = score_.quantise(row_at(first + c), tile.scale, int8_->item_levels,
                                           tile.norm, [&](int64_t k, int32_t level) {
                                             out[int8_place(c, k, steps_, int8_->lanes)] =
                                                 uint8_t(level + int8_->offset);
                                           });
      tile.error = error > tile.error ? error : tile.error;
    }
  }

  void measure_user(const float* row, User& user, int8_t* out) const {
    user.bounds = {score_.norm_of(row), 0, 0};
    user.shift = 0;
    if (!int8_ || !ScoreBounds::finite(user.bounds.norm)) return;
    user.bounds.scale = ScoreBounds::scale_of(score_.largest_of(row, 0), int8_->user_levels);
    for (int64_t k = dim_; k < steps_ * 8; ++k) out[k] = 0;
    user.bounds.error = score_.quantise(row, user.bounds.scale, int8_->user_levels,
                                        user.bounds.norm, [&](int64_t k, int32_t level) {
                                          out[k] = int8_t(level);
                                          user.shift += level * int8_->offset;
                                        });
  }

  void rank_block(Worker& worker, int64_t begin, int64_t end) {
    const int64_t excluded_count =
        mask_.indptr[end] - mask_.indptr[begin] + relevant_.indptr[end] - relevant_.indptr[begin];
    Buffer<int32_t> excluded(excluded_count);
    int32_t* next = excluded.get();
    for (int64_t u = begin; u < end; ++u) {
      User& user = worker.users[u - begin];
      user.best = {worker.candidates.get() + (u - begin) * 2 * k_, 0, -__builtin_inff(), false};
      user.waiting_count = 0;
      next = exclude(u, user, next);
      score_relevant_rows(u);
      measure_user(users_ + u * dim_, user, user_bytes(worker, u - begin));
      worker.active[u - begin] = int32_t(u - begin);
    }
    int64_t active = end - begin;
    for (int64_t t = 0; t < tiles_ && active; ++t) {
      int64_t kept = 0, by_int8 = 0, by_float = 0;
      for (int64_t n = 0; n < active; ++n) {
        const int32_t at = worker.active[n];
        const User& user = worker.users[at];
        const double most = score_.reach(user.bounds, bounds_[t]);
        if (ScoreBounds::finite(most) && double(user.best.threshold) >= most) continue;
        worker.active[kept++] = at;
        if (ScoreBounds::finite(most) && user.bounds.scale * bounds_[t].scale > 0 &&
            user.best.threshold > -__builtin_inff())
          worker.by_int8[by_int8++] = at;
        else
          worker.by_float[by_float++] = at;
      }
      active = kept;
      scan_tile(worker, begin, t, by_int8, by_float);
      score_tile(worker, begin, t, by_float);
    }
    for (int64_t u = begin; u < end; ++u) {
      User& user = worker.users[u - begin];
      score_waiting(u, user);
      merge(u, user.best);
    }
  }

  int8_t* user_bytes(Worker& worker, int64_t at) const {
    return worker.bytes.get() + (int8_ ? at * steps_ * 8 : 0);
  }

  // The places of the user's masked and relevant items, sorted, from `next` on; returns their end.
  int32_t* exclude(int64_t u, User& user, int32_t* next) const {
    int32_t* const first = next;
    for (const Lists* lists : {&mask_, &relevant_})
      for (int64_t at = lists->indptr[u]; at < lists->indptr[u + 1]; ++at)
        *next++ = place_[lists->items[at]];
    sort_places(first, next - first);
    user.excluded = first, user.excluded_end = next;
    return next;
  }

  // Shell's sort with Ciura's gaps: most lists are short.
  static void sort_places(int32_t* places, int64_t n) {
    constexpr int64_t kGaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (const int64_t gap : kGaps)
      for (int64_t end = gap; end < n; ++end) {
        const int32_t moving = places[end];
        int64_t at = end;
        for (; at >= gap && places[at - gap] > moving; at -= gap) places[at] = places[at - gap];
        places[at] = moving;
      }
  }

  // Calls f(place) for the user's excluded items of a tile.
  template <class F>
  static void each_excluded(User& user, int64_t first, int64_t n, const F& f) {
    while (user.excluded < user.excluded_end && *user.excluded < first) ++user.excluded;
    for (const int32_t* at = user.excluded; at < user.excluded_end && *at < first + n; ++at)
      f(*at - first);
  }

  // The integer scan of a tile for the first `count` of by_int8. Users with many survivors are
  // added to by_float.
  void scan_tile(Worker& worker, int64_t begin, int64_t t, int64_t count, int64_t& by_float) {
    const int64_t first = t * kItems;
    const int64_t n = first + kItems < n_items_ ? kItems : n_items_ - first;
    const int8_t* rows[kInt8MostUsers];
    int32_t limits[kInt8MostUsers];
    uint64_t hits[kInt8MostUsers * kInt8Words];
    const int64_t group = int8_ ? int8_->users : 1;
    for (int64_t from = 0; from < count; from += group) {
      for (int64_t m = 0; m < group; ++m) {
        const int32_t at = worker.by_int8[from + m < count ? from + m : count - 1];
        rows[m] = user_bytes(worker, at);
        const User& user = worker.users[at];
        limits[m] = score_.limit(user.bounds, bounds_[t], user.best.threshold) + user.shift;
      }
      int8_->scan(rows, quantised_.get() + first * steps_ * 8, steps_, limits, hits);
      for (int64_t m = 0; m < group && from + m < count; ++m) {
        const int32_t at = worker.by_int8[from + m];
        if (!take_hits(begin + at, worker.users[at], first, n, hits + m * kInt8Words))
          worker.by_float[by_float++] = at;
      }
    }
  }

  // Scores what survived, some items at a time; false if there is too much of it.
  bool take_hits(int64_t u, User& user, int64_t first, int64_t n, uint64_t* hits) {
    int64_t count = 0;
    for (int64_t w = 0; w < kInt8Words; ++w) {
      if (n < 64 * (w + 1)) hits[w] &= n > 64 * w ? ~uint64_t(0) >> (64 * (w + 1) - n) : 0;
      count += __builtin_popcountll(hits[w]);
    }
    if (count == 0) return true;
    if (count > kMany) return false;
    each_excluded(user, first, n, [&](int64_t c) { hits[c / 64] &= ~(uint64_t(1) << (c % 64)); });
    for (int64_t w = 0; w < kInt8Words; ++w)
      for (uint64_t left = hits[w]; left; left &= left - 1) {
        const int64_t place = first + 64 * w + __builtin_ctzll(left);
        for (int64_t k = 0; k < dim_ && k < 128; k += 16) __builtin_prefetch(row_at(place) + k);
        user.waiting[user.waiting_count++] = int32_t(place);
        if (user.waiting_count == kRows) score_waiting(u, user);
      }
    return true;
  }

  void score_waiting(int64_t u, User& user) {
    if (user.waiting_count == 0) return;
    const float* rows[kRows];
    float scores[kRows];
    for (int64_t n = 0; n < kRows; ++n)
      rows[n] = row_at(user.waiting[n < user.waiting_count ? n : 0]);
    multiply_rows<kRows>(users_ + u * dim_, rows, dim_, scores);
    for (int64_t n = 0; n < user.waiting_count; ++n)
      if (scores[n] > user.best.threshold) user.best.push(order_[user.waiting[n]], scores[n], k_);
    user.waiting_count = 0;
  }

  // All scores of a tile in float32 for the first `count` of by_float.
  void score_tile(Worker& worker, int64_t begin, int64_t t, int64_t count) {
    constexpr int64_t M = Tile<float>::kUsers;
    if (count == 0) return;
    const int64_t first = t * kItems;
    const int64_t n = first + kItems < n_items_ ? kItems : n_items_ - first;
    const auto id_of = [&](int64_t c) { return order_[first + c]; };
    pack_places(first, n, worker.packed_items.get());
    for (int64_t from = 0; from < count; from += M) {
      const int64_t members = from + M < count ? M : count - from;
      for (int64_t m = 0; m < M; ++m)
        for (int64_t k = 0; k < dim_; ++k)
          worker.packed_users[k * M + m] =
              m < members ? users_[(begin + worker.by_float[from + m]) * dim_ + k] : 0.0f;
      multiply_tile(worker.packed_users.get(), worker.packed_items.get(), dim_,
                    (n + Tile<float>::kColumns - 1) / Tile<float>::kColumns, worker.scores.get());
      for (int64_t m = 0; m < members; ++m) {
        User& user = worker.users[worker.by_float[from + m]];
        float* const scores = worker.scores.get() + m * kItems;
        each_excluded(user, first, n, [&](int64_t c) { scores[c] = -__builtin_inff(); });
        scan(scores, n, id_of, k_, user.best);
        if (user.best.threshold == -__builtin_inff()) user.best.cut(k_);
      }
    }
  }

  // pack_items of the items at the places [first, first + n).
  void pack_places(int64_t first, int64_t n, float* out) const {
    constexpr int64_t N = Tile<float>::kColumns;
    for (int64_t at = 0; at < (n + N - 1) / N * N; ++at) {
      const float* const row = at < n ? row_at(first + at) : nullptr;
      float* const column = out + at / N * dim_ * N + at % N;
      for (int64_t k = 0; k < dim_; ++k) column[k * N] = row ? row[k] : 0;
    }
  }

  void score_relevant_rows(int64_t u) {
    const int64_t end = relevant_.indptr[u + 1];
    for (int64_t first = relevant_.indptr[u]; first < end; first += kRows) {
      const float* rows[kRows];
      float scores[kRows];
      for (int64_t n = 0; n < kRows; ++n)
        rows[n] = items_ + relevant_.items[first + n < end ? first + n : first] * dim_;
      multiply_rows<kRows>(users_ + u * dim_, rows, dim_, scores);
      for (int64_t n = 0; n < kRows && first + n < end; ++n)
        relevant_scores_[first + n] = scores[n];
    }
  }

  const float* row_at(int64_t place) const { return items_ + order_[place] * dim_; }

  const Int8Scan* const int8_;
  const int64_t tiles_, steps_;  // steps of eight values in a row
  const ScoreBounds score_;
  Buffer<int32_t> order_, place_;  // the item at a place, and the place of an item
  Buffer<uint32_t> keys_;          // of item i
  Buffer<Bounds> bounds_;          // of a tile
  Buffer<uint8_t> quantised_;      // [tiles, see int8_place]
};

// Preparing the items costs about as much as a few dozen users, and of a tile or two nothing is
// skipped.
constexpr int64_t kLeastUsers = 64, kLeastItems = 2 * kInt8Items;

template <class T>
void rank(const T* users_or_scores, const T* item_vectors, int64_t n_users, int64_t n_items,
          int64_t dim, const Lists& mask, const Lists& relevant, int64_t k, int32_t* ids, T* scores,
          uint8_t* hits, int64_t* above, RankPath path) {
  if constexpr (sizeof(T) == 4) {
    const bool can = item_vectors && !above && dim <= ScoreBounds::kMostDim;
    const bool pays = path != RankPath::kAuto || (n_users >= kLeastUsers && n_items >= kLeastItems);
    if (can && pays && path != RankPath::kAll) {
      const bool int8 = path == RankPath::kAuto ? ADVREC_BYTES > 16 : path != RankPath::kNorms;
      const Int8Scan* scan = int8 ? own_int8_scan() : nullptr;
      if (int8 && ADVREC_BYTES == 64 && path != RankPath::kInt8Own && vnni_scan_here())
        scan = vnni_scan_here();
      BoundedRanker(scan, users_or_scores, item_vectors, n_users, n_items, dim, mask, relevant, k,
                    ids, scores, hits, above)
          .run();
      return;
    }
  }
  Ranker<T>(users_or_scores, item_vectors, n_users, n_items, dim, mask, relevant, k, ids, scores,
            hits, above)
      .run();
}

}  // namespace advrec::cpu::ADVREC_ISA
