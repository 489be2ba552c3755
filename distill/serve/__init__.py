"""Serve a student with vLLM behind an OpenAI-compatible endpoint.

`command` turns what training recorded into vLLM's arguments, `server` owns the process, `checks`
prove that what answers is what was trained, `launch` puts the three together. Served names are
`base` and, for the adapter, `student`. What this does not do: load adapters at run time, guard the
endpoint (it listens on loopback unless told otherwise), merge or quantise.
"""
