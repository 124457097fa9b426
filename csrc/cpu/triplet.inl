// The composable tier's operators on triplets, over whole tables and any number of triplets; the
// twin of cuda/triplet.cu.

namespace advrec::cpu::ADVREC_ISA {

template <class T>
void triplet_margin(const T* user_table, const T* item_table, int64_t dim, const int32_t* triplets,
                    int64_t count, T* margin) {
  parallel([&](Team& team) {
    team.ranges(count, 256, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        margin[b] =
            dot_difference(user_table + triplets[b] * dim, item_table + triplets[count + b] * dim,
                           item_table + triplets[2 * count + b] * dim, dim);
    });
  });
}

template <class T>
void triplet_margin_backward(const T* grad, const T* user_table, const T* item_table,
                             int64_t n_users, int64_t n_items, int64_t dim, const int32_t* triplets,
                             int64_t count, T* d_user, T* d_item) {
  const int64_t n = n_users + n_items;
  Batch batch(count);
  batch.count = count;
  for (int64_t k = 0; k < 3 * count; ++k) batch.triplets[k] = triplets[k];
  Buffer<int32_t> slot_of(n);
  for (int64_t r = 0; r < n; ++r) slot_of[r] = -1;
  bucket(batch, n_users, slot_of.get());
  parallel([&](Team& team) {
    team.ranges(n, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        T* const out = r < n_users ? d_user + r * dim : d_item + (r - n_users) * dim;
        fill_zero(out, dim);
        const int32_t s = slot_of[r];
        if (s < 0) continue;
        for (int32_t at = batch.begin[s]; at < batch.begin[s + 1]; ++at) {
          const int64_t b = batch.places[at] >> 2;
          const int role = batch.places[at] & 3;
          if (role == kUser)
            axpy_difference(grad[b], item_table + triplets[count + b] * dim,
                            item_table + triplets[2 * count + b] * dim, out, dim);
          else
            axpy(role == kPositive ? grad[b] : -grad[b], user_table + triplets[b] * dim, out, dim);
        }
      }
    });
  });
}

}  // namespace advrec::cpu::ADVREC_ISA
