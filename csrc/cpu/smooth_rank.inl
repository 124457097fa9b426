// The smooth loss of a ranking and its gradients, for attacks on rankings: advrec/ops/reference/
// smooth_rank.py has the formulas.
//
// Users come in blocks that share packed tiles of items. A first pass over a block's tiles sums the
// smooth rank of each relevant item (of the softmax: the exponentials, below a running peak); a
// second one makes the scores again, turns them into slopes dL/ds, and multiplies those with the
// vectors. The catalogue is cut into at most kRanges ranges of whole tiles, a number that does not
// depend on the threads; a range belongs to one thread at a time, which adds to its item rows in
// the order of the users, and leaves sums of its own for the users. They are added in the order of
// the ranges, so that any number of threads gives the same bits.
//
// What is left out. Sums: sigmoids of x < -kSumCut, below 2^-40 each. Slopes: those of x farther
// from 0 (softmax: from the peak) than the nearest rival's by kSlopeCut, each below 1.2e-7
// (float64: 1e-16) of the largest slope of its relevant item. Mostly a few items in a hundred are
// left; the products go over the columns of a tile in which one of six users has a slope.

namespace advrec::cpu::ADVREC_ISA {

template <class T>
struct Bits;
template <>
struct Bits<float> {
  typedef int32_t Vec __attribute__((vector_size(ADVREC_BYTES)));
  static constexpr int kMantissa = 23, kTerms = 7;
  static constexpr float kRound = 12582912.0f, kHigh = 0.693359375f, kLow = -2.12194440e-4f,
                         kLeast = -87.0f;
};
template <>
struct Bits<double> {
  typedef int64_t Vec __attribute__((vector_size(ADVREC_BYTES)));
  static constexpr int kMantissa = 52, kTerms = 13;
  static constexpr double kRound = 6755399441055744.0, kHigh = 0.693145751953125,
                          kLow = 1.42860682030941723212e-6, kLeast = -708.0;
};

// e^x for x <= 0 and 0 below kLeast, within 3 units in the last place: x = n*log 2 + r, the power
// of two goes into the exponent, and the series of e^r is cut behind r^kTerms, |r| <= .35.
template <class T>
ADVREC_INLINE Vec<T> exp_negative(Vec<T> x) {
  typedef typename Bits<T>::Vec Ints;
  using B = Bits<T>;
  const Vec<T> least = Vec<T>{} + B::kLeast;
  const Ints normal = x >= least;
  const Vec<T> y = (Vec<T>)((normal & (Ints)x) | (~normal & (Ints)least));
  const Vec<T> shifted = y * T(1.44269504088896340736) + B::kRound;
  const Vec<T> n = shifted - B::kRound;
  const Vec<T> r = (y - n * B::kHigh) - n * B::kLow;
  constexpr double kInverse[] = {1.0,
                                 1.0,
                                 1.0 / 2,
                                 1.0 / 6,
                                 1.0 / 24,
                                 1.0 / 120,
                                 1.0 / 720,
                                 1.0 / 5040,
                                 1.0 / 40320,
                                 1.0 / 362880,
                                 1.0 / 3628800,
                                 1.0 / 39916800,
                                 1.0 / 479001600,
                                 1.0 / 6227020800.0};
  Vec<T> sum = Vec<T>{} + T(kInverse[B::kTerms]);
#pragma GCC unroll 13
  for (int k = B::kTerms - 1; k >= 0; --k) sum = sum * r + T(kInverse[k]);
  return (Vec<T>)(normal & ((Ints)sum + ((Ints)shifted << B::kMantissa)));
}

template <class T>
ADVREC_INLINE Vec<T> magnitude(Vec<T> x) {
  typedef typename Bits<T>::Vec Ints;
  return (Vec<T>)((Ints)x & ~((Ints)(-Vec<T>{})));
}

// if a > b then x else y, lane by lane
template <class T>
ADVREC_INLINE Vec<T> where_above(Vec<T> a, Vec<T> b, Vec<T> x, Vec<T> y) {
  typedef typename Bits<T>::Vec Ints;
  const Ints above = a > b;
  return (Vec<T>)((above & (Ints)x) | (~above & (Ints)y));
}

template <class T>
ADVREC_INLINE T lanes_largest(Vec<T> v) {
  T largest = v[0];
  for (int lane = 1; lane < Simd<T>::kWidth; ++lane)
    largest = v[lane] > largest ? v[lane] : largest;
  return largest;
}

template <class T>
class SmoothRank {
 public:
  static constexpr int64_t kRanges = 16;
  static constexpr int64_t kBlock = 480;        // users of a block, a multiple of Tile::kUsers
  static constexpr int64_t kEntries = 1 << 15;  // relevant items of a block with several users
  static constexpr T kSumCut = sizeof(T) == 4 ? 28 : 60, kSlopeCut = sizeof(T) == 4 ? 16 : 37;

