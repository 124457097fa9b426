// The CPU core without torch: known answers, plain loops to compare with, and what must not matter
// (threads, instruction set).
#include <string>
#include <tuple>

#include "check.h"
#include "cpu/isa.h"
#include "problem.h"
#include "sampler_core.h"

namespace {

using namespace advrec;

// Calls f() under every instruction set that this machine has.
template <class F>
void under_each_isa(const F& f) {
  const std::string before = cpu::isa();
  for (const char* name : {"portable", "avx2", "avx512"})
    if (cpu::set_isa(name)) f(std::string(name));
  cpu::set_isa(before.c_str());
}

// The vectors that come with the Random123 library (Salmon et al., SC 2011).
TEST(philox_gives_the_published_words) {
  const auto words = [](uint32_t c, uint64_t seed) {
    const auto w = sampler::philox(c, c, c, c, seed);
    return std::vector<uint32_t>(w.w, w.w + 4);
  };
  CHECK_SAME(words(0, 0), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}),
             "zeros");
  CHECK_SAME(words(~0u, ~0ull),
             (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}), "ones");
  const auto pi =
      sampler::philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0x299f31d0a4093822ull);
  CHECK_SAME(std::vector<uint32_t>(pi.w, pi.w + 4),
             (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}), "pi");
}

TEST(the_order_of_an_epoch_is_a_permutation) {
  for (const int64_t n : {1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097})
    for (const uint32_t epoch : {0u, 1u}) {
      const auto order = sampler::make_order(7, epoch, n);
      std::vector<int64_t> places(n);
      for (int64_t p = 0; p < n; ++p) places[p] = sampler::place(order, p);
      std::sort(places.begin(), places.end());
      for (int64_t p = 0; p < n; ++p) CHECK(places[p] == p);
    }
}

TEST(two_epochs_have_different_orders) {
  const auto a = sampler::make_order(7, 0, 1000), b = sampler::make_order(7, 1, 1000);
  int same = 0;
  for (int64_t p = 0; p < 1000; ++p) same += sampler::place(a, p) == sampler::place(b, p);
  CHECK(same < 20);
}

std::vector<int32_t> draw(const Problem& p, Sampling mode, int64_t first, int64_t count) {
  std::vector<int32_t> out(3 * count);
  cpu::sample_triplets(p.positives(), {5, 2, 2, mode}, first, count, out.data(), out.data() + count,
                       out.data() + 2 * count);
  return out;
}

TEST(triplets_are_what_they_should_be) {
  const Problem p = random_problem(31, 19, 0.3, 1);
  const int64_t count = p.positives().pairs * 2;
  for (const auto mode : {Sampling::kPairs, Sampling::kUsers}) {
    const auto t = draw(p, mode, 0, count);
    for (int64_t b = 0; b < count; ++b) {
      const int32_t* const begin = p.items.data() + p.indptr[t[b]];
      const int32_t* const end = p.items.data() + p.indptr[t[b] + 1];
      CHECK(sampler::contains(begin, end, t[count + b]));
      CHECK(!sampler::contains(begin, end, t[2 * count + b]));
      CHECK(t[2 * count + b] >= 0 && t[2 * count + b] < p.n_items);
    }
  }
}

TEST(every_pair_is_drawn_once_for_each_negative) {
  const Problem p = random_problem(31, 19, 0.3, 1);
  const int64_t pairs = p.positives().pairs, count = pairs * 2;
  const auto t = draw(p, Sampling::kPairs, 0, count);
  std::multiset<std::pair<int32_t, int32_t>> drawn, expected;
  for (int64_t b = 0; b < count; ++b) drawn.insert({t[b], t[count + b]});
  for (int64_t k = 0; k < count; ++k)
    expected.insert({p.pair_users[k % pairs], p.pair_items[k % pairs]});
  CHECK(drawn == expected);
}

