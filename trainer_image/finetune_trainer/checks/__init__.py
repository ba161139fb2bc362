"""What is wrong with texts before anything is trained on them.

Per text: personal data, secrets, notices, language, the rules of web corpora. Across texts:
duplicates, overlap with an evaluation, contradicting verdicts, relevance to a domain. Nothing
here reads or writes anything but spill files in a folder that it is given, and nothing that was
found is ever shown: a Hit is a place, not a value.
"""