  SmoothRank(Smooth smooth, const T* users, const T* items, int64_t n_users, int64_t n_items,
             int64_t dim, const T* temperature, const double* weights, const Lists& relevant,
             const Lists& known, int64_t k, T* d_users, T* d_items)
      : smooth_(smooth),
        users_(users),
        items_(items),
        n_users_(n_users),
        n_items_(n_items),
        dim_(dim),
        temperature_(temperature),
        weights_(weights),
        relevant_(relevant),
        known_(known),
        k_(k),
        d_users_(d_users),
        d_items_(d_items),
        tiles_((n_items + kItems - 1) / kItems),
        ranges_(tiles_ < kRanges ? tiles_ : kRanges),
        with_relevant_(n_users) {
    for (int64_t u = 0; u < n_users; ++u)
      if (relevant.indptr[u] < relevant.indptr[u + 1]) with_relevant_[active_++] = u;
  }

  double run() {
    double total = 0;
    fill_zero(d_users_, n_users_ * dim_);
    fill_zero(d_items_, n_items_ * dim_);
    int64_t largest = kEntries;
    for (int64_t n = 0; n < active_; ++n) {
      const int64_t u = with_relevant_[n];
      const int64_t entries = relevant_.indptr[u + 1] - relevant_.indptr[u];
      largest = entries > largest ? entries : largest;
    }
    const int64_t all = relevant_.indptr[n_users_];
    largest = all < largest ? all : largest;
    const int64_t users = active_ < kBlock ? (active_ + kUsers - 1) / kUsers * kUsers : kBlock;
    Shared shared(users, largest, ranges_, padded());
    parallel([&](Team& team) {
      Work work(dim_, padded());
      for (int64_t begin = 0; begin < active_;) {
        const int64_t end = block_end(begin);
        if (team.thread() == 0) prepare(begin, end, shared);
        team.barrier();
        team.each(ranges_, [&](int64_t range) { first_pass(begin, end, range, shared, work); });
        team.ranges(end - begin, 16, [&](int64_t a, int64_t b) {
          for (int64_t n = a; n < b; ++n) weigh(begin + n, n, shared);
        });
        team.each(ranges_, [&](int64_t range) { second_pass(begin, end, range, shared, work); });
        team.ranges(end - begin, 16, [&](int64_t a, int64_t b) {
          for (int64_t n = a; n < b; ++n) add_user(begin + n, n, shared);
        });
        team.each(ranges_, [&](int64_t range) { add_own(begin, end, range, shared); });
        if (team.thread() == 0)
          for (int64_t e = 0; e < shared.starts[end - begin]; ++e) total += shared.losses[e];
        team.barrier();
        begin = end;
      }
    });
    return total;
  }

 private:
  static constexpr int64_t kUsers = Tile<T>::kUsers, kItems = Tile<T>::kItems;
  static constexpr int64_t kPiece = Tile<T>::kColumns;  // of a vector, in the products
  static constexpr int W = Simd<T>::kWidth;

