// LightGCN with BPR or APR: many mini-batches queued in one call; the twin of cpu/lightgcn.inl,
// where the algorithm is explained.
//
// With K layers a step of site final is K forward kernels (the last on the batch's rows only), the
// batch's own two to four, and K backward kernels, the last of which updates the table.
#include "batch_step.cuh"
#include "propagate.cuh"

namespace advrec::cuda {
namespace {

struct Space {
  Window window;
  StepSpace step;
  float* final;      // [slots, dim] propagated rows of the batch
  float* layer[2];   // [N, dim]
  int32_t* slot_of;  // [N]
  float* moved;      // [N, dim] E + Delta, site ego
  float* squares;    // [N], site ego and norm joint
  float* scale;      // [1]
};

bool perturbs_ego(const Adversary& adversary) {
  return adversary.weight != 0 && adversary.site == Site::kEgo;
}

// Site ego leaves the batch's own step plain: its perturbation lives on the embedding.
Adversary final_adversary(Adversary adversary) {
  if (adversary.site == Site::kEgo) adversary.weight = 0;
  return adversary;
}

Space take_space(Arena& arena, const Table<float>& table, int64_t layers, const Schedule& schedule,
                 const Adversary& adversary) {
  const int64_t n = table.n_users + table.n_items, dim = table.dim, batch = schedule.batch_size;
  Space space{};
  space.window = take_window(arena, window_steps(batch, n), batch, true);
  space.step = take_step_space(arena, batch, dim, final_adversary(adversary));
  space.final = arena.take<float>(3 * batch * dim);
  space.layer[0] = arena.take<float>(layers > 1 ? n * dim : 0);
  space.layer[1] = arena.take<float>(layers > 2 ? n * dim : 0);
  space.slot_of = arena.take<int32_t>(n);
  if (perturbs_ego(adversary)) {
    space.step.slopes.perturbed = arena.take<float>(batch);
    space.moved = arena.take<float>(n * dim);
    space.squares = arena.take<float>(n);
    space.scale = arena.take<float>(1);
  }
  return space;
}

// The end of a backward pass: row r of dL/dE is beta * (base + sum). Either it moves the table, or
// (moved set) it perturbs a copy of it, or (squares set as well) it only writes the gradient there.
struct FinishBackward {
  Rows base;
  float beta;
  Batch batch;
  RowUpdate update;
  float* moved = nullptr;
  float* squares = nullptr;
  float eps = 0;

  template <class Row>
  __device__ void operator()(int64_t r, Row& row, const Lanes& lanes, int dim) const {
    finish_layer(base, beta, r, lanes, dim, row);
    const Table<float>& t = update.table;
    if (moved) {
      const float sum = row.squares(lanes, dim);
      if (!squares)
        return write_moved(row, sum, eps, t.value + r * dim, moved + r * dim, lanes, dim);
      if (lanes.group == 0) row.write(moved + r * dim, lanes, dim);
      if (lanes.lane == 0) squares[r] = sum;
      return;
    }
    if (lanes.group == 0) update_row(batch, update, base.index(r), r, row, lanes, dim);
  }
};

// moved = value + scale * moved
__global__ void __launch_bounds__(kThreads)
    move_table_kernel(const float* value, const float* scale, float* moved, int64_t n) {
  const int64_t k = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (k < n) moved[k] = fmaf(*scale, moved[k], value[k]);
}

class Step {
 public:
  Step(const Table<float>& table, const Adjacency<float>& graph, int64_t layers,
       const Schedule& schedule, const Adversary& adversary, const Optim& optim, const Space& space)
      : table_(table),
        graph_(graph),
        layers_(layers),
        adversary_(adversary),
        space_(space),
        update_{table, optim.kind, float(schedule.reg)},
        beta_(1.0f / float(layers + 1)) {}

  void run(const Batch& batch, const Losses& losses, void* stream) const {
    const Vectors x = slot_vectors(batch, space_.final);
    const StepSpace& step = space_.step;
    forward(batch, table_.value, stream);
    batch_step(batch, x, step, final_adversary(adversary_), losses, RowUpdate{}, nullptr,
               table_.dim, stream);
    if (perturbs_ego(adversary_)) {
      perturb(batch, stream);
      forward(batch, space_.moved, stream);
      score(batch, x, table_.dim, float(adversary_.weight), step.slopes.perturbed, losses.perturbed,
            stream);
      GradientOut total{step.grad};
      total.add_to = step.grad;
      gradient(batch, x, Slopes{step.slopes.perturbed}, total, table_.dim, true, stream);
    }
    backward(batch, finish(batch), stream);
  }

