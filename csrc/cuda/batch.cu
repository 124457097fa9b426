#include "batch.cuh"

#include "sample.cuh"

namespace advrec::cuda {
namespace {

// What draws the batches, less the part that the clock holds.
struct Drawing {
  Positives pos;
  int64_t negatives;
  Sampling sampling;
  int64_t n_users;
  bool mean;
  Optim optim;  // its step is not used
};

__global__ void clock_kernel(Clock* clock, Clock value) { *clock = value; }

__device__ inline int64_t triplets_left(const Clock& clock, const Drawing& d, int64_t capacity) {
  const int64_t left = d.pos.pairs * d.negatives - clock.step * capacity;
  return left > 0 ? left : 0;
}

__global__ void __launch_bounds__(kThreads)
    draw_kernel(Window window, Drawing d, int64_t batches, int row_bits) {
  const Clock& clock = *window.clock;
  const int64_t capacity = window.capacity, left = triplets_left(clock, d, capacity);
  const int64_t n = batches * capacity < left ? batches * capacity : left;
  const int64_t t = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (t == 0) *window.entries = int32_t(3 * n);
  if (t < batches) {
    const int64_t rest = left - t * capacity;
    const int32_t count = int32_t(rest < 0 ? 0 : rest < capacity ? rest : capacity);
    window.info[t] = {count, d.mean && count ? 1.0f / float(count) : 1.0f,
                      optim_step(d.optim, clock.updates + t)};
  }
  if (t >= n) return;
  const Triplet drawn = draw_triplet(d.pos, clock.seed, clock.epoch, d.negatives, d.sampling,
                                     clock.order, clock.step * capacity + t);
  const int64_t w = t / capacity, b = t - w * capacity;
  int32_t* const out = window.triplets + 3 * w * capacity + b;
  out[0] = drawn.user;
  out[capacity] = drawn.positive;
  out[2 * capacity] = drawn.negative;
  uint32_t* const keys = window.sort.keys[0] + 3 * t;
  const uint32_t high = uint32_t(w) << row_bits, item = high + uint32_t(d.n_users);
  keys[kUser] = high + uint32_t(drawn.user);
  keys[kPositive] = item + uint32_t(drawn.positive);
  keys[kNegative] = item + uint32_t(drawn.negative);
}

__global__ void __launch_bounds__(kThreads)
    key_kernel(Window window, int64_t n_users, int64_t n_items) {
  const int64_t b = int64_t(blockIdx.x) * kThreads + threadIdx.x, n = window.capacity;
  if (b == 0) *window.entries = int32_t(3 * n);
  if (b >= n) return;
  const int32_t u = window.triplets[b], i = window.triplets[n + b], j = window.triplets[2 * n + b];
  const bool inside = u >= 0 && u < n_users && i >= 0 && i < n_items && j >= 0 && j < n_items;
  const int64_t none = n_users + n_items;
  uint32_t* const keys = window.sort.keys[0] + 3 * b;
  keys[kUser] = uint32_t(inside ? u : none);
  keys[kPositive] = uint32_t(inside ? n_users + i : none);
  keys[kNegative] = uint32_t(inside ? n_users + j : none);
}

__device__ inline bool starts_run(const uint32_t* keys, int at) {
  return at == 0 || keys[at] != keys[at - 1];
}

__global__ void __launch_bounds__(kSortThreads)
    count_runs(const uint32_t* keys, const int32_t* n, int32_t* tile_runs) {
  const int first = int(blockIdx.x) * kSortTile + int(threadIdx.x) * kSortItems;
  int32_t mine = 0, total;
  for (int k = 0; k < kSortItems; ++k)
    if (first + k < *n) mine += starts_run(keys, first + k);
  block_scan<kSortThreads>(mine, &total);
  if (threadIdx.x == 0) tile_runs[blockIdx.x] = total;
}

// Every run of equal keys becomes a slot.
__global__ void __launch_bounds__(kSortThreads)
    assign_slots(Window window, const uint32_t* keys, const uint32_t* origins, int row_bits) {
  const int n = *window.entries;
  const int64_t capacity = window.capacity;
  const int first = int(blockIdx.x) * kSortTile + int(threadIdx.x) * kSortItems;
  int32_t mine = 0, total;
  for (int k = 0; k < kSortItems; ++k)
    if (first + k < n) mine += starts_run(keys, first + k);
  int32_t slot = window.head_count[blockIdx.x] + block_scan<kSortThreads>(mine, &total) - 1;
  for (int k = 0; k < kSortItems && first + k < n; ++k) {
    const int at = first + k;
    const bool head = starts_run(keys, at);
    slot += head;
    const int64_t t = origins[at] / 3, role = origins[at] % 3;
    const int64_t w = t / capacity, b = t - w * capacity;
    window.places[at] = int32_t(b * 4 + role);
    window.slots[(3 * w + role) * capacity + b] = slot;
    if (head) {
      window.rows[slot] = int32_t(keys[at] & ((uint32_t(1) << row_bits) - 1));
      window.begin[slot] = at;
      // Only the last batch of a window can be short, so the others start at these places.
      if (at % (3 * capacity) == 0) window.slot_base[at / (3 * capacity)] = slot;
    }
    if (at == n - 1) {
      window.begin[slot + 1] = n;
      window.slot_base[w + 1] = slot + 1;
    }
  }
}

void bucket(const Window& window, int64_t max_entries, int row_bits, int bits, void* stream) {
  const int from = sort_keys(window.sort, window.entries, max_entries, bits, stream);
  const int64_t tiles = ceil_div(max_entries, kSortTile);
  launch(&count_runs, tiles, kSortThreads, stream, window.sort.keys[from], window.entries,
         window.head_count);
  exclusive_scan(window.head_count, tiles, stream);
  launch(&assign_slots, tiles, kSortThreads, stream, window, window.sort.keys[from],
         window.sort.origins[from], row_bits);
}

constexpr int kLossThreads = 512;

// One block, so that the losses are added in the same order every time.
__global__ void __launch_bounds__(kLossThreads)
    close_kernel(Window window, int64_t batches, int adversarial, double* stats) {
  __shared__ double sums[kLossThreads];
  const int64_t n = *window.entries / 3;
  for (int which = 0; which <= adversarial; ++which) {
    const float* const loss = which ? window.perturbed_loss : window.loss;
    double sum = 0;
    for (int64_t t = threadIdx.x; t < n; t += kLossThreads) sum += double(loss[t]);
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = kLossThreads / 2; half > 0; half /= 2) {
      if (int(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
      __syncthreads();
    }
    if (threadIdx.x == 0) stats[which] += sums[0];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    window.clock->step += batches;
    window.clock->updates += batches;
  }
}

void set_clock(const Window& window, const SampleSpec& sample, const Schedule& schedule,
               const Optim& optim, int64_t pairs, void* stream) {
  launch(&clock_kernel, 1, 1, stream, window.clock,
         Clock{sample.seed, sample.epoch, schedule.first_step, optim.step,
               sampler::make_order(sample.seed, sample.epoch, pairs)});
}

// Draws and buckets the batches of the next `batches` steps.
void fill_window(const Window& window, const Drawing& drawing, int64_t batches, void* stream) {
  const int row_bits = bits_for(drawing.n_users + drawing.pos.n_items);
  launch(&draw_kernel, ceil_div(batches * window.capacity, kThreads), kThreads, stream, window,
         drawing, batches, row_bits);
  bucket(window, 3 * batches * window.capacity, row_bits, row_bits + bits_for(batches), stream);
}

// Adds the window's losses to its stats and sets the clock to the next window.
void close_window(const Window& window, int64_t batches, bool adversarial, void* stream) {
  launch(&close_kernel, 1, kLossThreads, stream, window, batches, int(adversarial), window.stats);
}

}  // namespace

Window take_window(Arena& arena, int64_t batches, int64_t capacity, bool losses) {
  Window w{};
  w.batches = batches;
  w.capacity = capacity;
  const int64_t entries = w.max_entries();
  w.clock = arena.take<Clock>(1);
  w.info = arena.take<StepInfo>(batches);
  w.entries = arena.take<int32_t>(1);
  w.triplets = arena.take<int32_t>(entries);
  w.slots = arena.take<int32_t>(entries);
  w.rows = arena.take<int32_t>(entries);
  w.begin = arena.take<int32_t>(entries + 1);
  w.places = arena.take<int32_t>(entries);
  w.slot_base = arena.take<int32_t>(batches + 1);
  w.head_count = arena.take<int32_t>(ceil_div(entries, kSortTile));
  if (losses) {
    w.loss = arena.take<float>(batches * capacity);
    w.perturbed_loss = arena.take<float>(batches * capacity);
    w.stats = arena.take<double>(2);
  }
  w.sort = take_sort_space(arena, entries);
  return w;
}

void bucket_triplets(const Window& window, int64_t n_users, int64_t n_items, void* stream) {
  launch(&key_kernel, ceil_div(window.capacity, kThreads), kThreads, stream, window, n_users,
         n_items);
  const int bits = bits_for(n_users + n_items + 1);
  bucket(window, 3 * window.capacity, bits, bits, stream);
}

void run_steps(const Window& window, const Table<float>& table, const Positives& pos,
               const SampleSpec& sample, const Schedule& schedule, const Adversary& adversary,
               const Optim& optim, int32_t* slot_of, Key key,
               const std::function<void(const Batch&, const Losses&, void*)>& step, double* stats,
               void* stream) {
  const Drawing drawing{pos,           sample.negatives, sample.sampling,
                        table.n_users, schedule.mean,    optim};
  const int64_t n_rows = table.n_users + table.n_items;
  const auto body = [&](int64_t batches, void* on) {
    // Slots are numbered anew in every window; within one, older marks lie below the batch's.
    if (slot_of)
      check(cudaMemsetAsync(slot_of, 0xff, size_t(n_rows) * sizeof(int32_t),
                            static_cast<cudaStream_t>(on)),
            "clearing memory");
    fill_window(window, drawing, batches, on);
    for (int64_t w = 0; w < batches; ++w) step(window.batch(w), window.losses(w), on);
    close_window(window, batches, adversary.weight != 0, on);
  };

  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check(cudaMemsetAsync(window.stats, 0, 2 * sizeof(double), cuda_stream), "clearing memory");
  set_clock(window, sample, schedule, optim, pos.pairs, stream);
  key.add(table.value, table.state1, table.state2, table.n_users, table.n_items, table.dim)
      .add(pos.pair_users, pos.pair_items, pos.pairs, pos.active_users, pos.active, pos.indptr)
      .add(pos.items, pos.n_items, sample.negatives, sample.sampling, schedule.batch_size)
      .add(schedule.mean, schedule.reg, adversary.eps, adversary.weight, adversary.norm)
      .add(adversary.site, optim.kind, optim.lr, optim.beta1, optim.beta2, optim.eps);
  run_windows(schedule.steps, window.batches, key, body, stream);
  check(cudaMemcpyAsync(stats, window.stats, 2 * sizeof(double), cudaMemcpyDeviceToDevice,
                        cuda_stream),
        "copying memory");
}

int64_t window_steps(int64_t batch_size, int64_t n_rows) {
  constexpr int64_t kMostSteps = 32, kMostTriplets = 1 << 17;
  int64_t steps = kMostSteps;
  // A sort key holds the batch above the row in 32 bits.
  while (steps > 1 &&
         (steps * batch_size > kMostTriplets || bits_for(steps) + bits_for(n_rows) > 32))
    steps /= 2;
  return steps;
}

}  // namespace advrec::cuda