  // What one range of the catalogue adds to a relevant item.
  struct Partial {
    double sum;     // of sigmoids; of exponentials below the peak
    T nearest;      // smallest |s_j - s_i|
    T peak;         // of the softmax: largest of s_i and all s_j
    double pushed;  // second pass: -dL/ds_i
  };
  // Of a relevant item, once its first pass is done.
  struct Entry {
    T score;
    T slope;  // what the slope's shape is multiplied by
    T reach;  // of |x|, counted from the peak: beyond it there is no slope
    T peak;
  };
  struct Shared {
    Shared(int64_t users, int64_t entries, int64_t ranges, int64_t padded)
        : packed(users * padded),
          vectors(users * padded),
          sums(ranges * users * padded),
          partials(ranges * entries),
          entries(entries),
          losses(entries),
          starts(users + 1),
          users(users),
          most(entries) {}
    Buffer<T> packed, vectors, sums;  // sums[range][user, padded]
    Buffer<Partial> partials;         // [range][entry]
    Buffer<Entry> entries;
    Buffer<double> losses;
    Buffer<int64_t> starts;  // of a user's entries
    int64_t users, most;     // room for users and entries
  };
  struct Work {
    Work(int64_t dim, int64_t padded)
        : packed(kItems * dim),
          vectors(kItems * padded),
          gradient(kItems * padded),
          scores(kUsers * kItems),
          slopes(kUsers * kItems),
          compact(kUsers * kItems),
          columns(kItems),
          known_at(kBlock) {}
    Buffer<T> packed, vectors, gradient, scores, slopes, compact;
    Buffer<int32_t> columns;
    Buffer<int64_t> known_at;
  };

  int64_t padded() const { return (dim_ + kPiece - 1) / kPiece * kPiece; }

  int64_t block_end(int64_t begin) const {
    int64_t entries = 0, end = begin;
    for (; end < active_ && end < begin + kBlock; ++end) {
      const int64_t u = with_relevant_[end];
      entries += relevant_.indptr[u + 1] - relevant_.indptr[u];
      if (entries > kEntries && end > begin) break;
    }
    return end;
  }

  void prepare(int64_t begin, int64_t end, Shared& shared) const {
    const int64_t padded = this->padded();
    shared.starts[0] = 0;
    for (int64_t n = 0; n < end - begin; ++n) {
      const int64_t u = with_relevant_[begin + n], first = relevant_.indptr[u];
      const int64_t entries = relevant_.indptr[u + 1] - first;
      const T* const p = users_ + u * dim_;
      for (int64_t e = 0; e < entries; ++e) {
        // The chain of multiply-adds of the tiles, so that equal vectors tie.
        const T* const q = items_ + int64_t(relevant_.items[first + e]) * dim_;
        T sum = 0;
        for (int64_t k = 0; k < dim_; ++k) sum += p[k] * q[k];
        shared.entries[shared.starts[n] + e].score = sum;
      }
      shared.starts[n + 1] = shared.starts[n] + entries;
    }
    for (int64_t n = 0; n < (end - begin + kUsers - 1) / kUsers * kUsers; ++n)
      for (int64_t k = 0; k < padded; ++k) {
        const bool real = n < end - begin && k < dim_;
        const T value = real ? users_[with_relevant_[begin + n] * dim_ + k] : T(0);
        shared.vectors[n * padded + k] = value;
        if (k < dim_) shared.packed[n / kUsers * kUsers * dim_ + k * kUsers + n % kUsers] = value;
      }
  }

