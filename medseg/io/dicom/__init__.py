"""DICOM series → volumes: find files, group them into stacks, judge and place a stack, decode and assemble its slices.

Each step is a module and refuses, in a sentence, what it cannot do without guessing. World coordinates are LPS in the
files and RAS from `place` on. No message, note or header that leaves this package holds a patient's name or number.
"""
