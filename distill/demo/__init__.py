"""The embedded stand-ins of the demo: a teacher behind HTTP and a small student model.

They are the only parts of the chain that are not the real thing, and nothing else knows about
them: both are reached through the same `base_url` and `base` settings a user would set.
"""
