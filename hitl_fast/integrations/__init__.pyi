from .lightning import lightning_callback as lightning_callback
from .transformers import trainer_callback as trainer_callback
