// LightGCN with BPR or APR: many mini-batches in one call; the twin of cuda/lightgcn.cu.
//
// One step, with A the normalised adjacency, E the embedding and F its propagated mean:
//   F = (E + A(E + A(E + ...))) / (K + 1), the last layer on the batch's rows only
//   G = dL/dF on those rows (site final: of clean + lambda * adversarial)
//   dL/dE = (G + A(G + A(G + ...))) / (K + 1), the first layer with the batch's rows as only input
// Site ego perturbs E: the first backward pass yields Gamma and E + Delta, a second forward pass
// the perturbed F and its gradient G'. As the propagation is linear, the second backward pass runs
// on G + lambda G' and returns the whole gradient, so that Gamma need not be kept.
//
// S is what the gathered tables are stored as: T itself, or Bf16, which halves the bytes that bound
// a step. Sums, gradients, master weights and optimizer state are T in both cases.

namespace advrec::cpu::ADVREC_ISA {

template <class T, class S>
class LightGcnStep {
  static constexpr bool kCopies = sizeof(S) != sizeof(T);

 public:
  LightGcnStep(const Table<T>& table, const Adjacency<T>& graph, int64_t layers,
               const Schedule& schedule, const Adversary& adversary)
      : table_(table),
        graph_(graph),
        layers_(layers),
        dim_(table.dim),
        beta_(T(1) / T(layers + 1)),
        reg_(T(schedule.reg)),
        adversary_(adversary),
        ego_(adversary.weight != 0 && adversary.site == Site::kEgo),
        batch_step_(schedule.batch_size, dim_, final_adversary(adversary)),
        perturbed_loss_(ego_ ? schedule.batch_size : 0),
        perturbed_parts_(ego_ ? schedule.batch_size : 0, dim_),
        slot_of_(graph.rows),
        final_(3 * schedule.batch_size * dim_),
        grad_(3 * schedule.batch_size * dim_),
        stored_(kCopies ? graph.rows * dim_ : 0),
        moved_(ego_ ? graph.rows * dim_ : 0),
        gamma_(ego_ && adversary.norm == Norm::kJoint ? graph.rows * dim_ : 0),
        squares_(ego_ && adversary.norm == Norm::kJoint ? graph.rows : 0),
        layer_{Buffer<S>(layers > 1 ? graph.rows * dim_ : 0),
               Buffer<S>(layers > 2 ? graph.rows * dim_ : 0)} {
    for (int64_t r = 0; r < graph.rows; ++r) {
      slot_of_[r] = -1;
      if constexpr (kCopies) store_row(table.value + r * dim_, stored_.get() + r * dim_, dim_);
    }
  }

