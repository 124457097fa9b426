// Matrix factorisation with BPR or APR: many mini-batches in one call.

namespace advrec::cpu::ADVREC_ISA {

// Draws and buckets batches ahead, a window at a time and one batch a thread: neither depends on
// the embeddings, so this is the part of a step that needs no meeting of threads.
class BatchWindow {
 public:
  static constexpr int64_t kBatches = 8;

  BatchWindow(const Positives& pos, const SampleSpec& spec, const Schedule& schedule,
              int64_t n_users, int threads)
      : pos_(pos),
        spec_(spec),
        schedule_(schedule),
        n_users_(n_users),
        n_rows_(n_users + pos.n_items),
        total_(pos.pairs * spec.negatives),
        order_(sampler::make_order(spec.seed, spec.epoch, pos.pairs)),
        slot_of_(int64_t(threads) * n_rows_) {
    for (int64_t k = 0; k < int64_t(threads) * n_rows_; ++k) slot_of_[k] = -1;
    for (auto& batch : batches_) batch = new Batch(schedule.batch_size);
  }
  ~BatchWindow() {
    for (auto* batch : batches_) delete batch;
  }
  BatchWindow(const BatchWindow&) = delete;
  BatchWindow& operator=(const BatchWindow&) = delete;

  // Makes ready the batches of steps [step, step + count).
  void fill(Team& team, int64_t step, int64_t count) {
    int32_t* const slot_of = slot_of_.get() + team.thread() * n_rows_;
    team.each(count, [&](int64_t k) {
      Batch& b = *batches_[k];
      const int64_t first = (step + k) * schedule_.batch_size;
      b.count = first + schedule_.batch_size < total_ ? schedule_.batch_size : total_ - first;
      sample_range(pos_, spec_, order_, first, b.count, b.ids(kUser), b.ids(kPositive),
                   b.ids(kNegative));
      bucket(b, n_users_, slot_of);
      clear_slots(b, slot_of);
    });
  }
  const Batch& operator[](int64_t k) const { return *batches_[k]; }

 private:
  const Positives pos_;
  const SampleSpec spec_;
  const Schedule schedule_;
  const int64_t n_users_, n_rows_, total_;
  const sampler::Order order_;
  Buffer<int32_t> slot_of_;
  Batch* batches_[kBatches] = {};
};

template <class T>
StepStats mf_steps(const Table<T>& table, const Positives& pos, const SampleSpec& sample,
                   const Schedule& schedule, const Adversary& adversary, const Optim& optim) {
  const int64_t dim = table.dim, n = table.n_users + table.n_items, capacity = schedule.batch_size;
  BatchWindow window(pos, sample, schedule, table.n_users, threads());
  BatchStep<T> step(capacity, dim, adversary);
  Buffer<T> grad(3 * capacity * dim);
  // Only Adam's sweep over all rows asks which of them the batch touched.
  const bool dense = OptimStep<T>(optim, 0).dense();
  Buffer<int32_t> slot_of(dense ? n : 0);
  for (int64_t r = 0; dense && r < n; ++r) slot_of[r] = -1;
  StepStats stats;

  parallel([&](Team& team) {
    for (int64_t at = 0; at < schedule.steps; ++at) {
      const int64_t in_window = at % BatchWindow::kBatches;
      if (in_window == 0) {
        const int64_t left = schedule.steps - at;
        window.fill(team, schedule.first_step + at,
                    left < BatchWindow::kBatches ? left : BatchWindow::kBatches);
      }
      const Batch& batch = window[in_window];
      const T weight = schedule.mean ? T(1) / T(batch.count) : T(1);
      const OptimStep<T> update(optim, optim.step + at);

      const TableRows<T> x{table.value, dim, batch.rows.get()};
      step.run(team, batch, x, weight, grad.get());
      if (dense)
        team.ranges(batch.n_rows, 1024, [&](int64_t begin, int64_t end) {
          for (int64_t s = begin; s < end; ++s) slot_of[batch.rows[s]] = int32_t(s);
        });

      // Before the last meeting of the step: after it others may already refill the batch.
      if (team.thread() == 0) {
        const StepStats sum = step.stats(batch);
        stats.clean += sum.clean;
        stats.adversarial += sum.adversarial;
      }
      const auto apply = [&](int64_t row, T* g) {
        T* const value = table.value + row * dim;
        update_row(update, value, table.state1 ? table.state1 + row * dim : nullptr,
                   table.state2 ? table.state2 + row * dim : nullptr, g, dim);
      };
      const auto add_penalty = [&](int64_t s) {
        T* const g = grad.get() + s * dim;
        if (schedule.reg != 0)
          axpy(T(schedule.reg) * weight * T(batch.begin[s + 1] - batch.begin[s]), x.row(s), g, dim);
        return g;
      };
      if (dense) {
        Buffer<T> zero(dim);
        fill_zero(zero.get(), dim);
        team.ranges(n, 256, [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            apply(r, slot_of[r] < 0 ? zero.get() : add_penalty(slot_of[r]));
            slot_of[r] = -1;
          }
        });
      } else {
        constexpr int64_t kAhead = 6;
        team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
          for (int64_t s = begin; s < end; ++s) {
            if (s + kAhead < end && table.state1)
              prefetch_row(table.state1 + batch.rows[s + kAhead] * dim, dim);
            apply(batch.rows[s], add_penalty(s));
          }
        });
      }
    }
  });
  return stats;
}

}  // namespace advrec::cpu::ADVREC_ISA
