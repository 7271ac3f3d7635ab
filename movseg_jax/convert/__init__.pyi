from .models import Converted as Converted
from .models import convert_weights as convert_weights
