// Certified radii: for every relevant item of every user, the k smallest radii of its rivals.
//
// advrec/robustness/radius.py has the formula and its proof. With p, n_i, n_j the norms of the
// user's and the items' vectors, a pair's radius is at least
//
//     sure/(P + W),  sure = s_i - s_j - p*slack - user_slack*(n_i + n_j + slack),
//     P = (lever + user_slack)*(r_i + r_j),  W = r_u*(n_i + n_j + slack),
//     slack = rounding*(n_i + n_j) + slack_i + slack_j,
//
// because the root in the exact formula is at most sqrt(P^2 + W^2 + 2PW). With t the k-th smallest
// radius so far, rival j is passed over if sure > t*(P + W), which is linear in the item's score,
// norm and reach: two multiply-adds and a compare in the buffer of a tile. Scores of that scan are
// float32, of vectors scaled by powers of two (each user's norm and the largest item norm lie in
// [1/2, 1)), so that nothing overflows and an error is at most
//
//     (d + 8)*2^-24*1.01*|p||q_j| + d*2^-140:
//
// two conversions, d products and d sums, each within 2^-24, and what underflows. It is taken off
// the threshold with the threshold's own rounding. Survivors get the exact formula in double.
//
// An item with k rivals of radius 0 has them as its result, and only its rank is still counted:
// scores farther from its own than the error by comparisons, the others in double.

namespace advrec::cpu::ADVREC_ISA {

constexpr double kUnit = 1.0 / (1 << 24);
constexpr double kTinyProduct = 1e-20;  // TINY of radius.py: products below may underflow
constexpr double kLeastNorm = 1e-250;  // below (and if not finite), no score of the scan is trusted

typedef double Doubles __attribute__((vector_size(ADVREC_BYTES)));
typedef float HalfFloats __attribute__((vector_size(ADVREC_BYTES / 2), aligned(4), may_alias));

ADVREC_INLINE Doubles load_double(const double* p) { return load(p); }
ADVREC_INLINE Doubles load_double(const float* p) {
  return __builtin_convertvector(*reinterpret_cast<const HalfFloats*>(p), Doubles);
}

// a . b in double, the same for equal vectors wherever they stand.
template <class T>
inline double dot_double(const T* a, const T* b, int64_t n) {
  constexpr int W = Simd<double>::kWidth;
  Doubles s0{}, s1{};
  int64_t k = 0;
  for (; k + 2 * W <= n; k += 2 * W) {
    s0 += load_double(a + k) * load_double(b + k);
    s1 += load_double(a + k + W) * load_double(b + k + W);
  }
  double tail = 0;
  for (; k < n; ++k) tail += double(a[k]) * double(b[k]);
  return lanes_sum<double>(s0 + s1) + tail;
}

// |a - b| in double.
template <class T>
inline double distance(const T* a, const T* b, int64_t n) {
  constexpr int W = Simd<double>::kWidth;
  Doubles s0{}, s1{};
  int64_t k = 0;
  for (; k + 2 * W <= n; k += 2 * W) {
    const Doubles c0 = load_double(a + k) - load_double(b + k);
    const Doubles c1 = load_double(a + k + W) - load_double(b + k + W);
    s0 += c0 * c0;
    s1 += c1 * c1;
  }
  double tail = 0;
  for (; k < n; ++k) {
    const double c = double(a[k]) - double(b[k]);
    tail += c * c;
  }
  return root(lanes_sum<double>(s0 + s1) + tail);
}

// The power of two that brings x into [1/2, 1); 1 where there is none to be trusted.
inline double scale_of(double x) {
  if (!(x > kLeastNorm && x < 1 / kLeastNorm)) return 1;
  int exponent;
  __builtin_frexp(x, &exponent);
  return __builtin_ldexp(1, -exponent);
}

// The values of a sorted row that are smaller move up; the largest falls out.
inline void insert_sorted(double* row, int64_t k, double value) {
  if (!(value < row[k - 1])) return;
  int64_t at = k - 1;
  for (; at > 0 && row[at - 1] > value; --at) row[at] = row[at - 1];
  row[at] = value;
}

// How many of n scores (a multiple of the width) lie above each of two limits.
inline void count_above(const float* scores, int64_t n, float low, float high, int64_t counts[2]) {
  constexpr int W = Simd<float>::kWidth;
  typedef int32_t Ints __attribute__((vector_size(ADVREC_BYTES)));
  const Vec<float> a = Vec<float>{} + low, b = Vec<float>{} + high;
  Ints above_low{}, above_high{};
  for (int64_t at = 0; at < n; at += W) {
    const Vec<float> s = load(scores + at);
    above_low -= s > a;
    above_high -= s > b;
  }
  counts[0] = counts[1] = 0;
  for (int lane = 0; lane < W; ++lane) counts[0] += above_low[lane], counts[1] += above_high[lane];
}

template <class T>
class RadiusScan {
 public:
  RadiusScan(const T* users, const T* items, int64_t n_users, int64_t n_items, int64_t dim,
             const Reach& reach, const Lists& mask, const Lists& relevant, int64_t k,
             int64_t* ranks, double* rivals, double* stays)
      : users_(users),
        items_(items),
        n_items_(n_items),
        dim_(dim),
        reach_(reach),
        mask_(mask),
        relevant_(relevant),
        k_(k),
        ranks_(ranks),
        rivals_(rivals),
        stays_(stays),
        rounding_(1.001 * double(dim + 8) * kUnit),
        with_relevant_(n_users),
        norms_(n_items) {
    for (int64_t u = 0; u < n_users; ++u)
      if (relevant.indptr[u] < relevant.indptr[u + 1]) with_relevant_[n_users_++] = u;
  }

