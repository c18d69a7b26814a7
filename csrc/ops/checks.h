// Checks that keep the native code inside its buffers, for calls that do not come through
// gpt2x/ops/<name>.py.
//
// std::invalid_argument arrives in Python as ValueError, std::out_of_range as IndexError. Each message names
// the argument, what was expected and what came.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "rows/scalar.h"

namespace gpt2x {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class... Parts>
[[noreturn]] inline void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

inline std::string shape_of(const Tensor& tensor) {
  std::ostringstream text;
  text << "(";
  for (int64_t i = 0; i < tensor.dim(); ++i) text << (i > 0 ? ", " : "") << tensor.size(i);
  text << ")";
  return text.str();
}

inline void check_cpu(const char* name, const Tensor& tensor) {
  if (!tensor.is_cpu()) refuse(name, ": expected a CPU tensor");
}

inline void check_dtype(const char* name, const Tensor& tensor, ScalarType expected) {
  if (tensor.scalar_type() != expected) {
    refuse(name, ": expected dtype ", toString(expected), ", got ", toString(tensor.scalar_type()));
  }
}

// A parameter's dtype is that of the activations, or float32 beside bfloat16.
inline void check_parameter_dtype(const char* name, const Tensor& tensor, ScalarType activations) {
  if (tensor.scalar_type() == activations) return;
  if (activations == ScalarType::BFloat16 && tensor.scalar_type() == ScalarType::Float) return;
  refuse(name, ": expected dtype ", toString(activations), " or float32 beside bfloat16, got ",
         toString(tensor.scalar_type()));
}

inline void check_shape(const char* name, const Tensor& tensor, const std::vector<int64_t>& expected) {
  bool same = tensor.dim() == static_cast<int64_t>(expected.size());
  for (size_t i = 0; same && i < expected.size(); ++i)
    same = tensor.size(static_cast<int64_t>(i)) == expected[i];
  if (same) return;
  std::ostringstream text;
  for (size_t i = 0; i < expected.size(); ++i) text << (i > 0 ? ", " : "") << expected[i];
  refuse(name, ": expected shape (", text.str(), "), got ", shape_of(tensor));
}

inline void check_like(const char* name, const Tensor& tensor, const Tensor& like) {
  check_cpu(name, tensor);
  check_dtype(name, tensor, like.scalar_type());
  check_shape(name, tensor, std::vector<int64_t>(like.sizes().begin(), like.sizes().end()));
}

inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

inline std::optional<Tensor> dense(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? std::optional<Tensor>(dense(*tensor)) : std::nullopt;
}

template <class T>
inline const T* read(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
inline const T* read(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? read<T>(*tensor) : nullptr;
}

template <class T>
inline T* write(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// The dtype in which sums and statistics of such a tensor are computed.
inline ScalarType accumulation_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Calls f with a value of the C++ type that stores this dtype.
template <class F>
inline void with_storage(const char* name, ScalarType dtype, const F& f) {
  switch (dtype) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::BFloat16:
      return f(rows::bfloat16{});
    case ScalarType::Double:
      return f(double{});
    default:
      refuse(name, ": expected dtype float32, bfloat16 or float64, got ", toString(dtype));
  }
}

// Calls f with values of the C++ types of activations and of the parameters beside them.
template <class F>
inline void with_storage(const char* name, ScalarType dtype, ScalarType parameter_dtype, const F& f) {
  if (dtype == ScalarType::BFloat16 && parameter_dtype == ScalarType::Float)
    return f(rows::bfloat16{}, float{});
  with_storage(name, dtype, [&](auto value) { f(value, value); });
}

}  // namespace gpt2x
