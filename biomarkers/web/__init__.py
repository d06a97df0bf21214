"""The laboratory's pages for technicians, reviewers, scientists, auditors and operators, and the same as JSON.

Knows who may see what and how it is shown. Must not compute a number, know SQL, or start work on files: what is dropped here
goes into the same inbox as any other.
"""
