// Small random data sets for the tests of the C++ core: pairs, their graph, and what a sampler
// needs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "kernels.h"

struct Problem {
  int64_t n_users, n_items;
  std::vector<int64_t> indptr;  // [U + 1]
  std::vector<int32_t> items;   // ascending within a user
  std::vector<int32_t> pair_users, pair_items, active_users;
  std::vector<int64_t> graph_indptr;  // [N + 1]
  std::vector<int32_t> graph_indices;
  std::vector<float> scale;
  std::vector<double> scale64;

  Problem(int64_t n_users, int64_t n_items, const std::vector<std::set<int32_t>>& seen)
      : n_users(n_users), n_items(n_items) {
    std::vector<std::vector<int32_t>> neighbours(rows());
    indptr.push_back(0);
    for (int64_t u = 0; u < n_users; ++u) {
      for (const int32_t i : seen[u]) {
        items.push_back(i);
        neighbours[u].push_back(int32_t(n_users) + i);
        neighbours[n_users + i].push_back(int32_t(u));
        if (int64_t(seen[u].size()) == n_items) continue;
        pair_users.push_back(int32_t(u));
        pair_items.push_back(i);
      }
      indptr.push_back(int64_t(items.size()));
      if (!seen[u].empty() && int64_t(seen[u].size()) < n_items) active_users.push_back(int32_t(u));
    }
    graph_indptr.push_back(0);
    for (const auto& row : neighbours) {
      graph_indices.insert(graph_indices.end(), row.begin(), row.end());
      graph_indptr.push_back(int64_t(graph_indices.size()));
      scale64.push_back(row.empty() ? 0 : 1 / std::sqrt(double(row.size())));
      scale.push_back(float(scale64.back()));
    }
  }

  int64_t rows() const { return n_users + n_items; }
  advrec::Adjacency<float> graph() const {
    return {graph_indptr.data(), graph_indices.data(), scale.data(), rows()};
  }
  advrec::Adjacency<double> graph64() const {
    return {graph_indptr.data(), graph_indices.data(), scale64.data(), rows()};
  }
  advrec::Positives positives() const {
    return {pair_users.data(),
            pair_items.data(),
            int64_t(pair_users.size()),
            active_users.data(),
            int64_t(active_users.size()),
            indptr.data(),
            items.data(),
            n_items};
  }
};

// About `density` of all pairs; user 0 has seen all but one item, item 0 was seen by nearly all
// users, and every seventh user and ninth item has no pairs.
inline Problem random_problem(int64_t n_users, int64_t n_items, double density, unsigned seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution there(density);
  std::vector<std::set<int32_t>> seen(n_users);
  for (int64_t u = 0; u < n_users; ++u) {
    if (u % 7 == 3) continue;
    for (int64_t i = 0; i < n_items; ++i)
      if (i % 9 != 4 && (there(random) || u == 0 || i == 0)) seen[u].insert(int32_t(i));
  }
  if (n_items > 1 && int64_t(seen[0].size()) == n_items) seen[0].erase(int32_t(n_items - 1));
  if (seen[0].empty()) seen[0].insert(0);
  return Problem(n_users, n_items, seen);
}

template <class T = float>
std::vector<T> random_values(int64_t n, unsigned seed, double spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<T> values(n);
  for (auto& v : values) v = T(normal(random));
  return values;
}

// Small whole numbers: their products and sums are exact, and there are many ties.
inline std::vector<float> whole_values(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (auto& v : values) v = float(int(random() % 5) - 2);
  return values;
}

inline std::vector<int32_t> random_triplets(int64_t n_users, int64_t n_items, int64_t count,
                                            unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(3 * count);
  for (int64_t b = 0; b < count; ++b) {
    ids[b] = int32_t(random() % unsigned(n_users));
    ids[count + b] = int32_t(random() % unsigned(n_items));
    ids[2 * count + b] = int32_t(random() % unsigned(n_items));
  }
  return ids;
}

// Ascending lists of item ids, one per user, of which every fifth is empty.
struct RandomLists {
  std::vector<int64_t> indptr{0};
  std::vector<int32_t> items;
  RandomLists(int64_t n_users, int64_t n_items, double density, unsigned seed) {
    std::mt19937 random(seed);
    std::bernoulli_distribution there(density);
    for (int64_t u = 0; u < n_users; ++u) {
      for (int64_t i = 0; i < n_items && u % 5 != 2; ++i)
        if (there(random)) items.push_back(int32_t(i));
      indptr.push_back(int64_t(items.size()));
    }
    items.reserve(1);  // a pointer even if there are none
  }
  advrec::Lists get() const { return {indptr.data(), items.data()}; }
};
