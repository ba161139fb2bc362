"""From rows as people bring them to tokens with loss spans.

rows -> shapes -> conversation (instruction, messages) -> chat -> corpus -> split, report
"""
