/* The C boundary of the CUDA kernels: raw device pointers, sizes, and the stream as a pointer-sized integer.
 *
 * It knows neither torch nor Python, so one library serves any version of both; it links the CUDA runtime
 * statically and loads on a machine without a GPU. gpt2x/ops/<name>.py allocates, checks and calls.
 *
 * Every function launches on `stream`, does not wait, and returns 0 or a cudaError_t (gpt2x_cuda_error gives
 * its text). dtype: 0 is float32, 1 is bfloat16. All arrays are contiguous but where strides are given, and
 * aligned to their elements; where they are aligned to 16 bytes, and so is every row of them, memory is
 * accessed 128 bits at a time. Parameters are in the dtype of the activations, or in float32 beside bfloat16.
 * A pointer that may be null is marked so. `losses`, `mean`, `rstd` and partial sums are float32.
 */
#ifndef GPT2X_CUDA_H
#define GPT2X_CUDA_H

#include <stdint.h>

#define GPT2X_CUDA_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Raised by one whenever a signature below changes; gpt2x/ops/cuda.py refuses a library of another number. */
#define GPT2X_CUDA_INTERFACE 6
GPT2X_CUDA_API int gpt2x_cuda_interface(void);
GPT2X_CUDA_API const char* gpt2x_cuda_error(int code);

/* x, residual (nullable), sum (nullable, with residual), y: N x C; weight, bias (nullable): C; mean, rstd: N
 */
GPT2X_CUDA_API int gpt2x_cuda_add_layer_norm(int dtype, int parameter_dtype, const void* x,
                                             const void* residual, const void* weight, const void* bias,
                                             int64_t N, int64_t C, double eps, void* sum, void* y,
                                             float* mean, float* rstd, void* stream);

/* partials: num_blocks x 2C of scratch; dweight, dbias (nullable): C; dsum (nullable): N x C */
GPT2X_CUDA_API int gpt2x_cuda_add_layer_norm_backward(int dtype, int parameter_dtype, const void* dy,
                                                      const void* dsum, const void* sum, const void* weight,
                                                      const float* mean, const float* rstd, int64_t N,
                                                      int64_t C, void* dx, void* dweight, void* dbias,
                                                      float* partials, int64_t num_blocks, void* stream);

/* x, y: N x C; bias (nullable): C */
GPT2X_CUDA_API int gpt2x_cuda_bias_gelu(int dtype, int parameter_dtype, const void* x, const void* bias,
                                        int64_t N, int64_t C, void* y, void* stream);

/* partials: num_blocks x C of scratch and dbias: C, both null without a bias */
GPT2X_CUDA_API int gpt2x_cuda_bias_gelu_backward(int dtype, int parameter_dtype, const void* dy,
                                                 const void* x, const void* bias, int64_t N, int64_t C,
                                                 void* dx, void* dbias, float* partials, int64_t num_blocks,
                                                 void* stream);

/* as bias_gelu */
GPT2X_CUDA_API int gpt2x_cuda_bias_relu2(int dtype, int parameter_dtype, const void* x, const void* bias,
                                         int64_t N, int64_t C, void* y, void* stream);
GPT2X_CUDA_API int gpt2x_cuda_bias_relu2_backward(int dtype, int parameter_dtype, const void* dy,
                                                  const void* x, const void* bias, int64_t N, int64_t C,
                                                  void* dx, void* dbias, float* partials, int64_t num_blocks,
                                                  void* stream);

/* logits: N x Vp, overwritten with their gradient when write_gradient; targets: N; losses: N, NaN where a
 * target is out of range; scale: floats on the device that multiply the gradient, one for each row where
 * scale_per_row, else one for all */
GPT2X_CUDA_API int gpt2x_cuda_linear_cross_entropy(int dtype, void* logits, const int64_t* targets, int64_t N,
                                                   int64_t V, int64_t Vp, int64_t ignore_index,
                                                   double label_smoothing, double z_loss, const float* scale,
                                                   int scale_per_row, int write_gradient, float* losses,
                                                   void* stream);

/* tensors, sizes, dtypes: host arrays of `count`; partials: count x gpt2x_cuda_norm_blocks() doubles of
 * scratch; norm: one float on the device */
GPT2X_CUDA_API int64_t gpt2x_cuda_norm_blocks(void);
GPT2X_CUDA_API int gpt2x_cuda_global_norm(int64_t count, const void* const* tensors, const int64_t* sizes,
                                          const int* dtypes, double* partials, float* norm, void* stream);

/* Host arrays of `count`; moment_dtype of both moments; grads in the dtype of the params, or bfloat16 beside
 * float32. bf16_params (nullable): a bfloat16 copy of each float32 parameter, written in the same pass.
 * step_and_lr (nullable): two doubles on the device that stand for `step` and `lr`, read when the kernels
 * run, as in a replayed graph; beside it scratch, GPT2X_CUDA_ADAMW_SCRATCH_BYTES on the device. grad_norm
 * (nullable): one float on the device; max_norm <= 0: no clipping */
#define GPT2X_CUDA_ADAMW_SCRATCH_BYTES 64
GPT2X_CUDA_API int gpt2x_cuda_adamw(int dtype, int grad_dtype, int moment_dtype, int64_t count,
                                    void* const* params, const void* const* grads, void* const* exp_avgs,
                                    void* const* exp_avg_sqs, void* const* bf16_params, const int64_t* sizes,
                                    const double* weight_decay, int64_t step, double lr,
                                    const double* step_and_lr, void* scratch, double beta1, double beta2,
                                    double eps, const float* grad_norm, double max_norm, void* stream);

/* x: N x I; weight: O x I, in any of both dtypes, or int8 (weight_dtype 2) with scale: O float32, else null;
 * bias (nullable): O, in x's dtype; y: N x O */
GPT2X_CUDA_API int gpt2x_cuda_gemv(int dtype, int weight_dtype, const void* x, const void* weight,
                                   const float* scale, const void* bias, int64_t N, int64_t I, int64_t O,
                                   void* y, void* stream);

/* query, y: B x H x D; keys, values: B x H x S x D, whose D elements stand side by side, and whose other
 * three strides in elements are host arrays; scratch: B H P (D + 2) float32, P = S /
 * GPT2X_CUDA_DECODE_TOKENS_PER_PART, rounded up */
#define GPT2X_CUDA_DECODE_TOKENS_PER_PART 64
GPT2X_CUDA_API int gpt2x_cuda_decode_attention(int dtype, const void* query, const void* keys,
                                               const int64_t* key_strides, const void* values,
                                               const int64_t* value_strides, int64_t B, int64_t H, int64_t S,
                                               int64_t D, float* scratch, void* y, void* stream);

#ifdef __cplusplus
}
#endif
#endif
