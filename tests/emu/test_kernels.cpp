// Every CUDA kernel, run on the emulator, against the CPU core.
//
// Tolerances: both sides add n products of float32 in different orders, so they differ by at most
// about n * 2^-24 of the sum of their sizes; the tests use small multiples of that. Ids, orders and
// counts must be equal.
#include <cstdlib>
#include <numeric>

#include "../native/check.h"
#include "../native/problem.h"
#include "cuda/sort.cuh"
#include "scratch.h"

namespace {

using namespace advrec;

const std::vector<int64_t> kDims = {1,  2,  3,   4,   5,   8,   12,  31,  32,  33,  63,  64,
                                    65, 96, 100, 127, 128, 132, 200, 256, 257, 260, 511, 512};
constexpr double kEps = 1.0 / (1 << 24);

std::string text(std::initializer_list<std::pair<const char*, double>> values) {
  std::string out;
  for (const auto& [name, value] : values)
    out += std::string(name) + " " + std::to_string(value).substr(0, 6) + " ";
  return out;
}

TEST(sort_is_stable_and_complete) {
  for (const int64_t n : {0, 1, 7, 1023, 1024, 1025, 5000}) {
    for (const int bits : {0, 3, 6, 13, 32}) {
      std::mt19937 random(unsigned(n + bits));
      const uint32_t limit = bits == 32 ? ~0u : (1u << bits) - 1;
      const int64_t room = n + 100;
      Scratch memory([&] {
        cuda::Arena arena(nullptr);
        cuda::take_sort_space(arena, room);
        return arena.used();
      }());
      cuda::Arena arena(memory.get());
      const cuda::SortSpace space = cuda::take_sort_space(arena, room);
      std::vector<uint32_t> keys(n);
      for (auto& k : keys) k = random() & limit;
      std::copy(keys.begin(), keys.end(), space.keys[0]);
      const int32_t count = int32_t(n);
      const int at = cuda::sort_keys(space, &count, room, bits, nullptr);
      std::vector<uint32_t> expected(n);
      std::iota(expected.begin(), expected.end(), 0u);
      std::stable_sort(expected.begin(), expected.end(),
                       [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
      const std::vector<uint32_t> actual(space.origins[at], space.origins[at] + n);
      CHECK_SAME(actual, expected, text({{"n", double(n)}, {"bits", double(bits)}}));
    }
  }
}

TEST(scan_adds_what_stands_before) {
  for (const int64_t m : {1, 31, 512, 513, 4000}) {
    std::vector<int32_t> counts(m), expected(m);
    std::mt19937 random{unsigned(m)};
    int32_t sum = 0;
    for (int64_t k = 0; k < m; ++k) {
      counts[k] = int32_t(random() % 9);
      expected[k] = sum;
      sum += counts[k];
    }
    cuda::exclusive_scan(counts.data(), m, nullptr);
    CHECK_SAME(counts, expected, text({{"m", double(m)}}));
  }
}

TEST(sampler_draws_the_same_triplets) {
  const Problem p = random_problem(37, 23, 0.2, 1);
  for (const auto mode : {Sampling::kPairs, Sampling::kUsers})
    for (const int64_t negatives : {1, 3})
      for (const uint32_t epoch : {0u, 5u, 0x7fffffffu}) {
        const SampleSpec spec{0x123456789abcdefull, epoch, negatives, mode};
        const int64_t total = p.positives().pairs * negatives;
        for (const auto& [first, count] :
             {std::pair<int64_t, int64_t>{0, total}, {total - 1, 1}, {total / 3, 70}, {0, 0}}) {
          std::vector<int32_t> a(3 * count), b(3 * count);
          cpu::sample_triplets(p.positives(), spec, first, count, a.data(), a.data() + count,
                               a.data() + 2 * count);
          cuda::sample_triplets(p.positives(), spec, first, count, b.data(), b.data() + count,
                                b.data() + 2 * count, nullptr);
          CHECK_SAME(b, a, text({{"epoch", epoch}, {"count", double(count)}}));
        }
      }
}

void compare_propagation(const Problem& p, int64_t dim, int64_t layers) {
  const auto x = random_values(p.rows() * dim, unsigned(dim));
  std::vector<float> scratch(x.size()), expected(x.size()), actual(x.size(), NAN), other(x.size());
  cpu::propagate<float>(p.graph(), x.data(), dim, layers, scratch.data(), expected.data());
  cuda::propagate(p.graph(), x.data(), dim, layers, other.data(), actual.data(), nullptr);
  CHECK_CLOSE(actual, expected, 64 * kEps, 64 * kEps,
              text({{"dim", double(dim)}, {"layers", double(layers)}, {"N", double(p.rows())}}));
}

TEST(propagate_over_all_widths) {
  const Problem p = random_problem(29, 17, 0.15, 2);
  for (const int64_t dim : kDims) compare_propagation(p, dim, 2);
}

TEST(propagate_over_all_depths) {
  const Problem p = random_problem(12, 19, 0.3, 3);
  for (const int64_t layers : {0, 1, 2, 3, 4, 5}) compare_propagation(p, 20, layers);
}

TEST(propagate_over_odd_graphs) {
  compare_propagation(Problem(1, 1, {{0}}), 7, 3);              // one pair
  compare_propagation(Problem(2, 3, {{}, {}}), 4, 2);           // no pairs
  compare_propagation(random_problem(700, 6, 0.05, 4), 16, 2);  // a hub that a block shares
  compare_propagation(random_problem(3, 1100, 0.9, 5), 65, 2);
  compare_propagation(random_problem(300, 2, 1.0, 5), 260, 1);
}

TEST(margin_over_all_widths) {
  for (const int64_t dim : kDims)
    for (const int64_t count : {0, 1, 77}) {
      const auto users = random_values(13 * dim, 1), items = random_values(11 * dim, 2);
      const auto triplets = random_triplets(13, 11, count, unsigned(dim));
      std::vector<float> expected(count), actual(count, NAN);
      cpu::triplet_margin<float>(users.data(), items.data(), dim, triplets.data(), count,
                                 expected.data());
      cuda::triplet_margin(users.data(), items.data(), 13, 11, dim, triplets.data(), count,
                           actual.data(), nullptr);
      CHECK_CLOSE(actual, expected, 0, 8 * kEps * double(dim + 8), text({{"dim", double(dim)}}));
    }
}

struct Gradients {
  std::vector<float> users, items;
};
Gradients margin_gradients(int64_t n_users, int64_t n_items, int64_t dim,
                           const std::vector<int32_t>& triplets, bool emulated) {
  const int64_t count = int64_t(triplets.size() / 3);
  const auto users = random_values(n_users * dim, 1), items = random_values(n_items * dim, 2);
  const auto grad = random_values(count, 3);
  Gradients out{std::vector<float>(users.size(), NAN), std::vector<float>(items.size(), NAN)};
  if (emulated) {
    Scratch scratch(cuda::triplet_margin_backward_workspace(n_users, n_items, count));
    cuda::triplet_margin_backward(grad.data(), users.data(), items.data(), n_users, n_items, dim,
                                  triplets.data(), count, out.users.data(), out.items.data(),
                                  scratch.get(), nullptr);
  } else {
    cpu::triplet_margin_backward<float>(grad.data(), users.data(), items.data(), n_users, n_items,
                                        dim, triplets.data(), count, out.users.data(),
                                        out.items.data());
  }
  return out;
}

void compare_gradients(int64_t n_users, int64_t n_items, int64_t dim, int64_t count) {
  const auto triplets = random_triplets(n_users, n_items, count, unsigned(count));
  const Gradients expected = margin_gradients(n_users, n_items, dim, triplets, false);
  const Gradients actual = margin_gradients(n_users, n_items, dim, triplets, true);
  const double terms = double(count) / double(std::min(n_users, n_items)) + 4;
  const std::string what = text({{"dim", double(dim)}, {"count", double(count)}});
  CHECK_CLOSE(actual.users, expected.users, 0, 16 * kEps * terms, what);
  CHECK_CLOSE(actual.items, expected.items, 0, 16 * kEps * terms, what);
}

TEST(margin_gradient_over_all_widths) {
  for (const int64_t dim : kDims) compare_gradients(9, 7, dim, 40);
}

TEST(margin_gradient_sums_duplicates) {
  compare_gradients(5, 4, 8, 0);
  compare_gradients(5, 4, 8, 1);
  compare_gradients(1, 1, 3, 9);       // i equals j
  compare_gradients(2, 300, 33, 900);  // a user's row is shared by the block
  compare_gradients(500, 3, 4, 1500);
}

TEST(triplets_outside_their_table_are_left_out) {
  std::vector<int32_t> triplets = random_triplets(9, 7, 30, 3);
  triplets[4] = 9, triplets[30 + 11] = -1, triplets[60 + 20] = 1 << 30;
  const auto users = random_values(9 * 8, 1), items = random_values(7 * 8, 2);
  std::vector<float> margin(30);
  cuda::triplet_margin(users.data(), items.data(), 9, 7, 8, triplets.data(), 30, margin.data(),
                       nullptr);
  for (int b = 0; b < 30; ++b) CHECK(std::isnan(margin[b]) == (b == 4 || b == 11 || b == 20));
  const Gradients actual = margin_gradients(9, 7, 8, triplets, true);
  for (const float v : actual.users) CHECK(std::isfinite(v));
  for (const float v : actual.items) CHECK(std::isfinite(v));
}

TEST(normalize_over_all_widths) {
  for (const int64_t dim : kDims) {
    auto x = random_values(21 * dim, unsigned(dim));
    for (int64_t k = 0; k < dim; ++k) {
      x[3 * dim + k] = 0;
      x[5 * dim + k] *= 1e-30f;  // its square underflows
      x[7 * dim + k] *= 1e15f;
    }
    std::vector<float> expected(x.size()), actual(x.size(), NAN);
    cpu::normalize_rows<float>(x.data(), 21, dim, 0.5, expected.data());
    cuda::normalize_rows(x.data(), 21, dim, 0.5, actual.data(), nullptr);
    CHECK_CLOSE(actual, expected, 32 * kEps, 0, text({{"dim", double(dim)}}));
  }
}

TEST(optimizers_over_rows_and_tables) {
  for (const auto kind :
       {OptimKind::kSgd, OptimKind::kAdagrad, OptimKind::kAdam, OptimKind::kSparseAdam})
    for (const int64_t dim : {1, 6, 64, 260})
      for (const bool some : {false, true}) {
        const Optim optim{kind, 0.05, 0.9, 0.999, 1e-8, 3};
        const std::vector<int32_t> rows = {4, 0, 7};
        const int64_t count = some ? 3 : 9;
        const auto start = random_values(9 * dim, 1), grad = random_values(count * dim, 2);
        auto state = random_values(9 * dim, 3);
        for (auto& s : state) s = s * s + 0.1f;
        std::vector<float> a = start, a1 = state, a2 = state, b = start, b1 = state, b2 = state;
        cpu::optimizer_step<float>(optim, a.data(), a1.data(), a2.data(), grad.data(),
                                   some ? rows.data() : nullptr, count, dim);
        cuda::optimizer_step(optim, b.data(), b1.data(), b2.data(), grad.data(),
                             some ? rows.data() : nullptr, count, 9, dim, nullptr);
        const std::string what = text({{"kind", double(int(kind))}, {"dim", double(dim)}});
        CHECK_CLOSE(b, a, 4 * kEps, 4 * kEps, what);
        CHECK_CLOSE(b1, a1, 4 * kEps, 4 * kEps, what);
        CHECK_CLOSE(b2, a2, 4 * kEps, 4 * kEps, what);
      }
}

TEST(unaligned_rows_take_the_narrow_path) {
  const int64_t dim = 8;
  const Problem p = random_problem(8, 8, 0.4, 6);
  const auto x = random_values(p.rows() * dim + 1, 1);
  std::vector<float> scratch(x.size()), expected(x.size() - 1), actual(x.size());
  const std::vector<float> shifted(x.begin() + 1, x.end());
  cpu::propagate<float>(p.graph(), shifted.data(), dim, 1, scratch.data(), expected.data());
  cuda::propagate(p.graph(), x.data() + 1, dim, 1, scratch.data(), actual.data() + 1, nullptr);
  CHECK_CLOSE(std::vector<float>(actual.begin() + 1, actual.end()), expected, 16 * kEps, 16 * kEps,
              "one float off");
}

struct Ranked {
  std::vector<int32_t> ids;
  std::vector<float> scores;
  std::vector<uint8_t> hits;
  std::vector<int64_t> above;
};
struct RankCase {
  int64_t n_users, n_items, dim, k;
  bool given, exact;  // scores instead of vectors; whole numbers
  bool count_above = true;
};
Ranked ranked(const RankCase& c, bool emulated, int64_t workspace = 0) {
  const int64_t width = c.given ? c.n_items : c.dim;
  const auto users =
      c.exact ? whole_values(c.n_users * width, 1) : random_values(c.n_users * width, 1);
  const auto items =
      c.exact ? whole_values(c.n_items * c.dim, 2) : random_values(c.n_items * c.dim, 2);
  const RandomLists mask(c.n_users, c.n_items, 0.2, 3), relevant(c.n_users, c.n_items, 0.1, 4);
  const int64_t n_relevant = relevant.indptr.back();
  Ranked out{std::vector<int32_t>(c.n_users * c.k, -7), std::vector<float>(c.n_users * c.k, NAN),
             std::vector<uint8_t>(c.n_users * c.k, 9),
             std::vector<int64_t>(c.count_above ? n_relevant : 0, -7)};
  const float* const item_vectors = c.given ? nullptr : items.data();
  int64_t* const above = c.count_above ? out.above.data() : nullptr;
  if (emulated) {
    if (!workspace) workspace = cuda::rank_workspace(c.n_users, c.n_items, c.k, n_relevant);
    Scratch scratch(workspace);
    cuda::rank(users.data(), item_vectors, c.n_users, c.n_items, c.dim, mask.get(), relevant.get(),
               n_relevant, c.k, out.ids.data(), out.scores.data(), out.hits.data(), above,
               scratch.get(), workspace, nullptr);
  } else {
    cpu::rank<float>(users.data(), item_vectors, c.n_users, c.n_items, c.dim, mask.get(),
                     relevant.get(), c.k, out.ids.data(), out.scores.data(), out.hits.data(),
                     above);
  }
  return out;
}
void compare_ranking(const RankCase& c, int64_t workspace = 0) {
  const Ranked expected = ranked(c, false), actual = ranked(c, true, workspace);
  const std::string what = text({{"users", double(c.n_users)},
                                 {"items", double(c.n_items)},
                                 {"dim", double(c.dim)},
                                 {"k", double(c.k)}});
  CHECK_SAME(actual.ids, expected.ids, what);
  CHECK_SAME(actual.hits, expected.hits, what);
  CHECK_SAME(actual.above, expected.above, what);
  CHECK_CLOSE(actual.scores, expected.scores, 0, c.exact ? 1e-30 : 8 * kEps * double(c.dim), what);
}

TEST(rank_breaks_ties_as_the_cpu_does) {
  for (const bool given : {false, true}) {
    compare_ranking({37, 150, 5, 7, given, true});
    compare_ranking({5, 300, 33, 20, given, true});
    compare_ranking({9, 11, 4, 40, given, true});  // k larger than the catalogue
    compare_ranking({1, 1, 1, 1, given, true});
    compare_ranking({3, 129, 64, 129, given, true, false});
  }
}

TEST(rank_over_all_widths) {
  for (const int64_t dim : kDims) compare_ranking({6, 140, dim, 10, false, false});
}

TEST(rank_in_rounds_of_a_small_workspace) {
  compare_ranking({150, 40, 3, 4, false, true}, cuda::rank_workspace(1, 40, 4, 100000));
}

}  // namespace

int main(int argc, char** argv) {
  const char* const seed = std::getenv("ADVREC_EMU_SEED");
  emu::set_seed(seed ? unsigned(std::atoi(seed)) : 0);
  const int result = testing::run_tests(argc, argv);
  std::printf("%lld blocks run\n", static_cast<long long>(emu::blocks_run()));
  return result;
}
