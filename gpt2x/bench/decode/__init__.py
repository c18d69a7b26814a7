"""`gpt2x bench decode`: writing token by token, ours and others'."""
