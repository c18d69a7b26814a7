// What csrc/ops/cuda uses of the CUDA runtime, on a CPU and for tests only. emulation.py compiles the kernels
// against it; README.md says what it can show and what it cannot.
//
// Every thread of a block is a fiber with a stack of its own, and all fibers share one operating-system
// thread. A fiber runs until it waits: at a shuffle for the 32 lanes of its warp, at __syncthreads for all
// threads of the block. So one thread is always at work, memory is never raced for, and a run is as
// deterministic as its order (Order below). What is wrong is an error of the launch with a sentence in
// cudaGetErrorString:
//
//   - a barrier or shuffle that not all of its threads reach, or that they reach at different lines;
//   - a 128-bit access at an address that is no multiple of 16;
//   - a launch that a GPU would refuse, or shared memory written beyond its end.
//
// Shared memory is as large as asked, and NaN when a block begins.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <ucontext.h>

#define __CUDA_ARCH__ 900
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
using cudaError_t = int;
enum : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorOnCpu = 999
};

namespace cuda_on_cpu {

constexpr unsigned kWarp = 32, kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 48 * 1024, kMaxArgumentBytes = 4096;
constexpr size_t kGuardBytes = 48 * 1024;  // behind shared memory, so that what is written there harms nobody
constexpr size_t kStackBytes = 64 * 1024;
constexpr unsigned char kUndefined = 0xff;  // as a float, a double and a bfloat16 a NaN

// Which warp goes on next. A kernel's result must not depend on it.
enum Order : int {
  kInStep = 0,  // every warp to its next stop, in turn
  kFirstAhead,  // always the first warp that can: it runs ahead as far as barriers let it
  kLastAhead,   // always the last one, its lanes from the last to the first, and blocks likewise
  kShuffled,    // any
};
inline Order order = kInStep;

// A wait: at which line, and with whom.
enum State : int { kReady, kAtShuffle, kAtBarrier, kFinished };

struct Fiber {
  ucontext_t start;
  std::jmp_buf resume;
  std::unique_ptr<char[]> stack;
  dim3 thread;
  State state = kReady;
  int line = 0;
  unsigned shuffles = 0;
  bool started = false;
};

inline std::vector<Fiber> fibers;  // those of one block; they serve every block after it
inline Fiber* current = nullptr;
inline ucontext_t scheduler_context;
inline std::jmp_buf scheduler_resume;
inline void (*body)(const void* arguments);  // what every thread runs
inline const void* body_arguments;
inline std::string error;  // of the launch, empty while all is well
inline int last_error = cudaSuccess;
inline uint32_t dice = 1;

inline void fail(const std::string& what) {
  if (error.empty()) error = what;
  last_error = cudaErrorOnCpu;
}

// A number below `count`, by Marsaglia's xorshift.
inline unsigned roll(unsigned count) {
  dice ^= dice << 13;
  dice ^= dice >> 17;
  dice ^= dice << 5;
  return dice % count;
}

// 0 to count - 1 as blocks and the lanes of a warp take turns.
inline std::vector<unsigned> turns(unsigned count) {
  std::vector<unsigned> places(count);
  for (unsigned i = 0; i < count; ++i) places[i] = order == kLastAhead ? count - 1 - i : i;
  if (order == kShuffled) {
    for (unsigned i = count; i > 1; --i) std::swap(places[i - 1], places[roll(i)]);
  }
  return places;
}

// ----------------------------------------------------------------------------------------------------------------
// Fibers. swapcontext asks the kernel for the signal mask at every switch (2.3 us there and back where
// longjmp takes 0.13), so it only starts them; under the address sanitizer, which does not know jumps between
// stacks, it does all switches.

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kJumps = false;
#else
constexpr bool kJumps = true;
#endif

inline void leave_fiber() {
  if constexpr (kJumps) {
    if (_setjmp(current->resume) == 0) _longjmp(scheduler_resume, 1);
  } else {
    swapcontext(&current->start, &scheduler_context);
  }
}

inline void run_fiber() {
  for (;;) {  // once a block
    body(body_arguments);
    current->state = kFinished;
    leave_fiber();
  }
}

inline void start(Fiber& fiber) {
  fiber.stack.reset(new char[kStackBytes]);
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, run_fiber, 0);
}

inline void resume(Fiber& fiber) {
  current = &fiber;
  threadIdx = fiber.thread;
  if (kJumps && _setjmp(scheduler_resume) != 0) return;
  if (kJumps && fiber.started) _longjmp(fiber.resume, 1);
  if (!fiber.started) start(fiber);
  fiber.started = true;
  swapcontext(&scheduler_context, &fiber.start);
}

