"""The files of an engine directory that every target shares; the engine's own file is named by its target."""

# The float32 graph that the build began with, and what it was converted to.
SOURCE_NAME = "model.onnx"
QUANTISED_NAME = "int8.onnx"
HALF_NAME = "fp16.onnx"
# The graph as TensorRT's parser took it, where it is none of the others: with inlined bodies, or with plugin nodes.
NETWORK_NAME = "network.onnx"
# What the quantiser took, kept so that the engine can be built again elsewhere.
RANGES_NAME = "ranges.json"
# How the ranges were made and what was left in float, where a recipe or a search said that.
RECIPE_NAME = "recipe.toml"
LAYERS_NAME = "layers.json"
GOLDEN_NAME = "golden.npz"
TIMING_CACHE_NAME = "timing.cache"
# Targets of plans that other tools made end so.
ADOPTED = "adopted"
