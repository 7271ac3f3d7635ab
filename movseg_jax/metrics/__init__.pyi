from .coco_results import evaluate_coco as evaluate_coco
from .davis import boundary_accuracy as boundary_accuracy
from .davis import region_similarity as region_similarity
from .davis17 import davis17_unsupervised as davis17_unsupervised
from .reference import reference_results as reference_results
