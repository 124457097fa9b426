#include "machine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif
#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves the registers that a call must keep, and continues where `to` was saved. swapcontext would
// ask the kernel for the signal mask each time, which is a hundred times slower.
extern "C" void emu_switch(void** from, void* to);
asm(R"(
.text
.globl emu_switch
.type emu_switch, @function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch, .-emu_switch
)");
#endif

namespace emu {
namespace {

constexpr int kWarp = 32;
constexpr size_t kStack = 128 << 10;
constexpr unsigned char kCanary = 0xC5;

enum class State : uint8_t { kReady, kAtBlock, kAtWarp, kDone };

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  std::unique_ptr<unsigned char[]> stack;
  void* fake_stack = nullptr;  // AddressSanitizer's
  Index index{};
  int number = 0;
  State state = State::kReady;
  unsigned mask = 0;
  Where where{};
  unsigned meetings = 0;  // of its warp: the parity chooses the slots
};

struct Slot {
  alignas(16) unsigned char bytes[16];
};
// Two sets in turn: a lane can be at most one meeting ahead of one that has not read yet.
struct Warp {
  Slot slots[2][kWarp];
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> stock;  // as many as the largest block so far had
  std::span<std::unique_ptr<Fiber>> fibers;   // those of the block that runs
  std::vector<Warp> warps;
  std::vector<int> order;
  Fiber scheduler;
  Fiber* current = nullptr;
  const std::function<void()>* body = nullptr;
  const void* main_stack = nullptr;
  size_t main_stack_size = 0;
  unsigned seed = 0;
  std::mt19937 random;
  std::string problem;
  int64_t blocks = 0;
};
Machine& machine() {
  static Machine one;
  return one;
}

void resume(Fiber& from, Fiber& to, [[maybe_unused]] bool leaving) {
#ifdef EMU_ASAN
  Machine& m = machine();
  const bool to_main = &to == &m.scheduler;
  __sanitizer_start_switch_fiber(leaving ? nullptr : &from.fake_stack,
                                 to_main ? m.main_stack : to.stack.get(),
                                 to_main ? m.main_stack_size : kStack);
#endif
#if defined(__x86_64__)
  emu_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void wait(State state) {
  Machine& m = machine();
  m.current->state = state;
  resume(*m.current, m.scheduler, false);
}

[[noreturn]] void enter() {
  Machine& m = machine();
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &m.main_stack, &m.main_stack_size);
#endif
  (*m.body)();
  m.current->state = State::kDone;
  resume(*m.current, m.scheduler, true);
  std::abort();  // a fiber that is done is never resumed
}

void prepare(Fiber& fiber) {
  if (!fiber.stack) fiber.stack.reset(new unsigned char[kStack]);
  std::memset(fiber.stack.get(), kCanary, 64);
#if defined(__x86_64__)
  auto top = (reinterpret_cast<uintptr_t>(fiber.stack.get()) + kStack) & ~uintptr_t(15);
  auto* frame = reinterpret_cast<void**>(top - 16);  // the alignment that a call leaves
  frame[1] = nullptr;                                // enter() has no caller
  frame[0] = reinterpret_cast<void*>(&enter);
  for (int k = 1; k <= 6; ++k) frame[-k] = nullptr;  // the registers
  fiber.stack_pointer = frame - 6;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, reinterpret_cast<void (*)()>(&enter), 0);
#endif
  fiber.state = State::kReady;
  fiber.meetings = 0;
}

std::string describe(const Where& where) {
  const char* name = std::strrchr(where.file, '/');
  return std::string(name ? name + 1 : where.file) + ":" + std::to_string(where.line);
}

// Lets the lanes go that have all come to the same place. True if any did.
bool free_warps() {
  Machine& m = machine();
  bool freed = false;
  for (size_t base = 0; base < m.fibers.size(); base += kWarp) {
    const size_t lanes = std::min<size_t>(kWarp, m.fibers.size() - base);
    for (size_t l = 0; l < lanes; ++l) {
      const Fiber& first = *m.fibers[base + l];
      if (first.state != State::kAtWarp) continue;
      const unsigned mask = first.mask;
      bool all = (mask >> l) & 1;
      for (size_t o = 0; all && o < kWarp; ++o) {
        if (!((mask >> o) & 1)) continue;
        all = o < lanes && m.fibers[base + o]->state == State::kAtWarp &&
              m.fibers[base + o]->mask == mask && m.fibers[base + o]->where == first.where;
      }
      if (!all) continue;
      for (size_t o = 0; o < lanes; ++o)
        if ((mask >> o) & 1) m.fibers[base + o]->state = State::kReady;
      freed = true;
    }
  }
  return freed;
}