inline void wait(State state, int line) {
  current->state = state;
  current->line = line;
  leave_fiber();
  threadIdx = current->thread;
}

// ----------------------------------------------------------------------------------------------------------------
// Shared memory

struct Array {
  void* data;
  size_t bytes;
};
inline std::vector<Array> static_arrays;
inline char* dynamic_array = nullptr;
inline size_t dynamic_bytes = 0;

// The __shared__ array of one place in one instantiation; `Place` is the type of a lambda that stands there.
template <class T, class Place>
T& static_shared(Place) {
  static T* const array = [] {
    void* data = ::operator new(sizeof(T), std::align_val_t(16));
    std::memset(data, kUndefined, sizeof(T));
    static_arrays.push_back({data, sizeof(T)});
    return static_cast<T*>(data);
  }();
  return *array;
}

inline void begin_shared(size_t bytes) {
  dynamic_bytes = bytes;
#if defined(__SANITIZE_ADDRESS__)
  const size_t guard = 0;  // the sanitizer's own are better
#else
  const size_t guard = kGuardBytes;
#endif
  void* data = nullptr;
  if (posix_memalign(&data, 16, std::max<size_t>(bytes + guard, 1)) != 0) std::abort();
  dynamic_array = static_cast<char*>(data);
  std::memset(dynamic_array, kUndefined, bytes + guard);
}

inline void undefine_shared() {
  std::memset(dynamic_array, kUndefined, dynamic_bytes);
  for (const Array& array : static_arrays) std::memset(array.data, kUndefined, array.bytes);
}

inline void end_shared() {
#if !defined(__SANITIZE_ADDRESS__)
  for (size_t i = dynamic_bytes; i < dynamic_bytes + kGuardBytes; ++i) {
    if (static_cast<unsigned char>(dynamic_array[i]) == kUndefined) continue;
    fail("shared memory was written beyond its " + std::to_string(dynamic_bytes) + " bytes");
    break;
  }
#endif
  std::free(dynamic_array);
  dynamic_array = nullptr;
}

// ----------------------------------------------------------------------------------------------------------------
// The threads of a block

inline std::string place_of(const Fiber& fiber) {
  const std::string thread = "thread " + std::to_string(&fiber - fibers.data());
  if (fiber.state == kFinished) return thread + " has finished";
  return thread + (fiber.state == kAtShuffle ? " waits at a shuffle" : " waits at a barrier") + " in line " +
         std::to_string(fiber.line);
}

// Lets go those of fibers[begin, end) that wait in `state`, once all of them do. They may not wait elsewhere.
inline bool let_go(unsigned begin, unsigned end, State state) {
  for (unsigned t = begin; t < end; ++t) {
    if (fibers[t].state != state) return false;
    if (fibers[t].line != fibers[begin].line) {
      fail(place_of(fibers[begin]) + ", " + place_of(fibers[t]));
      return false;
    }
  }
  for (unsigned t = begin; t < end; ++t) fibers[t].state = kReady;
  return true;
}

inline bool is_ready(unsigned warp) {
  return std::any_of(&fibers[warp * kWarp], &fibers[warp * kWarp] + kWarp,
                     [](const Fiber& fiber) { return fiber.state == kReady; });
}

// The warp that goes on after `previous`, or `num_warps` when none can.
inline unsigned next_warp(unsigned previous, unsigned num_warps) {
  const unsigned offset = order == kInStep ? previous + 1 : order == kShuffled ? roll(num_warps) : 0;
  for (unsigned i = 0; i < num_warps; ++i) {
    const unsigned warp = order == kLastAhead ? num_warps - 1 - i : (offset + i) % num_warps;
    if (is_ready(warp)) return warp;
  }
  return num_warps;
}

inline void run_warp(unsigned warp) {
  for (const unsigned lane : turns(kWarp)) {
    const unsigned t = warp * kWarp + lane;
    if (fibers[t].state == kReady) resume(fibers[t]);
    if (!error.empty()) return;
  }
  let_go(warp * kWarp, (warp + 1) * kWarp, kAtShuffle);
}

