"""The student: its family, how it reads a conversation, and what training recorded of it."""
