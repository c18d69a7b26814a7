"""`gpt2x bench bpe`: encoding beside other tokenizers."""
