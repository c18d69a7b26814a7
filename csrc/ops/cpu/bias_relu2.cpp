// bias_relu2 on the CPU: no arithmetic to speak of, it should run at the speed of memory.
#include "../rows/bias_relu2.h"

#include <torch/csrc/stable/library.h>

#include "bias_activation.h"

STABLE_TORCH_LIBRARY_IMPL(gpt2x, CPU, m) {
  m.impl("bias_relu2", TORCH_BOX(&gpt2x::cpu::bias_activation<gpt2x::rows::Relu2>));
  m.impl("bias_relu2_backward", TORCH_BOX(&gpt2x::cpu::bias_activation_backward<gpt2x::rows::Relu2>));
}
