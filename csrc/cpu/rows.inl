// Rows of matrices: where they are read from, and making one as long as the noise's budget; the
// twin of cuda/rows.cuh and rows.cu.

namespace advrec::cpu::ADVREC_ISA {

template <class S>
ADVREC_INLINE void prefetch_row(const S* row, int64_t dim) {
  for (int64_t k = 0; k < dim; k += int64_t(64 / sizeof(S))) __builtin_prefetch(row + k);
}

// Where rows are read from; S is what they are stored as.
template <class S>
struct DenseRows {  // every row is present
  const S* x;
  int64_t dim;
  static constexpr bool kSparse = false;
  const S* row(int64_t r) const { return x + r * dim; }
  ADVREC_INLINE void prefetch(int64_t r) const { prefetch_row(row(r), dim); }
};
template <class S>
struct SparseRows {  // only the rows with a slot are not zero
  const S* x;
  int64_t dim;
  const int32_t* slot_of;  // [N], -1 for a zero row
  static constexpr bool kSparse = true;
  const S* row(int64_t r) const { return slot_of[r] < 0 ? nullptr : x + slot_of[r] * dim; }
  ADVREC_INLINE void prefetch(int64_t r) const {
    if (const S* const x = row(r)) prefetch_row(x, dim);
  }
};
template <class T>
struct TableRows {  // the rows of a batch, by slot, inside a whole table
  const T* table;
  int64_t dim;
  const int32_t* rows;  // [slots]
  const T* row(int64_t s) const { return table + rows[s] * dim; }
  ADVREC_INLINE void prefetch(int64_t s) const { prefetch_row(row(s), dim); }
};

// y = a + eps * g / |g| with squares = |g|^2; a null `a` is zero, a zero g adds nothing.
template <class T>
inline void add_unit(const T* a, T eps, const T* g, T squares, T* y, int64_t n) {
  constexpr T kSafe = sizeof(T) == 4 ? T(1e-30) : T(1e-280);
  T largest = 1;
  if (!(squares > kSafe)) {
    // The square of a tiny gradient underflows, the gradient does not: measure it scaled.
    largest = 0;
    for (int64_t k = 0; k < n; ++k) {
      const T size = g[k] < 0 ? -g[k] : g[k];
      largest = size > largest ? size : largest;
    }
    squares = 0;
    for (int64_t k = 0; largest > 0 && k < n; ++k) squares += (g[k] / largest) * (g[k] / largest);
  }
  const T scale = squares > 0 ? eps / root(squares) : T(0);
  if (largest == 1 && a) return add_scaled(a, scale, g, y, n);
  for (int64_t k = 0; k < n; ++k)
    y[k] = (a ? a[k] : T(0)) + (largest > 0 ? scale * (g[k] / largest) : T(0));
}

// Asks for row r of a table and of the states that it has.
template <class T>
ADVREC_INLINE void prefetch_row(const Table<T>& table, int64_t r) {
  for (const T* part : {table.value, table.state1, table.state2})
    if (part) prefetch_row(part + r * table.dim, table.dim);
}

// For tables that every step reads and writes at random.
template <class T>
void want_huge_pages(const Table<T>& table) {
  const size_t bytes = sizeof(T) * size_t((table.n_users + table.n_items) * table.dim);
  for (T* part : {table.value, table.state1, table.state2})
    if (part) cpu::want_huge_pages(part, bytes, true);
}

template <class T>
void normalize_rows(const T* x, int64_t rows, int64_t dim, double eps, T* out) {
  parallel([&](Team& team) {
    team.ranges(rows, 128, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* const row = x + r * dim;
        add_unit<T>(nullptr, T(eps), row, dot(row, row, dim), out + r * dim, dim);
      }
    });
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
