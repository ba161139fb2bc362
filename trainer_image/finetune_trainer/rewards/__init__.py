"""What scores the answers that a model writes while it is trained."""
