"""`gpt2x bench ops`: each operator beside torch's own functions and its reference."""