  void run() {
    parallel([&](Team& team) {
      team.ranges(n_items_, 1024, [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j)
          norms_[j] = root(dot_double(items_ + j * dim_, items_ + j * dim_, dim_));
      });
      if (team.thread() == 0) measure();
      team.barrier();
      constexpr int64_t M = Tile<float>::kUsers;
      int64_t block = (n_users_ / (4 * team.threads()) + M) / M * M;
      block = block < Tile<float>::kUserBlock ? block : Tile<float>::kUserBlock;
      Work work(block, dim_);
      team.ranges(n_users_, block, [&](int64_t b, int64_t e) { scan_block(b, e, work); });
    });
  }

 private:
  struct User {
    int64_t id;
    double norm, scale, lever;
    int64_t mask_at, relevant_at;
    bool trusted;  // is the scan's error bound valid?
  };
  struct Rival {  // a relevant item and what is known of it so far
    double score;
    bool active;  // its k-th radius is not yet 0
    bool hidden;
  };
  struct Work {
    Work(int64_t block, int64_t dim)
        : users(block * dim),
          items(Tile<float>::kItems * dim),
          scores(Tile<float>::kUsers * Tile<float>::kItems),
          norms(Tile<float>::kItems),
          reaches(Tile<float>::kItems),
          state(block) {}
    Buffer<float> users, items, scores, norms, reaches;
    Buffer<User> state;
    double largest_norm, largest_slack;  // of the tile
  };

  // The largest norm and reach of all items.
  void measure() {
    double norm = 0;
    bool finite = true;
    for (int64_t j = 0; j < n_items_; ++j) {
      norm = norms_[j] > norm ? norms_[j] : norm;
      finite = finite && norms_[j] < 1 / kLeastNorm;
      largest_reach_ = reach_.items[j] > largest_reach_ ? reach_.items[j] : largest_reach_;
    }
    largest_norm_ = norm;
    item_scale_ = scale_of(norm);
    items_trusted_ = finite && norm > kLeastNorm;
  }

