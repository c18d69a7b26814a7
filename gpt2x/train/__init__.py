"""The trainer: from a file of texts to a run folder that Hugging Face, `gpt2x sing` and `gpt2x export` open.

Read in this order: `recipes` (what is trained, as data), `config` (each setting with its meaning), `loop` (the
training step, top to bottom), then `state` (checkpoints) and `distributed` (many ranks).
"""
