"""Training on answers that the model writes itself."""
