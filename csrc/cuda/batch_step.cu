#include "batch_step.cuh"

namespace advrec::cuda {
namespace {

struct Margins {
  float clean = 0, squares_user = 0, squares_items = 0;
};

// p.(q - r) and, for norm = sample, |p|^2 and |q - r|^2, by a group of lanes.
template <int VEC, bool SAMPLE>
__device__ inline Margins margins(const Vectors& x, int64_t b, int64_t capacity, const Lanes& lanes,
                                  int dim) {
  const float* const p = x.users + int64_t(x.index(kUser, b, capacity)) * dim;
  const float* const q = x.items + int64_t(x.index(kPositive, b, capacity)) * dim;
  const float* const r = x.items + int64_t(x.index(kNegative, b, capacity)) * dim;
  Margins sum;
  for (int column = lanes.column * VEC; column < dim; column += lanes.width * VEC) {
    const Pack<VEC> u = load<VEC>(p + column), i = load<VEC>(q + column), j = load<VEC>(r + column);
#pragma unroll
    for (int k = 0; k < VEC; ++k) {
      const float d = i.v[k] - j.v[k];
      sum.clean = fmaf(u.v[k], d, sum.clean);
      if constexpr (SAMPLE) {
        sum.squares_user = fmaf(u.v[k], u.v[k], sum.squares_user);
        sum.squares_items = fmaf(d, d, sum.squares_items);
      }
    }
  }
  sum.clean = group_sum(sum.clean, lanes.width);
  if constexpr (SAMPLE) {
    sum.squares_user = group_sum(sum.squares_user, lanes.width);
    sum.squares_items = group_sum(sum.squares_items, lanes.width);
  }
  return sum;
}

template <class Row>
__global__ void __launch_bounds__(kThreads) score_kernel(Batch batch, Vectors x, int dim, int width,
                                                         float factor, float* slope, float* loss) {
  const Lanes lanes(width);
  const int64_t mine = (int64_t(blockIdx.x) * kWarps + lanes.warp) * lanes.groups + lanes.group;
  const int64_t n = batch.info->count, b = mine < n ? mine : n - 1;
  const Margins m = margins<Row::kVec, false>(x, b, batch.capacity, lanes, dim);
  if (lanes.column != 0 || mine >= n) return;
  float s;
  loss[b] = bpr_loss(m.clean, &s);
  slope[b] = factor * batch.info->weight * s;
}

// Both scores at once: every triplet's own worst perturbation depends on its own vectors alone.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    score_sample_kernel(Batch batch, Vectors x, int dim, int width, float eps, float adv_weight,
                        Slopes slopes, Losses losses) {
  const Lanes lanes(width);
  const int64_t mine = (int64_t(blockIdx.x) * kWarps + lanes.warp) * lanes.groups + lanes.group;
  const int64_t n = batch.info->count, b = mine < n ? mine : n - 1;
  const Margins m = margins<Row::kVec, true>(x, b, batch.capacity, lanes, dim);
  if (lanes.column != 0 || mine >= n) return;
  const float weight = batch.info->weight;
  float s;
  losses.clean[b] = bpr_loss(m.clean, &s);
  slopes.clean[b] = weight * s;
  const bool flat = slopes.clean[b] == 0;  // no gradient, so nothing to follow
  const float a = flat || m.squares_items == 0 ? 0.0f : eps / sqrtf(m.squares_items);
  const float c = flat || m.squares_user == 0 ? 0.0f : eps / sqrtf(m.squares_user);
  // (p - a D).(D - 2c p)
  const float margin = m.clean - 2 * c * m.squares_user - a * m.squares_items + 2 * a * c * m.clean;
  losses.perturbed[b] = bpr_loss(margin, &s);
  slopes.perturbed[b] = adv_weight * weight * s;
  slopes.item_scale[b] = a;
  slopes.user_scale[b] = c;
}

struct FinishGradient {
  Batch batch;
  Vectors x;
  GradientOut out;

