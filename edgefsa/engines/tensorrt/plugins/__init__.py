"""The TensorRT plugins of the frequency operators: found, built, checked, and put in place of function bodies."""
