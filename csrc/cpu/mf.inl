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

// What every step reads and writes at random.
template <class T>
void want_huge_pages(const Table<T>& table) {
  const size_t bytes = sizeof(T) * size_t((table.n_users + table.n_items) * table.dim);
  for (T* part : {table.value, table.state1, table.state2})
    if (part) cpu::want_huge_pages(part, bytes, true);
}

// Adam moves every row in every step, those without a gradient too; but nobody looks at such a row
// until a batch touches it. So its steps wait until then, or until the end of the call, and are
// made in registers one after the other: the same arithmetic, without a sweep over all rows in
// every step, which would take longer than the rest of it.
template <class T>
class WaitingSteps {
 public:
  WaitingSteps(const Table<T>& table, const Optim& optim, int64_t steps)
      : table_(table),
        rows_(steps > 0 ? table.n_users + table.n_items : 0),
        steps_(steps),
        updates_(steps),
        done_(rows_) {
    for (int64_t at = 0; at < steps; ++at) updates_[at] = OptimStep<T>(optim, optim.step + at);
    for (int64_t r = 0; r < rows_; ++r) done_[r] = 0;
  }

  // Makes the steps of a row before step `at` of the call; that one is then made by the caller.
  void catch_up(int64_t row, int64_t at) {
    const int64_t from = row * table_.dim;
    decay_row(updates_.get() + done_[row], at - done_[row], table_.value + from,
              table_.state1 + from, table_.state2 + from, table_.dim);
    done_[row] = int32_t(at + 1);
  }
  void catch_up_all(Team& team) {
    team.ranges(rows_, 256, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) catch_up(r, steps_);
    });
  }

 private:
  const Table<T> table_;
  const int64_t rows_, steps_;
  Buffer<OptimStep<T>> updates_;
  Buffer<int32_t> done_;  // [rows] steps of the call that are made
};

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
      const auto part = [&](T* all, int64_t s) {
        return all ? all + batch.rows[s] * dim : nullptr;
      };
      // Inlined by force: gcc drops the call of a function that does nothing but prefetch.
      const auto prefetch = [&](int64_t s) __attribute__((always_inline)) {
        if (s >= batch.n_rows) return;
        prefetch_row(part(table.value, s), dim);
        if (table.state1) prefetch_row(part(table.state1, s), dim);
        if (table.state2) prefetch_row(part(table.state2, s), dim);
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
        T* const value = part(table.value, s);
        if (schedule.reg != 0)
          axpy(T(schedule.reg) * weight * T(batch.begin[s + 1] - batch.begin[s]), value, g, dim);
        update_row(update, value, part(table.state1, s), part(table.state2, s), g, dim);
      });
    }
    if (dense) waiting.catch_up_all(team);
  });
  return stats;
}

}  // namespace advrec::cpu::ADVREC_ISA