  void run(Team& team, const Batch& batch, T weight, const OptimStep<T>& update, StepStats& stats) {
    team.ranges(batch.n_rows, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) slot_of_[batch.rows[s]] = int32_t(s);
    });
    forward(team, batch, DenseRows<T>{table_.value, dim_}, DenseRows<S>{gathered(), dim_});
    const DenseRows<T> x{final_.get(), dim_};
    batch_step_.run(team, batch, x, weight, stats,
                    [&](int64_t s, T* g) { store_row(g, grad_.get() + s * dim_, dim_); });
    if (ego_) {
      perturb(team);
      const DenseRows<S> moved{moved_.get(), dim_};
      forward(team, batch, moved, moved);
      score<false>(team, batch, x, dim_, T(adversary_.weight) * weight, perturbed_loss_,
                   perturbed_parts_);
      Buffer<T> row(dim_);
      team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end; ++s) {
          perturbed_parts_.sum(batch, s, row.get());
          axpy(T(1), row.get(), grad_.get() + s * dim_, dim_);
        }
      });
    }
    // Before the step's last barrier: after it, other threads may already refill the batch.
    if (ego_ && team.thread() == 0) stats.adversarial += perturbed_loss_.total(batch.count);
    backward(team, [&](int64_t r, T* g) {
      T* const value = table_.value + r * dim_;
      if (const int64_t later = r + kRowsAhead; later < graph_.rows) prefetch_row(table_, later);
      if (const int32_t s = slot_of_[r]; s >= 0 && reg_ != 0)
        axpy(reg_ * weight * T(batch.begin[s + 1] - batch.begin[s]), value, g, dim_);
      update_row(update, table_, r, g);
      if constexpr (kCopies) store_row(value, stored_.get() + r * dim_, dim_);
    });
    team.ranges(batch.n_rows, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) slot_of_[batch.rows[s]] = -1;
    });
  }

 private:
  // Site ego leaves the batch's own step plain: its perturbation lives on the embedding.
  static Adversary final_adversary(Adversary adversary) {
    if (adversary.site == Site::kEgo) adversary.weight = 0;
    return adversary;
  }

  // The embedding as layers gather it.
  const S* gathered() const {
    if constexpr (kCopies)
      return stored_.get();
    else
      return table_.value;
  }

  // F on the batch's rows, from the embedding (or its perturbed copy) and what is gathered of it.
  template <class Base>
  void forward(Team& team, const Batch& batch, const Base& base, const DenseRows<S>& ego) {
    const S* current = ego.x;
    for (int64_t k = 1; k < layers_; ++k) {
      S* const next = layer_[k % 2 ? 0 : 1].get();
      layer(team, graph_, DenseRows<S>{current, dim_}, base, T(1), dim_, next);
      current = next;
    }
    team.ranges(batch.n_rows, kRowChunk, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        const int64_t r = batch.rows[s];
        T* const out = final_.get() + s * dim_;
        if (layers_ == 0)
          fill_zero(out, dim_);
        else
          gather_row(graph_, r, DenseRows<S>{current, dim_}, dim_, out);
        finish_row(base.row(r), beta_, out, dim_);
      }
    });
  }

  // Calls finish(r, dL/dE row r) for every row, from the gradient on the batch's rows.
  template <class Finish>
  void backward(Team& team, const Finish& finish) {
    const SparseRows<T> base{grad_.get(), dim_, slot_of_.get()};
    if (layers_ == 0) return last_layer(team, base, base, finish, /*gather=*/false);
    if (layers_ == 1) return last_layer(team, base, base, finish, /*gather=*/true);
    layer(team, graph_, base, base, T(1), dim_, layer_[0].get());
    const S* current = layer_[0].get();
    for (int64_t k = 2; k < layers_; ++k) {
      S* const next = layer_[k % 2 ? 0 : 1].get();
      layer(team, graph_, DenseRows<S>{current, dim_}, base, T(1), dim_, next);
      current = next;
    }
    last_layer(team, DenseRows<S>{current, dim_}, base, finish, /*gather=*/true);
  }

  template <class Rows, class Finish>
  void last_layer(Team& team, const Rows& x, const SparseRows<T>& base, const Finish& finish,
                  bool gather) {
    Buffer<T> row(dim_);
    for_rows(team, graph_, [&](int64_t r) {
      T* const g = row.get();
      if (gather)
        gather_row(graph_, r, x, dim_, g);
      else
        fill_zero(g, dim_);
      finish_row(base.row(r), beta_, g, dim_);
      finish(r, g);
    });
  }

  // moved = E + Delta, Delta = eps * Gamma / |Gamma| by row or over the whole table.
  void perturb(Team& team) {
    const T eps = T(adversary_.eps);
    const bool joint = adversary_.norm == Norm::kJoint;
    Buffer<T> row(dim_);
    backward(team, [&](int64_t r, T* g) {
      const T squares = dot(g, g, dim_);
      if (joint) {
        squares_[r] = squares;
        store_row(g, gamma_.get() + r * dim_, dim_);
      } else {
        add_unit(table_.value + r * dim_, eps, g, squares, row.get(), dim_);
        store_row(row.get(), moved_.get() + r * dim_, dim_);
      }
    });
    if (!joint) return;
    double total = 0;  // every thread adds in the same order
    for (int64_t r = 0; r < graph_.rows; ++r) total += double(squares_[r]);
    const T scale = total > 0 ? T(double(eps) / __builtin_sqrt(total)) : T(0);
    team.ranges(graph_.rows, 256, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        add_scaled(table_.value + r * dim_, scale, gamma_.get() + r * dim_, row.get(), dim_);
        store_row(row.get(), moved_.get() + r * dim_, dim_);
      }
    });
  }

  const Table<T> table_;
  const Adjacency<T> graph_;
  const int64_t layers_, dim_;
  const T beta_, reg_;
  const Adversary adversary_;
  const bool ego_;
  BatchStep<T> batch_step_;
  Slopes<T> perturbed_loss_;
  Parts<T> perturbed_parts_;
  Buffer<int32_t> slot_of_;    // [N] slot of a row in the batch, -1 for the others
  Buffer<T> final_, grad_;     // [slots, dim]
  Buffer<S> stored_;           // [N, dim] the embedding as S, if that is not T
  Buffer<S> moved_;            // [N, dim] E + Delta
  Buffer<T> gamma_, squares_;  // [N, dim], [N] for norm = joint
  Buffer<S> layer_[2];         // [N, dim] each
};

template <class T, class S>
StepStats lightgcn_steps(const Table<T>& table, const Adjacency<T>& graph, int64_t layers,
                         const Positives& pos, const SampleSpec& sample, const Schedule& schedule,
                         const Adversary& adversary, const Optim& optim) {
  want_huge_pages(table);
  BatchWindow window(pos, sample, schedule, table.n_users, threads());
  LightGcnStep<T, S> step(table, graph, layers, schedule, adversary);
  StepStats stats;
  parallel([&](Team& team) {
    window.each(team, [&](const Batch& batch, int64_t at) {
      step.run(team, batch, weight_of<T>(schedule, batch), OptimStep<T>(optim, optim.step + at),
               stats);
    });
  });
  return stats;
}

}  // namespace advrec::cpu::ADVREC_ISA