TEST(a_stretch_of_an_epoch_is_the_same_drawn_alone) {
  const Problem p = random_problem(31, 19, 0.3, 1);
  const int64_t count = p.positives().pairs * 2;
  const auto all = draw(p, Sampling::kPairs, 0, count), some = draw(p, Sampling::kPairs, 33, 17);
  for (int role = 0; role < 3; ++role)
    for (int64_t b = 0; b < 17; ++b) CHECK(some[role * 17 + b] == all[role * count + 33 + b]);
}

// mean_k A^k x with the layers written out, in double.
std::vector<double> naive_propagation(const Problem& p, std::vector<double> x, int64_t dim,
                                      int64_t layers) {
  std::vector<double> total = x;
  for (int64_t k = 0; k < layers; ++k) {
    std::vector<double> next(x.size());
    for (int64_t r = 0; r < p.rows(); ++r)
      for (int64_t e = p.graph_indptr[r]; e < p.graph_indptr[r + 1]; ++e)
        for (int64_t c = 0; c < dim; ++c)
          next[r * dim + c] +=
              p.scale64[r] * p.scale64[p.graph_indices[e]] * x[p.graph_indices[e] * dim + c];
    x = next;
    for (size_t n = 0; n < x.size(); ++n) total[n] += x[n];
  }
  for (auto& t : total) t /= double(layers + 1);
  return total;
}

template <class T>
void compare_propagation(const Problem& p, const Adjacency<T>& graph, int64_t dim, int64_t layers,
                         double tolerance, const std::string& name) {
  const auto x = random_values<T>(p.rows() * dim, unsigned(dim));
  std::vector<T> scratch(x.size()), actual(x.size(), T(NAN));
  cpu::propagate<T>(graph, x.data(), dim, layers, scratch.data(), actual.data());
  const auto expected = naive_propagation(p, std::vector<double>(x.begin(), x.end()), dim, layers);
  CHECK_CLOSE(actual, expected, tolerance, tolerance, name + " dim " + std::to_string(dim));
}

TEST(propagation_is_the_mean_over_layers) {
  const Problem p = random_problem(29, 17, 0.2, 2);
  under_each_isa([&](const std::string& isa) {
    for (const int64_t dim : {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 128, 130, 257})
      for (const int64_t layers : {0, 1, 2, 3, 4}) {
        compare_propagation<float>(p, p.graph(), dim, layers, 4e-6, isa);
        compare_propagation<double>(p, p.graph64(), dim, layers, 1e-14, isa);
      }
  });
}

TEST(propagation_over_a_hub_and_over_nothing) {
  under_each_isa([&](const std::string& isa) {
    const Problem hub = random_problem(900, 3, 0.5, 3), nothing(2, 2, {{}, {}});
    compare_propagation<float>(hub, hub.graph(), 24, 2, 4e-5, isa);
    compare_propagation<float>(nothing, nothing.graph(), 5, 3, 0, isa);
  });
}

TEST(margins_and_gradients_are_what_loops_give) {
  const int64_t dim = 21, count = 60;
  const auto users = random_values(8 * dim, 1), items = random_values(9 * dim, 2);
  const auto grad = random_values(count, 3);
  const auto t = random_triplets(8, 9, count, 4);
  std::vector<double> margin(count), d_user(users.size()), d_item(items.size());
  for (int64_t b = 0; b < count; ++b)
    for (int64_t k = 0; k < dim; ++k) {
      const int64_t u = t[b] * dim + k, i = t[count + b] * dim + k, j = t[2 * count + b] * dim + k;
      const double difference = double(items[i]) - double(items[j]);
      margin[b] += double(users[u]) * difference;
      d_user[u] += grad[b] * difference;
      d_item[i] += double(grad[b]) * users[u];
      d_item[j] -= double(grad[b]) * users[u];
    }
  under_each_isa([&](const std::string& isa) {
    std::vector<float> actual(count), actual_user(users.size()), actual_item(items.size());
    cpu::triplet_margin<float>(users.data(), items.data(), dim, t.data(), count, actual.data());
    cpu::triplet_margin_backward<float>(grad.data(), users.data(), items.data(), 8, 9, dim,
                                        t.data(), count, actual_user.data(), actual_item.data());
    CHECK_CLOSE(actual, margin, 0, 1e-5, isa);
    CHECK_CLOSE(actual_user, d_user, 0, 2e-5, isa);
    CHECK_CLOSE(actual_item, d_item, 0, 2e-5, isa);
  });
}

