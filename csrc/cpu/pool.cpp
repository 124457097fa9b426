#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#include "../kernels.h"

namespace advrec::cpu {
namespace {

constexpr int kSpins = 500;  // about ten microseconds: longer than a phase's imbalance

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `value` differs from `old`: a short spin, then the operating system's wait.
void await_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS"))
    if (const int count = std::atoi(text); count > 0) return count;
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

struct Job {
  void (*body)(void*, Team&) = nullptr;
  void* context = nullptr;
  Team::Shared* shared = nullptr;
};

class Pool {
 public:
  explicit Pool(int threads) : size_(threads), done_(threads) {
    for (int k = 1; k < threads; ++k) workers_.emplace_back([this, k] { work(k); });
  }
  ~Pool() {
    job_ = Job{};
    start_.fetch_add(1, std::memory_order_release);
    start_.notify_all();
    for (auto& worker : workers_) worker.join();
  }
  int size() const { return size_; }

  void run(void (*body)(void*, Team&), void* context) {
    Team::Shared shared(size_);
    job_ = {body, context, &shared};
    start_.fetch_add(1, std::memory_order_release);
    start_.notify_all();
    Team team(0, size_, &shared);
    body(context, team);
    done_.wait();  // all threads must be done with `shared` before it goes out of scope
  }

 private:
  void work(int k) {
    for (uint32_t seen = 0;;) {
      await_change(start_, seen);
      ++seen;
      const Job job = job_;
      if (!job.body) return;
      Team team(k, size_, job.shared);
      job.body(job.context, team);
      done_.wait();
    }
  }

  const int size_;
  std::vector<std::thread> workers_;
  Job job_;
  std::atomic<uint32_t> start_{0};
  Barrier done_;
};

std::mutex mutex;
int requested = 0;
Pool* pool = nullptr;  // never freed at exit: worker threads may outlive static destructors

// A fork copies the calling thread only. The lock is held over it, so that the child gets it free,
// and the child forgets the pool, whose threads it does not have: its first call makes a new one.
void before_fork() { mutex.lock(); }
void after_fork() { mutex.unlock(); }
void in_child() {
  pool = nullptr;
  mutex.unlock();
}
[[maybe_unused]] const int at_fork = pthread_atfork(before_fork, after_fork, in_child);

void run_alone(void (*body)(void*, Team&), void* context) {
  Team::Shared shared(1);
  Team team(0, 1, &shared);
  body(context, team);
}

}  // namespace

Team::Shared::Shared(int threads) : barrier(threads), taken(new Taken[size_t(threads)]) {}
Team::Shared::~Shared() { delete[] taken; }

void Barrier::wait() {
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    missing_.store(threads_, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  } else {
    await_change(generation_, generation);
  }
}

void run_team(void (*body)(void*, Team&), void* context) {
  const std::unique_lock lock(mutex, std::try_to_lock);
  if (!lock.owns_lock()) return run_alone(body, context);
  if (requested == 0) requested = default_threads();
  if (requested == 1) return run_alone(body, context);
  if (pool && pool->size() != requested) {
    delete pool;
    pool = nullptr;
  }
  if (!pool) pool = new Pool(requested);
  pool->run(body, context);
}

void set_threads(int count) {
  const std::lock_guard lock(mutex);
  requested = std::max(1, count);
}

int threads() {
  const std::lock_guard lock(mutex);
  if (requested == 0) requested = default_threads();
  return requested;
}

}  // namespace advrec::cpu
