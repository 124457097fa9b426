// A pool of threads for work measured in microseconds.
//
// OpenMP is avoided on purpose: torch brings a runtime of its own, and two of them in one process
// spin against each other. A waiting thread spins for a few microseconds and then sleeps in the
// kernel, so an oversubscribed machine stays usable.
#pragma once

#include <atomic>
#include <cstdint>

namespace advrec::cpu {

// Holds `threads` participants until all have arrived.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads), missing_(threads) {}
  void wait();

 private:
  const int threads_;
  std::atomic<int> missing_;
  std::atomic<uint32_t> generation_{0};
};

// What one thread of a parallel region sees. All threads must make the same calls in the same
// order.
class Team {
 public:
  // What a thread has taken of its own part, in three phases in turn.
  struct alignas(64) Taken {
    std::atomic<int64_t> count[3] = {};
  };
  struct Shared {
    explicit Shared(int threads);
    ~Shared();
    Barrier barrier;
    Taken* const taken;  // [threads]; no std pointer, see "Instruction set" in ARCHITECTURE.md
  };

  Team(int thread, int threads, Shared* shared)
      : thread_(thread), threads_(threads), shared_(shared) {}

  int thread() const { return thread_; }
  int threads() const { return threads_; }
  void barrier() {
    if (threads_ > 1) shared_->barrier.wait();
  }

  // Calls f(k) once for each k in [0, chunks), dealt out on demand and in this order, then waits
  // for all: the threads stay close to each other, and share what they read.
  template <class F>
  void each(int64_t chunks, const F& f) {
    deal(chunks, 1, f);
  }

  // Calls f(begin, end) for the ranges of at most `size` that make up [0, n), then waits for all.
  // Every thread starts with a part of its own, the same one in every phase: what it has just
  // written then lies in its own caches. A thread that is done helps the others.
  template <class F>
  void ranges(int64_t n, int64_t size, const F& f) {
    deal((n + size - 1) / size, threads_, [&](int64_t k) {
      const int64_t begin = k * size;
      f(begin, begin + size < n ? begin + size : n);
    });
  }

 private:
  template <class F>
  void deal(int64_t chunks, int parts, const F& f) {
    if (threads_ == 1) {
      for (int64_t k = 0; k < chunks; ++k) f(k);
      return;
    }
    // Three counters in turn: the last phase's is no longer read, so it is reset here for the phase
    // after next.
    const uint32_t turn = phase_++ % 3;
    shared_->taken[thread_].count[(turn + 2) % 3].store(0, std::memory_order_relaxed);
    for (int n = 0; n < parts; ++n) {
      const int part = (thread_ + n) % parts;
      const int64_t begin = chunks * part / parts, end = chunks * (part + 1) / parts;
      std::atomic<int64_t>& taken = shared_->taken[part].count[turn];
      for (int64_t k; (k = begin + taken.fetch_add(1, std::memory_order_relaxed)) < end;) f(k);
    }
    barrier();
  }

  const int thread_, threads_;
  Shared* const shared_;
  uint32_t phase_ = 0;
};

// Runs body(context, team) on every thread of the pool, the caller's included. A second caller
// that arrives meanwhile runs alone: results do not depend on the number of threads.
void run_team(void (*body)(void* context, Team& team), void* context);

template <class F>
void parallel(const F& f) {
  run_team([](void* context, Team& team) { (*static_cast<const F*>(context))(team); },
           const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace advrec::cpu