inline void run_block(unsigned num_threads) {
  if (fibers.empty()) fibers = std::vector<Fiber>(kMaxThreads);  // a ucontext_t must not move
  for (unsigned t = 0; t < num_threads; ++t) {
    fibers[t].thread = dim3(t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y);
    fibers[t].state = kReady;
    fibers[t].shuffles = 0;
  }
  const unsigned num_warps = num_threads / kWarp;
  const auto end = fibers.begin() + num_threads;
  unsigned warp = num_warps - 1;
  while (error.empty()) {
    warp = next_warp(warp, num_warps);
    if (warp < num_warps) {
      run_warp(warp);
    } else if (!let_go(0, num_threads, kAtBarrier)) {
      break;
    } else {
      warp = num_warps - 1;
    }
  }
  const auto waits = std::find_if(fibers.begin(), end, [](const Fiber& f) { return f.state != kFinished; });
  if (waits == end) return;
  const auto other = std::find_if(
      fibers.begin(), end, [&](const Fiber& f) { return f.state != waits->state || f.line != waits->line; });
  fail(place_of(*waits) + ", " + place_of(other == end ? *waits : *other));
  fibers.clear();  // what is on their stacks is lost
}

// ----------------------------------------------------------------------------------------------------------------
// Launching

inline bool can_launch(const dim3& grid, const dim3& block, size_t shared, size_t argument_bytes) {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  return threads > 0 && threads <= kMaxThreads && threads % kWarp == 0 && block.z <= 64 && grid.x > 0 &&
         grid.x <= 2147483647u && grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535 &&
         shared <= kMaxSharedBytes && argument_bytes <= kMaxArgumentBytes;
}

// kernel<<<grid, block, shared, stream>>>(arguments...)
template <class Kernel>
auto launch(const Kernel& kernel, dim3 grid, dim3 block, size_t shared = 0, cudaStream_t = nullptr) {
  return [=](auto... arguments) {
    if (!can_launch(grid, block, shared, (sizeof(arguments) + ... + 0))) {
      last_error = cudaErrorInvalidConfiguration;
      return;
    }
    gridDim = grid;
    blockDim = block;
    const auto run = [&] { kernel(arguments...); };
    body = [](const void* call) { (*static_cast<decltype(&run)>(call))(); };
    body_arguments = &run;
    error.clear();
    begin_shared(shared);
    for (const unsigned b : turns(grid.x * grid.y * grid.z)) {
      blockIdx = dim3(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y);
      undefine_shared();
      run_block(block.x * block.y * block.z);
      if (!error.empty()) break;
    }
    end_shared();
  };
}

}  // namespace cuda_on_cpu

// ----------------------------------------------------------------------------------------------------------------
// What kernels call

// Copies check the address that they read or write. Packed, or the compiler would take the alignment for
// granted.
struct __attribute__((packed)) uint4 {
  unsigned words[4];
  uint4() = default;
  uint4(const uint4& from) {
    check(&from);
    std::memcpy(words, from.words, sizeof words);
  }
  uint4& operator=(const uint4& from) {
    check(this);
    std::memcpy(words, from.words, sizeof words);
    return *this;
  }
  static void check(const void* address) {
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0)
      cuda_on_cpu::fail("a 128-bit access at an address that is no multiple of 16");
  }
};

inline void __syncthreads(int line = __builtin_LINE()) {
  cuda_on_cpu::wait(cuda_on_cpu::kAtBarrier, line);
}

// The lanes leave their values in one of two rows, by turns: a lane that is one shuffle ahead overwrites
// nothing that another has still to read, and it cannot be two ahead.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int line = __builtin_LINE()) {
  static_assert(sizeof(T) <= 8);
  static unsigned char values[2][cuda_on_cpu::kMaxThreads][8];
  if (mask != 0xffffffffu) cuda_on_cpu::fail("a shuffle of less than a whole warp");
  const auto thread = static_cast<unsigned>(cuda_on_cpu::current - cuda_on_cpu::fibers.data());
  auto& row = values[cuda_on_cpu::current->shuffles++ % 2];
  std::memcpy(row[thread], &value, sizeof value);
  cuda_on_cpu::wait(cuda_on_cpu::kAtShuffle, line);
  std::memcpy(&value, row[thread ^ static_cast<unsigned>(distance)], sizeof value);
  return value;
}

inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline int cudaGetLastError() {
  return std::exchange(cuda_on_cpu::last_error, cudaSuccess);
}

inline const char* cudaGetErrorString(int code) {
  switch (code) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return cuda_on_cpu::error.c_str();
  }
}

// Sets the order of all launches that follow.
extern "C" __attribute__((visibility("default"), weak)) void on_cpu_order(int order) {
  cuda_on_cpu::order = static_cast<cuda_on_cpu::Order>(order);
}
