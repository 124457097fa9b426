// What every kernel is built from: launches, the lanes of a warp over a row, and reductions.
//
// Rules that let the same source run on a GPU and on the CPU emulator of tests/emu: launches go
// through cudaLaunchKernelEx, shared memory is static, warp functions name all 32 lanes.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "../kernels_cuda.h"

namespace advrec::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 256;  // of a block, unless a kernel says otherwise
constexpr int kWarps = kThreads / kWarp;

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a launch that failed must not be reported again by the next one
  throw std::runtime_error(std::string(what) + " failed: " + cudaGetErrorString(status));
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class... P, class... A>
void launch(void (*kernel)(P...), int64_t blocks, int threads, void* stream, const A&... args) {
  if (blocks == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, P(args)...), "launching a kernel");
}

// How the lanes of a warp lie over rows: `width` (a power of two) of them side by side cover a
// row, and 32 / width groups work on different rows or terms at the same time.
struct Lanes {
  __device__ explicit Lanes(int width)
      : lane(int(threadIdx.x) % kWarp),
        warp(int(threadIdx.x) / kWarp),
        width(width),
        column(lane & (width - 1)),
        group(lane / width),
        groups(kWarp / width) {}
  int lane, warp, width, column, group, groups;
};

inline int row_width(int64_t dim, int vec) {
  int width = 1;
  while (width < kWarp && int64_t(width) * vec < dim) width *= 2;
  return width;
}

// Sums over the lanes of a group; every lane gets the same bits.
__device__ inline float group_sum(float v, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}
__device__ inline float group_max(float v, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2)
    v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, offset));
  return v;
}

// VEC neighbouring values of a row, moved in one instruction.
template <int VEC>
struct Pack {
  float v[VEC];
};
template <int VEC>
__device__ inline Pack<VEC> load(const float* p) {
  if constexpr (VEC == 4) {
    const float4 f = *reinterpret_cast<const float4*>(p);
    return {{f.x, f.y, f.z, f.w}};
  } else {
    return {{*p}};
  }
}
template <int VEC>
__device__ inline void store(float* p, const Pack<VEC>& pack) {
  if constexpr (VEC == 4)
    *reinterpret_cast<float4*>(p) = make_float4(pack.v[0], pack.v[1], pack.v[2], pack.v[3]);
  else
    *p = pack.v[0];
}

// One row in the registers of a group of lanes: block b of a lane starts at column
// (b * width + lane's column) * VEC.
template <int VEC, int BLOCKS>
struct Columns {
  static constexpr int kVec = VEC;
  static constexpr int kCapacity = kWarp * VEC * BLOCKS;
  Pack<VEC> block[BLOCKS];

  // Calls f(b, column) for the blocks of this lane that lie inside the row.
  template <class F>
  __device__ static void each(const Lanes& lanes, int dim, const F& f) {
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
      if (b > 0 && b * lanes.width * VEC >= dim) break;
      const int column = (b * lanes.width + lanes.column) * VEC;
      if (column < dim) f(b, column);
    }
  }
  __device__ void clear() {
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b)
#pragma unroll
      for (int i = 0; i < VEC; ++i) block[b].v[i] = 0;
  }
  __device__ void write(float* row, const Lanes& lanes, int dim) const {
    each(lanes, dim, [&](int b, int column) { store<VEC>(row + column, block[b]); });
  }
  // this = this * scale + other
  __device__ void scale_add(float scale, const float* other, const Lanes& lanes, int dim) {
    each(lanes, dim, [&](int b, int column) {
      const Pack<VEC> add = load<VEC>(other + column);
#pragma unroll
      for (int i = 0; i < VEC; ++i) block[b].v[i] = fmaf(scale, block[b].v[i], add.v[i]);
    });
  }
  __device__ void scale(float factor, const Lanes& lanes, int dim) {
    each(lanes, dim, [&](int b, int) {
#pragma unroll
      for (int i = 0; i < VEC; ++i) block[b].v[i] *= factor;
    });
  }
  // |row|^2, by all lanes of the warp.
  __device__ float squares(const Lanes& lanes, int dim) const {
    float sum = 0;
    each(lanes, dim, [&](int b, int) {
#pragma unroll
      for (int i = 0; i < VEC; ++i) sum = fmaf(block[b].v[i], block[b].v[i], sum);
    });
    return group_sum(sum, lanes.width);
  }
  // Adds the groups' partial sums; every group then holds the same row.
  __device__ void fold(const Lanes& lanes) {
    for (int offset = lanes.width; offset < kWarp; offset *= 2)
#pragma unroll
      for (int b = 0; b < BLOCKS; ++b)
#pragma unroll
        for (int i = 0; i < VEC; ++i)
          block[b].v[i] += __shfl_xor_sync(kAllLanes, block[b].v[i], offset);
  }
};

// The kernels that hold whole rows come in four shapes. A row of a multiple of four values at
// aligned addresses moves 16 bytes per lane; any other moves 4.
template <int VEC, int BLOCKS>
struct RowShape {
  using Row = Columns<VEC, BLOCKS>;
};
template <class F>
void with_shape(int64_t dim, bool aligned, const F& f) {
  if (aligned && dim % 4 == 0) {
    if (dim <= 128) return f(RowShape<4, 1>{});
    if (dim <= 256) return f(RowShape<4, 2>{});
    return f(RowShape<4, 4>{});
  }
  return f(RowShape<1, 16>{});
}
template <class F>
void with_vec(int64_t dim, bool aligned, const F& f) {
  if (aligned && dim % 4 == 0) return f(Columns<4, 1>{});
  return f(Columns<1, 1>{});
}

template <class... P>
bool aligned(const P*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// Smallest number of bits that hold every value below n.
inline int bits_for(int64_t n) {
  int bits = 0;
  while ((int64_t(1) << bits) < n) ++bits;
  return bits;
}

// Hands out aligned pieces of the caller's workspace; over a null pointer it only measures.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(int64_t n) {
    T* const piece = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += ceil_div((n > 0 ? n : 1) * int64_t(sizeof(T)), 256) * 256;
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  char* const base_;
  int64_t used_ = 0;
};

}  // namespace advrec::cuda
