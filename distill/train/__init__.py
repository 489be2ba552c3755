"""`distill train`: LoRA on pre-rendered samples, packed into token tries."""

import os

# Read when torch loads its OpenMP runtime. By default threads that wait for each other spin for
# milliseconds; where anything else wants a core, a step then takes several times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