  void scan_block(int64_t begin, int64_t end, Work& work) {
    constexpr int64_t M = Tile<float>::kUsers, N = Tile<float>::kItems;
    int64_t count = 0;  // relevant items of the block
    for (int64_t n = begin; n < end; ++n) {
      const int64_t u = with_relevant_[n];
      count += relevant_.indptr[u + 1] - relevant_.indptr[u];
    }
    Buffer<Rival> states(count);
    Buffer<int64_t> starts(end - begin);
    int64_t at = 0;
    for (int64_t n = begin; n < end; ++n) {
      starts[n - begin] = at;
      at += start(with_relevant_[n], work.state[n - begin], states.get() + at);
    }
    pack_block(begin, end, work);
    for (int64_t first = 0; first < n_items_; first += N) {
      const int64_t n = first + N < n_items_ ? N : n_items_ - first;
      pack_tile(first, n, work);
      for (int64_t group = begin; group < end; group += M) {
        multiply_tile(work.users.get() + (group - begin) * dim_, work.items.get(), dim_,
                      (n + Tile<float>::kColumns - 1) / Tile<float>::kColumns, work.scores.get());
        for (int64_t m = 0; m < M && group + m < end; ++m)
          take(work.state[group + m - begin], states.get() + starts[group + m - begin],
               work.scores.get() + m * N, first, n, work);
      }
    }
    for (int64_t n = begin; n < end; ++n)
      finish(work.state[n - begin], states.get() + starts[n - begin]);
  }

  int64_t start(int64_t u, User& user, Rival* rivals) const {
    const T* const p = users_ + u * dim_;
    const double norm = root(dot_double(p, p, dim_));
    user = {u,
            norm,
            scale_of(norm),
            reach_.levers ? reach_.levers[u] : norm,
            mask_.indptr[u],
            relevant_.indptr[u],
            items_trusted_ && (norm == 0 || (norm > kLeastNorm && norm < 1 / kLeastNorm))};
    const int64_t first = relevant_.indptr[u], n = relevant_.indptr[u + 1] - first;
    for (int64_t r = 0; r < n; ++r) {
      const int32_t item = relevant_.items[first + r];
      rivals[r] = {dot_double(p, items_ + item * dim_, dim_), true,
                   sampler::contains(mask_.items + mask_.indptr[u],
                                     mask_.items + mask_.indptr[u + 1], item)};
      ranks_[first + r] = 1;
      for (int64_t k = 0; k < k_; ++k) rivals_[(first + r) * k_ + k] = __builtin_inf();
    }
    return n;
  }

  void pack_block(int64_t begin, int64_t end, Work& work) const {
    constexpr int64_t M = Tile<float>::kUsers;
    for (int64_t group = begin; group < end; group += M)
      for (int64_t m = 0; m < M; ++m)
        for (int64_t k = 0; k < dim_; ++k) {
          float& out = work.users[(group - begin) * dim_ + k * M + m];
          out = 0;
          if (group + m >= end) continue;
          const User& user = work.state[group + m - begin];
          if (user.trusted) out = float(double(users_[user.id * dim_ + k]) * user.scale);
        }
  }

  // As pack_items, scaled, with the norms and reaches of the scan rounded up; zeros where nothing
  // is trusted, so that every rival survives the scan.
  void pack_tile(int64_t first, int64_t n, Work& work) const {
    constexpr int64_t N = Tile<float>::kColumns, W = Simd<float>::kWidth;
    for (int64_t panel = 0; panel * N < n; ++panel)
      for (int64_t c = 0; c < N; ++c) {
        const int64_t item = panel * N + c;
        for (int64_t k = 0; k < dim_; ++k)
          work.items[(panel * dim_ + k) * N + c] =
              item < n && items_trusted_
                  ? float(double(items_[(first + item) * dim_ + k]) * item_scale_)
                  : 0.0f;
      }
    work.largest_norm = work.largest_slack = 0;
    for (int64_t c = 0; c < (n + W - 1) / W * W; ++c) {
      const bool real = c < n;
      const double norm = real ? norms_[first + c] : 0, reach = real ? reach_.items[first + c] : 0;
      const double slack = real ? reach_.item_slack[first + c] : 0;
      work.norms[c] = items_trusted_ ? float(norm * item_scale_ * (1 + 4 * kUnit)) : 0;
      work.reaches[c] = largest_reach_ > 0 ? float(reach / largest_reach_ * (1 + 4 * kUnit)) : 0;
      work.largest_norm = norm > work.largest_norm ? norm : work.largest_norm;
      work.largest_slack = slack > work.largest_slack ? slack : work.largest_slack;
    }
  }

  // Scores below `limit` after the item's part is added belong to rivals that are passed over.
  struct Threshold {
    float limit, by_norm, by_reach;
  };

