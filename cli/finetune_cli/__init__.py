"""`finetune`, which is also `kubectl finetune`."""
