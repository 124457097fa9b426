// Matrix factorisation with BPR or APR: many mini-batches queued in one call; the twin of
// cpu/mf.inl.
//
// A plain step is three kernels, one of APR (norm = row) four: score, gradient and perturbed rows,
// score again, gradient and update. With dense Adam a sweep over all rows follows.
#include "batch_step.cuh"

namespace advrec::cuda {
namespace {

struct Space {
  Window window;
  StepSpace step;
  int32_t* slot_of;  // [N], for dense Adam only
};

Space take_space(Arena& arena, const Table<float>& table, const Schedule& schedule,
                 const Adversary& adversary, const Optim& optim) {
  const int64_t n = table.n_users + table.n_items, batch = schedule.batch_size;
  Space space{};
  space.window = take_window(arena, window_steps(batch, n), batch, true);
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
  const RowUpdate update{table, optim.kind, float(schedule.reg)};
  // Only the second gradient pass of APR reads copies, so only it may write the table meanwhile.
  const bool updates_itself =
      adversary.weight != 0 && adversary.norm != Norm::kSample && !moves_untouched_rows(optim.kind);
  const auto step = [&](const Batch& batch, const Losses& losses, void* on) {
    batch_step(batch, table_vectors(batch, table.value, table.n_users, table.dim), space.step,
               adversary, losses, updates_itself ? update : RowUpdate{}, space.slot_of, table.dim,
               on);
    if (!updates_itself) apply(batch, space.step.grad, update, space.slot_of, on);
  };
  run_steps(space.window, table, pos, sample, schedule, adversary, optim, space.slot_of,
            Key().add('m', workspace), step, stats, stream);
}

}  // namespace advrec::cuda