  template <class Row>
  __device__ void operator()(int64_t s, Row& row, const Lanes& lanes, int dim) const {
    if (out.add_to) row.scale_add(1, out.add_to + s * dim, lanes, dim);
    if (out.slot_of && lanes.lane == 0) out.slot_of[batch.row(s)] = batch.slot_base[0] + int32_t(s);
    if (out.moved || out.squares) {
      const float squares = row.squares(lanes, dim);
      if (out.squares && lanes.lane == 0) out.squares[s] = squares;
      if (out.moved)
        write_moved(row, squares, out.eps, own_vector(s, dim), out.moved + s * dim, lanes, dim);
    }
    if (lanes.group != 0) return;
    if (out.update.table.value)
      update_row(batch, out.update, s, batch.row(s), row, lanes, dim);
    else
      row.write(out.grad + s * dim, lanes, dim);
  }
  // The slot's vector at x, found through its first place.
  __device__ const float* own_vector(int64_t s, int dim) const {
    const int32_t place = batch.places[batch.span(s).begin];
    const int role = place & 3;
    const int64_t index = x.index(role, place >> 2, batch.capacity);
    return (role == kUser ? x.users : x.items) + index * dim;
  }
};

constexpr int kJointThreads = 512;

__global__ void __launch_bounds__(kJointThreads)
    joint_scale_kernel(const float* squares, const int32_t* range, int64_t rows, double eps,
                       float* scale) {
  __shared__ double sums[kJointThreads];
  const int64_t n = range ? range[1] - range[0] : rows;
  double sum = 0;
  for (int64_t k = threadIdx.x; k < n; k += kJointThreads) sum += double(squares[k]);
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kJointThreads / 2; half > 0; half /= 2) {
    if (int(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) *scale = sums[0] > 0 ? float(eps / sqrt(sums[0])) : 0.0f;
}

// moved[s] = x[s] + scale * grad[s], one warp per slot.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    move_kernel(FinishGradient rows, const float* scale, const float* grad, float* moved, int dim) {
  constexpr int VEC = Row::kVec;
  const int64_t s = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (s >= rows.batch.n_slots()) return;
  const float* const base = rows.own_vector(s, dim);
  for (int column = int(threadIdx.x) % kWarp * VEC; column < dim; column += kWarp * VEC) {
    Pack<VEC> v = load<VEC>(base + column);
    const Pack<VEC> g = load<VEC>(grad + s * dim + column);
#pragma unroll
    for (int i = 0; i < VEC; ++i) v.v[i] = fmaf(*scale, g.v[i], v.v[i]);
    store<VEC>(moved + s * dim + column, v);
  }
}

// One warp per row: slot s of the batch, or row r of the table.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(Batch batch, const float* grad, RowUpdate update, const int32_t* slot_of,
                 int64_t n_rows, int dim) {
  constexpr int VEC = Row::kVec;
  const int64_t k = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  int64_t s = k, r = k;
  if (slot_of) {
    if (r >= n_rows) return;
    s = slot_of[r] - batch.slot_base[0];
    if (s < 0 || s >= batch.n_slots()) s = -1;
  } else {
    if (s >= batch.n_slots()) return;
    r = batch.row(s);
  }
  const OptimStep step = batch.info->optim;
  const float penalty = penalty_of(batch, update.reg, s);
  for (int column = int(threadIdx.x) % kWarp * VEC; column < dim; column += kWarp * VEC) {
    Pack<VEC> g{};
    if (s >= 0) g = load<VEC>(grad + s * dim + column);
    update_values<VEC>(update, step, penalty, r * dim + column, g);
  }
}

template <class Kernel, class... A>
void launch_score(const Kernel& kernel, const Batch& batch, const Vectors& x, int64_t dim,
                  void* stream, const A&... args) {
  with_vec(dim, aligned(x.users, x.items), [&](auto row) {
    using Row = decltype(row);
    const int width = row_width(dim, Row::kVec);
    launch(kernel(row), ceil_div(batch.capacity * width, kThreads), kThreads, stream, batch, x,
           int(dim), width, args...);
  });
}

}  // namespace

