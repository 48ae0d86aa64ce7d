"""What INT8 costs and gains, block by block, on engines of a target: the ranking, and the search for what to leave out.

For the desk, not for the device: onnx is imported inside its functions.
"""

from edgefsa.verify.sensitivity.analysis import Analysis, BlockCost, analyse
from edgefsa.verify.sensitivity.bench import TrialBench, open_bench
from edgefsa.verify.sensitivity.recipe_search import Searched, search_blocks

__all__ = ["Analysis", "BlockCost", "Searched", "TrialBench", "analyse", "open_bench", "search_blocks"]
