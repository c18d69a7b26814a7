// The signature of every operator. Kernels: cpu/<name>.cpp and, through gpt2x/ops/<name>.py, cuda/<name>.cu.
// Shapes without data and gradients: gpt2x/ops/<name>.py. What they compute: gpt2x/ops/reference.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(gpt2x, m) {
  // x (..., C) -> y, sum (empty without a residual: sum would be x itself), mean (...), rstd (...)
  m.def(
      "add_layer_norm(Tensor x, Tensor? residual, Tensor weight, Tensor? bias, float eps)"
      " -> (Tensor y, Tensor sum, Tensor mean, Tensor rstd)");
  // -> dx (also that of the residual), dweight (C), dbias (C; empty without a bias)
  m.def(
      "add_layer_norm_backward(Tensor dy, Tensor? dsum, Tensor sum, Tensor weight, Tensor mean, Tensor rstd,"
      " bool has_bias) -> (Tensor dx, Tensor dweight, Tensor dbias)");

  m.def("bias_gelu(Tensor x, Tensor? bias) -> Tensor");
  // -> dx, dbias (C; empty without a bias)
  m.def("bias_gelu_backward(Tensor dy, Tensor x, Tensor? bias) -> (Tensor dx, Tensor dbias)");

  // as bias_gelu
  m.def("bias_relu2(Tensor x, Tensor? bias) -> Tensor");
  m.def("bias_relu2_backward(Tensor dy, Tensor x, Tensor? bias) -> (Tensor dx, Tensor dbias)");

  // hidden (N, C), weight (Vp, C), targets (N), row_scale (N) -> loss () or (N), dhidden, dweight (each empty
  // unless asked for). reduction: 0 none, 1 mean, 2 sum. The gradients are those of the mean or of the sum,
  // or with row_scale of the sum of row_scale[n] loss[n].
  m.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor targets, Tensor? row_scale, int reduction,"
      " int ignore_index, int vocab_size, float label_smoothing, float z_loss, bool need_dhidden,"
      " bool need_dweight) -> (Tensor loss, Tensor dhidden, Tensor dweight)");

  m.def("global_norm(Tensor[] tensors) -> Tensor");

  // addends of out[i]: i, i + len(out), ... -> the sum of the squares of what was written, () in float64
  m.def("mean_(Tensor(a!)[] out, Tensor[] addends) -> Tensor");

  // What changes from step to step is not a constant of a compiled graph: a symbol, and one number on the
  // CPU. max_norm <= 0 or no grad_norm: no clipping. bf16_params: none, or one a parameter (empty where it
  // has none)
  m.def(
      "adamw_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs,"
      " Tensor(d!)[] bf16_params, SymInt step, Tensor lr, float beta1, float beta2, float eps, float[] "
      "weight_decay,"
      " Tensor? grad_norm, float max_norm) -> ()");

  // x (N, I), weight (O, I), bias (O) -> (N, O)
  m.def("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  // whether float32 products go to oneDNN here
  m.def("onednn_multiplies() -> bool");
  // -> dx, dweight, dbias (each empty unless asked for)
  m.def(
      "linear_backward(Tensor dy, Tensor x, Tensor weight, bool need_dx, bool need_dweight, bool need_dbias)"
      " -> (Tensor dx, Tensor dweight, Tensor dbias)");

  // dweight[ids[n]] += dy[n]: dweight (V, C), dy (N, C), ids (N)
  m.def("embedding_backward_(Tensor(a!) dweight, Tensor dy, Tensor ids) -> ()");

  // x (N, I) with few rows, weight (O, I), scale (O) beside an int8 weight, bias (O) -> (N, O)
  m.def("gemv(Tensor x, Tensor weight, Tensor? scale, Tensor? bias) -> Tensor");

  // qkv (B, T, 3 C): queries, keys and values of num_heads heads; cos, sin (T, D), both or none
  m.def("qk_norm_rotary(Tensor qkv, Tensor? cos, Tensor? sin, int num_heads, bool qk_norm) -> Tensor");
  // qkv where there is a norm -> dqkv
  m.def("qk_norm_rotary_backward(Tensor dy, Tensor? qkv, Tensor? cos, Tensor? sin, int num_heads) -> Tensor");

  // qkv (B, T, 3 C): queries, keys and values of num_heads heads -> y (B, T, C), lse (B, H, T)
  m.def("causal_attention(Tensor qkv, int num_heads) -> (Tensor y, Tensor lse)");
  // -> dqkv (B, T, 3 C)
  m.def(
      "causal_attention_backward(Tensor dy, Tensor qkv, Tensor y, Tensor lse, int num_heads) -> Tensor dqkv");

  // query (B, H, D), keys and values (B, H, S, D) -> (B, H, D)
  m.def("decode_attention(Tensor query, Tensor keys, Tensor values) -> Tensor");
}