  // What the scan of a user and a tile may be wrong by, scaled.
  double error(const User& user, const Work& work) const {
    return 1.01 * double(dim_ + 8) * kUnit * (user.norm * user.scale) *
               (work.largest_norm * item_scale_) +
           double(dim_) * __builtin_ldexp(1, -140);
  }

  Threshold threshold(const User& user, const Rival& own, int32_t item, double reached,
                      const Work& work) const {
    const Threshold everything{-__builtin_inff(), 0, 0};
    // Where a product may underflow, the radius is 0 whatever the margin.
    if (!user.trusted || user.norm * norms_[item] < kTinyProduct) return everything;
    const double grow = (1 + rounding_) * reached, more = reach_.user_slack[user.id];
    const double lever = user.lever + more, r_u = reach_.users[user.id];
    const double slack = rounding_ * norms_[item] + reach_.item_slack[item] + work.largest_slack;
    const double by_norm = (user.norm + more) * rounding_ + more + grow * r_u * (1 + rounding_);
    const double by_reach = grow * lever;
    const double taken = (user.norm + more) * slack + more * norms_[item] +
                         grow * (lever * reach_.items[item] + r_u * (norms_[item] + slack));
    // In the units of the scan, and all that is taken off a little larger.
    const double upward = 1 + 1e-6;
    const double a = by_norm * upward * user.scale;
    const double b = by_reach * upward * largest_reach_ * user.scale * item_scale_;
    const double c = (own.score - taken * upward) * user.scale * item_scale_;
    const double away = c < 0 ? -c : c;
    const double limit = c - error(user, work) - 8 * kUnit * (1 + a + b + away);
    if (!(away < 1e30 && a < 1e30 && b < 1e30)) return everything;
    return {float(limit - 2 * kUnit * (limit < 0 ? -limit : limit)), float(a), float(b)};
  }

  // The radius of a pair in double: `pair_radius` of radius.py, less what rounding could do.
  double radius(const User& user, int32_t own, int32_t other, double margin) const {
    const double norms = norms_[own] + norms_[other];
    if (user.norm * norms < kTinyProduct) return 0;
    const double more = reach_.user_slack[user.id];
    const double slack = rounding_ * norms + reach_.item_slack[own] + reach_.item_slack[other];
    const double w = distance(items_ + own * dim_, items_ + other * dim_, dim_);
    const double sure = margin - slack * user.norm - more * (w + slack);
    if (!(sure > 0)) return 0;
    const double grow = 1 + rounding_;
    const double r_u = reach_.users[user.id] * grow;
    const double r_e = (reach_.items[own] + reach_.items[other]) * grow;
    if (dim_ == 1 && !reach_.levers) {  // no turning
      const double by_user = (user.norm - more) / r_u, by_item = (w - slack) / r_e;
      return by_user < by_item ? by_user : by_item;
    }
    const double length = user.lever + more, width = w + slack;
    const double square = length * width * (length * width) - sure * sure;
    const double across = root(square > 0 ? square : 0) * (1 + 1e-9) * r_u * r_e;
    const double p = length * r_e, v = width * r_u;
    return sure / root(p * p + v * v + 2 * across) * (1 - 1e-9);
  }

  void take(User& user, Rival* rivals, float* scores, int64_t first, int64_t n, const Work& work) {
    constexpr int64_t W = Simd<float>::kWidth;
    const int64_t u = user.id, wide = (n + W - 1) / W * W;
    const float never = -__builtin_inff();
    for (; user.mask_at < mask_.indptr[u + 1] && mask_.items[user.mask_at] < first + n;
         ++user.mask_at)
      scores[mask_.items[user.mask_at] - first] = never;
    for (; user.relevant_at < relevant_.indptr[u + 1] &&
           relevant_.items[user.relevant_at] < first + n;
         ++user.relevant_at)
      scores[relevant_.items[user.relevant_at] - first] = never;
    for (int64_t c = n; c < wide; ++c) scores[c] = never;
    const int64_t base = relevant_.indptr[u], count = relevant_.indptr[u + 1] - base;
    for (int64_t r = 0; r < count; ++r) {
      if (rivals[r].active)
        select(user, rivals[r], base + r, scores, first, wide, work);
      else
        count_tile(user, rivals[r], base + r, scores, first, n, wide, work);
    }
  }

