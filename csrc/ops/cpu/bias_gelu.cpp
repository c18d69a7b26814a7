// bias_gelu on the CPU: an exponential an element between its read and its write.
#include "../rows/bias_gelu.h"

#include <torch/csrc/stable/library.h>

#include "bias_activation.h"

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("bias_gelu", TORCH_BOX(&gpt2x::cpu::bias_activation<gpt2x::rows::Gelu>));
  m.impl("bias_gelu_backward", TORCH_BOX(&gpt2x::cpu::bias_activation_backward<gpt2x::rows::Gelu>));
}