 private:
  FinishBackward finish(const Batch& batch) const {
    return {gradient_rows(batch), beta_, batch, update_};
  }
  // The gradient on the batch's rows, seen as a matrix of all rows.
  Rows gradient_rows(const Batch& batch) const {
    return {space_.step.grad, space_.slot_of, batch.slot_base};
  }

  // F on the batch's rows, from the embedding (or its perturbed copy) `ego`.
  void forward(const Batch& batch, const float* ego, void* stream) const {
    const float* current = ego;
    for (int64_t k = 1; k < layers_; ++k) {
      float* const next = space_.layer[k % 2 ? 0 : 1];
      propagate_layer(graph_, Rows{current}, Rows{ego}, 1, table_.dim, next, stream);
      current = next;
    }
    propagate_to_list(graph_, current, ego, beta_, table_.dim, layers_ > 0, batch.rows,
                      batch.slot_base, 3 * batch.capacity, space_.slot_of, space_.final, stream);
  }

  void backward(const Batch& batch, const FinishBackward& finish, void* stream) const {
    Rows current = gradient_rows(batch);
    const Rows base = current;
    for (int64_t k = 1; k < layers_; ++k) {
      float* const next = space_.layer[k % 2 ? 0 : 1];
      propagate_layer(graph_, current, base, 1, table_.dim, next, stream);
      current = Rows{next};
    }
    const bool gather = layers_ > 0, vec = aligned(table_.value, table_.state1, table_.state2);
    if (current.slot_of)
      sum_rows(GraphTerms<true>{graph_, current, gather}, finish, graph_.rows, table_.dim, vec,
               stream);
    else
      sum_rows(GraphTerms<false>{graph_, current, gather}, finish, graph_.rows, table_.dim, vec,
               stream);
  }

  // moved = E + Delta, Delta = eps * Gamma / |Gamma| by row or over the whole table.
  void perturb(const Batch& batch, void* stream) const {
    FinishBackward into = finish(batch);
    const bool joint = adversary_.norm == Norm::kJoint;
    into.moved = space_.moved;
    into.squares = joint ? space_.squares : nullptr;
    into.eps = float(adversary_.eps);
    backward(batch, into, stream);
    if (!joint) return;
    joint_scale(space_.squares, nullptr, graph_.rows, adversary_.eps, space_.scale, stream);
    const int64_t n = graph_.rows * table_.dim;
    launch(&move_table_kernel, ceil_div(n, kThreads), kThreads, stream, table_.value, space_.scale,
           space_.moved, n);
  }

  const Table<float>& table_;
  const Adjacency<float>& graph_;
  const int64_t layers_;
  const Adversary adversary_;
  const Space& space_;
  const RowUpdate update_;
  const float beta_;
};

}  // namespace

int64_t lightgcn_steps_workspace(const Table<float>& table, int64_t layers,
                                 const Schedule& schedule, const Adversary& adversary) {
  Arena arena(nullptr);
  take_space(arena, table, layers, schedule, adversary);
  return arena.used();
}

void lightgcn_steps(const Table<float>& table, const Adjacency<float>& graph, int64_t layers,
                    const Positives& pos, const SampleSpec& sample, const Schedule& schedule,
                    const Adversary& adversary, const Optim& optim, void* workspace, double* stats,
                    void* stream) {
  Arena arena(workspace);
  const Space space = take_space(arena, table, layers, schedule, adversary);
  const Step step(table, graph, layers, schedule, adversary, optim, space);
  const auto key = Key()
                       .add('l', workspace)
                       .add(graph.indptr, graph.indices, graph.scale)
                       .add(graph.rows, layers);
  run_steps(
      space.window, table, pos, sample, schedule, adversary, optim, space.slot_of, key,
      [&](const Batch& batch, const Losses& losses, void* on) { step.run(batch, losses, on); },
      stats, stream);
}

}  // namespace advrec::cuda
