"""Distil an agent's tool calling from a teacher into a small student, and prove it.

The commands are stages that meet through files: `collect` fills a trace store, `filter` turns it
into a data set, `train` into an adapter, `serve` puts it behind an endpoint, `eval` compares and
judges.

    cli -> collect filter train serve evaluate report demo
        -> episode -> toolsets teachers traces student matching -> config types -> errors
"""

__version__ = "0.1.0"
