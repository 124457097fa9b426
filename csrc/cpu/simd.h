// Vectors of one instruction set, as the compiler's own vector types.
//
// Included by the isa_*.cpp files only, which set ADVREC_ISA (a namespace) and ADVREC_BYTES (the
// width). Everything that the kernels use is defined inside that namespace, so that code built for
// a newer machine can never be linked in for an older one.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

#include "pages.h"

#define ADVREC_INLINE inline __attribute__((always_inline))

namespace advrec::cpu::ADVREC_ISA {

template <class T>
struct Simd {
  static constexpr int kWidth = ADVREC_BYTES / sizeof(T);
  typedef T Vec __attribute__((vector_size(ADVREC_BYTES)));
  // The same without alignment, for loads and stores anywhere.
  typedef T Loose __attribute__((vector_size(ADVREC_BYTES), aligned(alignof(T)), may_alias));
};
template <class T>
using Vec = typename Simd<T>::Vec;

template <class T>
ADVREC_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::Loose*>(p);
}
template <class T>
ADVREC_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename Simd<T>::Loose*>(p) = v;
}
// The upper half of a float: a storage type for rows where bandwidth matters more than precision.
//
// Rows of it keep blocks of two vectors together: word k of a block holds element k in its lower
// half and element W + k in its upper one, so that a shift and a mask make two vectors of floats.
// The rest of a row behind the last whole block is in plain order.
struct Bf16 {
  uint16_t bits;
};
typedef uint32_t Words __attribute__((vector_size(ADVREC_BYTES)));
typedef uint32_t LooseWords __attribute__((vector_size(ADVREC_BYTES), aligned(2), may_alias));

// Two vectors from a block at p.
template <class T>
ADVREC_INLINE void load_pair(const T* p, Vec<T>& low, Vec<T>& high) {
  low = load(p), high = load(p + Simd<T>::kWidth);
}
ADVREC_INLINE void load_pair(const Bf16* p, Vec<float>& low, Vec<float>& high) {
  const Words words = *reinterpret_cast<const LooseWords*>(p);
  low = (Vec<float>)(words << 16), high = (Vec<float>)(words & 0xFFFF0000u);
}
template <class T>
ADVREC_INLINE T value_of(T x) {
  return x;
}
ADVREC_INLINE float value_of(Bf16 x) {
  const uint32_t wide = uint32_t(x.bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof value);
  return value;
}

// Adds what rounds to the nearest (ties to even) when the lower half is dropped.
template <class Word>
ADVREC_INLINE Word rounded(Word bits) {
  return bits + 0x7FFFu + ((bits >> 16) & 1u);
}

// out = x in storage type S.
template <class T>
ADVREC_INLINE void store_row(const T* x, T* out, int64_t n) {
  for (int64_t k = 0; k < n; ++k) out[k] = x[k];
}
ADVREC_INLINE void store_row(const float* x, Bf16* out, int64_t n) {
  constexpr int W = Simd<float>::kWidth;
  int64_t k = 0;
  for (; k + 2 * W <= n; k += 2 * W) {
    const Words low = rounded((Words)load(x + k)), high = rounded((Words)load(x + k + W));
    *reinterpret_cast<LooseWords*>(out + k) = (low >> 16) | (high & 0xFFFF0000u);
  }
  for (; k < n; ++k) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + k, sizeof bits);
    out[k].bits = uint16_t(rounded(bits) >> 16);
  }
}

// Bit k says whether lane k is greater than `limit`.
#if defined(__x86_64__) && ADVREC_BYTES == 64
ADVREC_INLINE uint32_t lanes_above(Vec<float> v, float limit) {
  return _mm512_cmp_ps_mask(v, _mm512_set1_ps(limit), _CMP_GT_OQ);
}
ADVREC_INLINE uint32_t lanes_above(Vec<double> v, double limit) {
  return _mm512_cmp_pd_mask(v, _mm512_set1_pd(limit), _CMP_GT_OQ);
}
#elif defined(__x86_64__) && ADVREC_BYTES == 32
ADVREC_INLINE uint32_t lanes_above(Vec<float> v, float limit) {
  return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_GT_OQ)));
}
ADVREC_INLINE uint32_t lanes_above(Vec<double> v, double limit) {
  return uint32_t(_mm256_movemask_pd(_mm256_cmp_pd(v, _mm256_set1_pd(limit), _CMP_GT_OQ)));
}
#else
template <class V, class T>
ADVREC_INLINE uint32_t lanes_above(V v, T limit) {
  uint32_t bits = 0;
  for (size_t lane = 0; lane < sizeof(V) / sizeof(T); ++lane)
    bits |= uint32_t(v[lane] > limit) << lane;
  return bits;
}
#endif

