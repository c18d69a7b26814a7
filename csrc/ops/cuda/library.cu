// The library as a whole: which interface it has, and what an error code means.
#include <cuda_runtime.h>

#include "gpt2x_cuda.h"

int gpt2x_cuda_interface(void) {
  return GPT2X_CUDA_INTERFACE;
}

const char* gpt2x_cuda_error(int code) {
  return cudaGetErrorString(static_cast<cudaError_t>(code));
}
