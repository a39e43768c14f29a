"""Loading, describing and saving models."""

import logging

# Before PEFT imports it, where it is installed: it says at every command which kernels it did not find, and then, for each layer and
# step, that it rounds to float16.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