template <class T>
ADVREC_INLINE T lanes_sum(Vec<T> v) {
  // A tree, so that the order of the additions is fixed.
  T lanes[Simd<T>::kWidth];
  store(lanes, v);
  for (int half = Simd<T>::kWidth / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

template <class T>
ADVREC_INLINE T dot(const T* a, const T* b, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  Vec<T> s0{}, s1{};
  int64_t k = 0;
  for (; k + 2 * W <= n; k += 2 * W) {
    s0 += load(a + k) * load(b + k);
    s1 += load(a + k + W) * load(b + k + W);
  }
  for (; k + W <= n; k += W) s0 += load(a + k) * load(b + k);
  T tail = 0;
  for (; k < n; ++k) tail += a[k] * b[k];
  return lanes_sum<T>(s0 + s1) + tail;
}

// a . (b - c)
template <class T>
ADVREC_INLINE T dot_difference(const T* a, const T* b, const T* c, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  Vec<T> s0{}, s1{};
  int64_t k = 0;
  for (; k + 2 * W <= n; k += 2 * W) {
    s0 += load(a + k) * (load(b + k) - load(c + k));
    s1 += load(a + k + W) * (load(b + k + W) - load(c + k + W));
  }
  for (; k + W <= n; k += W) s0 += load(a + k) * (load(b + k) - load(c + k));
  T tail = 0;
  for (; k < n; ++k) tail += a[k] * (b[k] - c[k]);
  return lanes_sum<T>(s0 + s1) + tail;
}

// y += s * x
template <class T>
ADVREC_INLINE void axpy(T s, const T* x, T* y, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  for (; k + W <= n; k += W) store<T>(y + k, load(y + k) + s * load(x + k));
  for (; k < n; ++k) y[k] += s * x[k];
}

// y += s * (a - b)
template <class T>
ADVREC_INLINE void axpy_difference(T s, const T* a, const T* b, T* y, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  for (; k + W <= n; k += W) store<T>(y + k, load(y + k) + s * (load(a + k) - load(b + k)));
  for (; k < n; ++k) y[k] += s * (a[k] - b[k]);
}

// y = a + s * x
template <class T>
ADVREC_INLINE void add_scaled(const T* a, T s, const T* x, T* y, int64_t n) {
  constexpr int W = Simd<T>::kWidth;
  int64_t k = 0;
  for (; k + W <= n; k += W) store<T>(y + k, load(a + k) + s * load(x + k));
  for (; k < n; ++k) y[k] = a[k] + s * x[k];
}

ADVREC_INLINE float root(float x) { return __builtin_sqrtf(x); }
ADVREC_INLINE double root(double x) { return __builtin_sqrt(x); }

template <class T>
ADVREC_INLINE void fill_zero(T* y, int64_t n) {
  for (int64_t k = 0; k < n; ++k) y[k] = 0;
}

// Uninitialised memory, aligned to a cache line (large: in huge pages), freed with its owner.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) {
    const size_t size = size_t(n > 0 ? n : 1) * sizeof(T);
    const size_t line = size < kHugePage ? 64 : kHugePage;
    const size_t bytes = (size + line - 1) / line * line;
    data_ = static_cast<T*>(std::aligned_alloc(line, bytes));
    if (!data_) throw std::bad_alloc();
    if (line == kHugePage) want_huge_pages(data_, bytes, false);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](int64_t k) { return data_[k]; }
  const T& operator[](int64_t k) const { return data_[k]; }

 private:
  T* data_;
};

}  // namespace advrec::cpu::ADVREC_ISA
