// Matrix factorisation with BPR or APR: many mini-batches in one call; the twin of cuda/mf.cu.

namespace advrec::cpu::ADVREC_ISA {

template <class T>
StepStats mf_steps(const Table<T>& table, const Positives& pos, const SampleSpec& sample,
                   const Schedule& schedule, const Adversary& adversary, const Optim& optim) {
  constexpr int64_t kAhead = 8;
  const int64_t dim = table.dim;
  want_huge_pages(table);
  BatchWindow window(pos, sample, schedule, table.n_users, threads());
  BatchStep<T> step(schedule.batch_size, dim, adversary);
  const bool dense = moves_untouched_rows(optim.kind);
  WaitingSteps<T> waiting(table, optim, dense ? schedule.steps : 0);
  StepStats stats;

  parallel([&](Team& team) {
    window.each(team, [&](const Batch& batch, int64_t at) {
      const T weight = weight_of<T>(schedule, batch);
      const OptimStep<T> update(optim, optim.step + at);
      // Inlined by force: gcc drops the call of a function that does nothing but prefetch.
      const auto prefetch = [&](int64_t s) __attribute__((always_inline)) {
        if (s < batch.n_rows) prefetch_row(table, batch.rows[s]);
      };
      if (dense)
        team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
          for (int64_t s = begin; s < end; ++s) {
            prefetch(s + kAhead);
            waiting.catch_up(batch.rows[s], at);
          }
        });
      const TableRows<T> x{table.value, dim, batch.rows.get()};
      step.run(team, batch, x, weight, stats, [&](int64_t s, T* g) {
        prefetch(s + kAhead);
        const int64_t r = batch.rows[s];
        if (schedule.reg != 0)
          axpy(T(schedule.reg) * weight * T(batch.begin[s + 1] - batch.begin[s]),
               table.value + r * dim, g, dim);
        update_row(update, table, r, g);
      });
    });
    if (dense) waiting.catch_up_all(team);
  });
  return stats;
}

}  // namespace advrec::cpu::ADVREC_ISA
