// Whole training steps on the emulator against the CPU core: every optimizer, norm and site, short
// last batches, graphs replayed, and the same bits however the steps are cut and threads ordered.
#include <cstdlib>

#include "../native/check.h"
#include "../native/problem.h"
#include "kernels_cuda.h"
#include "cuda_runtime.h"
#include "scratch.h"

namespace {

using namespace advrec;

struct Setting {
  int64_t dim = 8, batch_size = 6, steps = 5;
  OptimKind kind = OptimKind::kSgd;
  double lr = 0.05, reg = 0.01;
  bool mean = false;
  double weight = 0, eps = 0.5;
  Norm norm = Norm::kRow;
  Site site = Site::kFinal;
  Sampling mode = Sampling::kPairs;
  int64_t layers = -1;  // -1: matrix factorisation
  int64_t negatives = 1, first = 0;
};

std::string text(const Setting& s) {
  std::string out;
  const auto add = [&](const char* name, double value) {
    out += std::string(name) + " " + std::to_string(value).substr(0, 5) + " ";
  };
  add("dim", double(s.dim)), add("batch", double(s.batch_size)), add("layers", double(s.layers));
  add("optimizer", double(int(s.kind))), add("weight", s.weight), add("norm", double(int(s.norm)));
  add("site", double(int(s.site))), add("mean", s.mean), add("reg", s.reg);
  return out;
}

struct State {
  std::vector<float> value, state1, state2;
  std::vector<double> stats{0, 0};
  int64_t updates = 0;
  bool operator==(const State& o) const {
    return value == o.value && state1 == o.state1 && state2 == o.state2 && stats == o.stats;
  }
};

State start(const Problem& p, const Setting& s) {
  const int64_t n = p.rows() * s.dim;
  State state;
  state.value = random_values(n, 11, 0.3);
  const float first = s.kind == OptimKind::kAdagrad ? 0.1f : 0.0f;
  state.state1.assign(n, first);
  state.state2.assign(n, 0.0f);
  return state;
}

void run(const Problem& p, const Setting& s, State& state, int64_t first, int64_t steps,
         bool emulated) {
  const Table<float> table{state.value.data(), state.state1.data(), state.state2.data(),
                           p.n_users,          p.n_items,           s.dim};
  const SampleSpec sample{42, 3, s.negatives, s.mode};
  const Schedule schedule{first, steps, s.batch_size, s.mean, s.reg};
  const Adversary adversary{s.eps, s.weight, s.norm, s.site};
  const Optim optim{s.kind, s.lr, 0.9, 0.999, 1e-8, state.updates};
  const Adjacency<float> graph = p.graph();
  double sums[2] = {NAN, NAN};
  if (!emulated) {
    const StepStats stats =
        s.layers < 0
            ? cpu::mf_steps<float>(table, p.positives(), sample, schedule, adversary, optim)
            : cpu::lightgcn_steps<float>(table, graph, s.layers, p.positives(), sample, schedule,
                                         adversary, optim);
    sums[0] = stats.clean, sums[1] = stats.adversarial;
  } else if (s.layers < 0) {
    Scratch scratch(cuda::mf_steps_workspace(table, schedule, adversary, optim));
    cuda::mf_steps(table, p.positives(), sample, schedule, adversary, optim, scratch.get(), sums,
                   nullptr);
  } else {
    Scratch scratch(cuda::lightgcn_steps_workspace(table, s.layers, schedule, adversary));
    cuda::lightgcn_steps(table, graph, s.layers, p.positives(), sample, schedule, adversary, optim,
                         scratch.get(), sums, nullptr);
  }
  state.stats[0] += sums[0], state.stats[1] += sums[1];
  state.updates += steps;
}

State trained(const Problem& p, const Setting& s, bool emulated) {
  State state = start(p, s);
  run(p, s, state, s.first, s.steps, emulated);
  return state;
}

// A step's rounding is about terms * 2^-24; a perturbation of length eps along a gradient doubles
// it a few times on the way, and every further step starts from what the one before left.
void compare(const Problem& p, const Setting& s) {
  const State expected = trained(p, s, false), actual = trained(p, s, true);
  const double tolerance = 2e-6 * double(s.steps);
  CHECK_CLOSE(actual.value, expected.value, tolerance, tolerance, text(s));
  CHECK_CLOSE(actual.state1, expected.state1, tolerance, tolerance, text(s));
  CHECK_CLOSE(actual.state2, expected.state2, tolerance, tolerance, text(s));
  CHECK_CLOSE(actual.stats, expected.stats, 1e-5, 1e-5, text(s));
  CHECK(actual.value != start(p, s).value);
}

const OptimKind kKinds[] = {OptimKind::kSgd, OptimKind::kAdagrad, OptimKind::kAdam,
                            OptimKind::kSparseAdam};
constexpr double kAdversarial = 0.7;

TEST(mf_every_optimizer_and_norm) {
  const Problem p = random_problem(23, 14, 0.2, 1);
  for (const auto kind : kKinds)
    for (const double weight : {0.0, kAdversarial})
      for (const auto norm : {Norm::kRow, Norm::kSample, Norm::kJoint}) {
        if (weight == 0 && norm != Norm::kRow) continue;
        Setting s;
        s.kind = kind, s.weight = weight, s.norm = norm, s.mean = kind == OptimKind::kAdam;
        compare(p, s);
      }
}

TEST(mf_every_width) {
  const Problem p = random_problem(23, 14, 0.2, 2);
  for (const int64_t dim : {1, 2, 3, 7, 16, 33, 64, 65, 128, 132, 257, 260}) {
    Setting s;
    s.dim = dim, s.steps = 2, s.weight = kAdversarial, s.kind = OptimKind::kAdagrad;
    compare(p, s);
  }
}

TEST(mf_batches_of_every_size) {
  const Problem p = random_problem(23, 14, 0.2, 3);
  const int64_t total = p.positives().pairs * 2;
  for (const int64_t batch : {int64_t(1), int64_t(2), int64_t(50), total - 1, total, total + 9}) {
    Setting s;
    s.batch_size = batch, s.negatives = 2, s.weight = kAdversarial, s.mean = true;
    s.mode = batch % 2 ? Sampling::kUsers : Sampling::kPairs;
    s.steps = std::min<int64_t>(4, (total + batch - 1) / batch);
    s.first = (total + batch - 1) / batch - s.steps;  // up to the short last batch
    compare(p, s);
  }
}

TEST(mf_hub_rows) {
  Setting s;
  s.batch_size = 700, s.steps = 1, s.weight = kAdversarial, s.mean = true;
  compare(random_problem(400, 2, 1.0, 4), s);
  s.norm = Norm::kJoint;
  compare(random_problem(400, 2, 1.0, 4), s);
}

TEST(lightgcn_every_optimizer_norm_and_site) {
  const Problem p = random_problem(21, 15, 0.2, 5);
  for (const auto kind : {OptimKind::kSgd, OptimKind::kAdagrad, OptimKind::kAdam})
    for (const auto site : {Site::kEgo, Site::kFinal})
      for (const auto norm : {Norm::kRow, Norm::kSample, Norm::kJoint}) {
        if (site == Site::kEgo && norm == Norm::kSample) continue;
        Setting s;
        s.kind = kind, s.site = site, s.norm = norm, s.weight = kAdversarial, s.layers = 3;
        s.mode = Sampling::kUsers, s.steps = 3;
        compare(p, s);
      }
}

TEST(lightgcn_every_depth) {
  const Problem p = random_problem(21, 15, 0.2, 6);
  for (const int64_t layers : {0, 1, 2, 3, 4})
    for (const double weight : {0.0, kAdversarial}) {
      Setting s;
      s.layers = layers, s.weight = weight, s.site = Site::kEgo, s.steps = 2, s.mean = true;
      compare(p, s);
    }
}

TEST(lightgcn_every_width) {
  const Problem p = random_problem(21, 15, 0.2, 7);
  for (const int64_t dim : {1, 3, 4, 17, 32, 64, 66, 128, 200, 257, 260})
    for (const auto site : {Site::kEgo, Site::kFinal}) {
      Setting s;
      s.layers = 2, s.dim = dim, s.weight = kAdversarial, s.site = site, s.steps = 1;
      compare(p, s);
    }
}

TEST(lightgcn_hub_rows) {
  Setting s;
  s.layers = 2, s.batch_size = 600, s.steps = 1, s.weight = kAdversarial, s.mean = true;
  s.site = Site::kEgo;
  compare(random_problem(600, 3, 0.9, 8), s);
}

// Long enough for a plain window, two that are replayed, and a rest.
TEST(graphs_are_captured_once_and_replayed) {
  const Problem p = random_problem(40, 30, 0.2, 9);
  for (const int64_t layers : {-1, 2}) {
    Setting s;
    s.layers = layers, s.batch_size = 2, s.weight = kAdversarial, s.lr = 0.01;
    const int64_t window = cuda::window_steps(s.batch_size, p.rows());
    s.steps = 3 * window + 5;
    CHECK(s.steps * s.batch_size <= p.positives().pairs);
    const int64_t graphs = emu_graphs_made, launched = emu_graphs_launched;
    State once = start(p, s), cut = start(p, s);
    run(p, s, once, 0, s.steps, true);
    CHECK(emu_graphs_made == graphs + 1 && emu_graphs_launched == launched + 2);
    for (int64_t at = 0; at < s.steps; at += 7)
      run(p, s, cut, at, std::min<int64_t>(7, s.steps - at), true);
    CHECK(emu_graphs_made == graphs + 1);  // too few steps for a graph
    CHECK_SAME(cut.value, once.value, "steps cut otherwise");
    const State expected = trained(p, s, false);
    CHECK_CLOSE(once.value, expected.value, 1e-3, 1e-4, "many steps");
    CHECK_CLOSE(once.stats, expected.stats, 1e-4, 1e-4, "many steps");
  }
}

TEST(a_graph_is_found_again_by_everything_in_it) {
  const Problem p = random_problem(40, 30, 0.2, 9);
  Setting s;
  s.batch_size = 2;
  s.steps = 3 * cuda::window_steps(s.batch_size, p.rows());
  State state = start(p, s);
  const Table<float> table{state.value.data(), nullptr, nullptr, p.n_users, p.n_items, s.dim};
  Schedule schedule{0, s.steps, s.batch_size, false, 0};
  Optim optim{OptimKind::kSgd, 0.05, 0.9, 0.999, 1e-8, 0};
  Scratch scratch(cuda::mf_steps_workspace(table, schedule, Adversary{}, optim));
  const auto made_by = [&](const Optim& o, const SampleSpec& spec) {
    const int64_t before = emu_graphs_made;
    double stats[2];
    cuda::mf_steps(table, p.positives(), spec, schedule, Adversary{}, o, scratch.get(), stats,
                   nullptr);
    return emu_graphs_made - before;
  };
  CHECK(made_by(optim, {1, 0, 1, Sampling::kPairs}) == 1);
  CHECK(made_by(optim, {2, 7, 1, Sampling::kPairs}) == 0);  // seed and epoch are the clock's
  optim.lr = 0.01;
  CHECK(made_by(optim, {1, 0, 1, Sampling::kPairs}) == 1);
}

TEST(the_order_of_threads_and_blocks_changes_nothing) {
  const Problem p = random_problem(33, 21, 0.2, 10);
  for (const int64_t layers : {-1, 3})
    for (const auto norm : {Norm::kRow, Norm::kJoint}) {
      Setting s;
      s.layers = layers, s.weight = kAdversarial, s.norm = norm, s.site = Site::kEgo;
      s.kind = OptimKind::kAdam, s.batch_size = 20, s.steps = 3;
      emu::set_seed(0);
      const State first = trained(p, s, true);
      for (const unsigned seed : {1u, 2u}) {
        emu::set_seed(seed);
        CHECK(trained(p, s, true) == first);
      }
      emu::set_seed(0);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const char* const seed = std::getenv("ADVREC_EMU_SEED");
  emu::set_seed(seed ? unsigned(std::atoi(seed)) : 0);
  return testing::run_tests(argc, argv);
}
