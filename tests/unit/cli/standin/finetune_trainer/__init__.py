"""A stand-in for the trainer: ends as the file named by FINETUNE_STANDIN says."""
