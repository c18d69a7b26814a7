// Matrix products: which of the libraries inside torch computes them.
//
// torch multiplies float32 matrices with MKL, which on AMD processors reaches about half of what oneDNN does
// (Zen 4, two cores: 95-156 against 163-217 GFLOP/s); bfloat16 goes to oneDNN anyway. So float32 products go
// to oneDNN on AMD. The choice depends on the processor alone and not on a measurement: the same machine
// gives the same bits tomorrow. GPT2X_GEMM=auto|torch|onednn overrides it.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>

#include "../checks.h"

namespace gpt2x::cpu {

// True when float32 products go to oneDNN.
bool onednn_multiplies();

// True when `multiply` gives products of this dtype to oneDNN, which cannot write to a given place and copies
// a transposed `a`.
bool onednn_takes(ScalarType dtype);

// a @ b. `out` is offered as the place of the result and taken where the library can write to a given place;
// read the result from what is returned. Elsewhere it is let go first, if the caller has moved it here.
Tensor multiply(const Tensor& a, const Tensor& b, std::optional<Tensor> out = std::nullopt);

// out += a @ b, summed in the accumulation dtype and rounded once, by torch's own library.
void add_product(const Tensor& a, const Tensor& b, const Tensor& out);

// x @ weight^T + bias, a new tensor; x (N, I), weight (O, I), bias (O).
Tensor multiply_and_add(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias);

inline Tensor transposed(const Tensor& matrix) {
  return torch::stable::transpose(matrix, 0, 1);
}

}  // namespace gpt2x::cpu
