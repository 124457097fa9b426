// Mini-batches, bucketed by row and drawn a window of several at a time; the twin of cuda/batch.cuh
// and batch.cu.
//
// Each row that a batch touches gets a slot, and a list of its places in the batch, in batch order.
// The owner of a row sums its gradient over that list: no atomics, duplicates are summed per row,
// and the number of threads changes nothing.

namespace advrec::cpu::ADVREC_ISA {

enum Role : int32_t { kUser = 0, kPositive = 1, kNegative = 2 };

// A mini-batch seen from its rows. All arrays have room for `capacity` triplets.
struct Batch {
  explicit Batch(int64_t capacity)
      : triplets(3 * capacity),
        slots(3 * capacity),
        rows(3 * capacity),
        begin(3 * capacity + 1),
        places(3 * capacity),
        capacity(capacity) {}

  Buffer<int32_t> triplets;  // [3, capacity] users, positives, negatives
  Buffer<int32_t> slots;     // [3, capacity] the slot of each of them
  Buffer<int32_t> rows;      // [n_rows] table row of a slot, in order of first appearance
  Buffer<int32_t> begin;     // [n_rows + 1] where a slot's places start
  Buffer<int32_t> places;    // [3 * count] triplet * 4 + role
  const int64_t capacity;
  int64_t count = 0, n_rows = 0;

  const int32_t* slot(Role role) const { return slots.get() + role * capacity; }
  int32_t* ids(Role role) { return triplets.get() + role * capacity; }
};

// Fills slots, rows, begin and places from ids. `slot_of` [U + I] is -1 everywhere on entry; on
// return it holds the slots: clear_slots puts it back.
inline void bucket(Batch& batch, int64_t n_users, int32_t* slot_of) {
  int32_t* const size = batch.begin.get() + 1;
  int32_t n_rows = 0;
  for (int64_t b = 0; b < batch.count; ++b) {
    for (int role = 0; role < 3; ++role) {
      const int64_t at = role * batch.capacity + b;
      const int32_t row = int32_t(batch.triplets[at] + (role == kUser ? 0 : n_users));
      int32_t slot = slot_of[row];
      if (slot < 0) {
        slot = slot_of[row] = n_rows;
        batch.rows[n_rows] = row;
        size[n_rows++] = 0;
      }
      batch.slots[at] = slot;
      ++size[slot];
    }
  }
  batch.n_rows = n_rows;
  batch.begin[0] = 0;
  for (int32_t s = 0; s < n_rows; ++s) batch.begin[s + 1] += batch.begin[s];
  // Filling backwards from each end leaves begin[s + 1] at the start of slot s: shift it then.
  for (int64_t b = batch.count - 1; b >= 0; --b)
    for (int role = 2; role >= 0; --role) {
      const int32_t slot = batch.slots[role * batch.capacity + b];
      batch.places[--batch.begin[slot + 1]] = int32_t(b * 4 + role);
    }
  for (int32_t s = 0; s < n_rows; ++s) batch.begin[s] = batch.begin[s + 1];
  batch.begin[n_rows] = int32_t(3 * batch.count);
}

inline void clear_slots(const Batch& batch, int32_t* slot_of) {
  for (int64_t s = 0; s < batch.n_rows; ++s) slot_of[batch.rows[s]] = -1;
}

// What the loss of one triplet counts in the loss of its batch.
template <class T>
T weight_of(const Schedule& schedule, const Batch& batch) {
  return schedule.mean ? T(1) / T(batch.count) : T(1);
}

// Draws and buckets batches ahead, a window at a time, each batch on one thread: neither depends on
// the embeddings, so this part of a step needs no barrier.
class BatchWindow {
 public:
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

  // Calls f(batch, at) for the batch of every step `at` in [0, schedule.steps).
  template <class F>
  void each(Team& team, const F& f) {
    for (int64_t at = 0; at < schedule_.steps; ++at) {
      const int64_t in_window = at % kBatches, left = schedule_.steps - at;
      if (in_window == 0) fill(team, schedule_.first_step + at, left < kBatches ? left : kBatches);
      f(*batches_[in_window], at);
    }
  }

 private:
  static constexpr int64_t kBatches = 8;

  // Prepares the batches of steps [step, step + count).
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

  const Positives pos_;
  const SampleSpec spec_;
  const Schedule schedule_;
  const int64_t n_users_, n_rows_, total_;
  const sampler::Order order_;
  Buffer<int32_t> slot_of_;
  Batch* batches_[kBatches] = {};
};

}  // namespace advrec::cpu::ADVREC_ISA
