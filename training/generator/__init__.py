"""Text-to-image models: a small one taught from nothing, and any fine-tuned on a clinic's radiographs."""

import logging
import os

# What is loaded is nobody else's business: the hub is told nothing beside the name that is asked for.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# It tells everyone who imports it about kernels that only its 4-bit weights would need.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
