// Runs CUDA threads on the CPU, one after another, and notices when they do not meet.
//
// Every thread of a block is a fiber on one operating-system thread. A fiber runs until it waits in
// a barrier or a warp function; once all threads that must meet there have arrived, they continue.
// If no fiber can run and some are not done, the block is stuck: threads wait at different places,
// or have left. The order of fibers and of blocks is shuffled from a seed, so a kernel whose result
// depends on it (a missing barrier, a race between blocks) gives different results for different
// seeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace emu {

struct Index {
  unsigned x, y, z;
};
inline Index thread_index, block_index, block_size, grid_size;

// Where in the source a thread waits.
struct Where {
  const char* file;
  int line;
  bool operator==(const Where& other) const {
    return line == other.line && (file == other.file || !std::strcmp(file, other.file));
  }
};

// 0: threads and blocks in order of their number.
void set_seed(unsigned seed);

// Runs body() as every thread of every block. False if a block got stuck; problem() says how.
bool run(Index grid, Index block, const std::function<void()>& body);
const std::string& problem();
int64_t blocks_run();

// Waits for all threads of the block.
void meet_block(Where where);

// Waits for all lanes of `mask`, and gives back what lane `from` brought (at most 16 bytes).
void meet_warp(unsigned mask, const void* value, size_t size, int from, void* result, Where where);
// Bit l: what lane l brought.
unsigned vote(unsigned mask, bool value, Where where);
int lane();

}  // namespace emu
