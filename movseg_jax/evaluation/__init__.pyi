from .coco import evaluate_coco as evaluate_coco
from .coco import evaluate_coco_files as evaluate_coco_files