  // Calls f(n, scores, first, count) for every user of the block (n from 0) and tile of the range.
  template <class Before, class F, class After>
  void tiles(int64_t begin, int64_t end, int64_t range, Shared& shared, Work& work,
             const Before& before, const F& f, const After& after) const {
    const int64_t from = tiles_ * range / ranges_, to = tiles_ * (range + 1) / ranges_;
    for (int64_t n = 0; n < end - begin; ++n) {
      const int64_t u = with_relevant_[begin + n];
      int64_t low = known_.indptr[u], high = known_.indptr[u + 1];
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (known_.items[middle] < from * kItems)
          low = middle + 1;
        else
          high = middle;
      }
      work.known_at[n] = low;
    }
    for (int64_t tile = from; tile < to; ++tile) {
      const int64_t first = tile * kItems;
      const int64_t count = first + kItems < n_items_ ? kItems : n_items_ - first;
      pack_items(items_, dim_, first, count, work.packed.get());
      before(first, count);
      for (int64_t group = 0; group < end - begin; group += kUsers) {
        multiply_tile(shared.packed.get() + group * dim_, work.packed.get(), dim_,
                      (count + Tile<T>::kColumns - 1) / Tile<T>::kColumns, work.scores.get());
        const int64_t members = group + kUsers < end - begin ? kUsers : end - begin - group;
        for (int64_t m = 0; m < members; ++m)
          hide(begin + group + m, work.known_at[group + m], work.scores.get() + m * kItems, first,
               count);
        f(group, members);
      }
      after(first, count);
    }
  }

  void hide(int64_t place, int64_t& at, T* scores, int64_t first, int64_t count) const {
    const int64_t u = with_relevant_[place];
    const T never = -T(__builtin_inff());
    for (; at < known_.indptr[u + 1] && known_.items[at] < first + count; ++at)
      scores[known_.items[at] - first] = never;
    for (int64_t c = count; c < kItems; ++c) scores[c] = never;
  }

  void first_pass(int64_t begin, int64_t end, int64_t range, Shared& shared, Work& work) const {
    Partial* const mine = shared.partials.get() + range * shared.most;
    for (int64_t e = 0; e < shared.starts[end - begin]; ++e)
      mine[e] = {0, T(__builtin_inff()), shared.entries[e].score, 0};
    tiles(
        begin, end, range, shared, work, [](int64_t, int64_t) {},
        [&](int64_t group, int64_t members) {
          for (int64_t m = 0; m < members; ++m) {
            const int64_t n = group + m;
            const T* const scores = work.scores.get() + m * kItems;
            const T tau = temperature_[with_relevant_[begin + n]];
            Vec<T> best = load(scores);
            for (int64_t c = W; c < kItems; c += W)
              best = where_above<T>(load(scores + c), best, load(scores + c), best);
            const T highest = lanes_largest<T>(best);
            for (int64_t e = shared.starts[n]; e < shared.starts[n + 1]; ++e)
              if (smooth_ == Smooth::kNdcg)
                sum_sigmoids(scores, shared.entries[e].score, tau, highest, mine[e]);
              else
                sum_exponentials(scores, shared.entries[e].score, tau, highest, mine[e]);
          }
        },
        [](int64_t, int64_t) {});
  }

  // Somewhat more than `far` below a score, so that no rounding hides what is exactly there.
  static T below(T score, T far) {
    const T size = (score < 0 ? -score : score) + far;
    return score - far - size * (sizeof(T) == 4 ? T(1e-6) : T(1e-14));
  }

  void sum_sigmoids(const T* scores, T own, T tau, T highest, Partial& partial) const {
    const T inverse = 1 / tau, cut = below(own, kSumCut * tau);
    if (!(highest > cut)) {  // all far below; the nearest is the highest
      const T away = own - highest;
      partial.nearest = away < partial.nearest ? away : partial.nearest;
      return;
    }
    Vec<T> sum{}, nearest = Vec<T>{} + partial.nearest;
    const Vec<T> mine = Vec<T>{} + own, one = Vec<T>{} + T(1), zero{};
    for (int64_t c = 0; c < kItems; c += W) {
      const Vec<T> s = load(scores + c);
      if (!lanes_above(s, cut)) continue;
      const Vec<T> x = s - mine, away = magnitude<T>(x);
      nearest = where_above<T>(nearest, away, away, nearest);
      const Vec<T> e = exp_negative<T>(zero - away * inverse);
      sum += where_above<T>(x, zero, one, e) / (one + e);
    }
    partial.sum += double(lanes_sum<T>(sum));
    partial.nearest = -lanes_largest<T>(zero - nearest);
  }