StepSpace take_step_space(Arena& arena, int64_t capacity, int64_t dim, const Adversary& adversary) {
  StepSpace space{};
  const bool adversarial = adversary.weight != 0, sample = adversary.norm == Norm::kSample;
  space.slopes.clean = arena.take<float>(capacity);
  space.grad = arena.take<float>(3 * capacity * dim);
  if (!adversarial) return space;
  space.slopes.perturbed = arena.take<float>(capacity);
  if (sample) {
    space.slopes.item_scale = arena.take<float>(capacity);
    space.slopes.user_scale = arena.take<float>(capacity);
  } else {
    space.moved = arena.take<float>(3 * capacity * dim);
  }
  if (adversary.norm == Norm::kJoint) {
    space.squares = arena.take<float>(3 * capacity);
    space.scale = arena.take<float>(1);
  }
  return space;
}

void score(const Batch& batch, const Vectors& x, int64_t dim, float factor, float* slope,
           float* loss, void* stream) {
  launch_score([](auto row) { return &score_kernel<decltype(row)>; }, batch, x, dim, stream, factor,
               slope, loss);
}

void gradient(const Batch& batch, const Vectors& x, const Slopes& slopes, const GradientOut& out,
              int64_t dim, bool vec, void* stream) {
  sum_rows(BatchTerms{batch, x, slopes}, FinishGradient{batch, x, out}, 3 * batch.capacity, dim,
           vec, stream);
}

void joint_scale(const float* squares, const int32_t* range, int64_t rows, double eps, float* scale,
                 void* stream) {
  launch(&joint_scale_kernel, 1, kJointThreads, stream, squares, range, rows, eps, scale);
}

void batch_step(const Batch& batch, const Vectors& x, const StepSpace& space,
                const Adversary& adversary, const Losses& losses, const RowUpdate& update,
                int32_t* slot_of, int64_t dim, void* stream) {
  const float eps = float(adversary.eps), adv_weight = float(adversary.weight);
  const Table<float>& table = update.table;
  // This step's own scratch is aligned anyway.
  const bool vec = aligned(x.users, x.items, table.value, table.state1, table.state2);
  const Slopes clean{space.slopes.clean};
  GradientOut out{space.grad};
  out.slot_of = slot_of;
  if (adversary.weight != 0 && adversary.norm == Norm::kSample) {
    launch_score([](auto row) { return &score_sample_kernel<decltype(row)>; }, batch, x, dim,
                 stream, eps, adv_weight, space.slopes, losses);
    return gradient(batch, x, space.slopes, out, dim, vec, stream);
  }
  score(batch, x, dim, 1, space.slopes.clean, losses.clean, stream);
  if (adversary.weight == 0) return gradient(batch, x, clean, out, dim, vec, stream);

  if (adversary.norm == Norm::kRow) {
    out.moved = space.moved;
    out.eps = eps;
    gradient(batch, x, clean, out, dim, vec, stream);
  } else {
    out.squares = space.squares;
    gradient(batch, x, clean, out, dim, vec, stream);
    joint_scale(space.squares, batch.slot_base, 0, adversary.eps, space.scale, stream);
    with_vec(dim, vec, [&](auto row) {
      launch(&move_kernel<decltype(row)>, ceil_div(3 * batch.capacity, kWarps), kThreads, stream,
             FinishGradient{batch, x, out}, space.scale, space.grad, space.moved, int(dim));
    });
  }
  const Vectors moved = slot_vectors(batch, space.moved);
  score(batch, moved, dim, adv_weight, space.slopes.perturbed, losses.perturbed, stream);
  GradientOut total{space.grad};
  total.add_to = space.grad;
  total.update = update;
  gradient(batch, moved, Slopes{space.slopes.perturbed}, total, dim, vec, stream);
}

void apply(const Batch& batch, const float* grad, const RowUpdate& update, const int32_t* slot_of,
           void* stream) {
  const Table<float>& t = update.table;
  const int64_t n_rows = t.n_users + t.n_items;
  with_vec(t.dim, aligned(t.value, t.state1, t.state2), [&](auto row) {
    launch(&apply_kernel<decltype(row)>, ceil_div(slot_of ? n_rows : 3 * batch.capacity, kWarps),
           kThreads, stream, batch, grad, update, slot_of, n_rows, int(t.dim));
  });
}

}  // namespace advrec::cuda
