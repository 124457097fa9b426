// What this machine can do at most: multiply-adds, streams, cache, random rows. Prints JSON.
//
//   limits RUNS THREADS TABLE_MB [TABLE_MB ...]
//
// Each figure is the best of RUNS with all threads at work at once: neighbours on the same machine
// come and go. Rows are 256 bytes, an embedding of 64 floats, summed into registers as a sparse
// product does it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kWidth = kBytes / int(sizeof(float));
typedef float Vec __attribute__((vector_size(kBytes)));

int runs = 1;
constexpr int64_t kRowFloats = 64;
volatile float sink;

Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The shortest time in which `threads` threads, started together, finish work(thread).
double best_seconds(int threads, const std::function<void(int)>& work) {
  double best = 1e300;
  for (int run = 0; run < runs; ++run) {
    std::atomic<int> ready{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t)
      team.emplace_back([&, t] {
        ++ready;
        while (!go) std::this_thread::yield();
        work(t);
      });
    while (ready < threads) std::this_thread::yield();
    const double started = now();
    go = true;
    for (auto& thread : team) thread.join();
    best = std::min(best, now() - started);
  }
  return best;
}

// Floats with every page written, so that the memory exists.
std::unique_ptr<float[]> filled(int64_t count) {
  std::unique_ptr<float[]> data(new float[count]);
  for (int64_t k = 0; k < count; ++k) data[k] = float(k % 17) * 0.01f;
  return data;
}

double multiply_adds(int threads) {
  constexpr int kChains = 12;
  constexpr int64_t kRounds = 4'000'000;
  const double seconds = best_seconds(threads, [](int t) {
    Vec sum[kChains], a = Vec{} + (1.0f + 1e-7f * float(t)), b = Vec{} + 1e-9f;
    for (int c = 0; c < kChains; ++c) sum[c] = Vec{} + float(c);  // all different, or one is enough
    for (int64_t k = 0; k < kRounds; ++k) {
#pragma GCC unroll 12
      for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * a + b;  // rounded each time: not foldable
    }
    for (int c = 1; c < kChains; ++c) sum[0] += sum[c];
    sink = sum[0][0];
  });
  return 2.0 * kWidth * kChains * double(kRounds) * threads / seconds;
}

float sum_of(const float* data, int64_t count) {
  Vec sum[8] = {};
  for (int64_t k = 0; k + 8 * kWidth <= count; k += 8 * kWidth)
    for (int v = 0; v < 8; ++v) sum[v] += load(data + k + v * kWidth);
  for (int v = 1; v < 8; ++v) sum[0] += sum[v];
  return sum[0][0];
}

// Every thread reads its own part `passes` times: bytes per second.
double read_stream(int threads, int64_t bytes_each, int passes) {
  std::vector<std::unique_ptr<float[]>> parts;
  const int64_t count = bytes_each / int64_t(sizeof(float));
  for (int t = 0; t < threads; ++t) parts.push_back(filled(count));
  const double seconds = best_seconds(threads, [&](int t) {
    float sum = 0;
    for (int pass = 0; pass < passes; ++pass) {
      asm volatile("" ::: "memory");  // or one pass is enough
      sum += sum_of(parts[size_t(t)].get(), count);
    }
    sink = sum;
  });
  return double(count) * sizeof(float) * threads * passes / seconds;
}

// Three arrays read and written, as Adam does with weight, m and v: bytes per second, both counted.
double update_stream(int threads, int64_t bytes_each) {
  const int64_t count = bytes_each / int64_t(sizeof(float)) / 3 / kWidth * kWidth;
  std::vector<std::unique_ptr<float[]>> parts;
  for (int t = 0; t < threads; ++t) parts.push_back(filled(3 * count));
  const double seconds = best_seconds(threads, [&](int t) {
    const int64_t end = count;
    float* const first = parts[size_t(t)].get();
    float *const second = first + end, *const third = second + end;
    for (int64_t k = 0; k < end; k += kWidth) {
      const Vec m = load(first + k) * 0.9f, v = load(second + k) * 0.99f + m;
      store(first + k, m);
      store(second + k, v);
      store(third + k, load(third + k) - m);
    }
  });
  return 6.0 * double(count) * sizeof(float) * threads / seconds;
}

// Sums of rows in random order, from one table for all threads: bytes per second of rows.
double gather_rows(int threads, int64_t table_bytes) {
  const int64_t rows = table_bytes / (kRowFloats * int64_t(sizeof(float)));
  const auto table = filled(rows * kRowFloats);
  const int64_t picks = 1'500'000;
  std::vector<int32_t> order(size_t(picks * threads));
  uint64_t state = 88172645463325252ull;
  for (auto& row : order) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    row = int32_t(state % uint64_t(rows));
  }
  const double seconds = best_seconds(threads, [&](int t) {
    constexpr int kVectors = int(kRowFloats) / kWidth;
    constexpr int64_t kAhead = 40, kTerms = 20;  // terms of one sum: a row of the sparse matrix
    const int32_t* mine = order.data() + t * picks;
    float total = 0;
    for (int64_t at = 0; at + kTerms + kAhead <= picks; at += kTerms) {
      Vec sum[kVectors] = {};
      for (int64_t k = at; k < at + kTerms; ++k) {
        const float* later = table.get() + mine[k + kAhead] * kRowFloats;
        for (int line = 0; line < 4; ++line) __builtin_prefetch(later + line * 16, 0, 2);
        const float* row = table.get() + mine[k] * kRowFloats;
        for (int v = 0; v < kVectors; ++v) sum[v] += load(row + v * kWidth);
      }
      for (int v = 1; v < kVectors; ++v) sum[0] += sum[v];
      total += sum[0][0];
    }
    sink = total;
  });
  return double(picks) * threads * kRowFloats * sizeof(float) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) runs = std::max(1, std::atoi(argv[1]));
  const int threads = argc > 2 ? std::max(1, std::atoi(argv[2])) : 1;
  constexpr int64_t kMega = 1 << 20;
  std::printf("{\"threads\": %d, \"vector_bytes\": %d, ", threads, kBytes);
  std::printf("\"flops\": %.4g, ", multiply_adds(threads));
  std::printf("\"read\": %.4g, ", read_stream(threads, 192 * kMega, 1));
  std::printf("\"cache\": %.4g, ", read_stream(threads, 8 * kMega / threads, 24));
  std::printf("\"update\": %.4g, \"rows\": {", update_stream(threads, 192 * kMega));
  for (int at = 3; at < argc; ++at) {
    const double mega = std::atof(argv[at]);
    std::printf("%s\"%g\": %.4g", at > 3 ? ", " : "", mega,
                gather_rows(threads, int64_t(mega * double(kMega))));
  }
  std::printf("}}\n");
}
