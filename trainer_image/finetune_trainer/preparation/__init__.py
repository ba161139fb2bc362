"""From the sources of a job to prepared data, before an accelerator is taken.

sources -> files -> chunks of rows -> row_work, in several processes -> spools -> splits
"""
