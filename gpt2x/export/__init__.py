"""Taking a model elsewhere: a clean Hugging Face folder, or a GGUF file for llama.cpp."""
