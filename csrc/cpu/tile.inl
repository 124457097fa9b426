// Scores of a block of users against a tile of items, in one register-blocked product: what every
// pass over the catalogue (ranking, certified radii, rank attacks) begins with.
//
// A thread packs its users once and each tile of items once, and multiplies six users at a time
// into a buffer that stays in the first-level cache.

namespace advrec::cpu::ADVREC_ISA {

template <class T>
struct Tile {
  static constexpr int kUsers = 6;                      // rows of the register block
  static constexpr int kColumns = 2 * Simd<T>::kWidth;  // and its columns: two vectors
  static constexpr int kItems = 256;                    // of a tile; a multiple of kColumns
  static constexpr int64_t kUserBlock = 80 * kUsers;    // users that share a packed tile
  static_assert(kItems % kColumns == 0);
};

// sums[M, kColumns] of M users, packed [dim, M], and a panel of items, packed [dim, kColumns].
// Every score is one chain of multiply-adds over the dimension, in order.
template <int M, class T>
ADVREC_INLINE void multiply_panel(const T* users, const T* panel, int64_t dim,
                                  Vec<T> (&sums)[M][2]) {
  constexpr int W = Simd<T>::kWidth, N = Tile<T>::kColumns;
  for (int64_t k = 0; k < dim; ++k) {
    const Vec<T> b0 = load(panel + k * N), b1 = load(panel + k * N + W);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const T a = users[k * M + m];
      sums[m][0] += a * b0;
      sums[m][1] += a * b1;
    }
  }
}

// scores[6, kItems] of a tile: users packed [dim, 6], items packed [panel][dim, kColumns].
template <class T>
inline void multiply_tile(const T* users, const T* items, int64_t dim, int64_t panels, T* scores) {
  constexpr int W = Simd<T>::kWidth, M = Tile<T>::kUsers, N = Tile<T>::kColumns;
  for (int64_t panel = 0; panel < panels; ++panel) {
    Vec<T> sums[M][2] = {};
    multiply_panel<M>(users, items + panel * dim * N, dim, sums);
    for (int m = 0; m < M; ++m) {
      store<T>(scores + m * Tile<T>::kItems + panel * N, sums[m][0]);
      store<T>(scores + m * Tile<T>::kItems + panel * N + W, sums[m][1]);
    }
  }
}

// Rows [begin, end) as groups of six columns [dim, 6]; missing users of the last group are zero.
template <class T>
inline void pack_users(const T* users, int64_t dim, int64_t begin, int64_t end, T* out) {
  constexpr int64_t M = Tile<T>::kUsers;
  for (int64_t group = begin; group < end; group += M)
    for (int64_t m = 0; m < M; ++m)
      for (int64_t k = 0; k < dim; ++k)
        out[(group - begin) * dim + k * M + m] =
            group + m < end ? users[(group + m) * dim + k] : T(0);
}

// Rows [first, first + n) as panels [dim, kColumns]; missing items of the last panel are zero.
template <class T>
inline void pack_items(const T* items, int64_t dim, int64_t first, int64_t n, T* out) {
  constexpr int64_t N = Tile<T>::kColumns;
  for (int64_t panel = 0; panel * N < n; ++panel)
    for (int64_t c = 0; c < N; ++c) {
      const int64_t item = panel * N + c;
      for (int64_t k = 0; k < dim; ++k)
        out[(panel * dim + k) * N + c] = item < n ? items[(first + item) * dim + k] : T(0);
    }
}

}  // namespace advrec::cpu::ADVREC_ISA