bool free_block() {
  Machine& m = machine();
  const Where where = m.fibers[0]->where;
  for (const auto& fiber : m.fibers)
    if (fiber->state != State::kAtBlock || !(fiber->where == where)) return false;
  for (auto& fiber : m.fibers) fiber->state = State::kReady;
  return true;
}

bool stuck() {
  Machine& m = machine();
  m.problem = "block " + std::to_string(block_index.x) + " is stuck:";
  int done = 0;
  std::vector<std::pair<std::string, int>> waiting;
  for (const auto& fiber : m.fibers) {
    if (fiber->state == State::kDone) {
      ++done;
      continue;
    }
    const std::string text =
        (fiber->state == State::kAtBlock ? "at the barrier " : "at the warp function ") +
        describe(fiber->where);
    auto found = std::find_if(waiting.begin(), waiting.end(),
                              [&](const auto& entry) { return entry.first == text; });
    if (found == waiting.end())
      waiting.emplace_back(text, 1);
    else
      ++found->second;
  }
  for (const auto& [text, count] : waiting)
    m.problem += " " + std::to_string(count) + " threads wait " + text + ",";
  m.problem += " " + std::to_string(done) + " have left";
  return false;
}

bool run_block() {
  Machine& m = machine();
  for (auto& fiber : m.fibers) prepare(*fiber);
  for (;;) {
    if (m.seed) std::shuffle(m.order.begin(), m.order.end(), m.random);
    bool ran = false;
    size_t done = 0;
    for (const int n : m.order) {
      Fiber& fiber = *m.fibers[n];
      if (fiber.state == State::kReady) {
        m.current = &fiber;
        thread_index = fiber.index;
        resume(m.scheduler, fiber, false);
        ran = true;
      }
      done += fiber.state == State::kDone;
    }
    if (done == m.fibers.size()) break;
    if (!free_warps() && !free_block() && !ran) return stuck();
  }
  ++m.blocks;
  for (const auto& fiber : m.fibers)
    for (int k = 0; k < 64; ++k)
      if (fiber->stack[k] != kCanary) {
        m.problem = "a thread's stack overflowed";
        return false;
      }
  return true;
}

}  // namespace

void set_seed(unsigned seed) {
  machine().seed = seed;
  machine().random.seed(seed);
}
const std::string& problem() { return machine().problem; }
int64_t blocks_run() { return machine().blocks; }
int lane() { return machine().current->number % kWarp; }

bool run(Index grid, Index block, const std::function<void()>& body) {
  Machine& m = machine();
  const size_t threads = size_t(block.x) * block.y * block.z;
  while (m.stock.size() < threads) m.stock.push_back(std::make_unique<Fiber>());
  m.fibers = std::span(m.stock).first(threads);
  m.warps.resize((threads + kWarp - 1) / kWarp);
  m.order.resize(threads);
  std::iota(m.order.begin(), m.order.end(), 0);
  for (size_t n = 0; n < threads; ++n) {
    m.fibers[n]->number = int(n);
    m.fibers[n]->index = {unsigned(n % block.x), unsigned(n / block.x % block.y),
                          unsigned(n / (size_t(block.x) * block.y))};
  }
  m.body = &body;
  block_size = block;
  grid_size = grid;
  std::vector<unsigned> blocks(size_t(grid.x) * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), 0u);
  if (m.seed) std::shuffle(blocks.begin(), blocks.end(), m.random);
  for (const unsigned n : blocks) {
    block_index = {n % grid.x, n / grid.x % grid.y, n / (grid.x * grid.y)};
    if (!run_block()) {
      m.stock.clear();  // their stacks are in the middle of things
      return false;
    }
  }
  return true;
}

void meet_block(Where where) {
  machine().current->where = where;
  wait(State::kAtBlock);
}

void meet_warp(unsigned mask, const void* value, size_t size, int from, void* result, Where where) {
  Machine& m = machine();
  Fiber& me = *m.current;
  Slot* const slots = m.warps[me.number / kWarp].slots[me.meetings++ % 2];
  if (size) std::memcpy(slots[me.number % kWarp].bytes, value, size);
  me.mask = mask;
  me.where = where;
  wait(State::kAtWarp);
  if (size) std::memcpy(result, slots[from & (kWarp - 1)].bytes, size);
}

unsigned vote(unsigned mask, bool value, Where where) {
  Machine& m = machine();
  Fiber& me = *m.current;
  Slot* const slots = m.warps[me.number / kWarp].slots[me.meetings++ % 2];
  slots[me.number % kWarp].bytes[0] = value;
  me.mask = mask;
  me.where = where;
  wait(State::kAtWarp);
  unsigned votes = 0;
  for (int l = 0; l < kWarp; ++l)
    if ((mask >> l) & 1 && slots[l].bytes[0]) votes |= 1u << l;
  return votes;
}

}  // namespace emu