  void sum_exponentials(const T* scores, T own, T tau, T highest, Partial& partial) const {
    const T inverse = 1 / tau;
    if (highest > partial.peak) {
      partial.sum *= __builtin_exp((double(partial.peak) - double(highest)) * double(inverse));
      partial.peak = highest;
    }
    const T cut = below(partial.peak, kSumCut * tau);
    const Vec<T> top = Vec<T>{} + partial.peak;
    Vec<T> sum{};
    for (int64_t c = 0; c < kItems; c += W) {
      const Vec<T> s = load(scores + c);
      if (lanes_above(s, cut)) sum += exp_negative<T>((s - top) * inverse);
    }
    partial.sum += double(lanes_sum<T>(sum));
    // How far the highest rival is below the item itself.
    if (own - highest < partial.nearest) partial.nearest = own - highest;
  }

  // The loss of each relevant item, and what its slopes are multiplied by.
  void weigh(int64_t place, int64_t n, Shared& shared) const {
    const int64_t u = with_relevant_[place];
    const double inverse = 1 / double(temperature_[u]);
    for (int64_t e = shared.starts[n]; e < shared.starts[n + 1]; ++e) {
      Entry& entry = shared.entries[e];
      double sum = 0, peak = double(entry.score), nearest = __builtin_inf();
      for (int64_t range = 0; range < ranges_; ++range) {
        const Partial& part = shared.partials[range * shared.most + e];
        if (double(part.peak) > peak) {
          sum *= __builtin_exp((peak - double(part.peak)) * inverse);
          peak = double(part.peak);
        }
        sum += smooth_ == Smooth::kNdcg
                   ? part.sum
                   : part.sum * __builtin_exp((double(part.peak) - peak) * inverse);
        nearest = double(part.nearest) < nearest ? double(part.nearest) : nearest;
      }
      if (smooth_ == Smooth::kNdcg) {
        const double half = double(k_) / 2, rank = 1 + sum, weight = weights_[u];
        const double inside = 1 / (1 + __builtin_exp((rank - double(k_) - 0.5) / half));
        const double logs = __builtin_log2(1 + rank);
        const double slope = inside * (1 - inside) / half / logs +
                             inside / (0.69314718055994530942 * (1 + rank) * logs * logs);
        shared.losses[e] = -weight * inside / logs;
        entry.slope = T(weight * slope * inverse);
        entry.reach = T(nearest * inverse) + kSlopeCut;
        entry.peak = entry.score;
      } else {
        const double own = __builtin_exp((double(entry.score) - peak) * inverse), total = own + sum;
        shared.losses[e] = -own / total;
        entry.slope = T(own / total / total * inverse);
        // Below the highest rival by kSlopeCut; the exponents are counted from the peak.
        entry.reach = kSlopeCut + (nearest > 0 ? T(nearest * inverse) : T(0));
        entry.peak = T(peak);
      }
    }
  }

