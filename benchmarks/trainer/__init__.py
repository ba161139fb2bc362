"""The trainer beside a plain PyTorch loop and beside TRL."""