  void select(const User& user, Rival& own, int64_t place, const float* scores, int64_t first,
              int64_t wide, const Work& work) {
    constexpr int64_t W = Simd<float>::kWidth;
    const int32_t item = relevant_.items[place];
    double* const row = rivals_ + place * k_;
    Threshold at = threshold(user, own, item, row[k_ - 1], work);
    for (int64_t c = 0; c < wide; c += W) {
      const Vec<float> x = load(scores + c) + at.by_norm * load(work.norms.get() + c) +
                           at.by_reach * load(work.reaches.get() + c);
      for (uint64_t bits = lanes_above(x, at.limit); bits; bits &= bits - 1) {
        const int32_t other = int32_t(first + c + __builtin_ctzll(bits));
        const double margin = own.score - exact(user, other);
        ranks_[place] += margin <= 0;
        const double found = margin > 0 ? radius(user, item, other, margin) : 0;
        if (!(found < row[k_ - 1])) continue;
        insert_sorted(row, k_, found);
        at = threshold(user, own, item, row[k_ - 1], work);
      }
    }
    own.active = row[k_ - 1] > 0;
  }

  void count_tile(const User& user, const Rival& own, int64_t place, const float* scores,
                  int64_t first, int64_t n, int64_t wide, const Work& work) {
    double low = -__builtin_inf(), high = __builtin_inf();
    if (user.trusted) {
      const double score = own.score * user.scale * item_scale_;
      const double away = error(user, work) + 4 * kUnit * (score < 0 ? -score : score);
      low = score - away, high = score + away;
    }
    int64_t counts[2];
    count_above(scores, wide, float(low), float(high), counts);
    ranks_[place] += counts[1];
    if (counts[0] == counts[1]) return;
    for (int64_t c = 0; c < n; ++c)
      if (scores[c] > float(low) && !(scores[c] > float(high)))
        ranks_[place] += exact(user, int32_t(first + c)) >= own.score;
  }

  double exact(const User& user, int32_t item) const {
    if (user.norm == 0) return 0;
    return dot_double(users_ + user.id * dim_, items_ + item * dim_, dim_);
  }

  // Other relevant items of the user: they push an item down and out, but do not count as rivals.
  void finish(const User& user, const Rival* rivals) {
    const int64_t base = relevant_.indptr[user.id], n = relevant_.indptr[user.id + 1] - base;
    Buffer<double> row(k_);
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t k = 0; k < k_; ++k) row[k] = rivals_[(base + r) * k_ + k];
      for (int64_t other = 0; other < n; ++other) {
        if (other == r || rivals[other].hidden) continue;
        const double margin = rivals[r].score - rivals[other].score;
        ranks_[base + r] += margin < 0;
        if (row[k_ - 1] > 0)
          insert_sorted(row.get(), k_,
                        margin > 0 ? radius(user, relevant_.items[base + r],
                                            relevant_.items[base + other], margin)
                                   : 0);
      }
      stays_[base + r] = row[k_ - 1];
    }
  }

  const T* const users_;
  const T* const items_;
  const int64_t n_items_, dim_;
  const Reach reach_;
  const Lists mask_, relevant_;
  const int64_t k_;
  int64_t* const ranks_;
  double* const rivals_;
  double* const stays_;
  const double rounding_;
  int64_t n_users_ = 0;  // with relevant items
  Buffer<int64_t> with_relevant_;
  Buffer<double> norms_;  // of items
  double largest_norm_ = 0, largest_reach_ = 0, item_scale_ = 1;
  bool items_trusted_ = false;
};

template <class T>
void smallest_radii(const T* users, const T* items, int64_t n_users, int64_t n_items, int64_t dim,
                    const Reach& reach, const Lists& mask, const Lists& relevant, int64_t k,
                    int64_t* ranks, double* rivals, double* stays) {
  RadiusScan<T>(users, items, n_users, n_items, dim, reach, mask, relevant, k, ranks, rivals, stays)
      .run();
}

}  // namespace advrec::cpu::ADVREC_ISA