TEST(ranking_is_a_sort) {
  const int64_t n_users = 40, n_items = 333, dim = 9, k = 12;
  const auto users = whole_values(n_users * dim, 1), items = whole_values(n_items * dim, 2);
  const RandomLists mask(n_users, n_items, 0.2, 3), relevant(n_users, n_items, 0.05, 4);
  under_each_isa([&](const std::string& isa) {
    std::vector<int32_t> ids(n_users * k);
    std::vector<float> scores(n_users * k);
    std::vector<uint8_t> hits(n_users * k);
    std::vector<int64_t> above(relevant.items.size());
    cpu::rank<float>(users.data(), items.data(), n_users, n_items, dim, mask.get(), relevant.get(),
                     k, ids.data(), scores.data(), hits.data(), above.data());
    for (int64_t u = 0; u < n_users; ++u) {
      struct Entry {
        float score;
        bool relevant;
        int32_t id;
      };
      std::vector<Entry> all;
      for (int32_t i = 0; i < n_items; ++i) {
        const auto has = [&](const RandomLists& l) {
          return sampler::contains(l.items.data() + l.indptr[u], l.items.data() + l.indptr[u + 1],
                                   i);
        };
        float score = 0;
        for (int64_t c = 0; c < dim; ++c) score += users[u * dim + c] * items[i * dim + c];
        if (!has(mask)) all.push_back({score, has(relevant), i});
      }
      std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) {
        return std::tuple(-a.score, a.relevant, a.id) < std::tuple(-b.score, b.relevant, b.id);
      });
      for (int64_t at = 0; at < k; ++at) {
        CHECK_SAME(ids[u * k + at], all[at].id, isa);
        CHECK_SAME(scores[u * k + at], all[at].score, isa);
        CHECK_SAME(bool(hits[u * k + at]), all[at].relevant, isa);
      }
    }
  });
}

// Every lane of the integer scan is the sum it claims to be: limits of that sum and one less
// decide.
void compare_scan(const cpu::Int8Scan& scan, int64_t dim, bool extreme, const std::string& name) {
  constexpr int64_t n = cpu::kInt8Items;
  const int64_t steps = (dim + 7) / 8, width = steps * 8, lanes = scan.lanes;
  std::mt19937 random(static_cast<unsigned>(dim));
  const auto level = [&](int levels, bool negative) {
    return extreme ? (negative ? -levels : levels)
                   : int(random() % unsigned(2 * levels + 1)) - levels;
  };
  std::vector<int> items(n * width), users(scan.users * width);
  std::vector<uint8_t> tile(n * width);
  std::vector<int8_t> bytes(users.size());
  std::vector<const int8_t*> rows;
  for (int64_t c = 0; c < n; ++c)
    for (int64_t k = 0; k < width; ++k) {
      const int stored = level(scan.item_levels, c % 2) + scan.offset;
      items[c * width + k] = stored;
      // panels of two vectors; in a step four bytes of each lane and the next four, vector by
      // vector
      const int64_t panel = c / (2 * lanes), vector = c / lanes % 2;
      tile[((panel * steps + k / 8) * 4 + vector * 2 + k / 4 % 2) * lanes * 4 + c % lanes * 4 +
           k % 4] = uint8_t(stored);
    }
  for (int m = 0; m < scan.users; ++m) {
    for (int64_t k = 0; k < width; ++k)
      bytes[m * width + k] =
          int8_t(users[m * width + k] = k < dim ? level(scan.user_levels, m % 2) : 0);
    rows.push_back(bytes.data() + m * width);
  }
  for (int64_t checked = 0; checked < n; checked += 37) {
    std::vector<int32_t> limits;
    std::vector<uint64_t> hits(scan.users * cpu::kInt8Words), expected(hits.size());
    for (int m = 0; m < scan.users; ++m) {
      const auto sum = [&](int64_t c) {
        int32_t total = 0;
        for (int64_t k = 0; k < width; ++k) total += items[c * width + k] * users[m * width + k];
        return total;
      };
      limits.push_back(sum(checked) - int32_t(checked % 2));
      for (int64_t c = 0; c < n; ++c)
        expected[m * cpu::kInt8Words + c / 64] |= uint64_t(sum(c) > limits[m]) << (c % 64);
    }
    scan.scan(rows.data(), tile.data(), steps, limits.data(), hits.data());
    CHECK_SAME(hits, expected, name + " dim " + std::to_string(dim));
  }
}

