// bias_gelu on CUDA.
#include "../rows/bias_gelu.h"

#include "bias_activation.cuh"

using namespace gpt2x::cuda;

int gpt2x_cuda_bias_gelu(int dtype, int parameter_dtype, const void* x, const void* bias, int64_t N,
                         int64_t C, void* y, void* stream) {
  return launch_bias_activation<gpt2x::rows::Gelu>(dtype, parameter_dtype, x, bias, N, C, y, stream);
}

int gpt2x_cuda_bias_gelu_backward(int dtype, int parameter_dtype, const void* dy, const void* x,
                                  const void* bias, int64_t N, int64_t C, void* dx, void* dbias,
                                  float* partials, int64_t num_blocks, void* stream) {
  return launch_bias_activation_backward<gpt2x::rows::Gelu>(dtype, parameter_dtype, dy, x, bias, N, C, dx,
                                                            dbias, partials, num_blocks, stream);
}