  void second_pass(int64_t begin, int64_t end, int64_t range, Shared& shared, Work& work) const {
    const int64_t padded = this->padded();
    T* const sums = shared.sums.get() + range * shared.users * padded;
    fill_zero(sums, shared.users * padded);
    Partial* const mine = shared.partials.get() + range * shared.most;
    tiles(
        begin, end, range, shared, work,
        [&](int64_t first, int64_t count) {
          for (int64_t c = 0; c < count; ++c)
            for (int64_t k = 0; k < padded; ++k) {
              const bool real = k < dim_;
              work.vectors[c * padded + k] = real ? items_[(first + c) * dim_ + k] : T(0);
              work.gradient[c * padded + k] = real ? d_items_[(first + c) * dim_ + k] : T(0);
            }
        },
        [&](int64_t group, int64_t members) {
          fill_zero(work.slopes.get(), kUsers * kItems);
          for (int64_t m = 0; m < members; ++m) {
            const int64_t n = group + m;
            const T tau = temperature_[with_relevant_[begin + n]];
            for (int64_t e = shared.starts[n]; e < shared.starts[n + 1]; ++e) {
              const T pushed = add_slopes(work.scores.get() + m * kItems, shared.entries[e], tau,
                                          work.slopes.get() + m * kItems);
              mine[e].pushed += double(pushed);
            }
          }
          const int64_t columns = compact(work);
          if (columns == 0) return;
          add_to_users(work, columns, padded, sums + group * padded);
          add_to_items(work, columns, padded, shared.vectors.get() + group * padded);
        },
        [&](int64_t first, int64_t count) {
          for (int64_t c = 0; c < count; ++c)
            for (int64_t k = 0; k < dim_; ++k)
              d_items_[(first + c) * dim_ + k] = work.gradient[c * padded + k];
        });
  }

  // slopes += dL/ds of one relevant item; returns their sum.
  T add_slopes(const T* scores, const Entry& entry, T tau, T* slopes) const {
    const T inverse = 1 / tau;
    const Vec<T> mine = Vec<T>{} + entry.peak, one = Vec<T>{} + T(1), zero{};
    const Vec<T> reach = Vec<T>{} + entry.reach, slope = Vec<T>{} + entry.slope;
    const T cut = below(entry.peak, entry.reach * tau);
    Vec<T> sum{};
    for (int64_t c = 0; c < kItems; c += W) {
      const Vec<T> s = load(scores + c);
      if (!lanes_above(s, cut)) continue;
      const Vec<T> away = magnitude<T>(s - mine) * inverse;
      const Vec<T> e = exp_negative<T>(zero - away), whole = one + e;
      Vec<T> made = smooth_ == Smooth::kNdcg ? slope * e / (whole * whole) : slope * e;
      made = where_above<T>(away, reach, zero, made);
      sum += made;
      store<T>(slopes + c, load(slopes + c) + made);
    }
    return lanes_sum<T>(sum);
  }

  // Gathers the columns of a tile in which a user has a slope: compact[column, 6].
  int64_t compact(Work& work) const {
    int64_t columns = 0;
    for (int64_t c = 0; c < kItems; c += W) {
      Vec<T> any{};
      for (int64_t m = 0; m < kUsers; ++m) any += load(work.slopes.get() + m * kItems + c);
      for (uint64_t bits = lanes_above(any, T(0)); bits; bits &= bits - 1) {
        const int64_t column = c + __builtin_ctzll(bits);
        for (int64_t m = 0; m < kUsers; ++m)
          work.compact[columns * kUsers + m] = work.slopes[m * kItems + column];
        work.columns[columns++] = int32_t(column);
      }
    }
    return columns;
  }

  // sums[6, padded] += slopes' vectors
  void add_to_users(const Work& work, int64_t columns, int64_t padded, T* sums) const {
    for (int64_t k = 0; k < padded; k += kPiece) {
      Vec<T> acc[kUsers][2];
      for (int m = 0; m < kUsers; ++m)
        acc[m][0] = load(sums + m * padded + k), acc[m][1] = load(sums + m * padded + k + W);
      for (int64_t c = 0; c < columns; ++c) {
        const T* const q = work.vectors.get() + work.columns[c] * padded + k;
        const Vec<T> q0 = load(q), q1 = load(q + W);
#pragma GCC unroll 6
        for (int m = 0; m < kUsers; ++m) {
          const T slope = work.compact[c * kUsers + m];
          acc[m][0] += slope * q0;
          acc[m][1] += slope * q1;
        }
      }
      for (int m = 0; m < kUsers; ++m) {
        store<T>(sums + m * padded + k, acc[m][0]);
        store<T>(sums + m * padded + k + W, acc[m][1]);
      }
    }
  }