TEST(the_integer_scan_sums_exactly) {
  const auto compare = [](const cpu::Int8Scan* scan, const std::string& name) {
    for (const int64_t dim : {1, 7, 8, 9, 64, 1000})
      for (const bool extreme : {false, true}) compare_scan(*scan, dim, extreme, name);
  };
  const std::string before = cpu::isa();
  for (const auto* set : {cpu::portable_kernels(), cpu::avx2_kernels(), cpu::avx512_kernels()})
    if (set && cpu::set_isa(set->name)) compare(set->int8_scan, set->name);
  cpu::set_isa(before.c_str());
  if (cpu::vnni_scan_here()) compare(cpu::vnni_scan_here(), "vnni");
}

struct Trained {
  std::vector<float> value, state1, state2;
  StepStats stats;
};
Trained train(const Problem& p, int64_t layers, Norm norm, Site site, OptimKind kind, int64_t dim,
              int64_t batch, int64_t steps) {
  const int64_t n = p.rows() * dim;
  Trained t{random_values(n, 1, 0.3), std::vector<float>(n, 0.1f), std::vector<float>(n), {}};
  const Table<float> table{t.value.data(), t.state1.data(), t.state2.data(),
                           p.n_users,      p.n_items,       dim};
  const SampleSpec sample{9, 1, 1, Sampling::kPairs};
  const Schedule schedule{0, steps, batch, true, 0.01};
  const Adversary adversary{0.5, 0.7, norm, site};
  const Optim optim{kind, 0.05, 0.9, 0.999, 1e-8, 0};
  t.stats = layers < 0
                ? cpu::mf_steps<float>(table, p.positives(), sample, schedule, adversary, optim)
                : cpu::lightgcn_steps<float>(table, p.graph(), layers, p.positives(), sample,
                                             schedule, adversary, optim);
  return t;
}

TEST(threads_change_no_bit_of_a_step) {
  const Problem p = random_problem(300, 200, 0.05, 5);
  const int before = cpu::threads();
  for (const int64_t layers : {-1, 3})
    for (const auto norm : {Norm::kRow, Norm::kJoint}) {
      cpu::set_threads(1);
      const Trained one = train(p, layers, norm, Site::kFinal, OptimKind::kAdam, 20, 128, 4);
      for (const int threads : {2, 3, 5}) {
        cpu::set_threads(threads);
        const Trained many = train(p, layers, norm, Site::kFinal, OptimKind::kAdam, 20, 128, 4);
        CHECK_SAME(many.value, one.value, std::to_string(threads) + " threads");
        CHECK_SAME(many.state2, one.state2, std::to_string(threads) + " threads");
        CHECK(many.stats.clean == one.stats.clean);
      }
    }
  cpu::set_threads(before);
}

