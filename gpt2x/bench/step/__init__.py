"""`gpt2x bench step`: our training step beside those that people know."""
