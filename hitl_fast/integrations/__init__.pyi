from .lightning import lightning_callback as lightning_callback
from .lightning_data import PriorityDataModule as PriorityDataModule
from .ray import preindex_ray as preindex_ray
from .trainer_weights import weighted_trainer as weighted_trainer
from .transformers import trainer_callback as trainer_callback
