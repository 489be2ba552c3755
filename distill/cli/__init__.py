"""The commands: one file each, which parses, calls its stage and prints. No logic lives here."""
