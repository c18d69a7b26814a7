// gpt2x._ops: a Python module that says only which interface it has. Importing it loads the library, and
// loading registers the operators with torch (STABLE_TORCH_LIBRARY in csrc/ops). Limited API and stable ABI:
// one file for many Pythons and many torches.
#include <Python.h>

// Raised by one whenever a signature in csrc/ops/schema.cpp changes; gpt2x/ops/library.py names the one
// it fits.
constexpr long kInterface = 7;

extern "C" __attribute__((visibility("default"))) PyObject* PyInit__ops(void) {
  static PyModuleDef definition = {};
  definition.m_base = PyModuleDef_HEAD_INIT;
  definition.m_name = "_ops";
  definition.m_doc = "The native operators, reached as torch.ops.gpt2x.";
  definition.m_size = -1;
  PyObject* module = PyModule_Create(&definition);
  if (module != nullptr && PyModule_AddIntConstant(module, "interface", kInterface) != 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