  // gradient[column, padded] += the six users' vectors times their slopes
  void add_to_items(Work& work, int64_t columns, int64_t padded, const T* users) const {
    for (int64_t k = 0; k < padded; k += kPiece) {
      Vec<T> p[kUsers][2];
      for (int m = 0; m < kUsers; ++m)
        p[m][0] = load(users + m * padded + k), p[m][1] = load(users + m * padded + k + W);
      for (int64_t c = 0; c < columns; ++c) {
        T* const out = work.gradient.get() + work.columns[c] * padded + k;
        Vec<T> g0 = load(out), g1 = load(out + W);
#pragma GCC unroll 6
        for (int m = 0; m < kUsers; ++m) {
          const T slope = work.compact[c * kUsers + m];
          g0 += slope * p[m][0];
          g1 += slope * p[m][1];
        }
        store<T>(out, g0);
        store<T>(out + W, g1);
      }
    }
  }

  // The user's row: the sums of all ranges, less what its relevant items are pushed by.
  void add_user(int64_t place, int64_t n, Shared& shared) const {
    const int64_t u = with_relevant_[place], padded = this->padded();
    T* const out = d_users_ + u * dim_;
    for (int64_t range = 0; range < ranges_; ++range)
      axpy(T(1), shared.sums.get() + (range * shared.users + n) * padded, out, dim_);
    for (int64_t e = shared.starts[n]; e < shared.starts[n + 1]; ++e) {
      double pushed = 0;
      for (int64_t range = 0; range < ranges_; ++range)
        pushed += shared.partials[range * shared.most + e].pushed;
      shared.entries[e].slope = T(pushed);
      const int32_t item = relevant_.items[relevant_.indptr[u] + e - shared.starts[n]];
      axpy(T(-pushed), items_ + int64_t(item) * dim_, out, dim_);
    }
  }

  // The rows of relevant items within a range, in the order of the users.
  void add_own(int64_t begin, int64_t end, int64_t range, Shared& shared) const {
    const int64_t from = tiles_ * range / ranges_ * kItems;
    const int64_t to = tiles_ * (range + 1) / ranges_ * kItems;
    for (int64_t n = 0; n < end - begin; ++n) {
      const int64_t u = with_relevant_[begin + n];
      for (int64_t e = shared.starts[n]; e < shared.starts[n + 1]; ++e) {
        const int64_t item = relevant_.items[relevant_.indptr[u] + e - shared.starts[n]];
        if (item >= from && item < to)
          axpy(-shared.entries[e].slope, users_ + u * dim_, d_items_ + item * dim_, dim_);
      }
    }
  }

  const Smooth smooth_;
  const T* const users_;
  const T* const items_;
  const int64_t n_users_, n_items_, dim_;
  const T* const temperature_;
  const double* const weights_;
  const Lists relevant_, known_;
  const int64_t k_;
  T* const d_users_;
  T* const d_items_;
  const int64_t tiles_, ranges_;
  int64_t active_ = 0;  // users with relevant items
  Buffer<int64_t> with_relevant_;
};

template <class T>
double smooth_rank(Smooth smooth, const T* users, const T* items, int64_t n_users, int64_t n_items,
                   int64_t dim, const T* temperature, const double* weights, const Lists& relevant,
                   const Lists& known, int64_t k, T* d_users, T* d_items) {
  return SmoothRank<T>(smooth, users, items, n_users, n_items, dim, temperature, weights, relevant,
                       known, k, d_users, d_items)
      .run();
}

}  // namespace advrec::cpu::ADVREC_ISA