// P, Q and E one after the other.
std::vector<float> train_amr(const Problem& p, double weight, int64_t dim, int64_t features) {
  const auto content = random_values(p.n_items * features, 2, 0.2);
  std::vector<float> value = random_values((p.rows() + features) * dim, 1, 0.3);
  std::vector<float> state(value.size(), 0.1f);
  const auto part = [&](int64_t first, int64_t users, int64_t items) {
    return Table<float>{
        value.data() + first * dim, state.data() + first * dim, nullptr, users, items, dim};
  };
  const AmrTables<float> tables{part(0, p.n_users, 0), part(p.n_users, 0, p.n_items),
                                part(p.rows(), 0, features), content.data(), features};
  const double rates[] = {0.05, 0.03, 0.02};
  cpu::amr_steps<float>(tables, p.positives(), {9, 1, 1, Sampling::kPairs}, {0, 5, 64, true, 0.01},
                        0.3, {0.2, weight, Norm::kRow, Site::kEgo},
                        {OptimKind::kAdagrad, 0.05, 0.9, 0.999, 1e-10, 0}, rates);
  return value;
}

TEST(threads_change_no_bit_of_amr_and_instruction_sets_agree) {
  const Problem p = random_problem(80, 60, 0.1, 5);
  const int before = cpu::threads();
  for (const double weight : {0.0, 0.7})
    for (const int64_t dim : {5, 40}) {
      std::vector<std::vector<float>> all;
      under_each_isa([&](const std::string& isa) {
        cpu::set_threads(1);
        all.push_back(train_amr(p, weight, dim, 7));
        cpu::set_threads(3);
        CHECK_SAME(train_amr(p, weight, dim, 7), all.back(), isa);
      });
      for (const auto& one : all) CHECK_CLOSE(one, all[0], 1e-4, 1e-5, std::to_string(dim));
    }
  cpu::set_threads(before);
}

TEST(threads_change_no_bit_of_an_operator) {
  const Problem p = random_problem(400, 300, 0.05, 6);
  const int before = cpu::threads();
  const auto x = random_values(p.rows() * 33, 1);
  std::vector<float> scratch(x.size()), one(x.size()), many(x.size());
  cpu::set_threads(1);
  cpu::propagate<float>(p.graph(), x.data(), 33, 3, scratch.data(), one.data());
  cpu::set_threads(4);
  for (int round = 0; round < 5; ++round) {
    cpu::propagate<float>(p.graph(), x.data(), 33, 3, scratch.data(), many.data());
    CHECK_SAME(many, one, "round " + std::to_string(round));
  }
  cpu::set_threads(before);
}

TEST(instruction_sets_agree) {
  const Problem p = random_problem(60, 40, 0.1, 7);
  cpu::set_isa("portable");
  for (const int64_t layers : {-1, 2})
    for (const auto norm : {Norm::kRow, Norm::kSample, Norm::kJoint}) {
      std::vector<Trained> all;
      under_each_isa([&](const std::string&) {
        all.push_back(train(p, layers, norm, Site::kFinal, OptimKind::kAdagrad, 37, 30, 3));
      });
      for (const Trained& t : all) {
        CHECK_CLOSE(t.value, all[0].value, 1e-5, 1e-5, "norm " + std::to_string(int(norm)));
        CHECK(std::fabs(t.stats.clean - all[0].stats.clean) < 1e-4);
      }
    }
}

TEST(a_step_may_be_cut_anywhere) {
  const Problem p = random_problem(60, 40, 0.1, 8);
  const Trained whole = train(p, -1, Norm::kRow, Site::kFinal, OptimKind::kSgd, 8, 16, 9);
  Trained cut = train(p, -1, Norm::kRow, Site::kFinal, OptimKind::kSgd, 8, 16, 4);
  const Table<float> table{cut.value.data(), nullptr, nullptr, p.n_users, p.n_items, 8};
  cpu::mf_steps<float>(table, p.positives(), {9, 1, 1, Sampling::kPairs}, {4, 5, 16, true, 0.01},
                       {0.5, 0.7, Norm::kRow, Site::kFinal},
                       {OptimKind::kSgd, 0.05, 0.9, 0.999, 1e-8, 4});
  CHECK_SAME(cut.value, whole.value, "4 steps and 5");
}

}  // namespace

int main(int argc, char** argv) { return testing::run_tests(argc, argv); }
