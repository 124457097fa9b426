// Matrix factorisation with BPR or APR: many mini-batches queued in one call.
//
// A plain step is three kernels, one of APR (norm = row) four: score, gradient and perturbed rows,
// score again, gradient and update. With dense Adam a sweep over all rows follows.
#include "batch_step.cuh"
#include "replay.cuh"

namespace advrec::cuda {
namespace {

struct Space {
  Window window;
  double* stats;  // [2]
  StepSpace step;
  int32_t* slot_of;  // [N], for dense Adam only
};

Space take_space(Arena& arena, const Table<float>& table, const Schedule& schedule,
                 const Adversary& adversary, const Optim& optim) {
  const int64_t n = table.n_users + table.n_items, batch = schedule.batch_size;
  Space space{};
  space.window = take_window(arena, window_steps(batch, n), batch, true);
  space.stats = arena.take<double>(2);
  space.step = take_step_space(arena, batch, table.dim, adversary);
  if (moves_untouched_rows(optim.kind)) space.slot_of = arena.take<int32_t>(n);
  return space;
}

}  // namespace

int64_t mf_steps_workspace(const Table<float>& table, const Schedule& schedule,
                           const Adversary& adversary, const Optim& optim) {
  Arena arena(nullptr);
  take_space(arena, table, schedule, adversary, optim);
  return arena.used();
}

void mf_steps(const Table<float>& table, const Positives& pos, const SampleSpec& sample,
              const Schedule& schedule, const Adversary& adversary, const Optim& optim,
              void* workspace, double* stats, void* stream) {
  Arena arena(workspace);
  const Space space = take_space(arena, table, schedule, adversary, optim);
  const Window& window = space.window;
  const int64_t n = table.n_users + table.n_items;
  const Drawing drawing{pos,           sample.negatives, sample.sampling,
                        table.n_users, schedule.mean,    optim};
  const RowUpdate update{table, optim.kind, float(schedule.reg)};
  const bool adversarial = adversary.weight != 0;
  // Only the second gradient pass of APR reads copies, so only it may write the table meanwhile.
  const bool updates_itself =
      adversarial && adversary.norm != Norm::kSample && !moves_untouched_rows(optim.kind);

  const auto body = [&](int64_t batches, void* on) {
    if (space.slot_of)
      check(cudaMemsetAsync(space.slot_of, 0xff, size_t(n) * sizeof(int32_t),
                            static_cast<cudaStream_t>(on)),
            "Clearing");
    fill_window(window, drawing, batches, on);
    for (int64_t w = 0; w < batches; ++w) {
      const Batch batch = window.batch(w);
      const int64_t at = w * schedule.batch_size;
      batch_step(batch, table_vectors(batch, table.value, table.n_users, table.dim), space.step,
                 adversary, {window.loss + at, window.perturbed_loss + at},
                 updates_itself ? update : RowUpdate{}, space.slot_of, table.dim, on);
      if (!updates_itself) apply(batch, space.step.grad, update, space.slot_of, on);
    }
    close_window(window, batches, adversarial, space.stats, on);
  };

  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check(cudaMemsetAsync(space.stats, 0, 2 * sizeof(double), cuda_stream), "Clearing");
  set_clock(window, sample, schedule, optim, pos.pairs, stream);
  Key key;
  key.add('m', table.value, table.state1, table.state2, table.n_users, table.n_items, table.dim)
      .add(pos.pair_users, pos.pair_items, pos.pairs, pos.active_users, pos.active, pos.indptr)
      .add(pos.items, pos.n_items, sample.negatives, sample.sampling, schedule.batch_size)
      .add(schedule.mean, schedule.reg, adversary.eps, adversary.weight, adversary.norm)
      .add(optim.kind, optim.lr, optim.beta1, optim.beta2, optim.eps, workspace);
  run_windows(schedule.steps, window.batches, key, body, stream);
  check(cudaMemcpyAsync(stats, space.stats, 2 * sizeof(double), cudaMemcpyDeviceToDevice,
                        cuda_stream),
        "Copying");
}

}  // namespace advrec::cuda
