"""TRL's trainers as a second engine, for users who want them and as an oracle for ours.

Importing the modules in here takes seconds; only a run that asks for TRL does.
"""
