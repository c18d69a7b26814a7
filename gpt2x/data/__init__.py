"""Text on its way to the model: where it comes from, how it is read, split, tokenised and cut into batches."""
