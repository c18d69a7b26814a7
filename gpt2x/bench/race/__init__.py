"""`gpt2x bench race`: how many steps and seconds each of the field's ideas needs to the same held-out loss."""
